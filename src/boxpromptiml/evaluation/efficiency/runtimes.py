"""What can run a model. Another runtime is one more entry of `RUNTIMES`; opening it imports what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import BoxPromptError, MissingExtraError, ModelError
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig
from boxpromptiml.runtime.card import PRECISIONS, FileFormat, Precision, export_command, file_name, parse_name


class Network(Protocol):
    """An opened network."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, H, W), of uint8 (n, 3, H, W) at the network's size; waits for them."""
        ...

    def device_memory(self) -> float | None:
        """Largest memory of an accelerator so far, MB; None without one."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to run a model folder.

    Attributes:
        name: for the command line and the table.
        file: the file of a model folder that it reads; its size is the one reported.
        packages: what it needs, by import name (which for all of them is the distribution's).
        extra: of this package, that brings them; None: always there.
        devices: it can run on.
        open: (model folder, threads, device) -> network.
        asked: measured only where it is asked for by name.
    """

    name: str
    file: str
    packages: tuple[str, ...]
    extra: str | None
    devices: tuple[str, ...]
    open: Callable[[Path, int, str], Network]
    asked: bool = False

    def check(self, folder: Path, device: str) -> None:
        """Refuse what cannot be measured, before anything is.

        Raises:
            ModelError: no model there, or not the file that this runtime needs.
            MissingExtraError: its packages are not installed.
            BoxPromptError: it does not run on that device.
        """
        ModelConfig.load(folder)
        if not (folder / self.file).is_file():
            parsed = parse_name(self.file)
            remedy = "restore it or train again" if parsed is None else f"run  {export_command(folder, *parsed)}"
            raise ModelError(f"{folder}: no {self.file} there, which runtime {self.name} needs; {remedy}")
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtraError(package, self.extra or "train")
        if device not in self.devices:
            others = ", ".join(runtime.name for runtime in RUNTIMES.values() if device in runtime.devices)
            where = f"; these do: {others}" if others else ""
            raise BoxPromptError(f"runtime {self.name} does not run on {device}{where}")

    def versions(self) -> dict[str, str]:
        """Of its packages."""
        found: dict[str, str] = {}
        for package in self.packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found


def require_gpu() -> None:
    """Refuse cuda where there is none; asked once, as every measuring process would take seconds to find out.

    Raises:
        BoxPromptError: torch sees no CUDA GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise BoxPromptError("--device cuda: torch sees no CUDA GPU; use --device cpu")


class _Deployed:
    """A runtime file, in the session that `boxpromptiml localize` uses."""

    def __init__(self, folder: Path, threads: int, device: str, runtime: str, precision: str) -> None:
        from boxpromptiml.runtime import Localizer

        self._localizer = Localizer.load(folder, runtime=runtime, threads=threads, device=device, precision=precision)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._localizer.probabilities(batch)

    def device_memory(self) -> float | None:
        return self._localizer.session.device_memory()


class _Torch:
    """PyTorch as it is, from ``model.safetensors``, without compilation."""

    def __init__(self, folder: Path, threads: int, device: str) -> None:
        import torch

        from boxpromptiml.student import load_checkpoint

        if device == "cuda":
            require_gpu()
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        student, config = load_checkpoint(folder)
        self._torch = torch
        self._device = device
        self._student = student.to(device)
        # The exporter's module does the same, but it would bring onnx, which counts as memory.
        spec = config.preprocessing
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (spec.mean, spec.std))

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            image = self._torch.from_numpy(batch).to(self._device).float()
            probability = self._student((image - self._mean) / self._std).sigmoid()
            # To the host: what the other runtimes return, and what waits for a GPU.
            values: NDArray[np.float32] = probability[:, 0].cpu().numpy()
        return values

    def device_memory(self) -> float | None:
        return self._torch.cuda.max_memory_allocated() / 1e6 if self._device == "cuda" else None


def _deployed(form: FileFormat, precision: Precision, *, compiled: bool = False) -> Runtime:
    """A runtime file as an entry of the table: ``onnx``, ``openvino-bf16``, ``torch-export``, ``torch-compile``."""
    names = {"torch": "torch-compile" if compiled else "torch-export"}
    name = names.get(form, form) + ("" if precision == "fp32" else f"-{precision}")
    packages, extra = {
        "onnx": ("onnxruntime", None),
        "openvino": ("openvino", "openvino"),
        "torch": ("torch", "train"),
    }[form]
    devices = ("cpu", "cuda") if form == "torch" else ("cpu",)
    runtime = "torch-compile" if compiled else form
    opened = partial(_Deployed, runtime=runtime, precision=precision)
    return Runtime(name, file_name(form, precision), (packages,), extra, devices, opened, asked=compiled)


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        _deployed("onnx", "fp32"),
        Runtime("torch", WEIGHTS_NAME, ("torch", "timm"), "train", ("cpu", "cuda"), _Torch),
        _deployed("onnx", "fp16"),
        _deployed("onnx", "int8"),
        *(_deployed("openvino", precision) for precision in PRECISIONS),
        *(_deployed("torch", precision) for precision in ("fp32", "fp16", "bf16")),
        *(_deployed("torch", precision, compiled=True) for precision in ("fp32", "fp16", "bf16")),
    )
}
