"""`boxpromptiml label-studio` as a process of its own, asked over HTTP as Label Studio asks."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from boxpromptiml.formats.label_studio_rle import decode
from boxpromptiml.regions import Box
from boxpromptiml.teachers import load_teacher

COMMAND = [sys.executable, "-m", "boxpromptiml.cli.main", "label-studio"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LABEL_STUDIO")} | {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


class Server:
    """A backend that runs; `log` is what it wrote to standard error."""

    def __init__(self, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | environment,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if match := re.search(r"http://[^/]+:(\d+)/", line):
                self.address = f"http://127.0.0.1:{match[1]}"
                return
        raise AssertionError(self.process.communicate()[1])

    def ask(self, path: str, body: Any = None, user: str | None = None) -> tuple[int, Any]:
        """Status and JSON of the answer; headers as ``ml/api_connector.py`` sends them."""
        headers = {"User-Agent": "heartex/1.23.2", "Accept": "*/*", "Content-Type": "application/json"}
        if user is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=100) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def stop(self) -> tuple[int, str]:
        """End it as a service manager does: its exit code and what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """A function that starts the command; what still runs at the end is killed."""
    servers: list[Server] = []

    def start_(*options: str, **environment: str) -> Server:
        servers.append(Server(*options, **environment))
        return servers[-1]

    yield start_
    for server in servers:
        server.process.kill()
        server.process.communicate()


def test_a_labelling_session(
    start: Callable[..., Server],
    site: Any,
    png: bytes,
    photo: NDArray[np.uint8],
    setup_request: dict[str, Any],
    drawn_box: dict[str, Any],
    predict_request: Callable[..., dict[str, Any]],
) -> None:
    """Add the backend, open a task, draw a box, hit Train, look at the console."""
    site.give("/data/upload/1/a.png", png)
    server = start(LABEL_STUDIO_URL=site.address, LABEL_STUDIO_API_KEY="key")
    assert server.ask("/health")[0] == 200
    status, answer = server.ask("/setup", setup_request)
    assert (status, list(answer)) == (200, ["model_version"])
    assert server.ask("/predict", predict_request("/data/upload/1/a.png"))[1]["results"] == [[]]

    status, answer = server.ask("/predict", predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    assert status == 200
    (region,) = answer["results"][0]["result"]
    (expected,) = load_teacher("grabcut").masks(photo, [Box(30, 16, 90, 64)])
    assert np.array_equal(decode(region["value"]["rle"], 80, 120), expected.probability > 0.5)
    assert {headers.get("Authorization") for _, headers in site.requests} == {"Token key"}

    assert server.ask("/webhook", {"action": "START_TRAINING"})[0] == 501
    status, answer = server.ask("/predict", predict_request("http://169.254.169.254/x.png", drawn=[drawn_box]))
    assert status == 403
    code, errors = server.stop()
    assert code == 0
    assert answer["error"] in errors
    assert "Traceback" not in errors


def test_a_server_for_others_with_a_password_and_local_files(
    start: Callable[..., Server],
    tmp_path: Path,
    png: bytes,
    red_model: Path,
    predict_request: Callable[..., dict[str, Any]],
) -> None:
    (tmp_path / "a.png").write_bytes(png)
    options = ["--host", "0.0.0.0", "--local-files", str(tmp_path), "--model", str(red_model), "--teacher", "box"]
    server = start(*options, BOXPROMPTIML_TOKEN="a-long-enough-token")
    request = predict_request("/data/local-files/?d=a.png", "/data/local-files/?d=../a.png")
    assert server.ask("/predict", request)[0] == 401
    assert server.ask("/predict", request, user="ls:wrong")[0] == 401
    status, answer = server.ask("/predict", request, user="ls:a-long-enough-token")
    assert status == 200
    found, refused = answer["results"]
    assert found["result"][0]["type"] == "brushlabels"
    assert "is not in the folder" in refused["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--host", "0.0.0.0"], "needs a token", id="open to others without a password"),
        pytest.param(["--local-files", "nowhere"], "no such folder", id="local files"),
        pytest.param(
            ["--label-studio-url", "localhost:8080"],
            "--label-studio-url localhost:8080: only http",
            id="URL without a scheme",
        ),
        pytest.param(["--label-studio-url", "http://"], "not a URL", id="URL without a host"),
        pytest.param(["--image-host", "http://a.example"], "--image-host", id="URL for a host"),
        pytest.param(["--model", "nowhere"], "no such model folder", id="model"),
        pytest.param(["--weights", "x"], "has no weights", id="weights for GrabCut"),
        pytest.param(["--teacher-device", "cpu"], "no option 'device'", id="device for GrabCut"),
        pytest.param(["--runtime", "onnx"], "--runtime is for a student, and there is none", id="no student"),
        pytest.param(["--no-copies"], "--no-copies is for a student, and there is none", id="no student, no copies"),
        pytest.param(["--teacher", "oracle"], "oracle", id="teacher"),
    ],
)
def test_bad_options_end_with_one_line(options: list[str], message: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
