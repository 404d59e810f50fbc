"""A model that completes regions: its threshold and its score are those of what it marks in the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml import Localizer
from boxpromptiml.errors import ModelError
from boxpromptiml.metrics import ThresholdSweep
from boxpromptiml.metrics.calibration import Reliability
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.packaging import Packaged, package_model
from boxpromptiml.packaging.completed import observe_completed
from boxpromptiml.packaging.held_out import held_out
from boxpromptiml.packaging.observing import observe


@pytest.fixture(scope="module")
def native_run(make_run: Callable[[str], Path]) -> Path:
    """Of windows of images at their own size."""
    return make_run("native")


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
    f1, areas, scores, tampered, added = [], [], [], [], 0
    student = Localizer.load(packaged.folder, threads=1, completion=False)
    for sample in held_out(native_run, ModelConfig.load(native_run)):
        image, target = sample.load_fitted(spec)
        answer = localizer.localize(np.asarray(image))
        mask, truth = answer.map > rule.threshold, target > 0.5
        added += int((mask & (student.localize(np.asarray(image)).map <= rule.threshold)).sum())
        scores.append(answer.score)
        tampered.append(sample.tampered)
        if truth.any():
            f1.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
        else:
            areas.append(mask.mean())
    assert added > 0
    assert facts.cut.rule.endswith("once objects are completed")
    assert facts.cut.f1_at_cut == pytest.approx(np.mean(f1), abs=1e-6)
    assert facts.cut.false_area_at_cut == pytest.approx(np.mean(areas), abs=1e-6)
    assert facts.score_after is not None
    assert facts.score_after.ece == pytest.approx(
        Reliability.of(np.array(scores), np.array(tampered)).to_json()["ece"], abs=1e-4
    )


def test_a_threshold_is_judged_by_what_is_completed(packaged: Packaged, native_run: Path, tmp_path: Path) -> None:
    """At each threshold more is marked than by the map alone, of authentic images too."""
    shutil.copytree(packaged.folder, tmp_path / "plain")
    (tmp_path / "plain" / "card.json").unlink()
    config = ModelConfig.load(native_run)
    config.save(tmp_path / "plain")
    localizer, samples = Localizer.load(tmp_path / "plain", threads=1), held_out(native_run, config)
    seen = observe(localizer, samples)
    cut = packaged.card.calibration.cut
    assert cut is not None
    completed = observe_completed(localizer, samples, seen, around=cut.cut)
    alone = np.array([image.f1 for image in seen if image.f1 is not None])
    places = [np.abs(ThresholdSweep().thresholds - threshold).argmin() for threshold in completed.curves.thresholds]
    assert completed.curves.f1.shape == (len(alone), len(places))
    assert (completed.curves.f1 != alone[:, places]).any()
    assert 0.5 in completed.curves.thresholds
    assert completed.curves.thresholds[-1] > 0.98
    areas = completed.curves.areas
    assert areas is not None
    assert (np.diff(areas.mean(axis=0)) <= 0.02).all()
    for threshold, images in completed.seen.items():
        assert len(images) == len(seen), threshold
        assert all((new.highest >= old.highest - 1e-5).all() for new, old in zip(images, seen, strict=True))


def test_refuses_completion_for_a_model_that_sees_shrunk_images(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fed images at their own size .*; leave out --completion"):
        package_model(run, "mine", output=tmp_path / "mine", completion=True)
    assert list(tmp_path.iterdir()) == []
