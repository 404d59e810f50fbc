"""What a pseudo-labelling run did, and what to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from boxpromptiml.dataset import PseudoMask


@dataclass
class PseudoLabelSummary:
    """Counts of images, except where it says boxes.

    Attributes:
        teacher: the teacher's id.
        made: masks made by this run.
        already: masks that were there, made with the same teacher, settings and boxes.
        rejected: those of them that a person rejected: the same would come out again.
        accepted: masks that a person accepted or painted; never overwritten.
        authentic: images labelled authentic: they need no mask.
        unlabelled: images with neither a label nor boxes.
        left: images that `limit` left for a later run.
        without_boxes: tampered images that nobody has drawn a box on.
        failed: (image, message) of each image that got no mask.
        flags: boxes by flag, over the masks made and those that were there.
        fallbacks: boxes by the fallback that replaced the teacher's mask.
        boxes: boxes of those masks.
        suspicious: (image, its flags) of every mask with a flag.
        seconds: wall time of the run.
    """

    teacher: str
    made: int = 0
    already: int = 0
    rejected: int = 0
    accepted: int = 0
    authentic: int = 0
    unlabelled: int = 0
    left: int = 0
    without_boxes: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    flags: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    boxes: int = 0
    suspicious: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, image: str, pseudo: PseudoMask) -> None:
        """Count the flags of one mask."""
        self.boxes += len(pseudo.flags)
        self.flags.update(flag for flags in pseudo.flags for flag in flags)
        self.fallbacks.update(fallback for fallback in pseudo.fallbacks if fallback is not None)
        if pseudo.suspicious:
            self.suspicious.append((image, tuple(sorted({flag for flags in pseudo.flags for flag in flags}))))

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return {
            "teacher": self.teacher,
            "made": self.made,
            "already": self.already,
            "rejected": self.rejected,
            "accepted": self.accepted,
            "authentic": self.authentic,
            "unlabelled": self.unlabelled,
            "left": self.left,
            "without_boxes": self.without_boxes,
            "failed": [{"image": image, "error": message} for image, message in self.failed],
            "boxes": self.boxes,
            "flags": dict(sorted(self.flags.items())),
            "fallbacks": dict(sorted(self.fallbacks.items())),
            "suspicious": [{"image": image, "flags": list(flags)} for image, flags in self.suspicious],
            "seconds": round(self.seconds, 3),
        }
