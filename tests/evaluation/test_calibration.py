"""What an evaluation says of a model's probabilities."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml import Localizer
from boxpromptiml.evaluation.run import evaluate
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.scaling import Scaling


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Patches more and less red, some of which are no tampering at all."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    for part in ("Tp", "Gt", "Au"):
        (root / part).mkdir(parents=True)
    for place in range(24):
        pixels = np.full((64, 64, 3), 120, np.uint8)
        pixels[16:48, 16:48] = (120 + int(rng.integers(80, 136)), 100, 100)
        if place % 3:
            mask = np.zeros((64, 64), np.uint8)
            mask[16:48, 16:48] = 255
            Image.fromarray(pixels).save(root / "Tp" / f"{place:02}.png")
            Image.fromarray(mask).save(root / "Gt" / f"{place:02}.png")
        else:
            Image.fromarray(pixels).save(root / "Au" / f"{place:02}.png")
    return root


def _scaled(red_model: Path, folder: Path, **decision: Scaling) -> Localizer:
    shutil.copytree(red_model, folder)
    config = ModelConfig.load(folder)
    config.model_copy(update={"decision": config.decision.model_copy(update=decision)}).save(folder)
    return Localizer.load(folder, threads=1)


def test_uncalibrated_models_have_one_error(red_model: Path, images: Path) -> None:
    result = evaluate(Localizer.load(red_model, threads=1), images)
    found = result.calibration
    assert found.score_after is not None
    assert found.score_before is not None
    assert found.score_interval is not None
    expected = Reliability.of(result.images.score, result.images.tampered)
    assert found.score_after.ece == expected.ece == found.score_before.ece
    assert found.score_interval[0] <= found.score_interval[1]
    content = json.loads(json.dumps(result.to_json()))["calibration"]
    assert content["score"]["after"]["n"] == 24
    assert sum(part["count"] for part in content["score"]["after"]["bins"]) == 24
    assert content["pixel"]["after"]["n"] == 24 * 64 * 64


def test_before_is_what_the_model_said_before(red_model: Path, images: Path, tmp_path: Path) -> None:
    plain = evaluate(Localizer.load(red_model, threads=1), images)
    score = Scaling(slope=0.4, bias=0.3)
    scaled = evaluate(_scaled(red_model, tmp_path / "score", score_scaling=score), images)
    assert plain.calibration.score_after is not None
    assert scaled.calibration.score_before is not None
    assert scaled.calibration.score_after is not None
    assert scaled.calibration.score_before.ece == pytest.approx(plain.calibration.score_after.ece, abs=1e-6)
    np.testing.assert_allclose(scaled.images.score, score.forward(plain.images.score), atol=1e-6)
    assert scaled.calibration.score_after.ece != pytest.approx(plain.calibration.score_after.ece, abs=1e-3)
    assert scaled.figures.image.auc == plain.figures.image.auc  # the order is the same
    assert scaled.model["id"] != plain.model["id"]


def test_a_scaled_map_is_what_is_scored(red_model: Path, images: Path, tmp_path: Path) -> None:
    plain = evaluate(Localizer.load(red_model, threads=1), images)
    lower = evaluate(_scaled(red_model, tmp_path / "map", map_scaling=Scaling(slope=0.5, bias=-3.0)), images)
    assert plain.figures.pixel.f1 > 0.5
    assert lower.figures.pixel.f1 < plain.figures.pixel.f1
    assert plain.calibration.pixel_after is not None
    assert lower.calibration.pixel_before is not None
    assert lower.calibration.pixel_before.ece == pytest.approx(plain.calibration.pixel_after.ece, abs=0.01)


@pytest.mark.parametrize(("preset", "mode"), [("mvss", "origin"), ("imdlbenco", "reverse")])
def test_scores_that_are_not_the_models_are_not_judged(red_model: Path, images: Path, preset: str, mode: str) -> None:
    result = evaluate(Localizer.load(red_model, threads=1), images, preset, mode=mode)  # type: ignore[arg-type]
    assert result.calibration.score_after is None
    assert result.to_json()["calibration"]["score"] is None
