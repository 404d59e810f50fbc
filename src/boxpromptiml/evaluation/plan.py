"""Which images an evaluation looks at, checked before any of them is decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from boxpromptiml.dataset import Dataset, ImageRecord, Label
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.evaluation.sources import AUTO, OpenSource, Source, choose_split, is_usable, open_source
from boxpromptiml.evaluation.truth import MendableError, read_truth
from boxpromptiml.files import sha256_of
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.machine import in_threads
from boxpromptiml.progress import track


@dataclass(frozen=True, slots=True)
class Task:
    """One image to be evaluated.

    Attributes:
        dataset: index of its source among those of the plan.
        name: path relative to the source's folder.
        image: the image file.
        mask: its true mask; None if there is none.
        label: ``tampered``, ``authentic``, or None: then the mask tells.
        kind: kind of manipulation where known.
        width: of the upright image, pixels.
        height: of the upright image, pixels.
    """

    dataset: int
    name: str
    image: Path
    mask: Path | None
    label: Label | None
    kind: str | None
    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """The images of an evaluation; made by `open_plan`, good for as long as its sources are open.

    Attributes:
        sources: the sources, in the order in which they were given.
        splits: for each of them the split that is evaluated; None for all images.
        counts: for each of them the number of images that are evaluated.
        n_skipped: images without label and mask, which are left out.
        fingerprint: hex digest of what the figures depend on: names, labels, masks, kinds, and size and time of change
            of every file.
        left_out: for each source the images, by their records, whose masks do not fit.
    """

    sources: tuple[OpenSource, ...]
    splits: tuple[str | None, ...]
    counts: tuple[int, ...]
    n_skipped: int
    fingerprint: str
    left_out: tuple[frozenset[str], ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def tasks(self) -> Iterator[Task]:
        """All images, source after source, each in the order of the paths."""
        for index, (source, split, out) in enumerate(zip(self.sources, self.splits, self.left_out, strict=True)):
            for record in source.dataset.records(split=split):
                if is_usable(record) and record.image not in out:
                    yield _task(index, source, record)

    def task(self, dataset: int, name: str) -> Task:
        """One image by the index of its source and its name."""
        source = self.sources[dataset]
        return _task(dataset, source, source.record_of(name))


@contextmanager
def open_plan(
    sources: Source | Sequence[Source], *, split: str = AUTO, on_mismatch: OnMismatch = "error"
) -> Iterator[Plan]:
    """Open sources, choose their splits, and check that every file is there.

    Args:
        sources: see `boxpromptiml.evaluation.evaluate`.
        split: ``train``, ``val``, ``test``, ``all``, or ``auto``.
        on_mismatch: for masks that do not fit their images, see `import_source`; those of a dataset are not mended.

    Raises:
        DatasetError: a source that is missing, empty, given twice, or has no truth to score against; masks that do not
            fit.
        ImageError: an image or mask that is not there.
    """
    many = [sources] if isinstance(sources, Dataset | str | Path) else list(sources)
    if not many:
        raise DatasetError("nothing to evaluate on: give at least one dataset")
    _refuse_repeated(many)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_source(source, on_mismatch=on_mismatch)) for source in many]
        splits = [choose_split(source.dataset, source.name, split) for source in opened]
        checked = [_check(source, part, on_mismatch) for source, part in zip(opened, splits, strict=True)]
        digest = hashlib.sha256()
        for one in checked:
            digest.update(one.digest)
        yield Plan(
            tuple(
                replace(source, left_out=source.left_out + len(one.left_out))
                for source, one in zip(opened, checked, strict=True)
            ),
            tuple(splits),
            tuple(one.used for one in checked),
            sum(one.skipped for one in checked),
            digest.hexdigest(),
            tuple(one.left_out for one in checked),
        )


def _refuse_repeated(sources: Sequence[Source]) -> None:
    """Images that count twice leave the means as they are and make the intervals too narrow."""
    seen: set[str] = set()
    for source in sources:
        path = source.root if isinstance(source, Dataset) else Path(source)
        place = os.path.realpath(path)
        if place in seen:
            raise DatasetError(f"{path}: given twice, its images would count twice; give each dataset once")
        seen.add(place)


def _task(index: int, source: OpenSource, record: ImageRecord) -> Task:
    return Task(
        dataset=index,
        name=source.name_of(record.image),
        image=source.path_of(record.image),
        mask=None if record.mask is None else source.path_of(record.mask),
        label=record.label,
        kind=record.kind,
        width=record.width,
        height=record.height,
    )


@dataclass(frozen=True)
class _Checked:
    """What was found of a source: images with a known truth and those without, and a digest of what they are made of.

    Attributes:
        left_out: the images, by their records, whose masks do not fit.
    """

    used: int
    skipped: int
    left_out: frozenset[str]
    digest: bytes


def _check(source: OpenSource, split: str | None, on_mismatch: OnMismatch) -> _Checked:
    used = skipped = tampered = masks = 0
    digest = hashlib.sha256()
    left_out: dict[str, ImageError] = {}
    refused: list[ImageError] = []
    total = source.dataset.count(split=split)
    for record, misfit in _with_misfits(source, track(source.dataset.records(split=split), "check", total=total)):
        if not is_usable(record):
            skipped += 1
            continue
        if misfit is not None:
            # What could be mended is not left out by the policy that mends: only an import writes masks.
            if on_mismatch == "skip" or (on_mismatch == "resize" and not isinstance(misfit, MendableError)):
                left_out[record.image] = misfit
            else:
                refused.append(misfit)
            continue
        files = [_state_of(source, path) for path in (record.image, record.mask) if path is not None]
        used += 1
        tampered += record.label == "tampered"
        masks += record.mask is not None
        facts = (source.name_of(record.image), record.width, record.height, record.label, record.kind)
        digest.update(repr((facts, files)).encode("utf-8", "surrogateescape"))
    if refused:
        count = "1 mask does" if len(refused) == 1 else f"{len(refused)} masks do"
        look = "" if source.temporary else f", or see all with  boxpromptiml validate {source.name}"
        raise DatasetError(
            f"{source.name}: {count} not fit, the first: {refused[0]}; "
            f"leave such images out with --on-mismatch skip{look}"
        )
    if left_out and used == 0:
        raise DatasetError(f"{source.name}: no mask fits its image, the first: {next(iter(left_out.values()))}")
    if used + skipped == 0:
        raise DatasetError(f"{source.name}: no images in it")
    if used == 0:
        raise DatasetError(
            f"{source.name}: none of its {skipped} images has a label or a true mask; nothing to score against"
        )
    if tampered and not masks:
        raise DatasetError(
            f"{source.name}: none of its {tampered} tampered images has a true mask (pseudo masks are not truth); "
            "import the images together with their masks (Tp/ and Gt/)"
        )
    return _Checked(used, skipped, frozenset(left_out), digest.digest())


def _with_misfits(
    source: OpenSource, records: Iterable[ImageRecord]
) -> Iterator[tuple[ImageRecord, ImageError | None]]:
    """Records with what is wrong with their masks.

    It takes a hundredth of what the network takes, and hours of that may be lost to a mask at the end. Those of foreign
    data sets were looked at when these were read.
    """

    def with_misfit(record: ImageRecord) -> tuple[ImageRecord, ImageError | None]:
        if record.mask is None or record.label == "authentic":
            return record, None
        if source.temporary:
            return record, _missing(source, record.mask)
        try:
            read_truth(source.path_of(record.mask), record.width, record.height, record.label)
        except ImageError as error:
            return record, error
        return record, None

    return in_threads(with_misfit, records)


def _missing(source: OpenSource, path: str) -> ImageError | None:
    return None if os.path.isfile(source.path_of(path)) else _not_there(source, path)


def _not_there(source: OpenSource, path: str) -> ImageError:
    return ImageError(source.path_of(path), f"no such file, though {source.name} lists it")


def _state_of(source: OpenSource, path: str) -> tuple[object, ...]:
    """What tells whether a file has changed."""
    file = source.path_of(path)
    try:
        if source.owns(path):  # made anew at every start
            return (sha256_of(file),)
        status = os.stat(file)
    except FileNotFoundError:
        raise _not_there(source, path) from None
    except OSError as error:
        raise ImageError(file, f"cannot be read: {error.strerror or error}") from error
    return (source.name_of(path), status.st_size, status.st_mtime_ns)
