"""``card.json`` of a packaged model: all that is said of it, from which every page about it is made. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from boxpromptiml.errors import ModelError
from boxpromptiml.files import write_json
from boxpromptiml.models.packaged import CARD_NAME

CARD_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Material(_Part):
    """Something that was trained on, or started from."""

    name: str = Field(description="What it is called.")
    role: str = Field(description="What it was used for, and how many images of it.")
    terms: str = Field(description="Its licence, or the terms of its use.")
    source: str | None = Field(None, description="Paper or page.")


class Figure(_Part):
    """A number with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


class Further(_Part):
    """A figure that another command has measured."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    command: str = Field(description="What measured it.")


class Picture(_Part):
    """A picture of the card."""

    file: str = Field(description="Relative to docs/model.")
    caption: str


class CardText(_Part):
    """What only people know: written by hand, as YAML."""

    title: str = Field("", description="Of the card; empty: the model's name.")
    summary: str = Field("", description="What it is and what it is good for, in a few sentences.")
    method: str = Field("", description="How it was trained.")
    commands: list[str] = Field(default_factory=list, description="All that it takes to make it again, in order.")
    compute: str = Field("", description="On what it was trained, and how long.")
    training_data: list[Material] = Field(default_factory=list, description="With the terms of each.")
    intended_use: list[str] = Field(default_factory=list)
    misuse: list[str] = Field(default_factory=list, description="What it must not be used for.")
    limits: list[str] = Field(default_factory=list, description="What it cannot see.")
    further: list[Further] = Field(default_factory=list, description="Figures of other commands.")
    pictures: list[Picture] = Field(default_factory=list)


class Bin(_Part):
    """One bin of a reliability diagram."""

    low: float
    high: float
    count: float
    confidence: float = Field(description="Mean probability.")
    frequency: float = Field(description="Share that is tampered.")


class Diagram(_Part):
    """A reliability diagram."""

    n: float
    ece: float | None = Field(description="Expected calibration error.")
    brier: float | None
    bins: list[Bin]


class ScalingFact(_Part):
    """sigmoid(slope * logit(p) + bias)."""

    slope: float
    bias: float


class Cut(_Part):
    """The choice of the threshold."""

    cut: float = Field(description="Of the network's own map, adapted where it is; 0.5 of the calibrated one.")
    best: float = Field(description="Where the mean F1 is highest.")
    f1_at_half: float = Field(description="Mean F1 of tampered images at 0.5 of the same map.")
    f1_at_cut: float
    f1_at_best: float
    false_area_at_half: float | None = Field(description="Mean share of authentic images that is marked.")
    false_area_at_cut: float | None
    rule: str


class AdaptiveFact(_Part):
    """The choice of the weights of `boxpromptiml.scaling.AdaptiveThreshold`."""

    background: float
    peak: float
    usual_background: float
    usual_peak: float
    f1_fixed: dict[str, float] = Field(
        description="Mean F1 of tampered images with one threshold for all, by how they were compressed."
    )
    f1_adaptive: dict[str, float]


class CalibrationFact(_Part):
    """Threshold and calibration, chosen on held-out training images."""

    tampered: int
    authentic: int
    truth: str = Field(description="Where the masks of these images come from.")
    map_scaling: ScalingFact
    score_scaling: ScalingFact
    adaptive: AdaptiveFact | None = None
    cut: Cut | None = None
    score_before: Diagram | None = None
    score_after: Diagram | None = None
    score_cross_validated: Diagram | None = Field(
        None, description="Each image scaled by what the others gave: what to expect of new ones."
    )
    pixel_before: Diagram | None = None
    pixel_after: Diagram | None = None


class Result(_Part):
    """Figures on one dataset."""

    name: str
    split: str | None
    preset: str
    tampered: int
    authentic: int
    figures: dict[str, Figure]
    score_before: Diagram | None = None
    score_after: Diagram | None = None
    pixel_after: Diagram | None = None


class FileFact(_Part):
    """A file of the model's folder."""

    name: str
    bytes: int
    sha256: str


class ModelCard(_Part):
    """A model's card."""

    format: Literal["boxpromptiml-card"] = "boxpromptiml-card"
    format_version: int = CARD_VERSION
    name: str
    made_by: str = Field(description="Version of the package that made it.")
    text: CardText
    student: dict[str, Any] = Field(description="Architecture.")
    params: int
    flops: int = Field(description="Multiply-adds of one image at the input size.")
    input: str = Field(description="What the network is fed.")
    size: list[int] = Field(description="Height and width that `flops` are of.")
    weights: Literal["fp32", "fp16"] = Field(description="How they are stored; computing is in fp32.")
    supervision: str | None
    teacher: str | None
    images: int | None = Field(description="Training images of the datasets.")
    validation: dict[str, float] = Field(description="Figures of the chosen epoch, by which it was chosen.")
    score: str = Field(description="How the score is made from the map.")
    mask: str = Field("the map above the threshold", description="How the mask is made from the map.")
    calibration: CalibrationFact
    results: list[Result]
    files: list[FileFact]

    def save(self, folder: Path) -> None:
        """Write ``card.json``, atomically."""
        write_json(folder / CARD_NAME, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> ModelCard | None:
        """Read ``card.json``; None where there is none.

        Raises:
            ModelError: it cannot be read, or is of another version.
        """
        path = folder / CARD_NAME
        if not path.is_file():
            return None
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            version = raw.get("format_version") if isinstance(raw, dict) else None
            if version != CARD_VERSION:
                raise ModelError(f"{path}: card of version {version!r}, this program reads {CARD_VERSION}; upgrade it")
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{path}: {where}: {first['msg']}; install the model again") from error
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: is damaged; install the model again, or remove the card") from error
