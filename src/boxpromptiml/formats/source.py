"""What a foreign format says: images with their masks, labels and shapes, and what does not fit together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.dataset import Label
from boxpromptiml.errors import DatasetError
from boxpromptiml.formats.shapes import Annotation, Shape


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that a foreign format lists.

    Attributes:
        image: the image file.
        mask: its true mask; None where the format has none for it.
        label: what the format says about it; None if nothing.
        label_by_mask: whether an empty mask makes it authentic.
        annotation: boxes and polygons that the format draws on it; None if it draws none at all.
        split: ``train``, ``val``, ``test`` or None.
        entry: names it in the annotation file, for messages.
    """

    image: Path
    mask: Path | None = None
    label: Label | None = None
    label_by_mask: bool = False
    annotation: Annotation | None = None
    split: str | None = None
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that keeps one file from being imported as it is.

    Attributes:
        path: the file.
        reason: what is wrong, in a few words.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Source:
    """A foreign dataset, read but not yet checked against its files.

    Attributes:
        format: name of the format, for people.
        candidates: its images.
        mismatches: images that cannot be paired; they are not among the candidates.
    """

    format: str
    candidates: tuple[Candidate, ...]
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a user may say about a foreign format; see `import_source`.

    Attributes:
        images: folder in which images are looked for besides the format's own places.
        tampered: names of the categories that are tampered regions; None for all.
        boxes_only: leave polygons and masks out; their boxes stay.
        zero_based: corners of Pascal VOC count from 0 and the last ones are outside, as many tools write them.
    """

    images: Path | None = None
    tampered: tuple[str, ...] | None = None
    boxes_only: bool = False
    zero_based: bool = False


def stated_label(stated: Label | None, shapes: Sequence[Shape]) -> Label | None:
    """The label that a format states; where it states none, an image with regions is tampered."""
    return stated or ("tampered" if shapes else None)


def verdict(words: Iterable[str]) -> tuple[Label | None, bool]:
    """What tags, choices or flags of an image say: its label, and whether it was skipped. Unknown ones say nothing."""
    said = {word.strip().lower() for word in words}
    label: Label | None = "authentic" if "authentic" in said else "tampered" if "tampered" in said else None
    return label, bool(said & {"skip", "skipped"})


def without_repetition(
    format: str, candidates: Iterable[Candidate], mismatches: Iterable[Mismatch], problem: str = "is annotated twice"
) -> Source:
    """A source in which an image that occurs more than once is a mismatch."""
    first: dict[Path, Candidate] = {}
    again: dict[Path, Mismatch] = {}
    for candidate in candidates:
        known = first.setdefault(candidate.image, candidate)
        if known is not candidate:
            reason = f"{problem}: {known.entry} and {candidate.entry}; keep one"
            again.setdefault(candidate.image, Mismatch(candidate.image, reason))
    kept = tuple(candidate for image, candidate in first.items() if image not in again)
    return Source(format, kept, (*mismatches, *again.values()))


class RejectedError(DatasetError):
    """A source was rejected as a whole because of some of its files or lines; nothing was imported.

    Attributes:
        problems: all of them, one line each.
        remedy: what an option does about them; empty where none does.
    """

    def __init__(self, summary: str, problems: tuple[str, ...], remedy: str = "") -> None:
        self.problems = problems
        self.remedy = remedy
        super().__init__(summary)

    def __reduce__(self) -> tuple[type[RejectedError], tuple[str, tuple[str, ...], str]]:
        return type(self), (str(self), self.problems, self.remedy)
