"""What can run a model. Another runtime is one more entry of `RUNTIMES`; opening it imports what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from boxpromptiml.errors import BoxPromptError, MissingExtraError, ModelError
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig
from boxpromptiml.runtime.card import PRECISIONS, FileFormat, Precision, export_command, file_name, parse_name

if TYPE_CHECKING:
    from boxpromptiml.runtime import Localizer


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to run a model folder.

    Attributes:
        name: for the command line and the table.
        file: the file of a model folder that it reads; its size is the one reported.
        packages: what it needs, by import name (which for all of them is the distribution's).
        extra: of this package, that brings them; None: always there.
        devices: it can run on.
        open: (model folder, threads, device) -> localizer.
        precision: of its arithmetic, and so of the peak that it is compared with.
        asked: measured only where it is asked for by name.
    """

    name: str
    file: str
    packages: tuple[str, ...]
    extra: str | None
    devices: tuple[str, ...]
    open: Callable[[Path, int, str], Localizer]
    precision: Precision = "fp32"
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


def _open(folder: Path, threads: int, device: str, *, runtime: str, precision: str) -> Localizer:
    """A runtime file, in the session that `boxpromptiml localize` uses."""
    from boxpromptiml.runtime import Localizer

    return Localizer.load(folder, runtime=runtime, threads=threads, device=device, precision=precision)


def _eager(folder: Path, threads: int, device: str) -> Localizer:
    from boxpromptiml.bench.eager import open_eager

    if device == "cuda":
        require_gpu()
    return open_eager(folder, threads, device)


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
    opened = partial(_open, runtime=runtime, precision=precision)
    return Runtime(name, file_name(form, precision), (packages,), extra, devices, opened, precision, asked=compiled)


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        _deployed("onnx", "fp32"),
        Runtime("torch", WEIGHTS_NAME, ("torch", "timm"), "train", ("cpu", "cuda"), _eager),
        _deployed("onnx", "fp16"),
        _deployed("onnx", "int8"),
        *(_deployed("openvino", precision) for precision in PRECISIONS),
        *(_deployed("torch", precision) for precision in ("fp32", "fp16", "bf16")),
        *(_deployed("torch", precision, compiled=True) for precision in ("fp32", "fp16", "bf16")),
    )
}
