"""OpenVINO (extra ``openvino``): Intel processors and graphics."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError, ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.runtime.card import (
    INPUT_NAME,
    OUTPUT_NAME,
    PRECISION_KEY,
    PREPROCESSING_KEY,
    SIZE_NAME,
    UPSAMPLE_KEY,
    VERSION_KEY,
    WEIGHTS_KEY,
    Card,
)
from boxpromptiml.runtime.sessions import Choice

BIN_KEY = "boxpromptiml.bin_sha256"  # the weights lie in a file of their own

# Left to itself, the CPU plugin computes in bfloat16 wherever the processor can, whatever the file says.
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}


def import_openvino() -> Any:
    """The package, kept from reporting its use to its maker's analytics host, which importing it would do.

    Raises:
        MissingExtraError: it is not installed.
    """
    name = "openvino_telemetry"
    blocked = name not in sys.modules
    if blocked:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError("openvino", "openvino") from error
    finally:
        if blocked:
            del sys.modules[name]
    return openvino


_CORE_LOCK = threading.Lock()
_cores: list[Any] = []


def openvino_core() -> Any:
    """OpenVINO's `Core`, one for the process and never given up.

    Each core's CPU plugin has a stack of its own for signal handlers, and puts back, when it ends, the stack that it
    found. Of two cores, the second puts back what the first has freed: the next signal, as Ctrl-C, kills the process.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    with _CORE_LOCK:
        if not _cores:
            _cores.append(import_openvino().Core())
        return _cores[0]


class OpenVinoSession:
    """A network in OpenVINO.

    Args:
        path: the ``.xml`` file; its ``.bin`` lies beside it.
        config: of its folder.
        choice: threads, precision, and device: ``cpu`` or ``gpu``.
        remedy: what to do about a file that cannot be used.

    Raises:
        ModelError: damaged, at odds with its folder, or no such device.
        MissingExtraError: OpenVINO is not installed.
    """

    def __init__(self, path: Path, config: ModelConfig, choice: Choice, remedy: str) -> None:
        core = openvino_core()
        device = choice.device.upper()
        if device not in {name.partition(".")[0] for name in core.available_devices}:
            raise ModelError(f"OpenVINO finds no {choice.device} here, only {', '.join(core.available_devices)}")
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise ModelError(f"{path}: no {weights.name} beside it; {remedy}")
        try:
            model = core.read_model(str(path), str(weights))
        except Exception as error:  # OpenVINO raises RuntimeError, and others
            raise ModelError(f"{path}: cannot be loaded ({_line(error)}); {remedy}") from error
        metadata = _metadata(model)
        self.card = Card.read(metadata, path, remedy)
        self.card.check(path, config, choice.precision, remedy)
        digest = sha256_of(weights)
        if metadata.get(BIN_KEY) != digest:
            raise ModelError(f"{path}: {weights.name} beside it is of another export, or damaged; {remedy}")
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _hint(core, device, choice.precision)}
        if device == "CPU":
            # One request uses all the threads; callers in several threads take turns.
            settings |= {"INFERENCE_NUM_THREADS": choice.threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        try:
            self._compiled = core.compile_model(model, device, settings)
        except Exception as error:
            raise ModelError(f"{path}: cannot be compiled for {choice.device} ({_line(error)}); {remedy}") from error
        self.digest = hashlib.sha256((sha256_of(path) + digest).encode()).hexdigest()
        self._local = threading.local()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, 1, H, W), of uint8 (n, 3, H, W)."""
        # A request belongs to one thread at a time.
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        given: dict[str, NDArray[np.uint8] | NDArray[np.int64]] = {INPUT_NAME: batch}
        if self.card.upsample:
            given[SIZE_NAME] = np.array(batch.shape[2:], dtype=np.int64)
        answer = self._local.request.infer(given)
        # A copy: the request writes its next answer into the same memory.
        return np.array(answer[OUTPUT_NAME], dtype=np.float32)

    def device_memory(self) -> None:
        """None: not reported."""
        return


def _metadata(model: Any) -> dict[str, str]:
    keys = (VERSION_KEY, PREPROCESSING_KEY, WEIGHTS_KEY, PRECISION_KEY, UPSAMPLE_KEY, BIN_KEY)
    return {key: str(model.get_rt_info(key.split(".")).value) for key in keys if model.has_rt_info(key.split("."))}


def _hint(core: Any, device: str, precision: str) -> str:
    """How to compute: half precision only where the device has it, otherwise the weights alone are rounded."""
    hint = _HINTS[precision]
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    known = {"f16": "FP16", "bf16": "BF16"}
    return "f32" if hint in known and known[hint] not in capabilities else hint


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
