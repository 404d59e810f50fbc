"""Weights of the Segment Anything family: from a folder or the hub's cache to a model on a device."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from boxpromptiml.errors import MissingExtraError, TeacherError
from boxpromptiml.files import sha256_of

_FAMILIES = ("sam", "sam_hq", "sam2", "sam2_video", "edgetam", "edgetam_video")


def pick_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        TeacherError: it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TeacherError(f"device {name!r} is not available ({first_line(error)}); try --device cpu") from error
    return device


def load_model(weights: str) -> tuple[Any, Any]:
    """Model (float32, CPU) and image processor.

    Raises:
        MissingExtraError: transformers, or what the model needs beside it, is not installed.
        TeacherError: the weights are not found, damaged, or not of the family.
    """
    try:
        from transformers import AutoConfig, AutoModelForMaskGeneration, AutoProcessor
    except ImportError as error:
        raise MissingExtraError("transformers", "teachers") from error
    if _looks_like_folder(weights) and not Path(weights).is_dir():
        raise TeacherError(f"{weights}: no such folder; give a folder with SAM weights or a hub id")
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(weights)
        except ImportError as error:
            raise MissingExtraError(error.name or "timm", "teachers") from error
        except Exception as error:
            raise TeacherError(
                f"{weights}: no weights found there or in the local hub cache ({first_line(error)}); "
                "give a folder, or load the hub id once while the hub can be reached"
            ) from error
        if config.model_type not in _FAMILIES:
            raise TeacherError(
                f"{weights}: a {config.model_type} model, not of the Segment Anything family ({', '.join(_FAMILIES)})"
            )
        try:
            model = AutoModelForMaskGeneration.from_pretrained(weights, dtype=torch.float32)
            processor = AutoProcessor.from_pretrained(weights).image_processor
        except ImportError as error:
            raise MissingExtraError(error.name or "torchvision", "teachers") from error
        except Exception as error:
            raise TeacherError(f"{weights}: the weights cannot be loaded ({first_line(error)})") from error
    return model, processor


def identity_of(weights: str, model: Any) -> str:
    """What distinguishes these weights from others of the same name: the hub's commit, or a digest of the files."""
    folder = Path(weights)
    if not folder.is_dir():
        return f"{weights}@{getattr(model.config, '_commit_hash', None) or 'unknown'}"
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*config.json")]):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def _looks_like_folder(weights: str) -> bool:
    return weights.startswith((".", "/", "~")) or weights.count("/") > 1 or "\\" in weights


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or notes of transformers while loading: the caller shows its own progress."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
