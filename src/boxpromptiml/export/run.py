"""`export_model`: from a model folder to a runtime file that has been checked."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import ModelError
from boxpromptiml.export.calibration import F1Loss, calibration_images, f1_loss
from boxpromptiml.export.deployed import DeployedStudent
from boxpromptiml.export.onnx import save_onnx, to_onnx
from boxpromptiml.export.parity import Difference, check_parity, compare
from boxpromptiml.files import atomic_path, sha256_of
from boxpromptiml.machine import usable_cores
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig
from boxpromptiml.models import CARD_NAME, file_digests
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.card import Card, FileFormat, Precision, file_name
from boxpromptiml.runtime.sessions import Choice, open_file
from boxpromptiml.student import load_checkpoint

MAX_F1_LOSS = 0.01


@dataclass(frozen=True)
class Calibration:
    """What quantisation may use, and how much it may lose.

    Attributes:
        ranges: dataset whose train split (or val) gives the ranges of int8; None: only fp16 and bf16 can be made.
        validation: dataset whose val split measures the loss of F1; None: the same as `ranges`.
        max_f1_loss: refused above.
        images: for the ranges.
        validation_images: at most.
    """

    ranges: str | Path | None = None
    validation: str | Path | None = None
    max_f1_loss: float = MAX_F1_LOSS
    images: int = 64
    validation_images: int = 500


@dataclass(frozen=True)
class Exported:
    """A runtime file.

    Attributes:
        path: where it is; OpenVINO has a ``.bin`` beside it.
        bytes: of all its files.
        difference: from PyTorch at full precision, over made images.
        f1: what it costs on validation images; None where none were given.
        quantised: which operators are int8; None at other precisions.
    """

    path: Path
    bytes: int
    difference: Difference
    f1: F1Loss | None = None
    quantised: str | None = None


def export_onnx(folder: str | Path, output: str | Path | None = None) -> Path:
    """Export a model folder to ONNX at fp32; see `export_model`."""
    return export_model(folder, output=output).path


def export_model(
    folder: str | Path,
    form: FileFormat = "onnx",
    precision: Precision = "fp32",
    *,
    output: str | Path | None = None,
    upsample: bool = False,
    calibration: Calibration | None = None,
) -> Exported:
    """Export a model folder and check the file before it takes its name.

    The file takes ``image``, uint8 (batch, 3, height, width) at the network's size, and returns ``probability``,
    float32 (batch, 1, height, width). The batch is dynamic; height and width are where the spec says ``fit: native``,
    in steps of 32 pixels. Its metadata carry the preprocessing spec, the precision and the digest of the weights, by
    which a runtime recognises a file that belongs to another checkpoint.

    Args:
        folder: a model folder with ``config.json`` and ``model.safetensors``.
        form: ``onnx``, ``openvino`` or ``torch``.
        precision: of the learnt layers. fp32 must agree with PyTorch to 1e-4; fp16 and bf16 on average (see
            `boxpromptiml.export.parity`) and, with a validation set, in F1; int8 in F1.
        output: the file to write; default: its name in the folder, where the runtime looks for it.
        upsample: take a second input ``size``, int64 (2,), and return the map at that height and width. Not for torch.
        calibration: needed for int8.

    Raises:
        ModelError: the folder does not hold a model, the card there describes the file that would be replaced, the
            backbone cannot be exported, or the file is not close enough to the model; nothing is written.
        DatasetError: the calibration set lacks what is needed.
        MissingExtraError: a package is not installed.
    """
    source = Path(folder)
    student, config = load_checkpoint(source)
    given = calibration or Calibration()
    _check(form, precision, upsample, given, config)
    model = DeployedStudent(student, config.preprocessing).eval()
    card = Card(config.preprocessing, sha256_of(source / WEIGHTS_NAME), precision, upsample)
    target = Path(output) if output is not None else source / file_name(form, precision)
    if target.suffix != (suffix := Path(file_name(form, precision)).suffix):
        raise ModelError(f"{target}: must end in {suffix}, by which the format is known")
    if target.name in file_digests(target.parent):
        raise ModelError(
            f"{target}: {CARD_NAME} beside it describes that file and has its figures, another would be refused; write "
            f"elsewhere with --output, or remove {CARD_NAME} to make the folder a model of its own"
        )
    what = f"{target.name}, backbone {config.student.backbone}"
    # Beside the target, so that moving it there is one step.
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_room(target, (source / WEIGHTS_NAME).stat().st_size)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as workshop:
        # The runtime compares a file with the weights beside it.
        Path(workshop, WEIGHTS_NAME).symlink_to((source / WEIGHTS_NAME).resolve())
        made = Path(workshop, file_name(form, precision))
        choice = Choice(form, precision, usable_cores(), "cpu")
        maker = _Maker(model, config)
        measure = _Measure(maker, config, given, choice, Path(workshop))
        if precision == "int8":
            exported: _Measured = _quantised(maker, card, measure, made)
        else:
            maker.write(form, card, made)
            parity = check_parity(model, open_file(made, source, config, choice), config.preprocessing, what)
            wanted = precision != "fp32" and measure.validation is not None
            exported = parity, measure.checked(made) if wanted else None, None
        size = _keep(form, made, target)
    return Exported(target, size, *exported)


_ROOM = 2  # times the weights, for the file and what is made on the way
_Measured = tuple[Difference, F1Loss | None, str | None]


class _Maker:
    """Writes files of a model; converts it once a precision."""

    def __init__(self, model: DeployedStudent, config: ModelConfig) -> None:
        self.model = model
        self.config = config
        self._graphs: dict[Precision, onnx.ModelProto] = {}

    def graph(self, precision: Precision = "fp32") -> onnx.ModelProto:
        """The ONNX graph."""
        if precision not in self._graphs:
            self._graphs[precision] = to_onnx(self.model, self.config, precision)
        return self._graphs[precision]

    def write(self, form: FileFormat, card: Card, path: Path) -> None:
        """Write a file that is not quantised."""
        if form == "torch":
            from boxpromptiml.export.program import save_program

            save_program(self.model, self.config, card, path)
        elif form == "onnx":
            save_onnx(self.graph(card.precision), card, path)
        else:
            from boxpromptiml.export.openvino import save_openvino, to_openvino

            # OpenVINO takes no graph in bf16; it computes in bf16 by itself when told to.
            save_openvino(to_openvino(self.graph("fp16" if card.precision == "fp16" else "fp32")), card, path)


@dataclass(frozen=True)
class _Measure:
    """Full precision against a file, on the validation set."""

    maker: _Maker
    config: ModelConfig
    calibration: Calibration
    choice: Choice
    workshop: Path

    @property
    def validation(self) -> str | Path | None:
        return self.calibration.validation or self.calibration.ranges

    def f1(self, made: Path) -> F1Loss:
        assert self.validation is not None
        reference = self.workshop / file_name(self.choice.format, "fp32")
        if not reference.is_file():
            card = Card(self.config.preprocessing, sha256_of(self.workshop / WEIGHTS_NAME))
            self.maker.write(self.choice.format, card, reference)
        full = Choice(self.choice.runtime, "fp32", self.choice.threads, "cpu")
        with Dataset.open(self.validation) as dataset:
            pair = [
                Localizer(open_file(path, self.workshop, self.config, choice), self.config, self.workshop, choice)
                for path, choice in ((reference, full), (made, self.choice))
            ]
            return f1_loss(dataset, pair[0], pair[1], self.calibration.validation_images)

    def checked(self, made: Path) -> F1Loss:
        """`f1`, refused above the bound."""
        loss, bound = self.f1(made), self.calibration.max_f1_loss
        if not loss.loss <= bound:
            precision = self.choice.precision
            raise ModelError(_refusal([(precision, loss)], self.choice.format, precision, bound))
        return loss


def _quantised(maker: _Maker, card: Card, measure: _Measure, made: Path) -> _Measured:
    """Write the first of the ways to quantise that loses little enough."""
    from boxpromptiml.export.openvino import save_openvino
    from boxpromptiml.export.quantization import OPERATORS, quantize_onnx, quantize_openvino

    given, choice = measure.calibration, measure.choice
    assert given.ranges is not None
    with Dataset.open(given.ranges) as dataset:
        images = calibration_images(dataset, card.preprocessing, given.images)
    refused = []
    for name in OPERATORS if choice.format == "onnx" else ("all that NNCF chooses",):
        if choice.format == "onnx":
            save_onnx(quantize_onnx(maker.graph(), images, OPERATORS[name]), card, made)
        else:
            save_openvino(quantize_openvino(maker.graph(), images), card, made)
        loss = measure.f1(made)
        if loss.loss <= given.max_f1_loss:
            session = open_file(made, measure.workshop, measure.config, choice)
            return compare(maker.model, session, card.preprocessing), loss, name
        refused.append((name, loss))
    raise ModelError(_refusal(refused, choice.format, "int8", given.max_f1_loss))


def _refusal(refused: list[tuple[str, F1Loss]], form: FileFormat, precision: Precision, bound: float) -> str:
    losses = "; ".join(
        f"{name}: F1 {loss.before:.4f} becomes {loss.after:.4f}, a loss of {loss.loss:.4f}" for name, loss in refused
    )
    images = refused[0][1].images
    other = {"int8": "bf16" if form == "openvino" else "fp16"}.get(precision, "fp32")
    more = "more --calibration-images, " if precision == "int8" else ""
    return (
        f"{precision} refused, nothing written: {losses} (at most {bound:g} allowed, over {images} images); "
        f"try {more}--precision {other}, or a higher --max-f1-loss"
    )


def _keep(form: FileFormat, made: Path, target: Path) -> int:
    """Move what was made to its place; return its bytes."""
    if form == "openvino":
        from boxpromptiml.export.openvino import keep_openvino

        size = made.stat().st_size + made.with_suffix(".bin").stat().st_size
        keep_openvino(made, target)
        return size
    size = made.stat().st_size
    with atomic_path(target) as temporary:
        made.replace(temporary)
    return size


def _check_room(target: Path, weights: int) -> None:
    """Refuse a disk without room: the libraries that write the files end in their own ways there, one by aborting."""
    needed, free = _ROOM * weights + 2**20, shutil.disk_usage(target.parent).free
    if free < needed:
        raise ModelError(
            f"{target}: {free / 1e6:.1f} MB are free there, {needed / 1e6:.1f} MB are needed; "
            "make room, or choose another place with --output"
        )


def _check(
    form: FileFormat, precision: Precision, upsample: bool, calibration: Calibration, config: ModelConfig
) -> None:
    if form == "torch" and upsample:
        raise ModelError("--upsample is for onnx and openvino; in PyTorch, F.interpolate resizes the map")
    if form == "torch" and precision == "int8":
        raise ModelError("int8 is for onnx and openvino; for torch there are fp16 and bf16")
    if form == "onnx" and precision == "bf16":
        raise ModelError("ONNX Runtime does not compute in bf16 on a CPU; use openvino or torch, or --precision fp16")
    if precision == "int8" and calibration.ranges is None:
        raise ModelError("int8 needs images to take ranges from: --calibrate DATASET")
    unmeasured = calibration.validation is None and calibration.ranges is None
    if form == "openvino" and precision == "bf16" and config.student.evidence and unmeasured:
        raise ModelError(
            "OpenVINO rounds the fixed filters of a model with evidence to bf16 as well: --validate DATASET to measure "
            "what that costs, or --precision fp16"
        )
    if not 0 <= calibration.max_f1_loss <= 1:
        raise ModelError(f"--max-f1-loss must be in [0, 1], got {calibration.max_f1_loss:g}")
