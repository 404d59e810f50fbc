"""Weights in half the bytes, and ONNX files without what only their maker needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor

from boxpromptiml.files import atomic_path

_SUFFIX = ".half"
_SMALLER = {TensorProto.FLOAT: np.float16, TensorProto.INT64: np.int16}


def halve_weights(source: Path, target: Path) -> None:
    """Write a safetensors file whose matrices are rounded to float16; a loader casts them back to float32.

    Vectors (norms, biases, running statistics) stay as they are: they are small, and not all of them fit.
    """
    weights = {name: _halved(tensor) for name, tensor in load_file(source).items()}
    with atomic_path(target) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def halve_graph(path: Path) -> int:
    """Store the matrices of an ONNX file in half the bytes wherever not one bit is lost; it still computes as before.

    float32 becomes float16, tables of small int64 become int16. A Cast stands behind each, which runtimes fold when
    they load the file.

    Returns:
        How many were stored so.
    """
    proto = onnx.load(path)
    graph = proto.graph
    casts = []
    for place, tensor in enumerate(graph.initializer):
        smaller = _SMALLER.get(tensor.data_type)
        if smaller is None or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore", invalid="ignore"):
            short = values.astype(smaller)
        if not np.array_equal(short.astype(values.dtype), values):
            continue
        name, whole = tensor.name, tensor.data_type
        graph.initializer[place].CopyFrom(numpy_helper.from_array(short, name + _SUFFIX))
        casts.append(helper.make_node("Cast", [name + _SUFFIX], [name], f"cast_{name}", to=whole))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    with atomic_path(path) as temporary:
        onnx.save(proto, temporary)
    return len(casts)


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32 or tensor.dim() < 2:
        return tensor
    half = tensor.half()
    return half if torch.isfinite(half).all() else tensor
