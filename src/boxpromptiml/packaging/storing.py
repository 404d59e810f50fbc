"""Weights in half the bytes, and ONNX files that do not repeat the weights that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from boxpromptiml.files import atomic_path

# Smaller tensors stay in the graph: a reference to them would hardly be shorter.
_LEAST_BYTES = 1024
# Nearest floats that are tried as the factor of a row.
_STEPS = (0, 1, -1, 2, -2)
_STUDENT = "student."  # what the exporter puts before the names of weights


def halve_weights(source: Path, target: Path) -> None:
    """Write a safetensors file whose matrices are rounded to float16; a loader casts them back to float32.

    Vectors (norms, biases, running statistics) stay as they are: they are small, and not all of them fit.
    """
    weights = {name: _halved(tensor) for name, tensor in load_file(source).items()}
    with atomic_path(target) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})


def share_weights(graph: Path, weights: Path) -> int:
    """Let an ONNX file take its weights from the safetensors file beside it, wherever not one bit is lost.

    The exporter transposes matrices, and multiplies the rows of convolutions with what batch normalisation does behind
    them. Both are written as nodes behind the stored tensor, which runtimes fold when they load the file, as is the
    cast of what is stored as float16. Equal constants are stored once, tables of small integers as int16.

    Args:
        graph: an ONNX file that contains its weights; replaced.
        weights: a safetensors file in the same folder, from which it was exported.

    Returns:
        Bytes of constants that the ONNX file no longer holds.
    """
    proto = onnx.load(graph)
    shelf = _Shelf(weights)
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    places: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    saved = 0
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.nbytes < _LEAST_BYTES:
            kept.append(tensor)
            continue
        content = (values.dtype.str, values.shape, values.tobytes())
        if content in places:
            nodes.append(helper.make_node("Identity", [places[content]], [tensor.name], f"same_{tensor.name}"))
            saved += values.nbytes
            continue
        places[content] = tensor.name
        made = _referred(tensor.name, values, shelf) or _narrowed(tensor.name, values)
        if made is None:
            kept.append(tensor)
            continue
        saved += values.nbytes - sum(len(constant.raw_data) for constant in made.constants)
        kept += made.constants
        nodes += made.nodes
    nodes += proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
    with atomic_path(graph) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
    return saved


@dataclass(frozen=True)
class _Made:
    """What stands for an initializer: constants, stored or referred to, and the nodes that make it of them."""

    constants: list[onnx.TensorProto]
    nodes: list[onnx.NodeProto]


class _Shelf:
    """The tensors of a safetensors file, as float32, and where they lie in it."""

    def __init__(self, path: Path) -> None:
        self._file = path.name
        self._stored = load_arrays(path)
        self.whole = {name: values.astype(np.float32, copy=False) for name, values in self._stored.items()}
        self._by_bytes = {values.tobytes(): name for name, values in self.whole.items()}
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        self._spans = {name: header[name]["data_offsets"] for name in self.whole}
        self._start = 8 + length

    def named(self, values: NDArray[np.float32]) -> str | None:
        """The tensor that has these values in this order, in whatever shape."""
        return self._by_bytes.get(values.tobytes())

    def reference(self, name: str, shape: tuple[int, ...], alias: str) -> onnx.TensorProto:
        """An initializer that lies in the file."""
        begin, end = self._spans[name]
        proto = onnx.TensorProto(name=alias, dims=shape, data_location=TensorProto.EXTERNAL)
        proto.data_type = helper.np_dtype_to_tensor_dtype(self._stored[name].dtype)
        for key, value in (("location", self._file), ("offset", self._start + begin), ("length", end - begin)):
            proto.external_data.add(key=key, value=str(value))
        return proto


def _referred(name: str, values: NDArray[np.generic], shelf: _Shelf) -> _Made | None:
    """An initializer as something of the file, transposed or with its rows scaled; None if it is neither."""
    if values.dtype != np.float32:
        return None
    floats = values.astype(np.float32, copy=False)
    if (found := shelf.named(floats)) is not None:
        return _chain(name, shelf.reference(found, values.shape, f"{name}_stored"), [])
    if values.ndim == 2 and (found := shelf.named(np.ascontiguousarray(floats.T))) is not None:
        turned = shelf.reference(found, values.shape[::-1], f"{name}_stored")
        return _chain(name, turned, [("Transpose", None)])
    found = name.removeprefix(_STUDENT)
    if found not in shelf.whole or shelf.whole[found].shape != values.shape:
        return None
    factors = _row_factors(shelf.whole[found], floats)
    if factors is None:
        return None
    return _chain(name, shelf.reference(found, values.shape, f"{name}_stored"), [("Mul", factors)])


def _chain(name: str, stored: onnx.TensorProto, steps: list[tuple[str, NDArray[np.float32] | None]]) -> _Made:
    """Nodes from a stored tensor to `name`: a cast where it is float16, then the steps."""
    made = _Made([stored], [])
    if stored.data_type != TensorProto.FLOAT:
        steps = [("Cast", None), *steps]
    if not steps:
        stored.name = name
    here = stored.name
    for place, (kind, operand) in enumerate(steps):
        there = name if place + 1 == len(steps) else f"{name}_{kind.lower()}"
        inputs = [here]
        if operand is not None:
            inputs.append(f"{name}_factors")
            made.constants.append(numpy_helper.from_array(operand, inputs[1]))
        more = {"to": TensorProto.FLOAT} if kind == "Cast" else {"perm": [1, 0]} if kind == "Transpose" else {}
        made.nodes.append(helper.make_node(kind, inputs, [there], f"{kind.lower()}_{name}", **more))
        here = there
    return made


def _row_factors(stored: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Factors (n, 1, ...) with stored * factors == wanted, to the bit; None if there are none."""
    rows, goals = stored.reshape(len(stored), -1), wanted.reshape(len(wanted), -1)
    places = np.abs(rows).argmax(1)
    largest = rows[np.arange(len(rows)), places]
    if not np.all(largest):
        return None
    near = (goals[np.arange(len(rows)), places].astype(np.float64) / largest).astype(np.float32)
    factors, settled = near.copy(), np.zeros(len(rows), dtype=bool)
    for guess in _neighbours(near):
        fits = np.all(rows * guess[:, None] == goals, axis=1) & ~settled
        factors[fits] = guess[fits]
        settled |= fits
    return factors.reshape(-1, *[1] * (stored.ndim - 1)) if settled.all() else None


def _neighbours(values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for steps in _STEPS:
        moved = values
        for _ in range(abs(steps)):
            moved = np.nextafter(moved, np.float32(np.copysign(np.inf, steps)))
        yield moved


def _narrowed(name: str, values: NDArray[np.generic]) -> _Made | None:
    """A table of int64 as one of int16, where that holds it."""
    if values.dtype != np.int64:
        return None
    short = values.astype(np.int16)
    if not np.array_equal(short, values):
        return None
    stored = numpy_helper.from_array(short, f"{name}_short")
    return _Made([stored], [helper.make_node("Cast", [stored.name], [name], f"cast_{name}", to=TensorProto.INT64)])


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype != torch.float32 or tensor.dim() < 2:
        return tensor
    half = tensor.half()
    return half if torch.isfinite(half).all() else tensor
