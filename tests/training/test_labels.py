"""Whole runs from image labels: no box, no mask, and still something learned."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import open_image, open_mask, save_png
from boxpromptiml.metrics import get_preset
from boxpromptiml.preprocessing import PreprocessingSpec, resize_image
from boxpromptiml.student import load_checkpoint
from boxpromptiml.training import Recipe
from boxpromptiml.training.recorder import Recorder
from boxpromptiml.training.run import train
from boxpromptiml.training.samples import gather_samples

MakeRecipe = Callable[..., Recipe]
MakeDataset = Callable[..., Path]
InterruptedAfter = Callable[[int], contextlib.AbstractContextManager[None]]


def only_labels(folder: Path) -> Path:
    """The same dataset without boxes, without masks, without the files of masks."""
    with Dataset.open(folder) as dataset:
        dataset.put([replace(r, boxes=(), mask=None, pseudo=None) for r in list(dataset.records())])
    for name in ("masks", "pseudo"):
        shutil.rmtree(folder / name)
    return folder


def without(folder: Path, label: str, split: str) -> Path:
    with Dataset.open(folder) as dataset:
        for record in list(dataset.records(split=split, label=label)):  # type: ignore[arg-type]
            dataset.put(replace(record, label=None, boxes=(), mask=None, pseudo=None))
    return folder


def pixel_auc(run: Path, folder: Path) -> float:
    """Mean AUC of the tampered validation images, against masks that the run never saw."""
    student, config = load_checkpoint(run)
    spec = config.preprocessing
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (spec.mean, spec.std))
    scores = []
    with Dataset.open(folder) as dataset, torch.inference_mode():
        for record in dataset.records(split="val", label="tampered"):
            image = resize_image(open_image(folder / record.image), spec.height, spec.width)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
            probability = student((pixels - mean) / std)[0, 0].sigmoid().numpy()
            truth = resize_image(open_mask(folder / str(record.mask))[..., None].repeat(3, 2), spec.height, spec.width)
            scores.append(get_preset("imdlbenco").score(probability, truth[..., 0] > 127).auc)
    return float(np.mean(scores))


def test_a_student_learns_from_labels_alone(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    whole = make_dataset("whole", images=24, val=9)
    labels = only_labels(make_dataset("labels", images=24, val=9))
    recipe = make_recipe(epochs=20, optimizer__lr=0.01, student__memory=False, loss__top_fraction=0.1)
    summary = train(labels, tmp_path / "run", recipe, supervision="label")

    assert summary.supervision == "label"
    assert set(summary.validation) == {"val_loss", "val_image_accuracy", "val_false_area"}
    assert summary.validation["val_image_accuracy"] > 0.9
    # What the labels never said: where.
    assert pixel_auc(tmp_path / "run", whole) > 0.75

    trained = load_checkpoint(tmp_path / "run")[1].trained_on
    assert (trained.supervision, trained.teacher) == ("label", None)
    columns = (tmp_path / "run/logs/metrics.csv").read_text().splitlines()[0].split(",")
    assert not {"val_f1", "val_iou"} & set(columns)
    assert (tmp_path / "run/samples.png").is_file()


def test_masks_and_boxes_change_nothing(make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe()
    train(make_dataset("whole"), tmp_path / "whole-run", recipe, supervision="label")
    train(only_labels(make_dataset("labels")), tmp_path / "labels-run", recipe, supervision="label")
    ours, theirs = (load_file(tmp_path / run / "model.safetensors") for run in ("whole-run", "labels-run"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_epoch_with_the_lowest_validation_loss_is_kept(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, float]] = []
    original = Recorder.on_train_epoch_end

    def keep(recorder: Recorder, *args: object) -> None:
        original(recorder, *args)  # type: ignore[arg-type]
        rows.append(recorder.history[-1])

    monkeypatch.setattr(Recorder, "on_train_epoch_end", keep)
    summary = train(make_dataset(), tmp_path / "run", make_recipe(epochs=5, optimizer__lr=0.05), supervision="label")
    best = min(rows, key=lambda row: row["val_loss"])
    assert summary.best_epoch == best["epoch"]
    assert summary.validation["val_loss"] == best["val_loss"]


@pytest.mark.parametrize(
    ("label", "split", "changes", "message"),
    [
        ("authentic", "train", {}, r"both tampered and authentic images to train on, there are 8 and 0; add"),
        ("tampered", "train", {}, r"both tampered and authentic images to train on, there are 0 and 4; add"),
        ("authentic", "val", {}, r"both .* to choose the epoch, there are 2 and 0; .* validation.fraction"),
        ("authentic", "test", {"data__authentic_per_tampered": 0}, r"authentic_per_tampered=0 leaves none; raise it"),
    ],
)
def test_both_kinds_of_images_are_needed(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    label: str,
    split: str,
    changes: dict[str, object],
    message: str,
) -> None:
    folder = without(make_dataset(), label, split)
    with pytest.raises(DatasetError, match=message) as caught:
        gather_samples([folder], make_recipe(**changes), "label")
    assert "\n" not in str(caught.value)


def test_no_validation_is_allowed(make_dataset: MakeDataset, make_recipe: MakeRecipe) -> None:
    folder = without(make_dataset(), "authentic", "val")
    assert gather_samples([folder], make_recipe(validation__fraction=0), "label").val == []


def test_every_labelled_image_is_used(make_dataset: MakeDataset, make_recipe: MakeRecipe) -> None:
    folder = make_dataset()
    with Dataset.open(folder) as dataset:
        dataset.put(replace(dataset.get("images/00.png"), label=None, boxes=()))
        dataset.put(replace(dataset.get("images/01.png"), review="rejected", boxes=(), mask=None))
    samples = gather_samples([folder], make_recipe(), "label")
    assert samples.left_out_by_reason() == {"not labelled yet": 1}
    for sample in samples.train:
        assert sample.mask is None
        assert sample.has_target == (not sample.tampered)
        assert not sample.load_for(PreprocessingSpec(height=32, width=32))[1].any()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"optimizer__ema_decay": 0.9, "data__cache": False, "augmentation__crop": 0.5}, id="average, crop"
        ),
        pytest.param({"synthesis__fraction": 0.5, "data__workers": 1}, id="synthesis, worker"),
    ],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    interrupted_after: InterruptedAfter,
    changes: dict[str, object],
) -> None:
    if "synthesis__fraction" in changes:
        pytest.importorskip("cv2")
        rng = np.random.default_rng(0)
        for i in range(2):
            save_png(
                tmp_path / f"photos/{i}.png", rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            )
        changes = changes | {"synthesis__photos": [str(tmp_path / "photos")]}
    dataset, recipe = make_dataset(), make_recipe(epochs=3, **changes)
    train(dataset, tmp_path / "whole", recipe, supervision="label")
    with interrupted_after(4):
        train(dataset, tmp_path / "broken", recipe, supervision="label")
    train(dataset, tmp_path / "broken", resume=True, supervision="label")
    ours, theirs = (load_file(tmp_path / run / "model.safetensors") for run in ("broken", "whole"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)


def test_hard_targets_change_what_is_learned(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Soft masks of 0.9 and true masks of 1 are the same once both are cut."""
    folder = make_dataset()
    hard = make_recipe(epochs=1, input__height=48, loss__hard_targets=True)
    soft = make_recipe(epochs=1, input__height=48)
    losses = {
        (name, kind): train(folder, tmp_path / f"{name}-{kind}", recipe, supervision=kind).validation["val_loss"]  # type: ignore[arg-type]
        for name, recipe in (("hard", hard), ("soft", soft))
        for kind in ("pseudo", "mask")
    }
    assert losses["hard", "pseudo"] == losses["hard", "mask"] == losses["soft", "mask"]
    assert losses["soft", "pseudo"] != losses["hard", "pseudo"]
