"""Any timm backbone as a pyramid of feature maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from boxpromptiml.errors import ModelError
from boxpromptiml.student import mobilenet  # noqa: F401 - registers its model with timm

MAX_STAGES = 4


class Backbone(nn.Module):
    """A timm ``features_only`` model that returns its last stages (four at most), finest first, as NCHW maps.

    Attributes:
        name: timm's model name.
        channels: channels of each returned map.
        strides: input pixels a cell of each returned map, horizontally and vertically.

    Args:
        name: any timm model that supports ``features_only``.
        pretrained: True loads timm's own weights (from the hub or its cache), a path loads a local ``.safetensors``
            or ``.pth`` file in timm's naming (classifier weights in it are ignored), False draws them at random.
        extra: input channels beside R, G and B. Their weights start at 0: a pretrained backbone is first what it was.

    Raises:
        ModelError: unknown name, no feature maps to be had, or weights that cannot be found or do not fit.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, name: str, pretrained: bool | str | Path = False, extra: int = 0) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise ModelError(f"unknown backbone {name!r}{_suggestion(name)}; `timm.list_models()` lists them all")
        self.name = name
        self.net = _create(name, pretrained)
        if extra:
            _widen(self.net, extra)
        channels = list(self.net.feature_info.channels())
        strides = list(self.net.feature_info.reduction())
        self._skip = max(0, len(channels) - MAX_STAGES)
        self.channels = tuple(channels[self._skip :])
        self.strides = tuple(strides[self._skip :])
        self._channels_last = str(getattr(self.net, "output_fmt", "")).upper().endswith("NHWC")
        # TinyViT, LeViT and EfficientFormer keep the attention biases of the last forward in eval mode: stale after
        # new weights are loaded or averaged in, and in the way of copy.deepcopy.
        self._cached = [module for module in self.net.modules() if hasattr(module, "attention_bias_cache")]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of normalised images, float32 (B, 3 + extra, H, W): a list of (B, C_i, h_i, w_i), finest
        first."""
        features: Sequence[Tensor] = self.net(x)[self._skip :]
        for module in self._cached:
            module.attention_bias_cache = {}
        if self._channels_last:
            return [feature.permute(0, 3, 1, 2) for feature in features]
        return list(features)

    def first_modules(self, stages: int) -> list[nn.Module]:
        """The layers that lead to the first `stages` returned maps, in order; none for 0.

        Raises:
            ModelError: more stages than there are, or layers that timm does not name.
        """
        if stages == 0:
            return []
        if stages > len(self.channels):
            raise ModelError(f"{self.name} has {len(self.channels)} stages, {stages} cannot be kept as they are")
        last = str(self.net.feature_info.module_name()[self._skip + stages - 1])
        modules = dict(self.net.named_modules())
        end = modules.get(last) or modules.get(last.replace(".", "_"))
        if end is None:
            raise ModelError(f"{self.name}: timm does not say which layers lead to stage {stages}; train all of them")
        # Not what contains that stage, which would take later ones along.
        layers = [m for m in self.net.modules() if _has_own_tensors(m) and (m is end or end not in set(m.modules()))]
        within = set(end.modules())
        return layers[: max(index for index, layer in enumerate(layers) if layer in within) + 1]


def _widen(net: nn.Module, extra: int) -> None:
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    shape = (first.out_channels, extra, *first.kernel_size)
    first.weight = nn.Parameter(torch.cat([first.weight.detach(), first.weight.new_zeros(shape)], dim=1))
    first.in_channels += extra


def _has_own_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False))


def _create(name: str, pretrained: bool | str | Path) -> Any:
    if isinstance(pretrained, str | Path):
        return _create_from_file(name, Path(pretrained))
    try:
        return _build(name, pretrained=pretrained)
    except Exception as error:  # timm, torch and the hub each have their own
        if pretrained:
            raise ModelError(
                f"cannot fetch the pretrained weights of {name} ({_first_line(error)}); "
                "go online, or give a local .safetensors file, or train from scratch"
            ) from error
        raise ModelError(
            f"backbone {name!r} has no feature maps to build on ({_first_line(error)}); choose another"
        ) from error


def _create_from_file(name: str, path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give a .safetensors file with weights of {name} in timm's naming")
    overlay = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            net, twin = _build(name, **overlay), _build(name, **overlay)
    except Exception as error:  # timm, torch and safetensors each have their own
        raise ModelError(f"{path}: does not hold weights of {name} ({_first_line(error)})") from error
    # timm skips what a file lacks without an error. What was skipped is what two random starts still differ in.
    drawn = twin.state_dict()
    lacking = [key for key, value in net.state_dict().items() if not torch.equal(value, drawn[key])]
    if lacking:
        raise ModelError(
            f"{path}: lacks {len(lacking)} weights of {name} (first: {lacking[0]}); "
            "give a file with that model's weights in timm's naming"
        )
    return net


def _build(name: str, **options: Any) -> Any:
    try:
        # Vision transformers and Swin are built for one input size unless asked not to be.
        return timm.create_model(name, features_only=True, dynamic_img_size=True, **options)
    except TypeError:
        return timm.create_model(name, features_only=True, **options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep timm from listing the classifier weights that a backbone has no use for."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _suggestion(name: str) -> str:
    near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    return f", did you mean {', '.join(near)}?" if near else ""
