from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from boxpromptiml.cli.main import app
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError, RecipeError, TeacherError
from boxpromptiml.images import save_png


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training and two test images."""
    folder = tmp_path / "data"
    with Dataset.create(folder) as dataset:
        for i, split in enumerate(("train", "train", "test", "test")):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:24, 8:24] = 255
            save_png(folder / f"{i}.png", np.full((32, 32, 3), 40 * i, np.uint8))
            save_png(folder / f"mask{i}.png", mask)
            label = "tampered" if i % 2 == 0 else "authentic"
            dataset.put(
                ImageRecord(
                    f"{i}.png", 32, 32, label=label, mask=f"mask{i}.png" if label == "tampered" else None, split=split
                )
            )
    return folder


def study(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["study", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


NO_VALIDATION = ("--set", "validation.fraction=0", "--set", "student.backbone=test_resnet.r160_in1k")
SMALL = (*NO_VALIDATION, "--set", "input.height=64", "--set", "input.width=64")


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_done_and_does_nothing(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    levels = ("--loosen", "0.5", "--jitter", "", "--missing", "", "--swapped", "0.1")
    said = study("boxes", data, "--out", out, "--seeds", "0,1", *levels, *SMALL, "--dry-run")
    assert "images: 2 in train, 2 in data" in said
    assert "runs: 8 left of 8, 160 epochs" in said
    assert [line.strip() for line in said.splitlines() if line.startswith("  ")] == [
        f"{name}-seed{seed}" for seed in (0, 1) for name in ("mask", "base", "loosen-0.5", "swapped-0.1")
    ]
    assert "estimate: " in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["supervision", "--only", "masks"], "--only masks: no such variant"),
        (["supervision", "--preset", "best"], "--preset: unknown preset 'best'"),
        (["supervision", "--preset", "micro", "--mode", "double"], "--mode: micro has origin"),
        (["ablation", "--set", "seed=1"], "choose them with --seeds"),
        (["training", "--only", "full,no-evidence"], "--only no-evidence: is the same training as another"),
        (["training", "--set", "synthesis.fraction=2"], "synthesis.fraction"),
        (["boxes", "--missing", "1.5"], "--missing 1.5: give shares from 0 to 1"),
        (["boxes", "--weights", "facebook/sam"], "--weights is for --teacher sam"),
        (["supervision", "--set", "pretrained=gone.safetensors"], "gone.safetensors: no such file"),
        (["boxes", "--set", "pretrained=gone.safetensors", "--dry-run"], "gone.safetensors: no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        study(arguments[0], data, "--out", tmp_path / "out", *arguments[1:])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"), [("--seeds", "one"), ("--loosen", "wide"), ("--base", ""), ("--jobs", "0")]
)
def test_what_is_no_number_is_refused(data: Path, tmp_path: Path, option: str, value: str) -> None:
    assert option in study("boxes", data, "--out", tmp_path / "out", option, value)


def test_a_test_set_that_does_not_fit_is_named_with_its_first_file(data: Path, tmp_path: Path) -> None:
    for part in ("Tp", "Gt"):
        (tmp_path / "field" / part).mkdir(parents=True)
    save_png(tmp_path / "field" / "Tp" / "a.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"the first: .*Tp/a\.png: has no mask"):
        study(
            "ablation", data, "--out", tmp_path / "out", "--supervision", "mask", "--test", tmp_path / "field", *SMALL
        )


def test_a_teacher_that_cannot_be_loaded_is_refused_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="nobody/nothing"):
        study("boxes", data, "--out", tmp_path / "out", "--teacher", "sam", "--weights", "nobody/nothing", *SMALL)
    assert not (tmp_path / "out").exists()
