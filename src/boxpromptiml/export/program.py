"""Torch programs (``.pt2``): the graph that ``torch.export`` traces, run without any model code."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boxpromptiml.errors import ModelError
from boxpromptiml.export.deployed import DeployedStudent, at_precision
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.preprocessing import CELL, PreprocessingSpec
from boxpromptiml.runtime.card import Card
from boxpromptiml.runtime.torch_session import CARD_NAME


def save_program(model: DeployedStudent, config: ModelConfig, card: Card, path: Path) -> None:
    """Trace a model at the card's precision and write it.

    Raises:
        ModelError: the backbone cannot be traced.
    """
    example, shapes = example_of(config.preprocessing)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(at_precision(model, card.precision), (example,), dynamic_shapes=(shapes,))
            torch.export.save(program, path, extra_files={CARD_NAME: json.dumps(card.metadata())})
    except Exception as error:  # whatever went wrong in the backbone
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"backbone {config.student.backbone} cannot be exported to torch ({reason})") from error


def example_of(spec: PreprocessingSpec) -> tuple[Tensor, dict[int, Any]]:
    """An input to trace a model with, and what of its shape may vary."""
    # Another size than two cells: what is equal in the example is taken to be equal always.
    varied = 2 * CELL if spec.fit == "native" else 0
    example = torch.zeros(2, 3, spec.height + varied, spec.width + 2 * varied, dtype=torch.uint8)
    shapes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if spec.fit == "native":
        # Most of a network's shape rules hold for whole cells alone; the exporter wants to be told so.
        shapes |= {2: CELL * torch.export.Dim("rows", min=2), 3: CELL * torch.export.Dim("columns", min=2)}
    return example, shapes


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' progress lines, tips and warnings off the terminal."""
    names = ("torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "root", "nncf")
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
