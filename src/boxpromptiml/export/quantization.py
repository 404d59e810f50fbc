"""Static int8: ranges from calibration images, weights and activations in 8 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError, ModelError
from boxpromptiml.export.fixed import float_nodes
from boxpromptiml.export.openvino import to_openvino
from boxpromptiml.export.program import quiet
from boxpromptiml.runtime.card import INPUT_NAME

Images = Sequence[NDArray[np.uint8]]  # uint8 (3, H, W) each, at input sizes of the network

_PRODUCTS = ["Conv", "MatMul", "Gemm"]
_BETWEEN = ["Add", "Mul", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Concat"]
# Fastest first: where all between two convolutions is 8 bits wide, nothing is converted back and forth. Attention
# loses more by it, and gains less.
OPERATORS: dict[str, list[str]] = {
    "convolutions, matrix products and what lies between": _PRODUCTS + _BETWEEN,
    "convolutions and matrix products": _PRODUCTS,
}


def quantize_onnx(proto: onnx.ModelProto, images: Images, operators: list[str]) -> onnx.ModelProto:
    """Quantise a graph with ONNX Runtime: 8-bit activations without sign, weights with sign, one scale a channel.

    Args:
        proto: of `boxpromptiml.export.onnx.to_onnx`.
        images: for the ranges: from the smallest to the largest value seen.
        operators: a value of `OPERATORS`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[NDArray[np.uint8]] = iter(images)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            image = next(self._left, None)
            return None if image is None else {INPUT_NAME: image[None]}

    with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as folder, quiet():
        given, prepared, made = (str(Path(folder, f"{name}.onnx")) for name in ("given", "prepared", "made"))
        onnx.save(proto, given)
        try:
            # Symbolic inference of shapes fails on what the exporter writes; the plain one suffices.
            quant_pre_process(given, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                made,
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=operators,
                nodes_to_exclude=float_nodes(onnx.load(prepared).graph),
            )
        except Exception as error:  # the quantiser wraps nothing
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"ONNX Runtime cannot quantise the graph ({reason}); use --precision fp16") from error
        return onnx.load(made)


def quantize_openvino(proto: onnx.ModelProto, images: Images) -> Any:
    """Quantise a graph with NNCF, smoothed for attention and with corrected biases.

    Raises:
        MissingExtraError: OpenVINO or NNCF is not installed.
        ModelError: NNCF fails on the graph.
    """
    model = to_openvino(proto)
    with quiet():
        try:
            import nncf
        except ModuleNotFoundError as error:
            raise MissingExtraError("nncf", "quantize") from error
        known = {node.get_friendly_name() for node in model.get_ops()}
        kept = [name for name in float_nodes(proto.graph) if name in known]
        try:
            return nncf.quantize(
                model,
                nncf.Dataset([image[None] for image in images]),
                preset=nncf.QuantizationPreset.MIXED,
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(images),
                ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
            )
        except Exception as error:  # NNCF wraps nothing
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"NNCF cannot quantise the graph ({reason}); use --precision bf16") from error
