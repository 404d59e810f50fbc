"""Every verb that runs a student takes the same options for it, and they reach the session that runs it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from boxpromptiml.cli.main import main
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.runtime import localizer, sessions
from boxpromptiml.runtime.card import Card
from boxpromptiml.runtime.sessions import Choice, Session

HOW = ("--runtime", "openvino", "--precision", "fp32", "--device", "cpu", "--threads", "1", "--looks", "2")

# What a verb needs beside its student, in a folder made by `place`.
VERBS = {
    "localize": ("localize", "photos", "-o", "out", "-m", "model"),
    "localize into a table": ("localize", "photos", "-o", "table", "-m", "model", "--format", "parquet"),
    "evaluate": ("evaluate", "model", "sets/theirs"),
    "robustness": ("robustness", "model", "sets/theirs", "--out", "harmed", "--attacks", "jpeg"),
    "protocol run": ("protocol", "run", "lab.json", "--root", "sets", "--out", "run", "--model", "model"),
    "page": ("page", "-m", "model", "--no-browser"),
    "annotate": ("annotate", "photos", "--model", "model", "--no-browser", "--teacher", "none"),
    "label-studio": ("label-studio", "--model", "model", "--teacher", "box", "--port", "0"),
    "serve": ("serve", "-m", "model"),
}
SERVERS = ("page", "annotate", "label-studio", "serve")


@pytest.fixture(scope="module")
def both_runtimes(red_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The red model for ONNX Runtime and for OpenVINO."""
    pytest.importorskip("openvino")
    from boxpromptiml.export.openvino import save_openvino, to_openvino

    folder = Path(shutil.copytree(red_model, tmp_path_factory.mktemp("both") / "model"))
    network = onnx.load(folder / "model.onnx")
    metadata = {entry.key: entry.value for entry in network.metadata_props}
    card = Card.read(metadata, folder / "model.onnx", "")
    save_openvino(to_openvino(network), card, folder / "model.xml")
    return folder


@pytest.fixture
def place(both_runtimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: ``model``, ``photos``, ``sets/theirs`` (tampered images with masks), ``lab.json``."""
    shutil.copytree(both_runtimes, tmp_path / "model")
    pixels = np.full((48, 64, 3), 90, np.uint8)
    pixels[8:24, 16:40] = (255, 0, 0)
    mask = np.zeros((48, 64), np.uint8)
    mask[8:24, 16:40] = 255
    tampered = [(f"sets/{name}/Tp", pixels) for name in ("ours", "theirs")]
    masks = [(f"sets/{name}/Gt", mask) for name in ("ours", "theirs")]
    for folder, content in (("photos", pixels), *tampered, *masks):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / folder / "0.png")
    roles = [{"name": "ours", "role": "train"}, {"name": "theirs", "role": "test"}]
    protocol = {"name": "lab", "title": "our lab's protocol", "source": "our lab", "sets": roles}
    (tmp_path / "lab.json").write_text(json.dumps(protocol))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Choice, int]]:
    """The sessions that are opened, by their class, with what they were told and how often they are to look; servers
    end as soon as they answer."""
    seen: list[tuple[str, Choice, int]] = []

    def spy(folder: Path, config: ModelConfig, choice: Choice) -> Session:
        session = sessions.open_session(folder, config, choice)
        seen.append((type(session).__name__, choice, config.decision.looks))
        return session

    monkeypatch.setattr(localizer, "open_session", spy)

    from boxpromptiml.http.server import Server

    begin = Server.startup

    async def startup(self: Server, *arguments: object, **options: object) -> None:
        import asyncio

        await begin(self, *arguments, **options)  # type: ignore[arg-type]
        while not seen:  # the service loads its model in the background
            await asyncio.sleep(0.01)
        self.should_exit = True

    monkeypatch.setattr(Server, "startup", startup)
    # It closes the streams of other libraries' handlers, which here are pytest's.
    monkeypatch.setattr("uvicorn.Config.configure_logging", lambda self: None)
    return seen


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The command line in this process: its exit code and what it says on standard error."""

    def ran(*words: str) -> tuple[int, str]:
        said = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["boxpromptiml", *words])
        monkeypatch.setattr(sys, "stderr", said)
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), said.getvalue()

    return ran


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_reach_the_session(
    verb: str, place: Path, opened: list[tuple[str, Choice, int]], run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run(*VERBS[verb], *HOW)

    assert code == 0, said
    assert opened == [("OpenVinoSession", Choice("openvino", "fp32", 1, "cpu"), 2)]


@pytest.mark.parametrize("verb", VERBS)
def test_without_them_it_is_onnx_runtime(
    verb: str, place: Path, opened: list[tuple[str, Choice, int]], run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run(*VERBS[verb])

    assert code == 0, said
    assert [(kind, choice.runtime, choice.device, looks) for kind, choice, looks in opened] == [
        ("OnnxSession", "onnx", "cpu", 1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runtime", "tensorrt"), "unknown runtime 'tensorrt'; there are auto, onnx, openvino, torch, torch-compile"),
        (("--precision", "int4"), "unknown precision 'int4'; there are fp32, fp16, bf16, int8"),
        (("--precision", "int8"), "no model-int8.onnx there; run  boxpromptiml export"),
        (("--device", "tpu"), "unknown device 'tpu'; there are cpu, cuda (torch) and gpu (OpenVINO)"),
        (("--runtime", "onnx", "--device", "cuda"), "runtime onnx does not run on cuda; use torch or torch-compile"),
        (("--runtime", "onnx", "--precision", "bf16"), "there are no bf16 files for runtime onnx"),
        (("--threads", "0"), "Invalid value for '--threads'"),
        (("--looks", "3"), "Invalid value for '--looks'"),
        (("--copies",), "looking for copies is for models that are fed images at their own size"),
        (("--completion",), "completing regions is for models that are fed images at their own size"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_had_is_one_line(
    verb: str, options: tuple[str, ...], message: str, place: Path, run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run(*VERBS[verb], *options)

    errors = [line for line in said.splitlines() if not line.startswith("{")]  # the service logs as JSON
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


def test_the_workers_of_a_table_use_the_runtime_too(place: Path, run: Callable[..., tuple[int, str]]) -> None:
    """Their processes open sessions of their own; the id in the table is that of the file which they opened."""
    parquet = pytest.importorskip("pyarrow.parquet")
    from boxpromptiml.runtime import Localizer

    assert run(*VERBS["localize into a table"], *HOW)[0] == 0

    rows = parquet.read_table(place / "table" / "part-000000.parquet").to_pylist()
    assert rows[0]["model"] == Localizer.load(place / "model", runtime="openvino", looks=2).model_id
    assert rows[0]["verdict"] == "tampered"


def test_a_student_that_a_protocol_trains_has_one_runtime(place: Path, run: Callable[..., tuple[int, str]]) -> None:
    words = [word for word in VERBS["protocol run"] if word not in ("--model", "model")]

    for option in (["--runtime", "openvino"], ["--copies"], ["--completion"], ["--looks", "2"]):
        code, said = run(*words, *option)

        assert code == 2
        assert (
            "evaluated by ONNX Runtime at fp32 on the CPU, by one look, not for copies, and completes nothing" in said
        )
