from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset
from boxpromptiml.dataset.manifest import write_manifest
from boxpromptiml.dataset.validation import validate
from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.evaluation import open_plan
from boxpromptiml.formats import import_source

NAMES = ["Au/au1.png", "Au/au2.png", "Tp/a.png", "Tp/b.png", "Tp/c.png"]


@pytest.mark.parametrize("given", ["absolute", "relative", "linked", "dataset", "list", "manifest"])
def test_images_are_named_as_the_user_knows_them(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source, names = folders, NAMES
    match given:
        case "relative":
            source = Path("set")
        case "linked":
            source = tmp_path / "link"
            source.symlink_to(folders)
        case "dataset":
            with Dataset.create(folders) as dataset:
                import_source(folders, dataset)
        case "list":
            source = tmp_path / "list.json"
            source.write_text(json.dumps([["set/Tp/a.png", "set/Gt/a.png"], ["set/Au/au1.png", "Negative"]]))
            names = ["set/Au/au1.png", "set/Tp/a.png"]
        case "manifest":
            (tmp_path / "lists").mkdir()
            source = tmp_path / "lists" / "x.jsonl"
            line = {"image": "../set/Tp/a.png", "mask": "../set/Gt/a.png", "label": "tampered"}
            source.write_text(json.dumps(line) + "\n")
            names = ["../set/Tp/a.png"]
    with open_plan(source) as plan:
        tasks = list(plan.tasks())
        assert [task.name for task in tasks] == names
        assert len(plan) == len(names)
        for task in tasks:
            assert plan.task(0, task.name) == task
            assert task.image.is_file()
            assert task.mask is None or task.mask.is_file()
            assert "boxpromptiml-" not in str(task.image)
        if given in ("absolute", "relative", "linked"):
            assert tasks[0].image == source / "Au/au1.png"


def test_the_fingerprint_changes_with_what_the_figures_depend_on(folders: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folders, tmp_path / "other")

    def fingerprint() -> str:
        with open_plan([folders, other]) as plan:
            return plan.fingerprint

    first = fingerprint()
    assert fingerprint() == first  # not a matter of the temporary dataset
    os.utime(folders / "Gt" / "a.png", (1, 1))
    second = fingerprint()
    assert second != first
    (folders / "Au" / "au1.png").unlink()
    assert fingerprint() not in (first, second)


def test_mended_masks_are_made_anew_and_are_still_the_same(folders: Path) -> None:
    Image.open(folders / "Gt" / "a.png").resize((32, 32)).save(folders / "Gt" / "a.png")
    prints = []
    for _ in range(2):
        with open_plan(folders, on_mismatch="resize") as plan:
            prints.append(plan.fingerprint)
            mask = plan.task(0, "Tp/a.png").mask
            assert mask is not None
            with Image.open(mask) as picture:
                assert picture.size == (64, 64)
    assert prints[0] == prints[1]


@pytest.mark.parametrize("listed", ["data", "data.jsonl"])
def test_a_file_that_is_gone_is_named_before_any_image_is_read(folders: Path, tmp_path: Path, listed: str) -> None:
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        with (tmp_path / "data.jsonl").open("w") as stream:
            write_manifest(dataset, stream, tmp_path)
    source = tmp_path / listed
    (folders / "Gt" / "c.png").unlink()
    with pytest.raises(DatasetError, match=r"1 mask does not fit, the first: .*c\.png: "), open_plan(source):
        pass
    with open_plan(source, on_mismatch="skip") as plan:
        assert not [task.name for task in plan.tasks() if task.name.endswith("Tp/c.png")]
        assert (len(plan), plan.sources[0].left_out) == (4, 1)
    (folders / "Tp" / "a.png").unlink()
    with (
        pytest.raises(ImageError, match=rf"a\.png: no such file, though .*{listed} lists it"),
        open_plan(source, on_mismatch="skip"),
    ):
        pass


@pytest.fixture
def flawed(folders: Path, tmp_path: Path) -> Path:
    """A dataset, imported before masks were looked at, in which that of a.png is empty and that of b.png too small."""
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
    Image.new("L", (64, 64)).save(folders / "Gt" / "a.png")
    Image.new("L", (32, 32), 255).save(folders / "Gt" / "b.png")
    return tmp_path / "data"


def test_masks_that_do_not_fit_are_refused_before_the_first_image(flawed: Path, folders: Path) -> None:
    with pytest.raises(DatasetError) as caught, open_plan(flawed):
        pass
    assert str(caught.value) == (
        f"{flawed}: 2 masks do not fit, the first: {flawed / '../set/Gt/a.png'}: the mask marks nothing, but its image "
        "is tampered; draw it, or label the image authentic; leave such images out with --on-mismatch skip, or see all "
        f"with  boxpromptiml validate {flawed}"
    )
    with Dataset.open(flawed) as dataset:
        found = {problem.image for problem in validate(dataset) if problem.severity == "error"}
    assert found >= {"../set/Tp/a.png", "../set/Tp/b.png"}


def test_images_of_a_dataset_whose_masks_do_not_fit_are_left_out(flawed: Path, folders: Path) -> None:
    with open_plan(flawed, on_mismatch="skip") as plan:
        assert [task.name for task in plan.tasks()] == ["../set/Au/au1.png", "../set/Au/au2.png", "../set/Tp/c.png"]
        assert (len(plan), plan.sources[0].left_out) == (3, 2)
    with pytest.raises(DatasetError, match="1 mask does not fit"), open_plan(flawed, on_mismatch="resize"):
        pass  # it could be mended, but not here
    (folders / "Gt" / "b.png").write_bytes((folders / "Gt" / "c.png").read_bytes())
    with open_plan(flawed, on_mismatch="resize") as plan:
        assert (len(plan), plan.sources[0].left_out) == (4, 1)


def test_a_dataset_of_which_no_mask_fits(flawed: Path) -> None:
    with Dataset.open(flawed) as dataset:
        keep = [record for record in dataset.records() if record.image.endswith("a.png")]
    with Dataset.create(flawed.with_name("alone")) as alone:
        alone.put(keep)
    message = r"no mask fits its image, the first: .*a\.png: the mask marks nothing"
    with (
        pytest.raises(DatasetError, match=message),
        open_plan(flawed.with_name("alone"), on_mismatch="skip"),
    ):
        pass


def test_the_fingerprint_of_a_dataset_that_fits_is_the_same_under_every_policy(folders: Path, tmp_path: Path) -> None:
    """A run that was begun without a policy goes on with one."""
    with Dataset.create(tmp_path / "data") as dataset:
        import_source(folders, dataset)
        prints = set()
        for policy in ("error", "skip", "resize"):
            with open_plan(dataset, on_mismatch=policy) as plan:  # type: ignore[arg-type]
                prints.add(plan.fingerprint)
    assert len(prints) == 1


def test_nothing_to_evaluate_on() -> None:
    with pytest.raises(DatasetError, match="at least one dataset"), open_plan([]):
        pass
