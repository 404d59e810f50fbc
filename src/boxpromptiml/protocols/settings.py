"""What may be chosen when a protocol is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.training import Recipe, Supervision

SUPERVISIONS: tuple[Supervision, ...] = ("pseudo", "mask", "box")


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a protocol is run.

    Attributes:
        supervision: what the student is trained from: pseudo masks of a teacher, true masks, filled boxes.
        teacher: who makes the pseudo masks, see `load_teacher`.
        weights: of the teacher.
        loosen, jitter: how loose and imprecise the boxes are that are derived from the masks, see `derive_boxes`.
        seed: of the boxes' errors and of the draw of `per_set`.
        per_set: at most so many images of each training set, a fixed draw; None for all.
        on_mismatch: for masks that do not fit, see `import_source`.
        recipe: of the training; None for the default.
        model: evaluate this model instead of training one; what is for the training must be as it is by default.
        allow_missing: run with the sets that are there.
        runtime, precision, device, copies, completion, looks: that the model is evaluated with, see `Localizer.load`;
            one that is trained here is run by ONNX Runtime at fp32, looks once, not for copies, and completes nothing.
        threads: of evaluation; None for all cores.
        cache: file of what is known of images, by which duplicates are found; None for that of `default_cache`.
    """

    supervision: Supervision = "pseudo"
    teacher: str = "grabcut"
    weights: str | None = None
    loosen: float = 0.1
    jitter: float = 0.05
    seed: int = 0
    per_set: int | None = None
    on_mismatch: OnMismatch = "error"
    recipe: Recipe | None = None
    model: str | Path | None = None
    allow_missing: bool = False
    runtime: str = "auto"
    precision: str | None = None
    device: str = "cpu"
    threads: int | None = None
    copies: bool | None = None
    completion: bool | None = None
    looks: int | None = None
    cache: Path | None = None

    def of_training(self) -> list[str]:
        """Options of the training that are other than usual, as the command line calls them."""
        usual = RunSettings()
        names = ("supervision", "teacher", "weights", "loosen", "jitter", "seed", "per_set", "recipe")
        options = {"recipe": "--recipe and --set"}
        return [
            options.get(name, f"--{name.replace('_', '-')}")
            for name in names
            if getattr(self, name) != getattr(usual, name)
        ]

    def identity(self) -> dict[str, Any]:
        """What the results depend on; the recipe is left to the training, which compares it itself."""
        if self.model is not None:
            return {}
        common: dict[str, Any] = {"supervision": self.supervision, "seed": self.seed, "per_set": self.per_set}
        if self.supervision != "mask":
            common |= {"loosen": self.loosen, "jitter": self.jitter}
        if self.supervision == "pseudo":
            common |= {"teacher": self.teacher, "weights": self.weights}
        return common
