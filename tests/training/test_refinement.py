"""The student corrects the teacher, inside the boxes and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import RecipeError
from boxpromptiml.regions import Box
from boxpromptiml.student import build_student
from boxpromptiml.training import Recipe
from boxpromptiml.training.module import StudentTraining
from boxpromptiml.training.objective import RefinementConfig
from boxpromptiml.training.refinement import corrected, mixing
from boxpromptiml.training.run import train
from boxpromptiml.training.samples import gather_samples

MakeDataset = Callable[..., Path]
MakeRecipe = Callable[..., Recipe]


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A box of 8 x 8 in 16 x 16, whose left half the teacher marks; a student that sees the upper half."""
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1 / 255
    target[..., 4:12, 4:8] = 1
    logits = torch.full((1, 1, 16, 16), -6.0)
    logits[..., :8, :] = -2.0  # timid, and marking outside the box as well
    return target, logits + 0.01 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed)), target > 0


@pytest.mark.parametrize(
    ("start", "progress", "share"),
    [(0, 5, 0), (2, 0, 0), (2, 1.99, 0), (2, 3, 0.25), (2, 4, 0.5), (2, 9, 0.5)],
)
def test_the_students_share_rises_after_the_start(start: float, progress: float, share: float) -> None:
    assert mixing(RefinementConfig(start=start, share=0.5, ramp=2), progress) == pytest.approx(share, abs=1e-6)


@given(st.floats(0.01, 1), st.integers(0, 1000))
def test_masks_never_leave_the_boxes_and_keep_their_area(share: float, seed: int) -> None:
    target, logits, inside = scene(seed)
    better, weight = corrected(target, logits, share, inside)
    assert (better[~inside] == 0).all()
    assert (weight[~inside] == 1).all()
    assert float(better.sum()) == pytest.approx(float(target.sum()), rel=1e-3)
    assert ((better >= 0) & (better <= 1) & (weight >= 0) & (weight <= 1)).all()


def test_the_students_ranking_decides_where_the_teacher_is_outvoted() -> None:
    target, logits, inside = scene()
    better, weight = corrected(target, logits, 0.8, inside)
    upper_right, lower_left = better[0, 0, 4:8, 8:12].mean(), better[0, 0, 8:12, 4:8].mean()
    assert upper_right > 0.5 > lower_left
    _, even = corrected(target, logits, 0.5, inside)
    assert even[0, 0, 4:8, 8:12].mean() < weight[0, 0, 4:8, 8:12].mean()  # undecided pixels count less


def test_without_a_share_the_teacher_stands() -> None:
    target, logits, inside = scene()
    torch.testing.assert_close(corrected(target, logits, 0.0, inside)[0], target)


def test_hard_targets_leave_the_inside_of_the_boxes_as_it_is(make_recipe: MakeRecipe) -> None:
    """Cut at 0.5, a mask no longer tells what its boxes hold, where the student may correct the teacher."""
    recipe = make_recipe(refinement__start=1.0, refinement__share=0.8, loss__hard_targets=True)
    target, _, inside = scene()
    module = StudentTraining(build_student(recipe.student, False, (64, 64)), recipe, 1, False)
    seen: list[torch.Tensor] = []

    def loss(logits: torch.Tensor, better: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(better)
        return logits.flatten(1).mean(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boxpromptiml.training.module.segmentation_loss", loss)
        batch = {"mask": (target * 255).round().to(torch.uint8), "index": torch.tensor([0])}
        batch["tampered"] = torch.tensor([True])
        module._refined(scene()[1], torch.zeros(1, 3, 16, 16), batch, 0.8)  # type: ignore[arg-type]
    (better,) = seen
    assert (better[inside][target[inside] < 0.5] > 0.1).any()
    assert (better[~inside] == 0).all()


def test_targets_tell_where_they_may_be_corrected(make_dataset: MakeDataset, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(refinement__start=1.0)
    for sample in gather_samples([make_dataset()], recipe, "pseudo").train:
        values = sample.load()[1]
        inside = np.zeros(values.shape, dtype=bool)
        for box in sample.confined:
            inside[box.slices] = True
        assert np.array_equal(values > 0, inside)


def test_a_run_knows_when_boxes_have_changed_under_its_masks(
    make_dataset: MakeDataset, make_recipe: MakeRecipe
) -> None:
    folder = make_dataset()

    def digests(**settings: float) -> set[str]:
        return {sample.digest for sample in gather_samples([folder], make_recipe(**settings), "pseudo").train}

    refined, plain = digests(refinement__start=1.0), digests()
    with Dataset.open(folder) as dataset:
        record = next(record for record in dataset.records() if record.boxes and record.split == "train")
        box = record.boxes[0]
        dataset.put([replace(record, boxes=(Box(box.x0, box.y0, box.x1, box.y1 - 1),))])

    assert len(refined - digests(refinement__start=1.0)) == 1
    assert digests() == plain  # without refinement the target is the mask, whatever the boxes


def test_a_run_with_refinement_still_learns(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(
        epochs=25, optimizer__lr=0.01, refinement__start=5.0, refinement__ramp=5.0, optimizer__ema_decay=0.5
    )
    summary = train([make_dataset(images=24, val=6)], tmp_path / "run", recipe)
    assert summary.validation["val_f1"] > 0.7


def test_it_is_for_pseudo_masks(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--supervision pseudo"):
        train([make_dataset()], tmp_path / "run", make_recipe(refinement__start=1.0), supervision="mask")
