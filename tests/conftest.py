"""Fixtures that every test may use."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# Before the first import of huggingface_hub, timm or transformers: set later, it is ignored.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

    from boxpromptiml.export.deployed import DeployedStudent
    from boxpromptiml.model_config import ModelConfig
    from boxpromptiml.runtime.card import Precision

# A busy machine is no failure.
settings.register_profile("boxpromptiml", deadline=None)
settings.load_profile("boxpromptiml")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research data sets (CASIA and others), which are not part of the project; skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the research data sets are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """A function that calls another one until its result is true, and returns that.

    ``wait_until(condition, seconds, what="in words, for a failure")``. The limit is no measure of speed: it ends a test
    that would wait for ever, and is far above what a busy machine needs. A page tells nothing of itself while a test
    sleeps: ask Playwright's own methods to wait.
    """

    def wait(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, what or f"it did not come true in {seconds:g} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def own_port() -> Callable[[], int]:
    """A function that returns a port that is free, and that nobody else is given once its server has ended.

    Not the command's default, which another test's server would take, none that the system hands out to clients, and
    none that browsers refuse (10080 is the highest of those).
    """

    def port() -> int:
        while True:
            number = random.randrange(20_000, 30_000)
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", number))
                except OSError:
                    continue
            return number

    return port


@pytest.fixture
def make_small_disk() -> Iterator[Callable[[Path, int], Path]]:
    """A function that mounts a disk of so many kB on a new folder, which only root can do; skips elsewhere."""
    mounted = []

    def make(folder: Path, kilobytes: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk can be mounted by root only")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


# Sends its own process a signal right after the nth call of a method: no race between a test that waits for progress
# and a program that makes it. What follows is a real death of a real process.
_SIGNALLED = """
import importlib, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by whatever a shell starts in the background
place, calls, sign, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
owner, _, method = name.partition(".")
target = getattr(importlib.import_module(module), owner)
original, left = getattr(target, method), [int(calls)]

def counted(*args, **kwargs):
    value = original(*args, **kwargs)
    left[0] -= 1
    if left[0] == 0:
        (os.killpg if int(sign) < 0 else os.kill)(os.getpid(), abs(int(sign)))
    return value

setattr(target, method, counted)
sys.argv = ["boxpromptiml", *arguments]
from boxpromptiml.cli.main import main
main()
"""


@pytest.fixture(scope="session")
def run_signalled() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own that gets a signal after some calls of one of its methods.

    ``run_signalled(signal.SIGKILL, "boxpromptiml.dataset:Dataset.put", 3, "import", ...)``. A negative signal goes to
    all processes that it has started, too, as what `timeout` and clusters send.
    """

    def run(sign: int, place: str, calls: int, *arguments: object) -> subprocess.CompletedProcess[str]:
        words = [place, str(calls), str(int(sign)), *(str(argument) for argument in arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", _SIGNALLED, *words],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
            start_new_session=sign < 0,
        )

    return run


@pytest.fixture(scope="session")
def make_red_model() -> Callable[..., Path]:
    """A function that writes a real model folder (without torch or training) whose network finds what is red.

    ``make_red_model(folder, height=64, width=64, threshold=0.5)``: the probability is
    ``sigmoid(20 * ((R - max(G, B)) / 255 - 0.5))``: 0.99995 for pure red, 0.00005 for grey. Written with
    ``onnx.helper``, with the metadata that the export writes.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from boxpromptiml.files import sha256_of
    from boxpromptiml.model_config import FORMAT_VERSION, ONNX_NAME, WEIGHTS_NAME, DecisionRule, ModelConfig
    from boxpromptiml.preprocessing import PreprocessingSpec

    def make(folder: Path, height: int = 64, width: int = 64, threshold: float = 0.5) -> Path:
        spec = PreprocessingSpec(height=height, width=width)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS_NAME).write_bytes(b"the red model has no weights")
        ModelConfig(preprocessing=spec, decision=DecisionRule(threshold=threshold)).save(folder)
        constants = {
            "red": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1),
            "others": np.array([0, 1, 1], np.float32).reshape(1, 3, 1, 1),
            "slope": np.array(20 / 255, np.float32),
            "shift": np.array(-10, np.float32),
            "channel": np.array([1], np.int64),
        }
        nodes = [
            helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["pixels", "red"], ["reds"]),
            helper.make_node("ReduceSum", ["reds", "channel"], ["r"], keepdims=1),
            helper.make_node("Mul", ["pixels", "others"], ["greens_and_blues"]),
            helper.make_node("ReduceMax", ["greens_and_blues", "channel"], ["gb"], keepdims=1),
            helper.make_node("Sub", ["r", "gb"], ["redness"]),
            helper.make_node("Mul", ["redness", "slope"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["probability"]),
        ]
        graph = helper.make_graph(
            nodes,
            "red",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, height, width])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1, height, width])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        metadata = {
            "boxpromptiml.preprocessing": spec.model_dump_json(),
            "boxpromptiml.weights_sha256": sha256_of(folder / WEIGHTS_NAME),
            "boxpromptiml.format_version": str(FORMAT_VERSION),
        }
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, str(folder / ONNX_NAME))
        return folder

    return make


@pytest.fixture(scope="session")
def red_model(make_red_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose network finds what is red, at 64 x 64 (see `make_red_model`)."""
    return make_red_model(tmp_path_factory.mktemp("red-model"))


@pytest.fixture(scope="session")
def _conversions() -> dict[str, onnx.ModelProto]:
    return {}


@pytest.fixture(scope="module")
def convert_once(_conversions: dict[str, onnx.ModelProto]) -> Iterator[dict[str, onnx.ModelProto]]:
    """A student that was converted to ONNX is not converted again, which takes seconds and gives the same graph.

    For tests of what comes before and after. ``convert_once.clear()`` makes a test convert for itself.
    """
    from boxpromptiml.export import run

    convert = run.to_onnx

    def converted(model: DeployedStudent, config: ModelConfig, precision: Precision = "fp32") -> onnx.ModelProto:
        student = hashlib.sha256(f"{config.student} {config.preprocessing} {precision}".encode())
        for name, values in model.state_dict().items():
            student.update(f"{name} {values.dtype} {tuple(values.shape)}".encode() + values.numpy().tobytes())
        key = student.hexdigest()
        if key not in _conversions:
            _conversions[key] = convert(model, config, precision)
        return _conversions[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "to_onnx", converted)
        yield _conversions


@pytest.fixture(scope="session")
def foliage() -> Callable[..., NDArray[np.uint8]]:
    """A function that makes a photo of nothing in particular: noise of several sizes, in colour, uint8 (h, w, 3)."""
    import cv2

    def make(height: int = 240, width: int = 320, seed: int = 0) -> NDArray[np.uint8]:
        random = np.random.default_rng(seed)
        total = np.zeros((height, width, 3), np.float32)
        for cell, weight in ((2, 18.0), (5, 30.0), (14, 40.0), (40, 40.0)):
            coarse = random.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
            total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.clip(total + 128, 0, 255).astype(np.uint8)

    return make


class CopyMove(NamedTuple):
    """A forged photo, uint8 (h, w, 3), and two masks, bool (h, w): what was copied, and where it was pasted."""

    image: NDArray[np.uint8]
    source: NDArray[np.bool_]
    pasted: NDArray[np.bool_]


@pytest.fixture(scope="session")
def copy_move() -> Callable[..., CopyMove]:
    """A function that copies a disc of a photo to another place of it, turned and scaled on the way."""
    import cv2

    def make(
        photo: NDArray[np.uint8],
        here: tuple[int, int],
        there: tuple[int, int],
        radius: int,
        degrees: float = 0,
        scale: float = 1,
    ) -> CopyMove:
        height, width = photo.shape[:2]
        rows, columns = np.ogrid[:height, :width]
        source = (columns - here[0]) ** 2 + (rows - here[1]) ** 2 < radius**2
        matrix = cv2.getRotationMatrix2D(here, degrees, scale)
        matrix[:, 2] += np.subtract(there, here)
        twin = cv2.warpAffine(photo, matrix, (width, height), flags=cv2.INTER_LINEAR)
        pasted = cv2.warpAffine(source.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
        return CopyMove(np.where(pasted[..., None], twin, photo).astype(np.uint8), source, pasted)

    return make
