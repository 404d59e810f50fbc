"""Many images on one machine into a folder of pictures and lines: decoding, the network and writing overlap."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxpromptiml.bulk.containers import ANY_COLUMNS, Columns, InputImage, check_tables, read_source
from boxpromptiml.bulk.inputs import Source
from boxpromptiml.bulk.names import PICTURES
from boxpromptiml.bulk.operator import Failed, Operator
from boxpromptiml.bulk.results import ResultsFile
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.files import os_reason, write_bytes
from boxpromptiml.images import DEFAULT_MAX_PIXELS, encode_png
from boxpromptiml.machine import usable_cores
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.overlay import draw_overlay, encode_overlay
from boxpromptiml.runtime.preparing import Prepared
from boxpromptiml.runtime.result import Localization


@dataclass(frozen=True)
class Outputs:
    """Which files are written per image, beside its line in ``results.jsonl``.

    Attributes:
        masks: ``masks/NAME.png``, 8-bit 0/255 at the image's own size.
        heatmaps: ``heatmaps/NAME.png``, 16-bit, probability x 65535 on the network's grid.
        overlays: ``overlays/NAME.jpg``, at most 2048 pixels on the longer side.
    """

    masks: bool = True
    heatmaps: bool = True
    overlays: bool = True

    def names(self, name: str) -> dict[str, str | None]:
        """Paths of an image's files, relative to the output folder; None for those that are not written."""
        wanted = {"mask": self.masks, "heatmap": self.heatmaps, "overlay": self.overlays}
        return {kind: place.format(name) if wanted[kind] else None for kind, place in PICTURES.items()}


def localize_images(
    localizer: Localizer,
    sources: Iterable[Source],
    results: ResultsFile,
    *,
    columns: Columns = ANY_COLUMNS,
    outputs: Outputs = Outputs(),
    threshold: float | None = None,
    batch_size: int = 4,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
    detail: bool = False,
    tta: bool = False,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Localize images and write masks, heatmaps, overlays and lines of results.

    Each line is appended to `results` as soon as it and all before it are done; an image's files are complete before
    its line is. An image that cannot be read costs a line ``{"image", "error"}``. An image whose earlier line has the
    same SHA-256, model, threshold, passes (`detail`, `tta`) and files is not looked at again.

    Args:
        localizer: the model.
        sources: what to look at.
        results: open results of the output folder; the caller finishes or closes it.
        columns: where tables hold their images.
        outputs: which files to write.
        threshold: for pixels and verdict; None takes the model's.
        batch_size: images per inference.
        workers: threads that decode and write; None for one a core. Memory holds the images that they work on, and
            small copies of about two batches more; images above 50 megapixels are decoded one at a time.
        max_pixels: larger images become error lines before they are decoded.
        overwrite: look at every image again.
        detail: look at tiles of each photo at its own size too, and for smaller copies, see `Localizer.localize`.
        tta: look at everything four times, mirrored, and average.

    Yields:
        ``(line, skipped)`` per image, in the order of the inputs.

    Raises:
        InputError: a table without the columns, or with ids that do not tell its rows apart; nothing is done yet.
        ModelError: the network failed.
        BoxPromptError: an output file cannot be written.
    """
    sources = list(sources)
    check_tables(sources, columns)
    workers = workers or usable_cores()
    operator = Operator(
        localizer, threshold=threshold, max_pixels=max_pixels, previews=outputs.overlays, detail=detail, tta=tta
    )
    writer = _Writer(results, outputs, operator.threshold, localizer.model_id, overwrite, detail, tta)
    named = (
        image._replace(relative=results.output_name(image.name, image.relative))
        for source in sources
        for image in read_source(source, columns=columns)
    )
    for line, skipped in operator.run(
        named, writer.write, batch_size=batch_size, workers=workers, known=writer.earlier
    ):
        if not skipped:
            results.append(line)
        yield line, skipped


@dataclass(frozen=True)
class _Writer:
    """Makes an image's files and its line."""

    results: ResultsFile
    outputs: Outputs
    threshold: float
    model: str
    overwrite: bool
    detail: bool
    tta: bool

    def earlier(self, image: InputImage, digest: str) -> tuple[dict[str, Any], bool] | None:
        """The line of an earlier run that still holds."""
        if self.overwrite:
            return None
        names = self.outputs.names(image.relative)
        passes = {"detail": self.detail or None, "tta": self.tta or None}  # as `Localization.to_json` says it
        wanted = {"sha256": digest, "model": self.model, "threshold": self.threshold, **passes, **names}
        line = self.results.finished(image.name, wanted)
        return None if line is None else (line, True)

    def write(
        self, image: InputImage, item: Prepared | Failed, found: Localization | None
    ) -> tuple[dict[str, Any], bool]:
        """Write an image's files and make its line; the files are complete before the line is appended."""
        if isinstance(item, Failed) or found is None:
            assert isinstance(item, Failed)
            self._remove_outdated(image, {})
            return {"image": image.name, "error": item.error}, False
        start = time.perf_counter()
        names = self.outputs.names(image.relative)
        try:
            self._write_files(found, item, names)
        except OSError as error:
            raise BoxPromptError(f"{error.filename or self.results.path.parent}: {os_reason(error)}") from error
        self._remove_outdated(image, names)
        found.seconds += time.perf_counter() - start
        line = found.to_json()
        model, seconds = line.pop("model"), line.pop("seconds")
        return {**line, **names, "model": model, "seconds": seconds}, False

    def _remove_outdated(self, image: InputImage, names: dict[str, str | None]) -> None:
        """Pictures of an earlier answer that this one has none of would be taken for its own."""
        for name in self.results.pictures(image.name) - set(names.values()):
            try:
                (self.results.path.parent / name).unlink(missing_ok=True)
            except OSError as error:
                raise BoxPromptError(f"{error.filename}: {os_reason(error)}") from error

    def _write_files(self, result: Localization, item: Prepared, names: dict[str, str | None]) -> None:
        if names["mask"]:
            self._write_file(names["mask"], encode_png(result.mask.view(np.uint8) * np.uint8(255)))
        if names["heatmap"]:
            self._write_file(names["heatmap"], encode_png(result.map16))
        if names["overlay"] and item.preview is not None:
            self._write_file(names["overlay"], encode_overlay(draw_overlay(item.preview, result)))

    def _write_file(self, name: str, data: bytes) -> None:
        # Three waits for the disk an image would be most of the time; an empty file is made again by the next run.
        write_bytes(self.results.path.parent / name, data, durable=False)
