"""Recipes: defaults, YAML files, overrides, errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from boxpromptiml.errors import RecipeError
from boxpromptiml.training import Recipe, dump_recipe, load_recipe
from boxpromptiml.training.recipe_file import recipe_keys, recipe_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_default_is_what_the_paper_publishes() -> None:
    recipe = load_recipe()
    assert recipe == Recipe()
    assert (recipe.epochs, recipe.input.height, recipe.input.width) == (20, 224, 224)
    assert (recipe.loss.positive_weight, recipe.loss.dice) == (1.0, 0.0)
    assert recipe.student.backbone == "tiny_vit_5m_224"


def test_the_dump_explains_every_key_and_reads_back(tmp_path: Path) -> None:
    recipe = load_recipe(None, ["optimizer.lr=5e-5", "pretrained=weights.pt", "augmentation.jpeg_quality=[50, 90]"])
    text = dump_recipe(recipe)
    (tmp_path / "recipe.yaml").write_text(text)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert yaml.safe_load(text) == recipe.model_dump(mode="json")
    unfolded = re.sub(r"\n *# ", " ", text)
    for key in recipe_keys():
        assert key.description, key.path
        assert key.description in unfolded, key.path


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\noptimizer:\n  lr: 1e-3\n  warmup_epochs: 0\ndata:\n")
    recipe = load_recipe(path, ["optimizer.lr=2e-3", "student.memory=false"])
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.warmup_epochs) == (3, 0.002, 0)
    assert not recipe.student.memory


WRONG = [
    ("optimizer:\n  learning_rate: 1", "unknown key optimizer.learning_rate; the nearest is optimizer.lr"),
    ("epoch: 3", "unknown key epoch; the nearest is epochs"),
    ("batch_size: 3", "unknown key batch_size; the nearest is data.batch_size"),
    ("augmentation:\n  flip: 1", "the nearest is augmentation.vertical_flip"),
    ("optimizer:\n  foo: 1", "unknown key optimizer.foo; optimizer has lr, "),
    ("foo: 1", "unknown key foo; there are "),
    ("synthesis:\n  config:\n    kind: 1", "the nearest is synthesis.config.kinds"),
    ("epochs: 0", "epochs: Input should be greater than or equal to 1, got 0"),
    ("epochs: many", "epochs: Input should be a valid integer"),
    ("pretrained: [1]", "pretrained: Input should be"),
    ("optimizer: 3", "optimizer: Input should be"),
    ("augmentation:\n  jpeg_quality: [90, 60]", "jpeg_quality must be a rising pair"),
    ("augmentation:\n  rotate90: 1\ninput:\n  width: 256", "augmentation.rotate90 needs a square input"),
    ("validation:\n  patience: 3\n  keep: last", "validation.patience waits for a better epoch"),
    ("epochs: 3\nepochs: 4", "line 2: the key epochs is given twice"),
    ("epochs: [", "not valid YAML"),
    ("- 1", "holds a list"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_errors_name_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr", "--set optimizer.lr: write it as key=value"),
        ("optimizer.rate=1", "--set: unknown key optimizer.rate"),
        ("epochs.x=1", "--set: epochs: Input should be"),
        ("seed=-1", "--set: seed: Input should be greater than or equal to 0, got -1"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(None, [override])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone.yaml: cannot be read \(No such file"):
        load_recipe(tmp_path / "gone.yaml")


def test_the_documentation_lists_the_keys() -> None:
    """docs/training.md holds the table of `recipe_table`: paste it in after a change of the recipe."""
    assert recipe_table() in (ROOT / "docs/training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_recipes(path: Path) -> None:
    load_recipe(path)
