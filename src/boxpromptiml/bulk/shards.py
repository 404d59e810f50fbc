"""One shard from its line in the plan to its part of the table: what a worker of any engine does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from boxpromptiml.bulk.containers import Columns, InputImage
from boxpromptiml.bulk.operator import Failed, Operator
from boxpromptiml.bulk.plan import Shard, shard_images
from boxpromptiml.bulk.table import Counts, PartWriter, table_row
from boxpromptiml.errors import ModelError
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.preparing import Prepared
from boxpromptiml.runtime.result import Localization
from boxpromptiml.storage import OutputFolder


@dataclass(frozen=True)
class Job:
    """What all workers of a run need to know; small, and the same for all of them.

    Attributes:
        run: id of the run, written into every part.
        out: output folder or URL.
        base: folder that relative paths are relative to.
        model: model folder.
        model_id: of the model that was asked for: a worker that finds another there refuses to go on.
        threshold: for pixels and verdict.
        max_pixels: larger images become rows with an error.
        batch_size: images per inference.
        masks: whether the table holds the masks.
        columns: where tables hold their images.
        runtime, precision, device, copies, completion, looks: that the model is loaded with, see `Localizer.load`.
        detail, tta, digests: see `Operator`.
    """

    run: str
    out: str
    base: str
    model: str
    model_id: str
    threshold: float
    max_pixels: int
    batch_size: int
    masks: bool
    columns: Columns
    runtime: str = "auto"
    precision: str | None = None
    device: str = "cpu"
    detail: bool = False
    tta: bool = False
    digests: bool = True
    copies: bool = False
    completion: bool = False
    looks: int = 1


class ShardWorker:
    """Localizes shards, one after the other, and writes their parts."""

    def __init__(
        self,
        job: Job,
        *,
        threads: int = 1,
        model: str | None = None,
        large: AbstractContextManager[Any] | None = None,
    ) -> None:
        """Load the model.

        Args:
            job: the run's.
            threads: of the network, and as many that decode.
            model: the model folder, where it is not at the job's place on this machine.
            large: see `Operator`.

        Raises:
            ModelError: the model cannot be loaded, or is another one.
        """
        localizer = Localizer.load(
            model or job.model,
            runtime=job.runtime,
            threads=threads,
            device=job.device,
            precision=job.precision,
            copies=job.copies,
            completion=job.completion,
            looks=job.looks,
        )
        if localizer.model_id != job.model_id:
            raise ModelError(f"{job.model}: was changed during the run; start anew in another folder")
        self._job = job
        self._threads = threads
        self._out = OutputFolder(job.out, job.base)
        self._operator = Operator(
            localizer,
            threshold=job.threshold,
            max_pixels=job.max_pixels,
            base=job.base,
            large=large,
            detail=job.detail,
            tta=job.tta,
            digests=job.digests,
        )

    def run(self, shard: Shard, progress: Callable[[int], None] = lambda images: None) -> Counts:
        """Localize a shard and write its part, whole or not at all.

        Args:
            shard: what to do.
            progress: told of every image that is done.

        Raises:
            StorageError: the plan cannot be read or the part not written.
            ModelError: the network failed.
        """
        job = self._job
        return self._write(
            shard,
            self._operator.run(self._images(shard), self._row, batch_size=job.batch_size, workers=self._threads),
            progress,
        )

    def run_warily(
        self, shard: Shard, skipped: Mapping[int, str], before: Callable[[int], None], progress: Callable[[int], None]
    ) -> Counts:
        """As `run`, one image after the other: for a shard at which a worker has died.

        Args:
            shard: what to do.
            skipped: by their place in the shard, images not to be touched, and why.
            before: told of the place of every image before it is touched.
            progress: told of every image that is done.
        """

        def rows() -> Iterator[dict[str, Any]]:
            for place, image in enumerate(self._images(shard)):
                if place in skipped:
                    yield self._row(image, Failed(skipped[place]), None)
                else:
                    before(place)
                    yield from self._operator.run([image], self._row, batch_size=1)

        return self._write(shard, rows(), progress)

    def _images(self, shard: Shard) -> Iterator[InputImage]:
        line = self._out.read(shard.file, shard.start, shard.end)
        return shard_images(line, base=self._job.base, columns=self._job.columns)

    def _row(self, image: InputImage, item: Prepared | Failed, found: Localization | None) -> dict[str, Any]:
        return table_row(image, item, found, model=self._job.model_id, masks=self._job.masks)

    def _write(self, shard: Shard, rows: Iterator[dict[str, Any]], progress: Callable[[int], None]) -> Counts:
        with self._out.writing(shard.part) as path, PartWriter.open(path, self._job.run) as writer:
            for row in rows:
                writer.add(row)
                progress(1)
        return writer.counts
