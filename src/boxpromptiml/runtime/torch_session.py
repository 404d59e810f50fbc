"""PyTorch: programs written by ``torch.export``, on CPU and CUDA, compiled or not. Needs torch, no model code."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError, ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.runtime.card import Card
from boxpromptiml.runtime.sessions import Choice

CARD_NAME = "boxpromptiml.json"  # among the extra files of the archive


class TorchSession:
    """A network in PyTorch.

    The number of threads is PyTorch's own setting, which all of the process shares.

    Args:
        path: the ``.pt2`` file.
        config: of its folder.
        choice: threads, precision, device ``cpu`` or ``cuda``; runtime ``torch-compile`` compiles at the first call.
        remedy: what to do about a file that cannot be used.

    Raises:
        ModelError: damaged, at odds with its folder, or no such device.
        MissingExtraError: torch is not installed.
    """

    def __init__(self, path: Path, config: ModelConfig, choice: Choice, remedy: str) -> None:
        try:
            import torch
        except ModuleNotFoundError as error:
            raise MissingExtraError("torch", "train") from error

        if choice.device == "cuda" and not torch.cuda.is_available():
            raise ModelError("PyTorch finds no CUDA device here; use --device cpu")
        # Before anything in the file is run.
        self.card = Card.read(_metadata(path, remedy), path, remedy)
        self.card.check(path, config, choice.precision, remedy)
        torch.set_num_threads(choice.threads)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(path)
                if choice.device != "cpu":
                    from torch.export.passes import move_to_device_pass

                    program = move_to_device_pass(program, choice.device)
                # What is guarded are relations between sizes that the example happened to have.
                network: Any = program.module(check_guards=False)
        except Exception as error:  # zip, JSON, torch: each has its own
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: cannot be loaded ({reason}); {remedy}") from error
        self._torch = torch
        self._device = choice.device
        self._network = torch.compile(network) if choice.runtime == "torch-compile" else network
        self.digest = sha256_of(path)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, 1, H, W), of uint8 (n, 3, H, W); waits for them."""
        with self._torch.inference_mode():
            image = self._torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(self._device)
            values: NDArray[np.float32] = self._network(image).float().cpu().numpy()
        return values

    def device_memory(self) -> float | None:
        """Largest memory of the GPU so far, MB; None on the CPU."""
        return self._torch.cuda.max_memory_allocated() / 1e6 if self._device == "cuda" else None


def _metadata(path: Path, remedy: str) -> dict[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"extra/{CARD_NAME}")]
            texts = json.loads(archive.read(names[0])) if names else {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: cannot be loaded ({reason}); {remedy}") from error
    return {str(key): str(value) for key, value in texts.items()} if isinstance(texts, dict) else {}
