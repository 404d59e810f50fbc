"""Images through an opened network: checked, in batches of one size, mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ModelError
from boxpromptiml.preprocessing import Fed, PreprocessingSpec
from boxpromptiml.runtime.card import export_command
from boxpromptiml.runtime.sessions import Choice, Session

_FLIPS = ((False, False), (True, False), (False, True), (True, True))  # across, down

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


def mirrored(fed: Sequence[Fed], spec: PreprocessingSpec, look: Callable[[Sequence[Fed]], list[Map]]) -> list[Map]:
    """The mean of four looks: as it is and mirrored left to right, top to bottom and both ways."""
    means = [np.zeros((item.rows, item.columns), np.float32) for item in fed]
    for across, down in _FLIPS:
        flipped = [spec.flipped(item, across=across, down=down) for item in fed]
        for mean, values in zip(means, look(flipped), strict=True):
            mean += values[:: -1 if down else 1, :: -1 if across else 1] / len(_FLIPS)
    return means
