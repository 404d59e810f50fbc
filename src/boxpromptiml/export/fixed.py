"""Parts of a graph that stay in float32 when the rest is quantised."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from boxpromptiml.runtime.card import INPUT_NAME, OUTPUT_NAME

# The weights of `boxpromptiml.student.evidence` that are not learnt, by the end of their names.
_FIXED = ("evidence.high_pass.kernel", "evidence.dct.basis")
_LEARNT = ("Conv", "MatMul", "Gemm")


def float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes before the first learnt layers and from the last ones on.

    Before: normalisation, and the fixed filters that look for traces of less than a grey level. From the last layers
    on: gates, attention and sigmoid, whose 8-bit steps would be steps of the probability, and which cost nothing.
    """
    return sorted(_before(graph.node) | _after(graph.node))


def _before(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    reached, names = {INPUT_NAME}, set()
    for node in nodes:  # in topological order
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in _LEARNT and not any(name.endswith(_FIXED) for name in node.input):
            continue
        names.add(node.name)
        reached.update(node.output)
    return names


def _after(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    wanted, names = {OUTPUT_NAME}, set()
    for node in reversed(list(nodes)):
        if wanted.isdisjoint(node.output):
            continue
        names.add(node.name)
        if node.op_type not in _LEARNT:
            wanted.update(node.input)
    return names
