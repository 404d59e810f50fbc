"""ONNX export: one self-contained file that takes 8-bit pixels and answers with probabilities."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boxpromptiml import __version__
from boxpromptiml.errors import ModelError
from boxpromptiml.files import atomic_path, sha256_of
from boxpromptiml.model_config import FORMAT_VERSION, ONNX_NAME, WEIGHTS_NAME, ModelConfig
from boxpromptiml.preprocessing import CELL, PreprocessingSpec
from boxpromptiml.runtime.card import INPUT_NAME, OUTPUT_NAME, PREPROCESSING_KEY, VERSION_KEY, WEIGHTS_KEY
from boxpromptiml.student import Student, load_checkpoint

TOLERANCE = 1e-4


class DeployedStudent(nn.Module):
    """The student with its pre- and post-processing: uint8 (B, 3, H, W) to probabilities, float32 (B, 1, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, student: Student, spec: PreprocessingSpec) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255)

    def forward(self, image: Tensor) -> Tensor:
        """Probability of manipulation, in [0, 1], of every pixel of 8-bit RGB images at the network's size."""
        return torch.sigmoid(self.student((image.to(self.mean.dtype) - self.mean) / self.std))


def export_onnx(folder: str | Path, output: str | Path | None = None) -> Path:
    """Export a model folder to ONNX and check the file against PyTorch before it takes its name.

    The graph takes ``image``, uint8 (batch, 3, height, width) at the network's size, and returns ``probability``,
    float32 (batch, 1, height, width). The batch is dynamic; height and width are where the spec says ``fit: native``,
    in steps of 32 pixels. Its metadata carry the preprocessing spec and the
    digest of the weights, by which a runtime recognises a file that belongs to another checkpoint.

    Args:
        folder: a model folder with ``config.json`` and ``model.safetensors``.
        output: the file to write; default ``model.onnx`` in the folder.

    Returns:
        The path of the file.

    Raises:
        ModelError: the folder does not hold a model, the backbone cannot be exported, or ONNX Runtime's answer
            differs from PyTorch's by more than 1e-4 anywhere (and by more than float32 rounding explains).
    """
    student, config = load_checkpoint(folder)
    model = DeployedStudent(student, config.preprocessing).eval()
    target = Path(output) if output is not None else Path(folder) / ONNX_NAME
    proto = _convert(model, config)
    for key, value in _metadata(Path(folder), config).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    with atomic_path(target) as temporary:
        onnx.save(proto, temporary)
        difference = max_difference(model, temporary, config.preprocessing)
        if not difference <= TOLERANCE:  # a NaN fails too
            # A steep network turns rounding into more than that; PyTorch's own rounding error tells.
            allowed = max(TOLERANCE, 4 * rounding_error(model, config.preprocessing))
            if not difference <= allowed:
                raise ModelError(
                    f"{target}: ONNX Runtime differs from PyTorch by {difference:.2g} (at most {allowed:.2g} allowed); "
                    f"not written, backbone {config.student.backbone} does not export faithfully"
                )
    return target


def max_difference(model: nn.Module, path: str | Path, spec: PreprocessingSpec) -> float:
    """Largest difference between PyTorch and ONNX Runtime over probe images of several sizes, alone and by three."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    probes = [_probes(*size) for size in _sizes(spec)]
    differences = []
    for batch in [batch for probe in probes for batch in (probe, probe[:1])]:
        with torch.no_grad():
            expected = model(torch.from_numpy(batch)).numpy()
        (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: batch})
        if found.shape != expected.shape:
            raise ModelError(f"{path}: answers with shape {found.shape}, PyTorch with {expected.shape}")
        differences.append(float(np.abs(found - expected).max()))
    return float(np.max(differences))


def rounding_error(model: nn.Module, spec: PreprocessingSpec) -> float:
    """Largest difference between PyTorch's answers in float32 and in float64 over the same probe images."""
    probes = torch.from_numpy(_probes(spec.height, spec.width))
    with torch.no_grad():
        return float((copy.deepcopy(model).double()(probes) - model(probes)).abs().max())


def _sizes(spec: PreprocessingSpec) -> list[tuple[int, int]]:
    """Heights and widths to compare at: the nominal one, and others where sizes vary."""
    nominal = (spec.height, spec.width)
    if spec.fit == "stretch":
        return [nominal]
    return [nominal, (2 * CELL, 5 * CELL), (spec.width + 3 * CELL, spec.height)]


def _probes(height: int, width: int) -> NDArray[np.uint8]:
    """Noise, smooth ramps with a sharp patch, and a checkerboard: uint8 (3, 3, height, width)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([255 * y / height, 255 * x / width, 255 * (x + y) / (height + width)]).astype(np.uint8)
    patch = np.s_[:, height // 4 : height // 2, width // 3 : width // 2]
    ramps[patch] = noise[patch]
    board = np.broadcast_to(((x // 16 + y // 16) % 2 * 255).astype(np.uint8), (3, height, width))
    return np.stack([noise, ramps, board])


def _convert(model: DeployedStudent, config: ModelConfig) -> onnx.ModelProto:
    spec = config.preprocessing
    # Another size than two cells: what is equal in the example is taken to be equal always.
    varied = 2 * CELL if spec.fit == "native" else 0
    example = torch.zeros(2, 3, spec.height + varied, spec.width + 2 * varied, dtype=torch.uint8)
    shape: dict[int, Any] = {0: torch.export.Dim("batch")}
    if spec.fit == "native":
        # Most of a network's shape rules hold for whole cells alone; the exporter wants to be told so.
        shape |= {2: CELL * torch.export.Dim("rows", min=2), 3: CELL * torch.export.Dim("columns", min=2)}
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=(shape,),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever went wrong in the backbone
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"backbone {config.student.backbone} cannot be exported to ONNX ({reason})") from error
    proto: onnx.ModelProto = program.model_proto
    proto.producer_name, proto.producer_version = "boxpromptiml", __version__
    return proto


def _metadata(folder: Path, config: ModelConfig) -> dict[str, str]:
    return {
        VERSION_KEY: str(FORMAT_VERSION),
        PREPROCESSING_KEY: json.dumps(config.preprocessing.model_dump(mode="json"), sort_keys=True),
        WEIGHTS_KEY: sha256_of(folder / WEIGHTS_NAME),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines, tips and warnings off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript", "onnx_ir")]
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
