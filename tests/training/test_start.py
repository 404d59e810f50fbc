"""What a run starts from: a model folder, and the stages of a backbone that stay as they are."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from boxpromptiml.errors import ModelError, RecipeError
from boxpromptiml.training import Recipe
from boxpromptiml.training.run import train

MakeDataset = Callable[..., Path]
MakeRecipe = Callable[..., Recipe]
InterruptedAfter = Callable[[int], contextlib.AbstractContextManager[None]]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_run_starts_from_the_weights_of_a_model_folder(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "first", make_recipe(epochs=1))
    barely = make_recipe(epochs=1, pretrained=str(tmp_path / "first"), optimizer__lr=1e-12, optimizer__weight_decay=0)
    train(dataset, tmp_path / "second", barely)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name in first:
        if not name.endswith(statistics):
            torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-6, msg=name)


def test_a_second_part_with_the_seed_of_the_first_one_is_told_that_it_sees_the_same(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, first = make_dataset(), tmp_path / "first"
    train(dataset, first, make_recipe(epochs=1, seed=4))
    assert "seed" not in capsys.readouterr().err
    train(dataset, tmp_path / "again", make_recipe(epochs=1, seed=4, pretrained=str(first)))
    assert f"{first}: was trained with seed 4 as well" in capsys.readouterr().err
    train(dataset, tmp_path / "anew", make_recipe(epochs=1, seed=5, pretrained=str(first)))
    assert "seed" not in capsys.readouterr().err


def test_a_model_folder_of_another_architecture_is_refused(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "first", make_recipe(epochs=1))
    other = make_recipe(epochs=1, pretrained=str(tmp_path / "first"), student__memory_size=4)
    with pytest.raises(RecipeError, match=r"first: its student.memory_size is 8, the recipe's 4"):
        train(dataset, tmp_path / "second", other)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_frozen_stages_keep_weights_and_statistics(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, ema: float
) -> None:
    dataset = make_dataset(val=4)
    train(dataset, tmp_path / "first", make_recipe(epochs=1))
    recipe = make_recipe(
        pretrained=str(tmp_path / "first"), optimizer__frozen_stages=1, optimizer__ema_decay=ema, epochs=2
    )
    train(dataset, tmp_path / "second", recipe)
    moved = changed(weights(tmp_path / "first"), weights(tmp_path / "second"))
    frozen = ("backbone.net.conv1.", "backbone.net.bn1.", "backbone.net.layer1.")
    assert not [name for name in moved if name.startswith(frozen)]
    assert any(name.startswith("backbone.net.layer2.") for name in moved)
    assert any(name.endswith("running_mean") for name in moved)


def test_more_frozen_stages_than_there_are(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(student__backbone="test_vit", optimizer__frozen_stages=4)
    with pytest.raises(ModelError, match="test_vit has 3 stages, 4 cannot be kept"):
        train(make_dataset(), tmp_path / "run", recipe)


def test_frozen_stages_that_see_evidence_start_from_a_model_that_has_learnt_it(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, interrupted_after: InterruptedAfter
) -> None:
    """Input channels of an untrained student begin at weight 0: frozen, they would never say anything."""
    dataset = make_dataset(val=4)
    learning = {"student__evidence": ["input"], "input__fit": "native", "epochs": 1}
    frozen = learning | {"optimizer__frozen_stages": 1}
    with pytest.raises(RecipeError, match="input is learnt by the backbone's first layers"):
        train(dataset, tmp_path / "blind", make_recipe(**frozen))
    assert not (tmp_path / "blind").exists()
    train(dataset, tmp_path / "first", make_recipe(**learning))
    start = weights(tmp_path / "first")
    again = make_recipe(**frozen, pretrained=str(tmp_path / "first"), state__every_steps=1)
    with interrupted_after(1):
        train(dataset, tmp_path / "second", again)
    shutil.rmtree(tmp_path / "first")  # a run that goes on wants its start no more
    train(dataset, tmp_path / "second", None, resume=True)
    moved = changed(start, weights(tmp_path / "second"))
    assert moved
    assert not [name for name in moved if name.startswith("backbone.net.conv1.")]
