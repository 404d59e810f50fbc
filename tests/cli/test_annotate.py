"""`boxpromptiml annotate`: what is wrong is one line, before anything is served."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.cli.main import main
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.server import FIRST_PORT, listen
from boxpromptiml.images import save_png
from boxpromptiml.web import WebSettings
from boxpromptiml.web.server import address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_png(tmp_path / "photos" / "a.png", np.full((30, 40, 3), 90, np.uint8))
    return tmp_path / "photos"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{folder}/a.png"], "a.png: not a folder; give a folder of images, or a dataset's"),
        (["{folder}/.."], "no images in it"),
        (["{folder}", "--port", "{taken}"], "port {taken} of 127.0.0.1 is in use; leave --port out"),
        (["{folder}", "--port", "70000"], "Invalid value for '--port'"),
        (["{folder}", "--host", "no.such.host.invalid"], "host no.such.host.invalid: no such name or address"),
        (["{folder}", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["{folder}", "--token", "short"], "the token must be 16 to 256"),
        (["{folder}", "--weights", "x", "--teacher", "none"], "--weights is for the sam teacher"),
        (["{folder}", "--teacher-device", "cpu"], "--teacher-device is for the sam teacher"),
        (
            ["{folder}", "--model", "none", "--device", "cpu"],
            "--device is for a student, and there is none; add --model FOLDER (--teacher",
        ),
        (["{folder}", "--model", "none", "--threads", "2"], "--threads is for a student"),
        (["{folder}", "--model", "none", "--copies"], "--copies is for a student"),
        (["{folder}", "--model", "none", "--no-completion"], "--no-completion is for a student"),
        (["{folder}", "--model", "none", "--looks", "1"], "--looks is for a student"),
        (["{folder}", "--teacher", "x"], "'x' is not one of"),
        (["{folder}", "--model", "nowhere"], "nowhere: no such model folder"),
        (["{folder}", "--read-only"], "is no dataset yet; leave --read-only out once"),
        (["{folder}", "--max-upload-mb", "0"], "Invalid value for '--max-upload-mb'"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path,
    taken_port: int,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if arguments == ["{folder}/.."]:
        (folder / "a.png").unlink()
    words = [word.format(folder=folder, taken=taken_port) for word in arguments]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["boxpromptiml", "annotate", *words, "--no-browser"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("error: ")
    assert message.format(taken=taken_port) in line
    assert not list(tmp_path.rglob("dataset.db"))


def test_port_zero_is_the_first_free_one() -> None:
    with listen(WebSettings()) as first, listen(WebSettings()) as second:
        ports = [taken.getsockname()[1] for taken in (first, second)]
    assert ports[0] != ports[1]
    assert all(port >= FIRST_PORT for port in ports)


def test_a_taken_port_is_refused(taken_port: int) -> None:
    with pytest.raises(BoxPromptError, match="in use"):
        listen(WebSettings(port=taken_port))


TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("settings", "local", "expected"),
    [
        ({}, False, "http://127.0.0.1:81/"),
        ({"host": "localhost"}, False, "http://localhost:81/"),
        ({"host": "::1"}, False, "http://[::1]:81/"),
        ({"token": TOKEN}, False, f"http://127.0.0.1:81/?token={TOKEN}"),
        ({"host": "0.0.0.0", "token": TOKEN}, False, f"http://{socket.gethostname()}:81/?token={TOKEN}"),
        ({"host": "0.0.0.0", "token": TOKEN}, True, f"http://localhost:81/?token={TOKEN}"),
    ],
)
def test_the_address_to_open(settings: dict[str, str], local: bool, expected: str) -> None:
    assert address(WebSettings(**settings), 81, local=local) == expected  # type: ignore[arg-type]


def test_annotate_is_not_paid_for_by_others() -> None:
    """The command line, and localizing, must not load a web framework."""
    code = (
        "import boxpromptiml, boxpromptiml.cli.main; boxpromptiml.Localizer; boxpromptiml.Dataset\n"
        "import sys; print(sorted({'fastapi', 'starlette', 'uvicorn', 'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_itself_loads_no_network_framework() -> None:
    code = (
        "import boxpromptiml.web, boxpromptiml.web.opening\n"
        "import sys; print(sorted({'torch', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
@pytest.mark.parametrize(("verb", "extra"), [("annotate", "web"), ("page", "web"), ("serve", "serve")])
def test_without_the_extra_it_says_what_to_install(folder: Path, verb: str, extra: str, package: str) -> None:
    arguments = [verb, str(folder)] if verb == "annotate" else [verb]
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"sys.argv = ['boxpromptiml', *{arguments!r}]\n"
        "from boxpromptiml.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {package} is not installed: run  pip install 'boxpromptiml[{extra}]'"
