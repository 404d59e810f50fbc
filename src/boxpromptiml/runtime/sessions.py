"""Opening the runtime files of a model folder: which one, with which library, and on what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ModelError
from boxpromptiml.machine import usable_cores
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.models import file_digests
from boxpromptiml.runtime.card import FORMATS, PRECISIONS, Card, FileFormat, Precision, export_command, file_name

RuntimeName = Literal["auto", "onnx", "openvino", "torch", "torch-compile"]
RUNTIME_NAMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

# Import names of what a runtime needs.
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch", "torch-compile": "torch"}
# What ``auto`` chooses from.
_AUTOMATIC: dict[str, tuple[FileFormat, ...]] = {"cpu": FORMATS, "cuda": ("torch",), "gpu": ("openvino",)}
# Files that no export makes.
_IMPOSSIBLE = frozenset({("onnx", "bf16"), ("torch", "int8"), ("torch-compile", "int8")})


class Session(Protocol):
    """An opened network. May be used from many threads at once.

    Attributes:
        card: what its file says of itself.
        digest: SHA-256 of its file or files: they alone decide what comes out.
    """

    @property
    def card(self) -> Card: ...

    @property
    def digest(self) -> str: ...

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, 1, H, W), of uint8 (n, 3, H, W) at an input size of the network."""
        ...

    def device_memory(self) -> float | None:
        """Largest memory of an accelerator so far, MB; None without one."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be opened, decided.

    Attributes:
        runtime: never ``auto``.
        precision: of the file.
        threads: of one inference.
        device: ``cpu``, ``cuda`` (torch) or ``gpu`` (OpenVINO).
    """

    runtime: RuntimeName
    precision: Precision
    threads: int
    device: str

    @property
    def format(self) -> FileFormat:
        """Of the file that the runtime reads."""
        return "torch" if self.runtime == "torch-compile" else self.runtime  # type: ignore[return-value]


def choose(
    folder: Path, runtime: str = "auto", precision: str | None = None, threads: int | None = None, device: str = "cpu"
) -> Choice:
    """Decide what of a model folder to open.

    Without a wish, the first that is there of ONNX Runtime, OpenVINO and torch (on ``cuda``: torch), each at fp32
    before fp16, bf16 and int8: a faster file that was added later changes no result unless it is asked for.

    Raises:
        ModelError: an unknown name, a device that the runtime does not run on, or no such file in the folder.
    """
    _check_names(runtime, precision, threads, device)
    names: Sequence[str] = [runtime] if runtime != "auto" else _AUTOMATIC[device]
    possible = list(_candidates(names, precision))
    if not possible:
        raise ModelError(f"there are no {precision} files for {device}; choose another precision or device")
    # Where none of them is installed, the error names the first: by its file, or by what to install.
    wanted = [one for one in possible if _installed(one[0])] or possible
    for name, level in wanted:
        choice = Choice(name, level, threads or usable_cores(), device)
        if (folder / file_name(choice.format, level)).is_file():
            return choice
    first = Choice(*wanted[0], 1, device)
    raise ModelError(
        f"{folder}: no {file_name(first.format, first.precision)} there; "
        f"run  {export_command(folder, first.format, first.precision)}"
    )


def open_session(folder: Path, config: ModelConfig, choice: Choice) -> Session:
    """Open the runtime file that was chosen.

    Args:
        folder: model folder with ``config.json`` and the file.
        config: its configuration; the file must have been exported with the same preprocessing.
        choice: see `choose`.

    Raises:
        ModelError: a damaged file, or one that contradicts the folder's config or weights; no such device.
        MissingExtraError: the runtime's package is not installed.
    """
    return open_file(folder / file_name(choice.format, choice.precision), folder, config, choice)


def open_file(path: Path, folder: Path, config: ModelConfig, choice: Choice) -> Session:
    """Open a file that need not have its final name or place yet, as the export does before it keeps one."""
    # A file that a card describes is not to be made anew: it would not be the described one.
    described = path.name in file_digests(folder)
    remedy = "install it again" if described else f"run  {export_command(folder, choice.format, choice.precision)}"
    if choice.format == "onnx":
        from boxpromptiml.runtime.onnx_session import OnnxSession

        return OnnxSession(path, config, choice, remedy)
    if choice.format == "openvino":
        from boxpromptiml.runtime.openvino_session import OpenVinoSession

        return OpenVinoSession(path, config, choice, remedy)
    from boxpromptiml.runtime.torch_session import TorchSession

    return TorchSession(path, config, choice, remedy)


def _candidates(names: Sequence[str], precision: str | None) -> Iterator[tuple[RuntimeName, Precision]]:
    for level in PRECISIONS:
        if precision in (None, level):
            for name in RUNTIME_NAMES:
                if name in names and (name, level) not in _IMPOSSIBLE:
                    yield name, level


def _check_names(runtime: str, precision: str | None, threads: int | None, device: str) -> None:
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ModelError(f"threads must be a whole number, at least 1, got {threads!r}")
    if runtime not in RUNTIME_NAMES:
        raise ModelError(f"unknown runtime {runtime!r}; there are {', '.join(RUNTIME_NAMES)}")
    if precision is not None and precision not in PRECISIONS:
        raise ModelError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if (runtime, precision) in _IMPOSSIBLE:
        raise ModelError(f"there are no {precision} files for runtime {runtime}; choose another runtime or precision")
    homes = {"cpu": RUNTIME_NAMES, "cuda": ("auto", "torch", "torch-compile"), "gpu": ("auto", "openvino")}
    if device not in homes:
        raise ModelError(f"unknown device {device!r}; there are cpu, cuda (torch) and gpu (OpenVINO)")
    if runtime not in homes[device]:
        raise ModelError(f"runtime {runtime} does not run on {device}; use {' or '.join(homes[device][1:])}")


def _installed(name: RuntimeName) -> bool:
    return find_spec(_PACKAGES[name]) is not None
