"""The machine's peak: how many operations a second a large matrix product reaches, in whichever library is fastest.

A network's share of it says how much a better program could still gain on the same machine; no network reaches all of
it, since it also moves data and does work that is no multiplication.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

# Sides of the square factors: what is best depends on the caches.
_CPU_SIDES, _GPU_SIDES = (1024, 2048), (4096, 8192)

Product = Callable[[], object]


def measure_peak(precision: str, threads: int, device: str = "cpu", seconds: float = 2.0) -> dict[str, float]:
    """Operations a second of a matrix product: two for each multiply-add, the best call of all sizes.

    The number of threads of NumPy's product is what the environment said when NumPy was first imported.

    Args:
        precision: of the factors: fp32, fp16, bf16 or int8.
        threads: of the product.
        device: cpu or cuda.
        seconds: about so long in all; every product is computed three times at least.

    Returns:
        By library (numpy, torch, onnxruntime); empty where no installed one multiplies at that precision.
    """
    sides = _GPU_SIDES if device == "cuda" else _CPU_SIDES
    makers = [(library, make, side) for library, make in _makers(precision, device) for side in sides]
    best: dict[str, float] = {}
    for library, make, side in makers:
        product = make(side, precision, threads, device)
        rate = 2 * side**3 / _shortest(product, seconds / len(makers))
        best[library] = max(rate, best.get(library, 0.0))
    return best


def best_peak(rounds: Iterable[Mapping[str, float]]) -> tuple[str, float] | None:
    """The fastest library and its operations a second, over several measurements; None without any.

    Example:
        >>> best_peak([{"numpy": 90.0, "torch": 80.0}, {"numpy": 85.0, "torch": 95.0}])
        ('torch', 95.0)
    """
    return max(
        ((name, rate) for found in rounds for name, rate in found.items()), key=lambda pair: pair[1], default=None
    )


def _makers(precision: str, device: str) -> Iterator[tuple[str, Callable[[int, str, int, str], Product]]]:
    if precision == "fp32" and device == "cpu":
        yield "numpy", _numpy
    if precision != "int8" and _has("torch"):
        yield "torch", _torch
    if precision == "int8" and device == "cpu" and _has("onnx"):
        yield "onnxruntime", _onnxruntime


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _shortest(product: Product, seconds: float) -> float:
    """Seconds of the fastest call: the others were disturbed."""
    product()
    end = time.perf_counter() + seconds
    spent: list[float] = []
    while len(spent) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        product()
        spent.append(time.perf_counter() - start)
    return min(spent)


def _numpy(side: int, precision: str, threads: int, device: str) -> Product:
    left, right = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _torch(side: int, precision: str, threads: int, device: str) -> Product:
    import torch

    torch.set_num_threads(threads)
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    left, right = (torch.rand(side, side, device=device).to(kinds[precision]) for _ in range(2))
    out = torch.empty_like(left)

    def product() -> None:
        torch.matmul(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()

    return product


def _onnxruntime(side: int, precision: str, threads: int, device: str) -> Product:
    """ONNX Runtime's product of unsigned by signed bytes, as in quantised networks; PyTorch's is not public."""
    import onnx
    import onnxruntime as ort

    rng = np.random.default_rng(0)
    left = rng.integers(0, 256, (side, side), dtype=np.uint8)
    weights = onnx.numpy_helper.from_array(rng.integers(-128, 128, (side, side), dtype=np.int8), "b")
    a, c = (
        onnx.helper.make_tensor_value_info(name, kind, [side, side])
        for name, kind in (("a", onnx.TensorProto.UINT8), ("c", onnx.TensorProto.INT32))
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "product", [a], [c], [weights]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": left})
