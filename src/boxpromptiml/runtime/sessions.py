"""Opening ``model.onnx`` of a model folder, and refusing one that does not belong to its folder."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from pydantic import ValidationError

from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.machine import usable_cores
from boxpromptiml.model_config import FORMAT_VERSION, ONNX_NAME, WEIGHTS_NAME, ModelConfig
from boxpromptiml.preprocessing import PreprocessingSpec

# Keys of the file's metadata, written by the export.
PREPROCESSING_KEY = "boxpromptiml.preprocessing"
WEIGHTS_KEY = "boxpromptiml.weights_sha256"
VERSION_KEY = "boxpromptiml.format_version"

INPUT_NAME = "image"
OUTPUT_NAME = "probability"


def open_session(folder: Path, config: ModelConfig, threads: int | None = None) -> tuple[ort.InferenceSession, str]:
    """Open the network of a model folder on the CPU.

    Args:
        folder: model folder with ``config.json`` and ``model.onnx``.
        config: its configuration; the network must have been exported with the same preprocessing.
        threads: threads of one inference; None for all usable cores.

    Returns:
        The session and the SHA-256 of the network's file: it alone decides what comes out.

    Raises:
        ModelError: no network, a damaged one, or one that contradicts the folder's config or weights.
    """
    path = folder / ONNX_NAME
    remedy = f"run  boxpromptiml export {folder}"
    if not path.is_file():
        raise ModelError(f"{folder}: no {ONNX_NAME} there; {remedy}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they are raised as well
    # Idle threads that spin would take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class that it promises
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: cannot be loaded ({reason}); {remedy}") from error
    return session, _checked(session, folder, config, remedy)


def _checked(session: ort.InferenceSession, folder: Path, config: ModelConfig, remedy: str) -> str:
    """Compare what the network says of itself with its folder; return the digest of its file."""
    path = folder / ONNX_NAME
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
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
    if spec != config.preprocessing:
        differing = [
            name for name in type(spec).model_fields if getattr(spec, name) != getattr(config.preprocessing, name)
        ]
        raise ModelError(f"{path}: its preprocessing differs from config.json's in {', '.join(differing)}; {remedy}")
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if (
        [node.name for node in inputs] != [INPUT_NAME]
        or OUTPUT_NAME not in [node.name for node in outputs]
        or inputs[0].type != "tensor(uint8)"
        or not _shape_fits(inputs[0].shape, spec)
    ):
        found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in inputs)
        wanted = f"{INPUT_NAME} tensor(uint8) [batch, 3, H, W], H x W {spec.input_text},"
        raise ModelError(f"{path}: takes {found} where {wanted} is expected; {remedy}")
    weights = folder / WEIGHTS_NAME
    if weights.is_file() and sha256_of(weights) != metadata[WEIGHTS_KEY]:
        raise ModelError(f"{path}: was exported from other weights than {WEIGHTS_NAME}; {remedy}")
    return sha256_of(path)


def _shape_fits(shape: list[int | str], spec: PreprocessingSpec) -> bool:
    """Whether the file's input has the sides of the spec; sides that vary have a name instead of a number."""
    if len(shape) != 4 or shape[1] != 3:
        return False
    if spec.fit == "native":
        return all(isinstance(side, str) for side in shape[2:])
    return shape[2:] == [spec.height, spec.width]
