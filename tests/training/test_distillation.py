"""A student learns from a model that is trained already: its maps, and the features behind them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from boxpromptiml.errors import ModelError, RecipeError
from boxpromptiml.model_config import StudentConfig
from boxpromptiml.student import Student
from boxpromptiml.training import Recipe
from boxpromptiml.training.distillation import Distillation, standardised
from boxpromptiml.training.items import TrainingImages, collate
from boxpromptiml.training.objective import DistillationConfig
from boxpromptiml.training.run import train
from boxpromptiml.training.samples import gather_samples

MakeDataset = Callable[..., Path]
MakeRecipe = Callable[..., Recipe]
InterruptedAfter = Callable[[int], AbstractContextManager[None]]


def network(backbone: str = "test_resnet.r160_in1k", seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student(StudentConfig(backbone=backbone, width=16, memory_size=8))


def distance(distillation: Distillation, student: Student, image: torch.Tensor) -> torch.Tensor:
    stages = student.stages(image)
    return distillation(image, stages, student.fused(stages, image))


def test_stages_of_the_same_stride_are_compared() -> None:
    made = Distillation(DistillationConfig(model="m"), network(), network("test_convnext"))
    own, others = network().backbone.strides, network("test_convnext").backbone.strides
    assert [(own[i], others[j]) for i, j in made.pairs] == [(s, s) for s in others if s in own]
    assert made.pairs
    assert Distillation(DistillationConfig(model="m", features=0), network(), network()).pairs == []


def test_the_model_stays_as_it_is_and_the_student_comes_nearer() -> None:
    student, model, image = network(seed=1), network(seed=2), torch.randn(4, 3, 64, 64)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    distillation = Distillation(DistillationConfig(model="m"), student, model).train()
    assert not model.training
    learning = [*student.parameters(), *distillation.parameters()]
    assert len(list(distillation.state_dict())) == 2 * len(distillation.pairs)  # of the model nothing
    optimizer = torch.optim.Adam(learning, lr=3e-3)
    losses = []
    for _ in range(25):
        loss = distance(distillation, student.train(), image)
        assert loss.shape == (4,)
        loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.mean().detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_each_term_counts_with_its_weight() -> None:
    student, model, image = network(seed=1).eval(), network(seed=2), torch.randn(2, 3, 64, 64)

    def value(**weights: float) -> torch.Tensor:
        torch.manual_seed(0)
        return distance(Distillation(DistillationConfig(model="m", **weights), student, model), student, image)

    maps, features = value(maps=1, features=0), value(maps=0, features=1)
    torch.testing.assert_close(value(maps=2, features=0.5), 2 * maps + 0.5 * features)
    target = model.eval()(image).sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(student(image), target)
    torch.testing.assert_close(maps.mean(), entropy)


def test_a_run_from_a_model_resumes_to_the_same_weights(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, interrupted_after: InterruptedAfter, tmp_path: Path
) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "model", make_recipe(epochs=1, student__backbone="test_convnext"))
    recipe = make_recipe(distillation__model=str(tmp_path / "model"), optimizer__ema_decay=0.5)
    train(dataset, tmp_path / "whole", recipe)
    with interrupted_after(3):
        train(dataset, tmp_path / "parts", recipe)
    train(dataset, tmp_path / "parts", recipe, resume=True)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()  # nothing of the model or of the comparison is saved with the student
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    train(dataset, tmp_path / "alone", make_recipe(optimizer__ema_decay=0.5))
    alone = load_file(tmp_path / "alone" / "model.safetensors")
    assert any(not torch.equal(alone[name], whole[name]) for name in whole)


def test_the_model_may_see_what_the_student_is_not_shown(make_dataset: MakeDataset, make_recipe: MakeRecipe) -> None:
    """Each image as it was before colours, blur and compression, mirrored and turned as the student's."""
    recipe = make_recipe(augmentation__colour=1.0, augmentation__blur=1.0, augmentation__jpeg=1.0)
    calm = make_recipe().augmentation
    samples = gather_samples([make_dataset()], recipe, "pseudo").train
    given = TrainingImages(samples, recipe.input, recipe.augmentation, 0, clean=True)
    wanted = TrainingImages(samples, recipe.input, calm, 0)
    batch = collate([given[3, i] for i in range(6)])
    plain = collate([wanted[3, i] for i in range(6)])
    assert torch.equal(batch["clean"], plain["image"])
    assert torch.equal(batch["mask"], plain["mask"])
    assert not torch.equal(batch["image"], plain["image"])
    assert "clean" not in plain


def test_a_run_from_clean_images(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "model", make_recipe(epochs=1))
    changes = {"distillation__model": str(tmp_path / "model"), "augmentation__jpeg": 1.0}
    for name, clean in (("clean", True), ("same", False)):
        train(dataset, tmp_path / name, make_recipe(epochs=1, distillation__clean=clean, **changes))
    clean, same = (load_file(tmp_path / name / "model.safetensors") for name in ("clean", "same"))
    assert any(not torch.equal(clean[name], same[name]) for name in clean)


def test_a_model_that_has_changed_is_not_gone_on_with(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, interrupted_after: InterruptedAfter, tmp_path: Path
) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "model", make_recipe(epochs=1))
    recipe = make_recipe(distillation__model=str(tmp_path / "model"))
    with interrupted_after(3):
        train(dataset, tmp_path / "run", recipe)
    shutil.rmtree(tmp_path / "model")
    train(dataset, tmp_path / "model", make_recipe(epochs=1, seed=1))
    with pytest.raises(RecipeError, match=r"cannot resume, SHA-256 of distillation\.model was '[0-9a-f]+' and is now"):
        train(dataset, tmp_path / "run", recipe, resume=True)
    whole = train(dataset, tmp_path / "whole", recipe)
    shutil.rmtree(tmp_path / "model")
    assert train(dataset, tmp_path / "whole", recipe, resume=True) == whole  # what is complete needs it no more


def test_maps_of_other_sizes_are_told_before_the_training(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Of 72 pixels one backbone makes maps that are rounded up, the other such that are rounded down."""
    dataset = make_dataset()
    train(dataset, tmp_path / "model", make_recipe(epochs=1, student__backbone="test_convnext"))
    odd = {"input__height": 72, "input__width": 72, "distillation__model": str(tmp_path / "model")}
    with pytest.raises(RecipeError, match=r"of 72 x 72 images its backbone has maps of .* cells, the student's"):
        train(dataset, tmp_path / "run", make_recipe(**odd))
    assert not (tmp_path / "run").exists()
    train(dataset, tmp_path / "run", make_recipe(**odd, epochs=1, distillation__features=0))


def test_features_are_standardised_channel_by_channel() -> None:
    made = standardised(torch.randn(4, 3, 5, 6) * torch.tensor([1.0, 10.0, 0.1]).view(1, 3, 1, 1) + 7)
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(made.var((0, 2, 3), correction=0), torch.ones(3), atol=2e-3, rtol=0)


def test_a_model_that_is_not_there(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such model folder"):
        train(make_dataset(), tmp_path / "run", make_recipe(distillation__model="nowhere"))
    assert not (tmp_path / "run").exists()


def test_a_model_that_expects_other_pixels(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    dataset = make_dataset()
    train(dataset, tmp_path / "model", make_recipe(epochs=1, input__mean=[0.5, 0.5, 0.5]))
    with pytest.raises(RecipeError, match=r"model: has another input\.mean or input\.std than the recipe"):
        train(dataset, tmp_path / "run", make_recipe(distillation__model=str(tmp_path / "model")))


def test_a_recipe_that_learns_nothing_from_it(make_recipe: MakeRecipe) -> None:
    with pytest.raises(ValueError, match="are both 0; set model to null"):
        make_recipe(distillation__model="default", distillation__maps=0, distillation__features=0)
