"""Images through an opened network: checked, in batches of one size, looked at more than once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ModelError
from boxpromptiml.preprocessing import Fed, PreprocessingSpec
from boxpromptiml.runtime.card import export_command
from boxpromptiml.runtime.sessions import Choice, Session

# Mirrored across, and down. The half turn differs most from the image as it is.
_LOOKS = {
    1: ((False, False),),
    2: ((False, False), (True, True)),
    4: ((False, False), (True, True), (True, False), (False, True)),
}

Map = NDArray[np.float32]


def run_checked(
    session: Session, spec: PreprocessingSpec, batch: NDArray[np.uint8], folder: Path, choice: Choice
) -> Map:
    """Run a network on uint8 (n, 3, H, W); see `boxpromptiml.runtime.Localizer.probabilities`."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1] != 3 or not spec.takes(*batch.shape[2:]):
        wanted = f"uint8 (n, 3, H, W), H x W {spec.input_text}"
        raise ValueError(f"the network takes {wanted}, got {batch.dtype} {batch.shape}")
    height, width = batch.shape[2:]
    if len(batch) == 0:
        return np.zeros((0, height, width), dtype=np.float32)
    try:
        values = session.run(batch)
    except Exception as error:  # each runtime has its own exceptions
        raise ModelError(f"{folder}: the network failed ({' '.join(str(error).split())[:200]})") from error
    if values.shape != (len(batch), 1, height, width):
        command = export_command(folder, choice.format, choice.precision)
        raise ModelError(f"{folder}: the network gave {values.shape}; run  {command}")
    if not np.isfinite(values).all():
        raise ModelError(f"{folder}: the network gave values that are not finite; its weights are damaged")
    return np.clip(values[:, 0], 0.0, 1.0)


def in_batches(fed: Sequence[Fed], probabilities: Callable[[NDArray[np.uint8]], Map]) -> list[Map]:
    """The map of each image, without its padding; images of one size share a batch."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, item in enumerate(fed):
        alike.setdefault(item.pixels.shape, []).append(index)
    found: dict[int, Map] = {}
    for indices in alike.values():
        values = probabilities(np.stack([fed[index].pixels for index in indices]))
        found.update(zip(indices, values, strict=True))
    # A copy where there was padding: a view would keep all of it, and Pillow wants rows without gaps.
    return [np.ascontiguousarray(found[i][: item.rows, : item.columns]) for i, item in enumerate(fed)]


def averaged(batch: NDArray[np.uint8], looks: int, probabilities: Callable[[NDArray[np.uint8]], Map]) -> Map:
    """The mean of several looks at images, uint8 (n, 3, H, W), float32 (n, H, W).

    Padding is mirrored along: so the 8 x 8 blocks of a JPEG lie on the grid on which the network was trained to see
    them.

    Args:
        looks: 1: as they are; 2: also turned by half; 4: also mirrored left to right and top to bottom.
    """
    mean = probabilities(batch)
    for across_down in _LOOKS[looks][1:]:
        mean = mean + _flipped(probabilities(np.ascontiguousarray(_flipped(batch, *across_down))), *across_down)
    return np.asarray(mean / np.float32(looks))


def _flipped(values: Any, across: bool, down: bool) -> Any:
    """The last two axes, rows and columns, mirrored."""
    return values[..., :: -1 if down else 1, :: -1 if across else 1]
