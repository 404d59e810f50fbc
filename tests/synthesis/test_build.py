from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boxpromptiml.cli.synthesis import synthesize_dataset
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import BoxPromptError, DatasetError
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.synthesis import ObjectPool, PhotoPool, build

SIZE = (64, 96)


def content(folder: Path) -> dict[str, object]:
    """Files (without the database) and records of a dataset."""
    files: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(("dataset.db", ".synthesis.lock"))
    }
    with Dataset.open(folder) as dataset:
        return files | {"records": [(r.image, r.label, r.mask, r.split, r.group, r.kind) for r in dataset.records()]}


def test_records_say_what_the_files_are(photos: PhotoPool, objects: ObjectPool, tmp_path: Path) -> None:
    summary = synthesize_dataset(photos, tmp_path, 12, authentic=5, objects=objects, size=SIZE, workers=1)
    assert (summary.made, summary.kept, summary.skipped) == (17, 0, ())
    assert sum(summary.kinds[""].values()) == 17
    histories = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    with Dataset.open(tmp_path) as dataset:
        records = list(dataset.records())
        assert [record.image for record in records] == [history["image"] for history in histories]
        for record, history in zip(records, histories, strict=True):
            image = open_image(dataset.path(record.image))
            assert image.shape == (record.height, record.width, 3) == (*SIZE, 3)
            assert record.group == history["host"]
            assert Path(record.image).suffix == (".jpg" if "jpeg" in (history["after"] or [{}])[-1] else ".png")
            if record.label == "authentic":
                assert record.image.startswith("Au/")
                assert (record.mask, record.kind) == (None, None)
            else:
                mask = open_mask(dataset.path(record.mask or ""))
                assert mask.shape == SIZE
                assert np.mean(mask == 255) == pytest.approx(history["area"], abs=1e-4)
                assert record.kind == history["kind"]


def test_workers_and_interruptions_do_not_change_the_result(
    photos: PhotoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize_dataset(photos, tmp_path / "one", 10, size=SIZE, workers=1)
    synthesize_dataset(photos, tmp_path / "two", 10, size=SIZE, workers=2)
    real, calls = build._make, []

    def interrupted(job: build._Job, task: build._Task) -> build.Made:
        calls.append(task)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(job, task)

    monkeypatch.setattr(build, "_make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthesize_dataset(photos, tmp_path / "three", 10, size=SIZE, workers=1)
    with Dataset.open(tmp_path / "three") as dataset:
        assert dataset.count() == 6
    monkeypatch.setattr(build, "_make", real)
    (tmp_path / "three" / "Tp" / ".000004-x1y2z3.jpg").write_bytes(b"torn by a kill")
    summary = synthesize_dataset(photos, tmp_path / "three", 10, size=SIZE, workers=1)
    assert (summary.made, summary.kept) == (9, 6)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "three")


def test_more_images_are_added_and_lost_files_made_again(photos: PhotoPool, tmp_path: Path) -> None:
    synthesize_dataset(photos, tmp_path / "grown", 4, authentic=2, size=SIZE)
    summary = synthesize_dataset(photos, tmp_path / "grown", 8, authentic=4, size=SIZE)
    assert (summary.made, summary.kept) == (6, 6)
    (tmp_path / "grown" / "Gt" / "000001.png").unlink()
    assert synthesize_dataset(photos, tmp_path / "grown", 8, authentic=4, size=SIZE).made == 1
    synthesize_dataset(photos, tmp_path / "whole", 8, authentic=4, size=SIZE)
    assert content(tmp_path / "grown") == content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["scan\u2028 1.jpg", "a\x85b.jpg", "a\x1cb.jpg"])
def test_histories_are_kept_whatever_photographs_are_called(
    make_photos: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    folder = make_photos(tmp_path / "photos", 2)
    (folder / "photo00.jpg").rename(folder / name)
    synthesize_dataset(PhotoPool(folder), tmp_path / "made", 4, authentic=0, size=SIZE, workers=1)
    histories = [json.loads(line) for line in (tmp_path / "made/history.jsonl").read_text().split("\n") if line]
    assert len(histories) == 4
    assert any(name in history["host"] for history in histories)


def test_splits_use_photographs_of_their_own(photos: PhotoPool, objects: ObjectPool, tmp_path: Path) -> None:
    synthesize_dataset(
        photos, tmp_path, 40, objects=objects, size=SIZE, fractions={"val": 0.25, "test": 0.25}, workers=1
    )
    sources: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    with Dataset.open(tmp_path) as dataset:
        for line in (tmp_path / "history.jsonl").read_text().splitlines():
            history = json.loads(line)
            split = dataset.get(history["image"]).split
            assert split is not None
            sources[split].update([history["host"], *history.get("donors", ())])
    assert all(sources.values())
    assert len(set.union(*sources.values())) == sum(len(ids) for ids in sources.values())


def test_other_settings_and_other_datasets_are_refused(photos: PhotoPool, tmp_path: Path) -> None:
    synthesize_dataset(photos, tmp_path / "made", 2, size=SIZE)
    with pytest.raises(DatasetError, match=r"another seed \(was 0, is 1\)"):
        synthesize_dataset(photos, tmp_path / "made", 2, size=SIZE, seed=1)
    with pytest.raises(DatasetError, match="another photos"):
        synthesize_dataset(photos.subset(range(4)), tmp_path / "made", 2, size=SIZE)
    with Dataset.create(tmp_path / "other") as dataset:
        dataset.put(ImageRecord("a.jpg", 10, 10))
    with pytest.raises(DatasetError, match="holds images that were not synthesised"):
        synthesize_dataset(photos, tmp_path / "other", 2)


def test_an_error_on_one_side_names_the_side(make_photos: Callable[..., Path], tmp_path: Path) -> None:
    pool = PhotoPool(make_photos(tmp_path / "photos", 4))
    with pytest.raises(BoxPromptError, match=r"split test: .*a splice needs a second photo"):
        synthesize_dataset(pool, tmp_path / "out", 4, fractions={"test": 0.25})
    assert not (tmp_path / "out").exists()
