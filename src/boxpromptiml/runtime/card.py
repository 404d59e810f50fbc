"""What a runtime file says of itself, and whether it belongs to the model folder it lies in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import FORMAT_VERSION, ONNX_NAME, WEIGHTS_NAME, ModelConfig
from boxpromptiml.models import packaged_root
from boxpromptiml.preprocessing import PreprocessingSpec

FileFormat = Literal["onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# Keys of a file's metadata, written by the export.
PREPROCESSING_KEY = "boxpromptiml.preprocessing"
WEIGHTS_KEY = "boxpromptiml.weights_sha256"
VERSION_KEY = "boxpromptiml.format_version"
PRECISION_KEY = "boxpromptiml.precision"
UPSAMPLE_KEY = "boxpromptiml.upsample"

INPUT_NAME = "image"
SIZE_NAME = "size"
OUTPUT_NAME = "probability"

SUFFIXES: dict[FileFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


def file_name(form: FileFormat, precision: Precision) -> str:
    """The name of a runtime file in a model folder: ``model.onnx``, ``model-int8.xml``."""
    stem = Path(ONNX_NAME).stem
    return f"{stem}{'' if precision == 'fp32' else f'-{precision}'}{SUFFIXES[form]}"


def parse_name(name: str) -> tuple[FileFormat, Precision] | None:
    """Format and precision of a name that `file_name` gives; None for any other."""
    return next(((f, p) for f in FORMATS for p in PRECISIONS if file_name(f, p) == name), None)


def export_command(folder: Path, form: FileFormat = "onnx", precision: Precision = "fp32") -> str:
    """The command that makes a runtime file, for messages."""
    packaged = folder.absolute().parent == packaged_root()  # not to be written to: an upgrade would undo it
    words = ["boxpromptiml export", "COPY" if packaged else str(folder)]
    if form != "onnx":
        words.append(f"--format {form}")
    if precision != "fp32":
        words.append(f"--precision {precision}")
    if precision == "int8":
        words.append("--calibrate DATASET")
    if packaged:
        words.append(f"(COPY: a copy of {folder}; then --model COPY)")
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class Card:
    """The metadata of a runtime file.

    Attributes:
        preprocessing: of the model it was exported from.
        weights_sha256: of its ``model.safetensors``.
        precision: of its arithmetic.
        upsample: whether it takes a second input ``size``, int64 (2,): height and width of the map that it gives.
    """

    preprocessing: PreprocessingSpec
    weights_sha256: str
    precision: Precision = "fp32"
    upsample: bool = False

    def metadata(self) -> dict[str, str]:
        """As texts by key."""
        return {
            VERSION_KEY: str(FORMAT_VERSION),
            PREPROCESSING_KEY: self.preprocessing.model_dump_json(),
            WEIGHTS_KEY: self.weights_sha256,
            PRECISION_KEY: self.precision,
            UPSAMPLE_KEY: str(self.upsample).lower(),
        }

    @classmethod
    def read(cls, metadata: Mapping[str, str], path: Path, remedy: str) -> Card:
        """Read the metadata of a file.

        Raises:
            ModelError: it was not exported by boxpromptiml, or by another version.
        """
        missing = [key for key in (PREPROCESSING_KEY, WEIGHTS_KEY, VERSION_KEY) if key not in metadata]
        if missing:
            raise ModelError(f"{path}: was not exported by boxpromptiml (no {missing[0]} in it); {remedy}")
        if metadata[VERSION_KEY] != str(FORMAT_VERSION):
            version = metadata[VERSION_KEY]
            raise ModelError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {remedy}")
        try:
            spec = PreprocessingSpec.model_validate_json(metadata[PREPROCESSING_KEY])
        except ValidationError as error:
            raise ModelError(f"{path}: its preprocessing spec is malformed; {remedy}") from error
        precision = metadata.get(PRECISION_KEY, "fp32")  # files of earlier exports do not say it
        if precision not in PRECISIONS:
            raise ModelError(f"{path}: its precision {precision!r} is unknown; {remedy}")
        upsample = metadata.get(UPSAMPLE_KEY, "false") == "true"
        return cls(spec, metadata[WEIGHTS_KEY], precision, upsample)

    def check(self, path: Path, config: ModelConfig, precision: Precision, remedy: str) -> None:
        """Compare with the folder that the file lies in, and with what was asked for.

        Raises:
            ModelError: another preprocessing than the config's, other weights than the folder's, another precision.
        """
        if self.preprocessing != config.preprocessing:
            differing = [
                name
                for name in type(self.preprocessing).model_fields
                if getattr(self.preprocessing, name) != getattr(config.preprocessing, name)
            ]
            raise ModelError(
                f"{path}: its preprocessing differs from config.json's in {', '.join(differing)}; {remedy}"
            )
        if self.precision != precision:
            raise ModelError(f"{path}: is {self.precision} inside, not {precision} as its name says; {remedy}")
        weights = path.parent / WEIGHTS_NAME
        if weights.is_file() and sha256_of(weights) != self.weights_sha256:
            what = f"was exported from other weights than {WEIGHTS_NAME}"
            raise ModelError(f"{path}: {what}; put back those that belong to it, or {remedy}")
