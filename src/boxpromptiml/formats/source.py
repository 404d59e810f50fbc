"""What a foreign format says: images with their masks and labels, and what does not fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.dataset import Label
from boxpromptiml.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that a foreign format lists.

    Attributes:
        image: the image file.
        mask: its true mask; None where the format has none for it.
        label: what the format says about it; None if nothing.
        label_by_mask: whether an empty mask makes it authentic.
    """

    image: Path
    mask: Path | None = None
    label: Label | None = None
    label_by_mask: bool = False


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


class RejectedError(DatasetError):
    """A source was rejected as a whole because of some of its files or lines; nothing was imported.

    Attributes:
        problems: all of them, one line each.
    """

    def __init__(self, summary: str, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(summary)

    def __reduce__(self) -> tuple[type[RejectedError], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.problems)
