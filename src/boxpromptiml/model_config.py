"""``config.json`` of a model folder: architecture, preprocessing, decision rule, where it came from. Torch-free."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from boxpromptiml.errors import ModelError
from boxpromptiml.files import write_json
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.scaling import AdaptiveThreshold, Scaling

FORMAT_VERSION = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
ONNX_NAME = "model.onnx"
NATIVE_ONLY = "for models that are fed images at their own size (fit: native)"


class StudentConfig(BaseModel):
    """Architecture of the student: a timm backbone and the memory-guided gated fusion module (MGFM)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field("tiny_vit_5m_224", description="Any timm model that supports features_only.")
    width: int = Field(64, ge=8, le=1024, description="Channels of the common grid that the features are projected to.")
    gates: bool = Field(True, description="Gated integration; off: plain mean of the projected features.")
    memory: bool = Field(True, description="Memory bank; off: the base attention alone decides.")
    dual_guidance: bool = Field(
        True,
        description="A_final = alpha * (A_base * G_avg) + (1 - alpha) * A_mem; off: mean of A_base and A_mem.",
    )
    memory_size: int = Field(
        64, ge=0, le=4096, description="Prototypes in the memory bank; 0 is the same as memory off."
    )
    temperature: float = Field(0.1, gt=0, le=100, description="Softmax temperature of the memory's addressing.")
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the observed branch at the start.")
    learn_alpha: bool = Field(True, description="Whether alpha is trained along.")
    evidence: tuple[Literal["input", "residual", "dct"], ...] = Field(
        (),
        description="Traces beside the colours. input: noise left by high-pass filters, as further input channels of "
        "the backbone. Further stages of the fusion: residual (features of that noise), dct (frequencies of JPEG's "
        "blocks). For input.fit native; none is the paper's.",
    )
    evidence_width: int = Field(
        32, ge=8, le=512, description="Channels of that at stride 4; twice as many at stride 8."
    )

    @model_validator(mode="after")
    def _alpha_can_move(self) -> StudentConfig:
        if self.learn_alpha and not 0 < self.alpha < 1:
            raise ValueError(
                f"alpha {self.alpha:g} cannot be trained: set learn_alpha to false, or alpha inside (0, 1)"
            )
        return self


class DecisionRule(BaseModel):
    """How a probability map becomes a mask, a score and a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(0.5, ge=0, le=1, description="A pixel, and an image by its score, is tampered above this.")
    score_fraction: float = Field(
        0.005, gt=0, le=1, description="The image's score is the mean of this fraction of its highest pixels."
    )
    score_pooling: Literal["probability", "logit"] = Field(
        "probability",
        description="What that is the mean of: probabilities, or their logits, as where the training minimised the "
        "image's own cross-entropy (loss.image).",
    )
    adaptive: AdaptiveThreshold | None = Field(
        None,
        description="A threshold that follows each image: its shift of the map, before all else is done with it. null: "
        "the same threshold for all.",
    )
    map_scaling: Scaling = Field(default_factory=Scaling, description="Calibration of the map.")
    score_scaling: Scaling = Field(
        default_factory=Scaling, description="Calibration of the score, so that it is the probability of tampering."
    )

    copies: bool = Field(
        False,
        description="Whether parts of an image that are there twice (copy-move) are looked for, by matching it with "
        "itself, and marked. For input.fit native.",
    )
    completion: bool = Field(
        False,
        description="Whether what is marked of an object becomes all of it, by its colours. For input.fit native.",
    )
    looks: Literal[1, 2] = Field(
        1,
        description="How often the network looks at an image. 2: as it is and turned by half (upside down), averaged: "
        "what it sees by accident it sees once. Takes twice the network's time.",
    )

    def shift(self, map_: NDArray[np.float32]) -> float:
        """What an adaptive threshold adds to the logits of a photo's map, by the network's own map of it as a whole."""
        return 0.0 if self.adaptive is None else self.adaptive.shift(self.adaptive.levels(map_))

    def finished(self, map_: NDArray[np.float32], whole: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """A network's own map of a photo, float32 in [0, 1], adapted and calibrated.

        Args:
            map_: the map.
            whole: of the photo as a whole, where `map_` is one with tiles.
        """
        return self.map_scaling.apply(map_, self.shift(map_ if whole is None else whole))

    @property
    def is_calibrated(self) -> bool:
        """Whether the score is meant to be a probability."""
        return not self.score_scaling.is_identity


class Provenance(BaseModel):
    """What the weights were trained on and how."""

    model_config = ConfigDict(extra="allow")

    datasets: list[str] = Field(default_factory=list, description="Dataset folders, as given.")
    supervision: str | None = Field(None, description="pseudo, mask, box or label.")
    teacher: str | None = Field(None, description="Teacher id of the pseudo masks.")
    images: int | None = Field(None, description="Training images.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="The whole training recipe.")
    validation: dict[str, float] = Field(default_factory=dict, description="Validation figures of the chosen epoch.")


class ModelConfig(BaseModel):
    """All that a runtime has to know about a student. `params` and `flops` are counted when it is saved."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["boxpromptiml"] = "boxpromptiml"
    format_version: int = FORMAT_VERSION
    student: StudentConfig = Field(default_factory=StudentConfig)
    preprocessing: PreprocessingSpec = Field(default_factory=PreprocessingSpec)
    decision: DecisionRule = Field(default_factory=DecisionRule)
    trained_on: Provenance = Field(default_factory=Provenance)
    params: int = Field(0, description="Trainable parameters.")
    flops: int = Field(0, description="Multiply-adds for one image at the input size.")

    @model_validator(mode="after")
    def _picture_is_seen(self) -> ModelConfig:
        for name in ("copies", "completion"):
            if getattr(self.decision, name) and self.preprocessing.fit != "native":
                raise ValueError(f"decision.{name} is {NATIVE_ONLY}")
        return self

    def deciding(
        self,
        folder: str | Path,
        *,
        copies: bool | None = None,
        completion: bool | None = None,
        looks: int | None = None,
    ) -> ModelConfig:
        """The same model that decides otherwise, see `DecisionRule`; None leaves it to the model.

        Raises:
            ModelError: it sees shrunk images, in which copies are not looked for and nothing is completed, or `looks`
                is neither 1 nor 2; `folder` is where it was read from.
        """
        native = self.preprocessing.fit == "native"
        for name, value in (("copies", copies), ("completion", completion)):
            if value not in (None, True, False):
                raise ModelError(f"{folder}: {name} is True, False or None, not {value!r}")
        if copies and not native:
            raise ModelError(f"{folder}: looking for copies is {NATIVE_ONLY}; leave out --copies")
        if completion and not native:
            raise ModelError(f"{folder}: completing regions is {NATIVE_ONLY}; leave out --completion")
        if looks not in (None, 1, 2):
            raise ModelError(f"{folder}: a network looks once or twice; looks is 1 or 2, not {looks!r}")
        choices = {"copies": copies, "completion": completion, "looks": looks}
        given = {name: value for name, value in choices.items() if value is not None}
        return self.model_copy(update={"decision": self.decision.model_copy(update=given)}) if given else self

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` into `folder`, atomically."""
        write_json(Path(folder) / CONFIG_NAME, self.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: str | Path) -> ModelConfig:
        """Read ``config.json`` of a model folder.

        Raises:
            ModelError: no such folder, no config, malformed, or written by another version of the format.
        """
        path = Path(folder) / CONFIG_NAME
        if not path.is_file():
            raise ModelError(f"{folder}: no {CONFIG_NAME} there; a model is a folder that `boxpromptiml train` wrote")
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not JSON ({error}); restore it or train again") from error
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; "
                "use the boxpromptiml version that wrote it"
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ModelError(
                    f"{path}: {where} is unknown to this version; update boxpromptiml, or restore the file"
                ) from error
            raise ModelError(f"{path}: {where}: {first['msg']}; restore it or train again") from error


def count_weights(path: str | Path) -> int:
    """Parameters in a ``.safetensors`` file, from its header alone: no tensor is read, no torch is needed.

    Counted is what is floating point, other than the running means and variances of batch normalisation. That is the
    number of trainable parameters unless a network stores other constants among its weights.

    Raises:
        ModelError: the file cannot be read, is not a safetensors file, or is cut short.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            # 8 bytes: length of the header; the header: JSON, where each tensor lies; then the tensors.
            start = 8 + int.from_bytes(stream.read(8), "little")
            size = path.stat().st_size
            if start > size:
                raise ValueError("no header")
            tensors = json.loads(stream.read(start - 8))
        tensors.pop("__metadata__", None)
        if start + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0) != size:
            raise ValueError("cut short")
        return sum(
            math.prod(tensor["shape"])
            for name, tensor in tensors.items()
            if tensor["dtype"][:1] in "FB"
            and tensor["dtype"] != "BOOL"
            and not name.endswith((".running_mean", ".running_var"))
        )
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{path}: not a safetensors file, or not all of one; restore it or train again") from error
