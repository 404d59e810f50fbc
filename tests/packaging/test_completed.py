"""A model that completes regions: its threshold and its score are those of what it marks in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boxpromptiml import Localizer
from boxpromptiml.errors import ModelError
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.packaging import Packaged, package_model
from boxpromptiml.packaging.held_out import held_out
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.run import train


@pytest.fixture(scope="module")
def native_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a few seconds on windows of images at their own size."""
    recipe = Recipe.model_validate(
        {
            "epochs": 2,
            "student": {"backbone": "test_convnext", "width": 16, "memory_size": 8},
            "input": {"height": 64, "width": 64, "fit": "native"},
            "data": {"workers": 0, "cache": False, "batch_size": 8},
            "validation": {"fraction": 0.4, "samples": 0},
            "loss": {"image": 0.2, "top_fraction": 0.1, "dice": 1.0},
            "optimizer": {"lr": 3e-3, "warmup_epochs": 0.2},
            "compute": {"accelerator": "cpu", "threads": 1},
        }
    )
    folder = tmp_path_factory.mktemp("native") / "run"
    train(dataset, folder, recipe, supervision="mask")
    return folder


@pytest.fixture(scope="module")
def packaged(native_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    folder = tmp_path_factory.mktemp("models") / "whole"
    return package_model(native_run, "whole", output=folder, completion=True, max_false_area=0.05)


def test_the_card_says_what_the_model_does_to_held_out_images(packaged: Packaged, native_run: Path) -> None:
    localizer = Localizer.load(packaged.folder, threads=1)
    spec, rule = localizer.config.preprocessing, localizer.config.decision
    assert rule.completion
    assert "completed to all of it" in packaged.card.mask
    facts = packaged.card.calibration
    assert facts.cut is not None
    f1, areas, scores, tampered = [], [], [], []
    for sample in held_out(native_run, ModelConfig.load(native_run)):
        image, target = sample.load_fitted(spec)
        answer = localizer.localize(np.asarray(image))
        mask, truth = answer.map > rule.threshold, target > 0.5
        scores.append(answer.score)
        tampered.append(sample.tampered)
        if truth.any():
            f1.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
        else:
            areas.append(mask.mean())
    assert facts.cut.f1_at_cut == pytest.approx(np.mean(f1), abs=1e-6)
    assert facts.cut.false_area_at_cut == pytest.approx(np.mean(areas), abs=1e-6)
    assert facts.score_after is not None
    assert facts.score_after.ece == pytest.approx(
        Reliability.of(np.array(scores), np.array(tampered)).to_json()["ece"], abs=1e-4
    )


def test_completion_brings_another_threshold_than_the_map_alone(packaged: Packaged, native_run: Path) -> None:
    plain = package_model(native_run, "part", output=packaged.folder.parent / "part", max_false_area=0.05)
    assert plain.card.calibration.cut is not None
    assert packaged.card.calibration.cut is not None
    assert packaged.card.calibration.cut.f1_at_cut >= plain.card.calibration.cut.f1_at_cut - 0.02
    assert packaged.card.mask != plain.card.mask


def test_refuses_completion_for_a_model_that_sees_shrunk_images(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fed images at their own size .*; leave out --completion"):
        package_model(run, "mine", output=tmp_path / "mine", completion=True)
    assert list(tmp_path.iterdir()) == []
