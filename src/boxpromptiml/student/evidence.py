"""Traces that a photo's content hides: noise residuals and block frequencies, as feature maps beside the backbone's.

A backbone pretrained on objects looks past what a camera and a codec leave in single pixels. Fixed filters take the
content away first; the rest goes to the backbone beside the colours, or what a small network finds in it to the fusion
module as further stages. It only makes sense where images are not resized before (``input.fit: native``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from boxpromptiml.errors import ModelError
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD

EVIDENCE = ("input", "residual", "dct")
_BLOCK = 8  # of JPEG
# High-pass filters of the steganalysis rich model (Fridrich and Kodovsky 2012), the three that Zhou et al. 2018
# (Learning Rich Features for Image Manipulation Detection) chose: second order along rows, third-order 3x3, 5x5.
_FILTERS = np.zeros((3, 5, 5), dtype=np.float32)
_FILTERS[0, 2, 1:4] = np.array([1, -2, 1]) / 2
_FILTERS[1, 1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
_FILTERS[2] = (
    np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12
)
_CLIP = 4.0  # grey levels: beyond, it is an edge of the content
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as JPEG's
# Widths of the bumps around zero that a coefficient is seen through: exactly zero, small, large.
_BUMPS = (0.6, 2.5, 10.0)


class Evidence(nn.Module):
    """The chosen kinds of evidence: further input channels, and feature maps, finest first.

    Attributes:
        inputs: channels that join the image.
        channels, strides: of each returned map.

    Args:
        kinds: of `EVIDENCE`: ``input``, high-pass residuals of R, G and B, for the backbone; ``residual``, features of
            the same, at strides 4 and 8; ``dct``, of the coefficients of the luminance's 8 x 8 blocks (from the image's
            top left corner, where JPEG's begin), at stride 8.
        width: channels at stride 4; twice as many at stride 8.
        mean, std: of the normalisation that the image went through, three values each.

    Raises:
        ModelError: an unknown kind.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kinds: Sequence[str],
        width: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        unknown = sorted(set(kinds) - set(EVIDENCE))
        if unknown:
            raise ModelError(f"evidence {unknown[0]!r} is not one of {', '.join(EVIDENCE)}")
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self.inputs = 9 if "input" in kinds else 0
        self.high_pass = _HighPass() if {"input", "residual"} & set(kinds) else None
        self.residual = _ResidualBranch(width) if "residual" in kinds else None
        self.dct = _BlockBranch(2 * width) if "dct" in kinds else None
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        if self.residual is not None:
            self.channels, self.strides = (width, 2 * width), (4, 8)
        if self.dct is not None:
            self.channels, self.strides = (*self.channels, 2 * width), (*self.strides, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of normalised images, float32 (B, 3, H, W): them with the further channels, (B, 3 + inputs, H, W), and
        feature maps, a list of (B, C_i, h_i, w_i)."""
        with _full_precision(x):
            pixels = x.float() * self.std + self.mean  # 0 .. 255
            residual = None if self.high_pass is None else self.high_pass(pixels)
            blocks = None if self.dct is None else self.dct.filtered(pixels)
        features: list[Tensor] = []
        if self.residual is not None and residual is not None:
            features += self.residual(residual)
        if self.dct is not None and blocks is not None:
            features.append(self.dct(blocks))
        return (torch.cat([x, residual], dim=1) if self.inputs and residual is not None else x), features


class _HighPass(nn.Module):
    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        # The filters on each colour alone: (9, 1, 5, 5), in groups of three.
        self.register_buffer("kernel", torch.from_numpy(_FILTERS).repeat(3, 1, 1)[:, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Residuals (B, 9, H, W), in [-1, 1], of pixels (B, 3, H, W), 0 .. 255."""
        padded = F.pad(pixels, (2, 2, 2, 2), mode="replicate")
        return F.conv2d(padded, self.kernel, groups=3).clamp(-_CLIP, _CLIP) / _CLIP


class _ResidualBranch(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = max(8, width // 2)
        self.fine = nn.Sequential(_unit(9, half, 3), _unit(half, half, 3, stride=2), _Block(half))
        self.middle = nn.Sequential(_unit(half, width, 3, stride=2), _Block(width), _Block(width))
        self.coarse = nn.Sequential(_unit(width, 2 * width, 3, stride=2), _Block(2 * width))

    def forward(self, residual: Tensor) -> list[Tensor]:
        middle = self.middle(self.fine(residual))
        return [middle, self.coarse(middle)]


class _BlockBranch(nn.Module):
    basis: Tensor
    luma: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("basis", torch.from_numpy(_dct_basis())[:, None], persistent=False)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)
        self.mix = nn.Sequential(
            _unit(_BLOCK * _BLOCK * len(_BUMPS), width, 1), _unit(width, width, 3), _Block(width), _Block(width)
        )

    def filtered(self, pixels: Tensor) -> Tensor:
        """Coefficients seen through bumps, (B, 192, H / 8, W / 8), in [0, 1]."""
        luminance = (pixels * self.luma).sum(1, keepdim=True) - 128
        # A histogram of few bins: how often a frequency is exactly zero, small or large tells its quantisation.
        squared = F.conv2d(luminance, self.basis, stride=_BLOCK).square()
        return torch.cat([torch.exp(squared * (-0.5 / bump**2)) for bump in _BUMPS], dim=1)

    def forward(self, blocks: Tensor) -> Tensor:
        seen: Tensor = self.mix(blocks)
        return seen


class _Block(nn.Module):
    """Two 3x3 convolutions around which the input is carried."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _unit(width, width, 3)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast: half precision would round away what the fixed filters look for."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def _unit(given: int, made: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(given, made, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(made), nn.ReLU(inplace=True))


def _dct_basis() -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """The orthonormal basis of the 8 x 8 DCT-II, float32 (64, 8, 8), row by row of frequencies."""
    n = np.arange(_BLOCK)
    rows = np.cos((2 * n[None] + 1) * n[:, None] * math.pi / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    basis = rows[:, None, :, None] * rows[None, :, None, :]
    return basis.reshape(_BLOCK * _BLOCK, _BLOCK, _BLOCK).astype(np.float32)
