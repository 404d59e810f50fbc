"""Which model a name, a folder or a hub id means: real folders, a real hub cache, no network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml import Localizer, models
from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.models import is_hub_id, packaged_names
from boxpromptiml.runtime import find_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def packaged(tmp_path: Path, red_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the packaged models, with a `default` in it."""
    root = tmp_path / "packaged"
    shutil.copytree(red_model, root / "default")
    monkeypatch.setattr(models.packaged, "packaged_root", lambda: root)
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)
    return root


@pytest.fixture
def hub(tmp_path: Path, red_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with the red model as lab/red: blobs, links to them, branch main and tag v1."""
    import huggingface_hub.constants as constants

    cache = tmp_path / "hub"
    repo = cache / "models--lab--red"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "blobs").mkdir()
    for file in red_model.iterdir():
        blob = repo / "blobs" / sha256_of(file)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    for revision in ("main", "v1"):
        (repo / "refs" / revision).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def _red(path: Path) -> Path:
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[16:48, 16:48] = (255, 0, 0)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("name", ["default", None])
def test_the_default_comes_with_the_package(packaged: Path, name: str | None, tmp_path: Path) -> None:
    assert packaged_names() == ["default"]
    localizer = Localizer.load(name)
    assert localizer.folder == packaged / "default"
    assert localizer.localize(_red(tmp_path / "a.png")).mask.sum() == 32 * 32
    assert Localizer.from_pretrained().model_id == localizer.model_id


def test_a_packaged_name_wins_over_a_folder_that_is_not_written_as_one(
    packaged: Path, red_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(red_model, "default")
    assert find_model("default") == packaged / "default"
    assert find_model("./default") == Path("default")
    assert find_model(Path("default")) == Path("default")


def test_the_environment_wins_over_the_default(
    packaged: Path, red_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOXPROMPTIML_MODEL", str(red_model))
    assert find_model() == red_model
    monkeypatch.setenv("BOXPROMPTIML_MODEL", "default")
    assert find_model() == packaged / "default"


def test_a_model_that_is_not_packaged_says_which_are(packaged: Path) -> None:
    with pytest.raises(ModelError, match=r"^no model 'paper' in this installation: it has default; .*\./paper\)$"):
        Localizer.load("paper")
    shutil.rmtree(packaged / "default")
    with pytest.raises(ModelError, match=r"^no model 'default'.*comes without any; `boxpromptiml demo`"):
        Localizer.load("default")
    with pytest.raises(ModelError, match=r"^no model: .*--model FOLDER .*BOXPROMPTIML_MODEL.*boxpromptiml demo"):
        Localizer.load()


def test_a_file_must_be_the_one_that_its_card_describes(packaged: Path) -> None:
    folder = packaged / "default"
    onnx = folder / "model.onnx"
    (folder / "card.json").write_text(json.dumps({"files": [{"name": onnx.name, "sha256": sha256_of(onnx)}]}))
    assert Localizer.load("default").folder == folder
    (folder / "card.json").write_text(json.dumps({"files": [{"name": onnx.name, "sha256": "0" * 64}]}))
    with pytest.raises(ModelError, match=r"model\.onnx: is not the file that card\.json beside it describes"):
        Localizer.load("default")
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card\.json: is damaged"):
        Localizer.load("default")


@pytest.mark.parametrize("hub_id", ["lab/red", "lab/red@v1", f"lab/red@{COMMIT}"])
def test_hub_ids_are_found_in_the_cache(hub: Path, hub_id: str, tmp_path: Path) -> None:
    localizer = Localizer.from_pretrained(hub_id, threads=1)
    assert localizer.folder == hub
    assert localizer.localize(_red(tmp_path / "a.png")).verdict == "tampered"


@pytest.mark.parametrize("hub_id", ["lab/blue", "lab/red@v2"])
def test_what_is_not_cached_needs_a_network(hub: Path, hub_id: str) -> None:
    with pytest.raises(ModelError, match=rf"^{hub_id}: .*the hub cannot be reached.*--model FOLDER$") as caught:
        find_model(hub_id)
    assert "\n" not in str(caught.value)


def test_a_repository_that_is_no_model(hub: Path) -> None:
    (hub / "config.json").unlink()
    with pytest.raises(ModelError, match=r"lab/red: has no config\.json"):
        find_model("lab/red")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lab/red", True),
        ("lab/red@v1.0", True),
        ("lab/red@refs/pr/3", True),
        ("red", False),
        ("./lab/red", False),
        ("/lab/red", False),
        ("lab/red/model.onnx", False),
        ("../lab", False),
        ("runs/misspelt", False),  # there is a folder runs: a path with a mistake in it
    ],
)
def test_what_can_be_a_hub_id(text: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert is_hub_id(text) is expected


def test_without_huggingface_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Exception, match=r"boxpromptiml\[hub\]"):
        find_model("lab/red")


@pytest.mark.slow
def test_localize_takes_the_default(
    make_red_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line in a process of its own, with a copy of the package that has a model in it."""
    import boxpromptiml

    source = Path(boxpromptiml.__file__).parent
    target = tmp_path / "site" / "boxpromptiml"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "default", "paper"))
    make_red_model(target / "models" / "default")
    monkeypatch.delenv("BOXPROMPTIML_MODEL", raising=False)
    program = (
        f"import sys; sys.path.insert(0, {str(target.parent)!r}); sys.argv[0] = 'boxpromptiml'\n"
        "import atexit; atexit.register(lambda: print(sorted({'torch', 'huggingface_hub'} & set(sys.modules))))\n"
        "from boxpromptiml.cli.main import main; main()"
    )
    command = ["localize", _red(tmp_path / "a.png"), "--out", tmp_path / "out", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    summary, imported = done.stdout.splitlines()
    assert json.loads(summary)["tampered"] == 1
    assert imported == "[]"
