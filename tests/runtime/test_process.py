"""What `boxpromptiml localize` needs of a machine, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

_PROGRAM = """
import sys
sys.argv[0] = "boxpromptiml"
from boxpromptiml.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
from boxpromptiml.machine import peak_memory
import json
print(json.dumps({"peak": peak_memory() / 1e6, "modules": sorted(sys.modules)}), file=sys.stderr)
"""
# Libraries that cost more to import than an image takes, or that the core install has not.
_HEAVY = {"torch", "torchvision", "timm", "cv2", "scipy", "sklearn", "matplotlib", "onnx", "openvino", "ray", "pyarrow"}


def localize(image: Path, model: Path, out: Path, **environment: str) -> dict[str, Any]:
    """Run the command line; peak memory in MB and the modules that it imported."""
    command = [sys.executable, "-c", _PROGRAM, "localize", str(image), "--model", str(model), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return answer


def test_one_photo_imports_nothing_heavy(red_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), "red").save(tmp_path / "one.jpg")
    found = localize(tmp_path / "one.jpg", red_model, tmp_path / "out")
    assert not _HEAVY & set(found["modules"])
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text())["verdict"] == "tampered"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ONNX Runtime keeps its reports in other places")
def test_nothing_is_reported_to_anybody(red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that report on their use keep an identifier of the machine, and what they could not send yet."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "one.jpg")
    (tmp_path / "home").mkdir()
    home = str(tmp_path / "home")
    localize(tmp_path / "one.jpg", red_model, tmp_path / "out", HOME=home, XDG_CACHE_HOME=home, XDG_DATA_HOME=home)
    assert not list((tmp_path / "home").rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "progressive", "turned"])
def test_memory_of_fifty_megapixels(red_model: Path, tmp_path: Path, kind: str) -> None:
    """At most 600 MB; a network of trained size has some 30 MB more than this one."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 120, (60, 80, 3), dtype=np.uint8))
    picture = coarse.resize((8160, 6128), Image.Resampling.BICUBIC)
    picture.paste((255, 0, 0), (2000, 1000, 6000, 4000))
    exif = Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6
    picture.save(tmp_path / "large.jpg", quality=90, progressive=kind == "progressive", exif=exif)
    del picture
    found = localize(tmp_path / "large.jpg", red_model, tmp_path / "out")
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert {line["width"], line["height"]} == {8160, 6128}
    assert line["regions"]
    assert found["peak"] <= 560
