"""PyTorch as it is: ``model.safetensors``, neither exported nor compiled, behind the same `Localizer` as all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.card import Card
from boxpromptiml.runtime.sessions import Choice


class EagerSession:
    """The student itself, normalisation before and sigmoid after, on cpu or cuda.

    Raises:
        ModelError: no student there, or damaged weights.
        MissingExtraError: torch or timm is not installed.
    """

    def __init__(self, folder: Path, threads: int, device: str) -> None:
        import torch

        from boxpromptiml.student import load_checkpoint

        torch.set_num_threads(threads)
        student, config = load_checkpoint(folder)
        self.digest = sha256_of(folder / WEIGHTS_NAME)
        self.card = Card(config.preprocessing, self.digest)
        self._torch = torch
        self._device = device
        self._student = student.to(device).eval()
        # The exporter's module does the same, but it would bring onnx, which counts as memory.
        spec = config.preprocessing
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (spec.mean, spec.std))

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, 1, H, W), of uint8 (n, 3, H, W)."""
        with self._torch.inference_mode():
            image = self._torch.from_numpy(batch).to(self._device).float()
            probability = self._student((image - self._mean) / self._std).sigmoid()
            # To the host: what the other runtimes return, and what waits for a GPU.
            values: NDArray[np.float32] = probability.cpu().numpy()
        return values

    def device_memory(self) -> float | None:
        """Largest memory of the GPU so far, MB; None on the CPU."""
        return self._torch.cuda.max_memory_allocated() / 1e6 if self._device == "cuda" else None


def open_eager(folder: Path, threads: int, device: str) -> Localizer:
    """A localizer that computes with PyTorch, not compiled."""
    choice = Choice("torch", "fp32", threads, device)
    return Localizer(EagerSession(folder, threads, device), ModelConfig.load(folder), folder, choice)
