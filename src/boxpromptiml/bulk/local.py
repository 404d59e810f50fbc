"""Many images on one machine: decoding, the network and writing overlap; order is kept and memory stays bounded."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.bulk.inputs import InputImage
from boxpromptiml.bulk.results import ResultsFile
from boxpromptiml.errors import BoxPromptError, ImageError
from boxpromptiml.files import write_bytes
from boxpromptiml.images import DEFAULT_MAX_PIXELS, decode_picture, encode_png, image_size, read_image_file
from boxpromptiml.machine import usable_cores
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.overlay import draw_overlay, encode_overlay, shrink
from boxpromptiml.runtime.result import Localization

_LARGE_PIXELS = 50_000_000  # larger images (5 bytes a pixel while they are decoded) are decoded one at a time


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
        return {
            "mask": f"masks/{name}.png" if self.masks else None,
            "heatmap": f"heatmaps/{name}.png" if self.heatmaps else None,
            "overlay": f"overlays/{name}.jpg" if self.overlays else None,
        }


@dataclass(frozen=True)
class _Decoded:
    """An image ready for the network."""

    sha256: str
    width: int
    height: int
    network: NDArray[np.uint8]  # (3, H, W)
    preview: NDArray[np.uint8] | None  # what the overlay is drawn on
    seconds: float


@dataclass(frozen=True)
class _Line:
    """A line that is complete: an error, or an earlier result that still holds."""

    line: dict[str, Any]
    skipped: bool = False


def localize_images(
    localizer: Localizer,
    images: Sequence[InputImage],
    results: ResultsFile,
    *,
    outputs: Outputs = Outputs(),
    threshold: float | None = None,
    batch_size: int = 4,
    workers: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Localize images and write masks, heatmaps, overlays and lines of results.

    Each line is appended to `results` as soon as it and all before it are done; an image's files are complete before
    its line is. An image that cannot be read costs a line ``{"image", "error"}``. An image whose earlier line has the
    same SHA-256, model, threshold and files is not looked at again.

    Args:
        localizer: the model.
        images: what to look at.
        results: open results of the output folder; the caller finishes or closes it.
        outputs: which files to write.
        threshold: for pixels and verdict; None takes the model's.
        batch_size: images per inference.
        workers: threads that decode and write; None for one a core. Memory holds the images that they work on, and
            small copies of about two batches more; images above 50 megapixels are decoded one at a time.
        max_pixels: larger images become error lines before they are decoded.
        overwrite: look at every image again.

    Yields:
        ``(line, skipped)`` per image, in the order of `images`.

    Raises:
        ModelError: the network failed.
        BoxPromptError: an output file cannot be written.
    """
    workers = workers or usable_cores()
    run = _Run(localizer, results, outputs, threshold, max_pixels, overwrite)
    upcoming = iter(images)
    decoding: deque[tuple[InputImage, str, Future[_Decoded | _Line]]] = deque()
    writing: deque[Future[_Line]] = deque()
    with ThreadPoolExecutor(workers, "localize") as pool:
        try:
            while True:
                while len(decoding) < batch_size + workers and (image := next(upcoming, None)) is not None:
                    name = results.output_name(str(image.path), image.relative)
                    decoding.append((image, name, pool.submit(run.decode, image, name)))
                if not decoding:
                    break
                batch = [decoding.popleft() for _ in range(min(batch_size, len(decoding)))]
                writing.extend(run.infer(batch, pool))
                # Whatever is done, and enough of the rest that no more than a batch waits to be written.
                while writing and (writing[0].done() or len(writing) > batch_size + workers):
                    yield run.record(writing.popleft())
            while writing:
                yield run.record(writing.popleft())
        finally:
            for future in [future for _, _, future in decoding] + list(writing):
                future.cancel()


@dataclass(frozen=True)
class _Run:
    localizer: Localizer
    results: ResultsFile
    outputs: Outputs
    threshold: float | None
    max_pixels: int
    overwrite: bool
    large: threading.Lock = field(default_factory=threading.Lock)

    def decode(self, image: InputImage, name: str) -> _Decoded | _Line:
        """Read, hash, decode and resize one image; runs in the pool."""
        start = time.perf_counter()
        try:
            data = read_image_file(image.path)
            digest = hashlib.sha256(data).hexdigest()
            if not self.overwrite and (line := self._earlier(image, name, digest)) is not None:
                return _Line(line, skipped=True)
            width, height = image_size(image.path, max_pixels=self.max_pixels)
            with self.large if width * height > _LARGE_PIXELS else nullcontext():
                picture = decode_picture(data, image.path, max_pixels=self.max_pixels)
                network = self.localizer.config.preprocessing.batch([picture])[0]
                preview = shrink(picture) if self.outputs.overlays else None
                width, height = picture.size
                del picture
        except ImageError as error:
            return _Line({"image": str(image.path), "error": error.reason})
        return _Decoded(digest, width, height, network, preview, time.perf_counter() - start)

    def _earlier(self, image: InputImage, name: str, digest: str) -> dict[str, Any] | None:
        limit = self.localizer.config.decision.threshold if self.threshold is None else self.threshold
        wanted = {"sha256": digest, "model": self.localizer.model_id, "threshold": limit, **self.outputs.names(name)}
        return self.results.finished(str(image.path), wanted)

    def infer(
        self, batch: list[tuple[InputImage, str, Future[_Decoded | _Line]]], pool: ThreadPoolExecutor
    ) -> list[Future[_Line]]:
        """Run the network on a batch and hand its answers to the pool for writing; the order is the batch's."""
        ready = [(image, name, future.result()) for image, name, future in batch]
        inputs = [item.network for _, _, item in ready if isinstance(item, _Decoded)]
        start = time.perf_counter()
        maps = iter(self.localizer.probabilities(np.stack(inputs)) if inputs else ())
        seconds = (time.perf_counter() - start) / max(1, len(inputs))
        futures: list[Future[_Line]] = []
        for image, name, item in ready:
            if isinstance(item, _Decoded):
                futures.append(pool.submit(self.write, image, name, item, next(maps), seconds))
            else:
                done: Future[_Line] = Future()
                done.set_result(item)
                futures.append(done)
        return futures

    def write(
        self, image: InputImage, name: str, item: _Decoded, values: NDArray[np.float32], network_seconds: float
    ) -> _Line:
        """Find mask and regions and write an image's files; runs in the pool."""
        start = time.perf_counter()
        result = self.localizer.result(
            values,
            item.width,
            item.height,
            threshold=self.threshold,
            image=str(image.path),
            sha256=item.sha256,
        )
        names = self.outputs.names(name)
        try:
            self._write_files(result, item, names)
        except OSError as error:
            raise BoxPromptError(f"{error.filename or self.results.path.parent}: {error.strerror or error}") from error
        result.seconds = item.seconds + network_seconds + time.perf_counter() - start
        line = result.to_json()
        model, seconds = line.pop("model"), line.pop("seconds")
        return _Line({**line, **names, "model": model, "seconds": seconds})

    def _write_files(self, result: Localization, item: _Decoded, names: dict[str, str | None]) -> None:
        if names["mask"]:
            self._write_file(names["mask"], encode_png(result.mask.view(np.uint8) * np.uint8(255)))
        if names["heatmap"]:
            self._write_file(names["heatmap"], encode_png(result.map16))
        if names["overlay"] and item.preview is not None:
            self._write_file(names["overlay"], encode_overlay(draw_overlay(item.preview, result)))

    def _write_file(self, name: str, data: bytes) -> None:
        # Three waits for the disk an image would be most of the time; an empty file is made again by the next run.
        write_bytes(self.results.path.parent / name, data, durable=False)

    def record(self, future: Future[_Line]) -> tuple[dict[str, Any], bool]:
        """Append a line that is done, or carry on one that still holds."""
        done = future.result()
        if not done.skipped:
            self.results.append(done.line)
        return done.line, done.skipped
