"""Is an exported file the model? Compared with PyTorch over probe images before it takes its name."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from boxpromptiml.errors import ModelError
from boxpromptiml.preprocessing import CELL, PreprocessingSpec
from boxpromptiml.runtime.card import Precision
from boxpromptiml.runtime.sessions import Session

TOLERANCE = 1e-4
# Half precision: the mean difference of probabilities over the probes, which are harder than photographs.
MEAN_TOLERANCE: dict[Precision, float] = {"fp16": 0.005, "bf16": 0.02}


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the probabilities of a file and of PyTorch: the largest, and the mean."""

    largest: float
    mean: float


def compare(model: nn.Module, session: Session, spec: PreprocessingSpec) -> Difference:
    """PyTorch at full precision against a runtime, over probe images of several sizes, alone and by three.

    Raises:
        ModelError: the runtime answers with another shape.
    """
    differences = []
    for batch in [batch for size in _sizes(spec) for probes in [_probes(*size)] for batch in (probes, probes[:1])]:
        with torch.no_grad():
            expected = model(torch.from_numpy(batch)).numpy()
        found = session.run(batch)
        if found.shape != expected.shape:
            raise ModelError(f"the exported file answers with shape {found.shape}, PyTorch with {expected.shape}")
        differences.append(np.abs(found - expected).ravel())
    together = np.concatenate(differences)
    return Difference(float(together.max()), float(together.mean()))


def check_parity(model: nn.Module, session: Session, spec: PreprocessingSpec, what: str) -> Difference:
    """Refuse a file that is not the model.

    Args:
        model: the model at full precision.
        session: the file, opened.
        spec: of its input.
        what: the file and its backbone, for the message.

    Raises:
        ModelError: at fp32, more than 1e-4 anywhere (and more than float32 rounding explains); at half precision, more
            than `MEAN_TOLERANCE` on average; or values that are not finite. int8 is judged by its F1 alone.
    """
    precision = session.card.precision
    difference = compare(model, session, spec)
    if not np.isfinite(difference.mean):
        raise ModelError(f"{what}: gives values that are not finite; not written")
    if precision in MEAN_TOLERANCE and difference.mean > MEAN_TOLERANCE[precision]:
        raise ModelError(
            f"{what}: at {precision} probabilities differ from PyTorch's by {difference.mean:.2g} on average "
            f"(at most {MEAN_TOLERANCE[precision]:g} allowed); not written, use fp32"
        )
    if precision == "fp32" and difference.largest > TOLERANCE:
        # A steep network turns rounding into more than that; PyTorch's own rounding error tells.
        allowed = max(TOLERANCE, 4 * rounding_error(model, spec))
        if difference.largest > allowed:
            raise ModelError(
                f"{what}: differs from PyTorch by {difference.largest:.2g} (at most {allowed:.2g} allowed); "
                "not written, the backbone does not export faithfully"
            )
    return difference


def rounding_error(model: nn.Module, spec: PreprocessingSpec) -> float:
    """Largest difference between PyTorch's answers in float32 and in float64 over the same probe images."""
    probes = torch.from_numpy(_probes(spec.height, spec.width))
    with torch.no_grad():
        return float((copy.deepcopy(model).double()(probes) - model(probes)).abs().max())


def _sizes(spec: PreprocessingSpec) -> list[tuple[int, int]]:
    """Heights and widths to compare at: the nominal one, and others where sizes vary."""
    nominal = (spec.height, spec.width)
    if spec.fit == "stretch":
        return [nominal]
    return [nominal, (2 * CELL, 5 * CELL), (spec.width + 3 * CELL, spec.height)]


def _probes(height: int, width: int) -> NDArray[np.uint8]:
    """Noise, smooth ramps with a sharp patch, and a checkerboard: uint8 (3, 3, height, width)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([255 * y / height, 255 * x / width, 255 * (x + y) / (height + width)]).astype(np.uint8)
    patch = np.s_[:, height // 4 : height // 2, width // 3 : width // 2]
    ramps[patch] = noise[patch]
    board = np.broadcast_to(((x // 16 + y // 16) % 2 * 255).astype(np.uint8), (3, height, width))
    return np.stack([noise, ramps, board])
