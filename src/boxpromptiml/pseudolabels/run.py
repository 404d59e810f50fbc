"""Pseudo-label a dataset: streamed to disk, resumable at any point, one bad image at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.errors import BoxPromptError, ConflictError, DatasetError, ImageError, TeacherError
from boxpromptiml.machine import usable_cores
from boxpromptiml.progress import progress_bar
from boxpromptiml.pseudolabels.correction import is_protected
from boxpromptiml.pseudolabels.files import teacher_folder
from boxpromptiml.pseudolabels.job import Job
from boxpromptiml.pseudolabels.summary import PseudoLabelSummary
from boxpromptiml.teachers import QualityLimits, Teacher, TeacherMask

# Temporary files of a killed run are removed once they are this old; younger ones may be another run's.
_STALE_SECONDS = 3600.0

Result = PseudoMask | BoxPromptError


def pseudo_label(
    dataset: Dataset,
    teacher: Teacher,
    *,
    split: str | None = None,
    workers: int | None = None,
    fallback: str = "ellipse",
    limits: QualityLimits | None = None,
    redo: bool = False,
    only_rejected: bool = False,
    limit: int | None = None,
    on_error: Callable[[str, str], None] | None = None,
) -> PseudoLabelSummary:
    """Make the pseudo mask of every image with boxes: the pixelwise maximum of the boxes' soft masks.

    Each mask is written as an 8-bit PNG (probability x 255), then its record is stored in one transaction. A run that
    is interrupted or killed is continued by the same call: masks made by the same teacher with the same settings from
    the same boxes are left alone. So are masks that a person accepted or painted, always. A rejected mask is made anew
    by another teacher or with other settings; the same ones would only make the mask again that was rejected.

    Args:
        dataset: where the boxes are and the masks go.
        teacher: see `load_teacher`.
        split: only this split.
        workers: threads; None for one a CPU. A teacher that is not `threaded` is asked by one thread, while the others
            decode ahead and encode behind it.
        fallback: what replaces a flagged mask: ``ellipse``, ``box`` or ``keep``; see `with_fallback`.
        limits: from where on a mask is flagged.
        redo: make masks anew that are there already. A rejection of the same mask stands.
        only_rejected: only images whose mask a person rejected.
        limit: at most so many masks in this run.
        on_error: called with image and message for each image that fails, as it happens.

    Raises:
        DatasetError: the masks cannot be written.
        TeacherError: an unknown fallback.
    """
    started = time.monotonic()
    job = Job(dataset.root, teacher, fallback, limits or QualityLimits())
    summary = PseudoLabelSummary(teacher.name)
    todo = _todo(dataset, job, summary, split, redo, only_rejected)
    if limit is not None:
        summary.left = max(0, len(todo) - limit)
        todo = todo[:limit]
    _sweep(job)
    results = _threaded if teacher.threaded else _pipelined
    with progress_bar() as bar:
        task = bar.add_task(f"pseudo masks ({teacher.name})", total=len(todo))
        for record, result in results(job, todo, workers or usable_cores()):
            if isinstance(result, PseudoMask):
                try:
                    job.store(dataset, record, result)
                    summary.made += 1
                    summary.count(record.image, result)
                except ConflictError:
                    result = ConflictError("was changed by somebody else meanwhile; run the command again")
            if isinstance(result, BoxPromptError):
                message = str(result)
                summary.failed.append((record.image, message))
                if on_error is not None:
                    on_error(record.image, message)
            bar.advance(task)
    summary.suspicious.sort()
    summary.failed.sort()
    summary.seconds = time.monotonic() - started
    return summary


def _todo(
    dataset: Dataset, job: Job, summary: PseudoLabelSummary, split: str | None, redo: bool, only_rejected: bool
) -> list[ImageRecord]:
    """The images that need a mask; the others are counted."""
    todo = []
    for record in dataset.records(split=split):
        if only_rejected and (record.pseudo is None or record.review != "rejected"):
            continue
        if record.label == "authentic":
            summary.authentic += 1
        elif not record.boxes:
            if record.label is None:
                summary.unlabelled += 1
            else:
                summary.without_boxes.append(record.image)
        elif is_protected(record):
            summary.accepted += 1
        elif record.pseudo is not None and not redo and job.is_done(record):
            summary.already += 1
            summary.rejected += record.review == "rejected"
            summary.count(record.image, record.pseudo)
        else:
            todo.append(record)
    return todo


def _threaded(job: Job, todo: Sequence[ImageRecord], workers: int) -> Iterator[tuple[ImageRecord, Result]]:
    """Whole images in parallel, yielded as they get ready."""

    def one(record: ImageRecord) -> Result:
        try:
            return job.finish(record, job.masks(job.decode(record), record))
        except (ImageError, TeacherError) as error:
            return error

    with _pool(workers) as pool:
        waiting = iter(todo)
        running: dict[Future[Result], ImageRecord] = {}
        while True:
            # No more than this in flight: each holds an image and its masks.
            while len(running) < 2 * workers and (record := next(waiting, None)) is not None:
                running[pool.submit(one, record)] = record
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()


def _pipelined(job: Job, todo: Sequence[ImageRecord], workers: int) -> Iterator[tuple[ImageRecord, Result]]:
    """Images one after the other through the teacher; decoding runs ahead, flagging and encoding behind."""

    def decode(record: ImageRecord) -> NDArray[np.uint8] | BoxPromptError:
        try:
            return job.decode(record)
        except ImageError as error:
            return error

    def ask(image: NDArray[np.uint8], record: ImageRecord) -> list[TeacherMask] | BoxPromptError:
        try:
            return job.masks(image, record)
        except TeacherError as error:
            return error

    with _pool(workers) as pool:
        waiting = iter(todo)
        ahead: deque[tuple[ImageRecord, Future[NDArray[np.uint8] | BoxPromptError]]] = deque()
        behind: deque[tuple[ImageRecord, Future[PseudoMask]]] = deque()
        while True:
            while len(ahead) < 2 * workers and (record := next(waiting, None)) is not None:
                ahead.append((record, pool.submit(decode, record)))
            if not ahead:
                break
            record, decoded = ahead.popleft()
            image = decoded.result()
            if isinstance(image, BoxPromptError):
                yield record, image
                continue
            masks = ask(image, record)
            if isinstance(masks, BoxPromptError):
                yield record, masks
                continue
            behind.append((record, pool.submit(job.finish, record, masks)))
            while behind and (behind[0][1].done() or len(behind) > workers):
                record, written = behind.popleft()
                yield record, written.result()
        for record, written in behind:
            yield record, written.result()


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool that drops what has not begun when the run is interrupted."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pseudo-label")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _sweep(job: Job) -> None:
    """Make the folder of the masks and remove the temporary files of runs that were killed."""
    folder = job.root / teacher_folder(job.teacher.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and now - entry.stat().st_mtime > _STALE_SECONDS:
                os.unlink(entry.path)
    except FileNotFoundError:
        pass  # another run swept it first
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error.strerror or error})") from error
