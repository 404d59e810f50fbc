"""A dataset of synthesised images: any number of processes, any number of interruptions, the same result."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from boxpromptiml import images
from boxpromptiml.errors import BoxPromptError, RecipeError
from boxpromptiml.files import write_bytes
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar
from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.generator import Synthesizer
from boxpromptiml.synthesis.journal import Journal, Recorded, settings_of
from boxpromptiml.synthesis.photos import Skipped
from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool
from boxpromptiml.synthesis.postprocessing import Size
from boxpromptiml.synthesis.sides import Side, side_of, split_sources

TAMPERED, MASKS, AUTHENTIC = "Tp", "Gt", "Au"
# Starting a process takes about as long as making this many images.
_IMAGES_PER_PROCESS = 25
_BATCH = 32


@dataclass(frozen=True)
class Made:
    """A finished image: its files are written, its record is not.

    Attributes:
        image: path relative to the folder, with forward slashes.
        mask: path of its mask; None for an authentic image.
        width, height: pixels.
        kind: ``splice``, ``copy-move``, ``removal``, ``retouch`` or ``authentic``.
        group: id of the host photograph.
        split: ``train``, ``val``, ``test`` or None.
        history: JSON values: how it was made.
        failed: photos that turned out to be unreadable so far, and why.
    """

    image: str
    mask: str | None
    width: int
    height: int
    kind: str
    group: str
    split: str | None
    history: dict[str, Any]
    failed: dict[Path, str] = field(default_factory=dict)


class Store(Protocol):
    """Where finished images are recorded; knows of a folder's images what earlier calls recorded."""

    @property
    def root(self) -> Path:
        """The folder, existing."""
        ...

    def recorded(self) -> Iterable[Recorded]:
        """All recorded images."""
        ...

    def add(self, batch: Sequence[Made]) -> None:
        """Record images, all or none of them, durably; replaces records of the same images."""
        ...


@dataclass(frozen=True)
class SynthesisSummary:
    """What `build` did.

    Attributes:
        made: images made by this call.
        kept: images that earlier calls had made.
        kinds: split (``""`` = no split) -> kind -> number of images in the dataset.
        skipped: photos that were not used, and why.
    """

    made: int
    kept: int
    kinds: dict[str, dict[str, int]]
    skipped: tuple[Skipped, ...] = ()


def build(
    photos: PhotoPool,
    store: Callable[[], AbstractContextManager[Store]],
    count: int,
    *,
    authentic: int | None = None,
    objects: ObjectPool | None = None,
    config: SynthesisConfig | None = None,
    seed: int = 0,
    size: Size | None = None,
    fractions: Mapping[str, float] | None = None,
    workers: int | None = None,
) -> SynthesisSummary:
    """Synthesise a folder of images: ``Tp/`` (tampered), ``Gt/`` (masks), ``Au/`` (authentic), and their records.

    Image i depends on the seed, i, the photos and the settings only: not on `workers`, not on `count`, not on
    interruptions. A second call makes what is missing; a larger `count` adds to what is there.

    Args:
        photos: hosts, and donors of irregular regions.
        store: opens the folder to build in, a new one or one that an earlier call with the same settings made. It is
            called only after everything else has been checked.
        count: tampered images.
        authentic: images with the same history but no manipulation; None = half of `count`.
        objects: photographs with instance masks.
        config: distributions.
        seed: at least 0.
        size: height and width of every image; None = about its photo's own size.
        fractions: shares of the photographs that are held out as ``val`` and ``test``; the records' splits.
        workers: processes; None = one for each processor, fewer for few images.

    Raises:
        RecipeError: a number is out of range, or the photos do not suffice.
        DatasetError: the folder holds other images, was made with other settings, or is being worked on.
    """
    config = config if config is not None else SynthesisConfig()
    authentic = count // 2 if authentic is None else authentic
    if count < 0 or authentic < 0 or seed < 0 or (size is not None and min(size) < 32):
        raise RecipeError("counts and the seed must not be negative, and a size at least 32x32")
    sides = split_sources(photos, objects, fractions or {}, seed)
    synthesizers = tuple(_synthesizer(side, config) for side in sides)
    settings = settings_of(photos, objects, config, seed=seed, size=size, fractions=fractions)
    failed: dict[Path, str] = {}
    with store() as opened, Journal.open(opened, settings) as journal:
        job = _Job(opened.root.resolve(), seed, size, tuple(side.name for side in sides), synthesizers)
        wanted = [_Task(AUTHENTIC, i, side_of(i, sides)) for i in range(authentic)]
        wanted += [_Task(TAMPERED, i, side_of(i, sides)) for i in range(count)]
        done = journal.finished()
        tasks = [task for task in wanted if task.name not in done]
        batch: list[Made] = []
        try:
            with progress_bar() as bar:
                for made in bar.track(_run(job, tasks, workers), total=len(tasks), description="synthesize"):
                    failed |= made.failed
                    batch.append(made)
                    if len(batch) == _BATCH:
                        _record(opened, journal, batch)
                        batch = []
        finally:
            _record(opened, journal, batch)
        kinds: dict[str, Counter[str]] = {}
        for image in opened.recorded():
            kinds.setdefault(image.split or "", Counter())[image.kind] += 1
    skipped = [*photos.skipped, *(objects.skipped if objects else ())]
    skipped += [Skipped(path, reason) for path, reason in sorted(failed.items())]
    return SynthesisSummary(
        len(tasks), len(wanted) - len(tasks), {name: dict(counts) for name, counts in kinds.items()}, tuple(skipped)
    )


@dataclass(frozen=True)
class _Job:
    root: Path
    seed: int
    size: Size | None
    splits: tuple[str | None, ...]
    synthesizers: tuple[Synthesizer, ...]


@dataclass(frozen=True)
class _Task:
    folder: str
    index: int
    side: int

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.index:06d}"


def _synthesizer(side: Side, config: SynthesisConfig) -> Synthesizer:
    try:
        return Synthesizer(side.photos, side.objects, config)
    except RecipeError as error:
        raise (RecipeError(f"split {side.name}: {error}") if side.name else error) from None


def _make(job: _Job, task: _Task) -> Made:
    """Make one image and write its files, mask first: an image on disk has its mask."""
    tampered = task.folder == TAMPERED
    synthesizer = job.synthesizers[task.side]
    rng = np.random.default_rng([job.seed, int(tampered), task.index])
    result = (synthesizer.make if tampered else synthesizer.make_authentic)(rng, job.size)
    mask = f"{MASKS}/{task.index:06d}.png" if tampered else None
    if mask is not None:
        images.save_png(job.root / mask, result.mask)
    image = f"{task.name}.{'png' if result.encoded is None else 'jpg'}"
    write_bytes(job.root / image, images.encode_png(result.image) if result.encoded is None else result.encoded)
    failed = dict(synthesizer.photos.failed)
    if synthesizer.objects is not None:
        failed |= synthesizer.objects.failed
    height, width = result.mask.shape
    history = {"image": image, **result.history}
    return Made(image, mask, width, height, result.kind, result.group, job.splits[task.side], history, failed)


def _record(store: Store, journal: Journal, batch: Sequence[Made]) -> None:
    """Record finished images: history first, so that every recorded image has one."""
    if batch:
        journal.append([made.history for made in batch])
        store.add(batch)


def _run(job: _Job, tasks: Sequence[_Task], workers: int | None) -> Iterator[Made]:
    """Make the images, in this process or in several; in any order."""
    if workers is None:
        workers = min(usable_cores(), len(tasks) // _IMAGES_PER_PROCESS)
    if min(workers, len(tasks)) <= 1:
        for task in tasks:
            yield _make(job, task)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(job,))
    waiting: set[Future[Made]] = set()
    remaining = iter(tasks)
    try:
        for task in remaining:
            waiting.add(pool.submit(_make_here, task))
            if len(waiting) >= 4 * workers:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool:
        raise BoxPromptError(
            "a worker process was killed, perhaps for want of memory; run the same command with fewer --workers, "
            "or a --max-side: it goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_job: _Job | None = None


def _start(job: _Job) -> None:
    """Prepare a worker process: one OpenCV thread each, and an end when the parent ends, however it ends."""
    global _job
    _job = job
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_here(task: _Task) -> Made:
    assert _job is not None
    return _make(_job, task)
