"""Model folders: ``model.safetensors`` and ``config.json``."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from boxpromptiml.errors import ModelError
from boxpromptiml.files import atomic_path
from boxpromptiml.model_config import CONFIG_NAME, WEIGHTS_NAME, ModelConfig
from boxpromptiml.student.complexity import count_flops, count_params
from boxpromptiml.student.model import Student


def save_checkpoint(folder: str | Path, student: Student, config: ModelConfig) -> ModelConfig:
    """Write a model folder, weights first: a folder with a ``config.json`` is complete.

    An ONNX file of earlier weights may stay in the folder; the runtime refuses it by the digest it carries.

    Args:
        folder: made if missing; an older checkpoint in it is replaced.
        student: the network; its architecture is taken from `student.config`.
        config: everything else; ``student``, ``params`` and ``flops`` are filled in.

    Returns:
        The config as written.

    Raises:
        ModelError: the backbone does not take the input size of the preprocessing spec.
    """
    spec = config.preprocessing
    student.check_input_size(spec.height, spec.width)
    complete = config.model_copy(
        update={
            "student": student.config,
            "params": count_params(student),
            "flops": count_flops(student, spec.height, spec.width),
        }
    )
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    with atomic_path(Path(folder) / WEIGHTS_NAME) as temporary:
        # Its own writer has errors of its own for a full disk.
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    complete.save(folder)
    return complete


def load_checkpoint(folder: str | Path) -> tuple[Student, ModelConfig]:
    """Read a model folder; the student comes in eval mode on the CPU.

    Raises:
        ModelError: the folder, its config or its weights are missing, broken, or do not fit each other.
    """
    config = ModelConfig.load(folder)
    path = Path(folder) / WEIGHTS_NAME
    weights = _read(path)
    try:
        student = Student(config.student)
    except ModelError as error:
        raise ModelError(f"{Path(folder) / CONFIG_NAME}: {error}") from error
    _check_fit(path, student.state_dict(), weights)
    student.load_state_dict(weights)
    return student.eval(), config


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: missing; restore it or train again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error}); restore it or train again") from error


def _check_fit(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    shaped = sorted(name for name in expected.keys() & found.keys() if expected[name].shape != found[name].shape)
    problems = [
        f"{len(names)} {what} (first: {names[0]})"
        for what, names in (("missing", missing), ("unknown", extra), ("of another shape", shaped))
        if names
    ]
    if problems:
        raise ModelError(
            f"{path}: tensors do not fit the architecture in config.json: {', '.join(problems)}; "
            "weights and config.json must come from the same model"
        )
    broken = sorted(
        name for name, value in found.items() if value.is_floating_point() and not torch.isfinite(value).all()
    )
    if broken:
        raise ModelError(f"{path}: {len(broken)} tensors hold NaN or infinity (first: {broken[0]}); train again")
