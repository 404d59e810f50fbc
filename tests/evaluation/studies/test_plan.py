"""Plans: which runs, with which recipes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxpromptiml.errors import RecipeError
from boxpromptiml.evaluation.studies import (
    BOXES_REFERENCE,
    SUPERVISION,
    WHOLE,
    BoxErrors,
    Measure,
    Plan,
    Variant,
    ablation,
    boxes,
    make_plan,
    training,
)
from boxpromptiml.evaluation.studies.folder import StudyFolder
from boxpromptiml.evaluation.studies.jobs import training_job
from boxpromptiml.evaluation.studies.plan import first_difference, slug
from boxpromptiml.training import SUPERVISIONS, Recipe, load_recipe


def test_the_supervision_study_knows_every_supervision() -> None:
    assert {variant.supervision for variant in SUPERVISION} == set(SUPERVISIONS)


def test_runs_go_seed_by_seed_with_the_seed_in_the_recipe(recipe_file: Path) -> None:
    plan = make_plan("supervision", SUPERVISION, "mask", seeds=(0, 7), recipe_file=recipe_file, only=("mask", "box"))
    assert [run.name for run in plan.runs] == ["mask-seed0", "box-seed0", "mask-seed7", "box-seed7"]
    assert [run.recipe.seed for run in plan.runs] == [0, 0, 7, 7]
    assert all(run.recipe.student.width == 16 for run in plan.runs)


def ablations(*settings: str) -> Plan:
    return make_plan("ablation", ablation("pseudo"), WHOLE, seeds=(0,), settings=settings)


def test_every_ablation_differs_from_the_full_model_in_its_own_way() -> None:
    plan = ablations()
    recipes = {run.name: run.recipe for run in plan.runs}
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)
    assert recipes["full-seed0"] == Recipe()
    assert not recipes["no-gates-seed0"].student.gates
    assert recipes["memory-256-seed0"].student.memory_size == 256
    assert recipes["hard-targets-seed0"].loss.hard_targets


@pytest.mark.parametrize(
    ("settings", "gone", "there"),
    [
        ((), {"bce", "memory-64", "temperature-0.1", "alpha-learnt"}, {"bce-dice", "memory-32", "alpha-fixed"}),
        (("loss.dice=0.5", "student.memory_size=32"), {"bce-dice", "memory-32"}, {"bce", "memory-64"}),
        (("student.learn_alpha=false",), {"alpha-fixed"}, {"alpha-learnt"}),
    ],
)
def test_a_variant_that_is_the_recipe_itself_is_not_trained_twice(
    settings: tuple[str, ...], gone: set[str], there: set[str]
) -> None:
    names = {variant.name for variant in ablations(*settings).variants}
    assert not names & gone
    assert names >= {"full", *there}


PACKAGED = Path(__file__).parents[3] / "recipes" / "default.yaml"


def trainings(*settings: str, recipe_file: Path | None = None) -> dict[str, Recipe]:
    variants = training(load_recipe(recipe_file, settings), "pseudo")
    plan = make_plan("training", variants, WHOLE, seeds=(0,), recipe_file=recipe_file, settings=settings)
    return {run.variant.name: run.recipe for run in plan.runs}


def test_the_training_study_takes_each_part_out_of_the_packaged_recipe() -> None:
    recipes = trainings("synthesis.objects=[cutouts]", "pretrained=weights.pt", recipe_file=PACKAGED)
    assert list(recipes) == [
        "full",
        "random-weights",
        "no-synthesis",
        "shrunk",
        "no-evidence",
        "no-residuals",
        "no-blocks",
        "no-objects",
        "no-compression",
        "no-zoom",
        "no-turning",
        "no-colour",
        "unweighted",
        "no-image-term",
        "no-averaging",
    ]
    assert recipes["full"].pretrained == "weights.pt"
    assert recipes["random-weights"].pretrained is False
    assert recipes["shrunk"].input.fit == "stretch"
    assert recipes["no-evidence"].student.evidence == ()
    assert recipes["no-residuals"].student.evidence == ("dct",)
    assert recipes["no-blocks"].student.evidence == ("input",)
    assert (recipes["no-turning"].augmentation.rotate90, recipes["no-turning"].augmentation.vertical_flip) == (0, 0)


def test_without_synthesis_there_are_as_many_windows_and_as_long_a_warm_up() -> None:
    recipes = trainings("synthesis.fraction=0.75", "epochs=3", "optimizer.warmup_epochs=0.5")
    assert recipes["no-synthesis"].synthesis.fraction == 0
    assert recipes["no-synthesis"].epochs == 12
    assert recipes["no-synthesis"].optimizer.warmup_epochs == 2


def test_a_part_that_a_recipe_does_not_have_is_not_taken_out_of_it() -> None:
    assert set(trainings("student.evidence=[dct]", "augmentation.colour=0.5")) == {"full", "no-evidence", "no-colour"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ("nonsense",)}, "--only nonsense: no such variant; there are mask, pseudo, box, label"),
        ({"seeds": (1, 1)}, "--seeds 1,1"),
        ({"seeds": (-1,)}, "--seeds -1"),
        ({"seeds": ()}, "--seeds"),
        ({"settings": ("seed=3",)}, "choose them with --seeds"),
        ({"settings": ("epoch=3",)}, "unknown key epoch"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make_plan("supervision", SUPERVISION, "mask", **options)


def test_box_variants_change_one_thing_each() -> None:
    base = BoxErrors(0.1, 0.05)
    variants = boxes(base, {"loosen": [0.5, 0.1, 0], "missing": [0.2, 0.2]})
    assert [variant.name for variant in variants] == ["mask", "base", "loosen-0", "loosen-0.5", "missing-0.2"]
    assert variants[0].boxes is None
    assert variants[1].boxes == base
    assert variants[3].boxes == BoxErrors(0.5, 0.05)
    assert variants[4].boxes == BoxErrors(0.1, 0.05, missing=0.2)
    assert len({variant.dataset for variant in variants}) == 5
    plan = make_plan("boxes", variants, BOXES_REFERENCE, yardstick="mask", seeds=(0,))
    assert [run.variant for run in plan.runs] == list(variants)


@pytest.mark.parametrize("errors", [{"missing": 1.5}, {"loosen": -0.1}, {"swapped": float("nan")}])
def test_shares_must_be_shares(errors: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="give shares from 0"):
        BoxErrors(**errors)


@pytest.mark.parametrize(
    "variant", [*boxes(BoxErrors(), {"jitter": [0.3]}), *ablation("mask"), *training(Recipe(), "box")]
)
def test_variants_survive_json(variant: Variant) -> None:
    import json

    assert Variant.from_json(json.loads(json.dumps(variant.to_json()))) == variant


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b was 1 and is now 2"),
        ({}, {"a": 1}, "a was None and is now 1"),
    ],
)
def test_the_first_difference_is_named(then: dict[str, int], now: dict[str, int], expected: str | None) -> None:
    assert first_difference(then, now) == expected


@pytest.mark.parametrize(("text", "name"), [("CoMoFoD small", "comofod-small"), ("../", "data"), ("ä", "data")])
def test_names_are_fit_for_files(text: str, name: str) -> None:
    assert slug(text) == name


def test_students_of_boxes_with_errors_are_told_where_the_true_labels_are(recipe_file: Path, tmp_path: Path) -> None:
    plan = make_plan("boxes", boxes(BoxErrors(), {"missing": [0.5]}), "base", recipe_file=recipe_file, seeds=(0,))
    folder = StudyFolder(tmp_path)
    jobs = [training_job(folder, run, {}, Measure(), 1) for run in plan.runs]
    truth = str(folder.dataset("train"))
    assert {job.name: job.content["truth"] for job in jobs} == {
        "mask-seed0": None,
        "base-seed0": truth,
        "missing-0.5-seed0": truth,
    }
