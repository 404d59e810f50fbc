"""ONNX: one self-contained file that takes 8-bit pixels and answers with probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper

from boxpromptiml import __version__
from boxpromptiml.errors import ModelError
from boxpromptiml.export.deployed import DeployedStudent, at_precision
from boxpromptiml.export.program import example_of, quiet
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.runtime.card import INPUT_NAME, OUTPUT_NAME, SIZE_NAME, Card, Precision


def to_onnx(model: DeployedStudent, config: ModelConfig, precision: Precision = "fp32") -> onnx.ModelProto:
    """Convert a model to a graph from ``image`` to ``probability``, without metadata.

    Raises:
        ModelError: the backbone cannot be exported.
    """
    example, shapes = example_of(config.preprocessing)
    try:
        with quiet():
            program: Any = torch.onnx.export(
                at_precision(model, precision),
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=(shapes,),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever went wrong in the backbone
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"backbone {config.student.backbone} cannot be exported to ONNX ({reason})") from error
    proto: onnx.ModelProto = program.model_proto
    proto.producer_name, proto.producer_version = "boxpromptiml", __version__
    _strip(proto)
    return proto


def _strip(proto: onnx.ModelProto) -> None:
    """Remove what the exporter tells of itself: call stacks with the paths of this machine, a megabyte of them."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def save_onnx(proto: onnx.ModelProto, card: Card, path: Path) -> None:
    """Write a graph with its card, and with the upsampling that the card tells of."""
    finished = onnx.ModelProto()
    finished.CopyFrom(proto)
    if card.upsample:
        _upsample(finished)
    helper.set_model_props(finished, card.metadata())
    onnx.save(finished, path)


def _upsample(proto: onnx.ModelProto) -> None:
    """Resize the map to ``size``, as `boxpromptiml.preprocessing.resize_map` does: bilinear, antialiased if smaller."""
    graph = proto.graph
    inner = f"{OUTPUT_NAME}_on_the_grid"
    for node in graph.node:
        node.output[:] = [inner if name == OUTPUT_NAME else name for name in node.output]
        node.input[:] = [inner if name == OUTPUT_NAME else name for name in node.input]
    graph.input.append(helper.make_tensor_value_info(SIZE_NAME, TensorProto.INT64, [2]))
    graph.node.extend(
        [
            helper.make_node("Shape", [inner], ["upsample_batch"], start=0, end=2),
            helper.make_node("Concat", ["upsample_batch", SIZE_NAME], ["upsample_shape"], axis=0),
            helper.make_node(
                "Resize",
                [inner, "", "", "upsample_shape"],
                [OUTPUT_NAME],
                mode="linear",
                antialias=1,
                coordinate_transformation_mode="half_pixel",
            ),
        ]
    )
    shape = ["batch", 1, "map_height", "map_width"]
    graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape))
