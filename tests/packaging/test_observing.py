"""What is looked at before a threshold is chosen: as often as the finished model looks, and of which source group."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml import Localizer
from boxpromptiml.dataset import Dataset
from boxpromptiml.export import export_model
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.packaging import package_model
from boxpromptiml.packaging.held_out import held_out
from boxpromptiml.packaging.observing import Observed, observe
from boxpromptiml.training.sample import Sample


def test_the_source_group_of_each_image_is_known(run: Path, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    place = make_dataset("scenes", 6, 6, seed=9)
    with Dataset.open(place) as dataset:
        records = list(dataset.records())
        dataset.put(
            replace(record, group=f"scene {index % 3}", split="train" if index % 3 == 2 else "val")
            for index, record in enumerate(records)
        )
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    export_model(folder)
    seen = observe(Localizer.load(folder), held_out(run, ModelConfig.load(run), [place]))
    assert {image.group for image in seen} == {"scene 0", "scene 1"}
    assert len(seen) == 8


@pytest.mark.parametrize("looks", [1, 2])
def test_a_threshold_is_chosen_by_as_many_looks_as_the_model_takes(
    looks: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def watched(localizer: Localizer, samples: Sequence[Sample], *how: int) -> list[Observed]:
        looked.append(localizer.config.decision.looks)
        return observe(localizer, samples, *how)

    monkeypatch.setattr("boxpromptiml.packaging.run.observe", watched)
    package_model(run, "mine", output=tmp_path / "mine", looks=looks)
    assert looked == [looks]


def test_images_are_compressed_first_where_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    export_model(folder)
    localizer, samples = Localizer.load(folder), held_out(run, ModelConfig.load(run))
    clean, at_90, at_10 = (observe(localizer, samples, quality) for quality in (None, 90, 10))
    assert [image.tampered for image in at_10] == [image.tampered for image in clean]
    away = [
        np.mean([abs(a.levels[1] - b.levels[1]) for a, b in zip(clean, other, strict=True)]) for other in (at_90, at_10)
    ]
    assert 0 < away[0] < away[1]
