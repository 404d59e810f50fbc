"""OpenVINO: an ``.xml`` graph and its ``.bin`` weights, from the ONNX graph."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import onnx

from boxpromptiml.errors import ModelError
from boxpromptiml.files import atomic_path, sha256_of
from boxpromptiml.runtime.card import OUTPUT_NAME, SIZE_NAME, Card
from boxpromptiml.runtime.openvino_session import BIN_KEY, import_openvino, openvino_core


def to_openvino(proto: onnx.ModelProto) -> Any:
    """Convert an ONNX graph.

    Raises:
        ModelError: an operator that OpenVINO does not know.
        MissingExtraError: OpenVINO is not installed.
    """
    core = openvino_core()
    with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as folder:
        path = Path(folder, "model.onnx")
        onnx.save(proto, path)
        try:
            # Cloned: the file is mapped, and its folder will be gone.
            return core.read_model(str(path), config={"ENABLE_MMAP": False})
        except Exception as error:  # RuntimeError and others
            raise ModelError(f"OpenVINO does not take the graph ({' '.join(str(error).split())[:200]})") from error


def save_openvino(model: Any, card: Card, path: Path) -> None:
    """Write ``path`` and the ``.bin`` beside it, with the card and, if it says so, the upsampling."""
    openvino = import_openvino()
    if card.upsample:
        model = _upsampled(model)
    for key, value in card.metadata().items():
        model.set_rt_info(value, key.split("."))
    weights = path.with_suffix(".bin")
    # No compression to fp16: it would round the fixed filters too.
    openvino.save_model(model, str(path), compress_to_fp16=False)
    # Names the weights that belong to the graph: the two files cannot be renamed in one step.
    model.set_rt_info(sha256_of(weights), BIN_KEY.split("."))
    openvino.save_model(model, str(path), compress_to_fp16=False)


def keep_openvino(made: Path, target: Path) -> None:
    """Move a pair of files to their place, weights first; the pair that a death leaves half moved is refused."""
    for suffix in (".bin", ".xml"):
        with atomic_path(target.with_suffix(suffix)) as temporary:
            os.replace(made.with_suffix(suffix), temporary)


def _upsampled(model: Any) -> Any:
    openvino = import_openvino()
    ops = openvino.opset13
    size = ops.parameter([2], openvino.Type.i64, name=SIZE_NAME)
    size.output(0).set_names({SIZE_NAME})
    answer = model.output(OUTPUT_NAME).get_node().input_value(0)
    answer.set_names(set())
    # Pillow's filter, which `boxpromptiml.preprocessing.resize_map` uses; ONNX's antialiasing would be ignored here.
    resized = ops.interpolate(answer, size, "bilinear_pillow", "sizes", axes=[2, 3])
    resized.output(0).set_names({OUTPUT_NAME})
    result = ops.result(resized)
    return openvino.Model([result], [*model.get_parameters(), size], "boxpromptiml")
