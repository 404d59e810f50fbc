"""The overlapped pipeline on real files."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from boxpromptiml import rle
from boxpromptiml.bulk import (
    Columns,
    InputError,
    InputImage,
    Operator,
    Outputs,
    ResultsFile,
    Source,
    expand_inputs,
    localize_images,
)
from boxpromptiml.errors import BoxPromptError, ModelError
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer, draw_overlay, preparing


@pytest.fixture(scope="module")
def localizer(red_model: Path) -> Localizer:
    return Localizer.load(red_model, threads=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eleven photographs, every third one with a red patch, and a broken file among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(11):
        image = np.full((60 + i, 90, 3), 80 + i, np.uint8)
        if i % 3 == 0:
            image[10:40, 20:70] = (255, 0, 0)
        Image.fromarray(image).save(folder / f"{i:02d}.png")
    (folder / "05b.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def run(
    localizer: Localizer, sources: Iterable[Source], out: Path, **options: Any
) -> list[tuple[dict[str, Any], bool]]:
    results = ResultsFile.open(out)
    try:
        lines = list(localize_images(localizer, sources, results, **options))
        results.finish(line["image"] for line, _ in lines)
    finally:
        results.close()
    return lines


def saved_lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("workers", [1, 4])
def test_every_input_gets_its_line_in_order(
    localizer: Localizer, photos: Path, tmp_path: Path, batch_size: int, workers: int
) -> None:
    inputs = list(expand_inputs([str(photos)]))
    out = tmp_path / "out"

    lines = run(localizer, inputs, out, batch_size=batch_size, workers=workers)

    assert [line["image"] for line, _ in lines] == [image.name for image in inputs]
    assert saved_lines(out) == [line for line, _ in lines]
    errors = [line for line, _ in lines if "error" in line]
    assert [(Path(line["image"]).name, line["error"][:30]) for line in errors] == [
        ("05b.jpg", "damaged or truncated JPEG file"),
    ]
    for line, skipped in lines:
        assert not skipped
        if "error" not in line:
            assert line["verdict"] == ("tampered" if int(Path(line["image"]).stem) % 3 == 0 else "authentic")


def test_lines_and_files_say_what_localize_says(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inputs = list(expand_inputs([str(photos / "03.png"), str(photos / "04.png")]))

    for line, _ in run(localizer, inputs, out):
        single = localizer.localize(line["image"])
        assert list(line) == [
            *("image", "sha256", "width", "height", "score", "verdict", "threshold", "regions"),
            *("mask", "heatmap", "overlay", "model", "seconds"),
        ]
        expected = single.to_json()
        assert {key: line[key] for key in expected if key != "seconds"} == {
            key: value for key, value in expected.items() if key != "seconds"
        }
        mask = open_mask(out / line["mask"])
        np.testing.assert_array_equal(mask, single.mask * np.uint8(255))
        for region in line["regions"]:
            assert (mask[rle.decode(region["rle"])] == 255).all()
        with Image.open(out / line["heatmap"]) as picture:
            heat = np.asarray(picture)
        assert heat.dtype == np.uint16
        np.testing.assert_allclose(heat / 65535, single.map, atol=1e-5)
        overlay = open_image(out / line["overlay"]).astype(int)
        assert np.abs(overlay - draw_overlay(open_image(line["image"]), single)).mean() < 8


@pytest.mark.parametrize("left_out", ["masks", "heatmaps", "overlays"])
def test_outputs_can_be_left_out(localizer: Localizer, photos: Path, tmp_path: Path, left_out: str) -> None:
    out = tmp_path / "out"

    lines = run(localizer, expand_inputs([str(photos / "00.png")]), out, outputs=Outputs(**{left_out: False}))

    assert lines[0][0][left_out[:-1]] is None
    assert {path.name for path in out.iterdir()} == {"results.jsonl", "masks", "heatmaps", "overlays"} - {left_out}


def test_a_second_run_does_what_is_left(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inputs = list(expand_inputs([str(photos)]))
    run(localizer, inputs[:4], out)
    Image.fromarray(np.full((50, 50, 3), (255, 0, 0), np.uint8)).save(photos / "01.png")  # a changed photograph
    (out / "masks" / "02.png").unlink()  # a lost mask

    lines = run(localizer, inputs, out)

    assert [Path(line["image"]).stem for line, skipped in lines if skipped] == ["00", "03"]
    assert lines[1][0]["verdict"] == "tampered"
    assert saved_lines(out) == [line for line, _ in lines]
    assert (out / "masks" / "02.png").is_file()
    assert all(skipped or "error" in line for line, skipped in run(localizer, inputs, out))


@pytest.mark.parametrize(
    "change",
    [{"threshold": 0.25}, {"overwrite": True}, {"outputs": Outputs(overlays=False)}, {"detail": True}, {"tta": True}],
)
def test_another_question_is_answered_anew(
    localizer: Localizer, photos: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    inputs = list(expand_inputs([str(photos / "00.png")]))
    run(localizer, inputs, out)

    ((line, skipped),) = run(localizer, inputs, out, **change)

    assert not skipped
    assert saved_lines(out) == [line]


def test_files_are_read_by_their_content_whatever_their_suffix(
    localizer: Localizer, photos: Path, tmp_path: Path
) -> None:
    shutil.copy(photos / "03.png", tmp_path / "called.jpg")

    lines = run(localizer, expand_inputs([str(tmp_path / "called.jpg"), str(photos / "03.png")]), tmp_path / "out")

    (called, _), (named, _) = lines
    assert (called["score"], called["sha256"]) == (named["score"], named["sha256"])


def test_no_picture_of_an_earlier_answer_stays(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    """An overlay at another threshold beside the new mask, or a mask beside an error, would be taken for the answer."""
    out, image = tmp_path / "out", photos / "03.png"
    inputs = list(expand_inputs([str(image), str(photos / "04.png")]))
    run(localizer, inputs, out)
    assert (out / "overlays/03.jpg").is_file()

    run(localizer, inputs[:1], out, threshold=0.9, outputs=Outputs(overlays=False))
    assert not (out / "overlays/03.jpg").exists()
    assert (out / "masks/03.png").is_file()
    assert (out / "overlays/04.jpg").is_file()

    image.write_bytes(b"no image any more")
    run(localizer, inputs[:1], out)
    assert sorted(path.name for path in out.rglob("03.*")) == []
    assert (out / "masks/04.png").is_file()


@pytest.mark.parametrize("passes", [{"detail": True}, {"tta": True}, {"detail": True, "tta": True}])
def test_detail_and_tta_say_what_localize_says(
    localizer: Localizer, photos: Path, tmp_path: Path, passes: dict[str, bool]
) -> None:
    inputs = list(expand_inputs([str(photos)]))

    lines = run(localizer, inputs, tmp_path / "out", workers=3, **passes)

    assert sum("error" in line for line, _ in lines) == 1
    for line, _ in lines:
        if "error" not in line:
            found = localizer.localize(line["image"], **passes)
            assert {name: line[name] for name in passes} == passes
            assert (line["score"], line["regions"]) == (round(found.score, 6), found.to_json()["regions"])
            assert open_mask(tmp_path / "out" / line["mask"]).shape == found.mask.shape
            heatmap = np.asarray(Image.open(tmp_path / "out" / line["heatmap"]))
            assert heatmap.shape == found.map.shape
    again = run(localizer, inputs, tmp_path / "out", workers=3, **passes)
    assert all(skipped or "error" in line for line, skipped in again)


def test_equal_names_do_not_overwrite_each_other(localizer: Localizer, tmp_path: Path) -> None:
    for folder, colour in (("x", (255, 0, 0)), ("y", (9, 9, 9))):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((40, 40, 3), colour, np.uint8)).save(tmp_path / folder / "a.png")
        Image.fromarray(np.full((30, 30, 3), colour, np.uint8)).save(tmp_path / folder / "a.bmp")
    out = tmp_path / "out"

    lines = [line for line, _ in run(localizer, expand_inputs([str(tmp_path / "x"), str(tmp_path / "y")]), out)]

    assert len({line["mask"] for line in lines}) == 4
    for line in lines:
        mask = open_mask(out / line["mask"])
        assert mask.shape == (line["height"], line["width"])
        assert mask.max() == (255 if line["verdict"] == "tampered" else 0)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ({"x": [1, 2]}, Columns(), r"t\.parquet: which of its columns holds the images\?"),
        ({"image": [b"1", b"2"]}, Columns(image="jpg"), r"t\.parquet: has no column jpg"),
        ({"image": [b"1", b"2"], "id": ["a", "a"]}, Columns(id="id"), r"t\.parquet: row 1: the id a was there before"),
    ],
)
def test_a_table_that_cannot_be_meant_ends_the_run_before_it_begins(
    localizer: Localizer, photos: Path, tmp_path: Path, content: dict[str, Any], columns: Columns, message: str
) -> None:
    """It is not damaged, and another option mends it."""
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    out = tmp_path / "out"

    with pytest.raises(InputError, match=message):
        run(localizer, expand_inputs([str(photos), str(tmp_path / "t.parquet")]), out, columns=columns)
    assert not list(out.iterdir())


def test_members_of_one_name_have_an_answer_each(localizer: Localizer, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for i in range(2):
            Image.fromarray(np.full((40, 40 + i, 3), 90, np.uint8)).save(tmp_path / "1.png")
            archive.add(tmp_path / "1.png", "1.png")

    sources = list(expand_inputs([str(tmp_path / "a.tar")]))
    run(localizer, sources, tmp_path / "out")
    again = run(localizer, sources, tmp_path / "out")

    lines = saved_lines(tmp_path / "out")
    assert [(line["image"].partition("#")[2], line["width"]) for line in lines] == [("1.png", 40), ("1.png (2)", 41)]
    assert [Image.open(tmp_path / "out" / line["mask"]).width for line in lines] == [40, 41]
    assert [skipped for _, skipped in again] == [True, True]


def test_a_stopped_run_leaves_whole_lines(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = ResultsFile.open(out)
    lines = localize_images(localizer, expand_inputs([str(photos)]), results, batch_size=2, workers=2)
    first = [next(lines) for _ in range(3)]
    lines.close()  # as Ctrl-C does
    results.close()

    assert saved_lines(out) == [line for line, _ in first]
    again = run(localizer, expand_inputs([str(photos)]), out)
    assert [skipped for _, skipped in again][:3] == [True, True, True]
    assert len(saved_lines(out)) == 12


def test_few_images_are_held_at_a_time(localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of inputs: at most two batches and the workers' images between reading and the line."""
    path = tmp_path / "a.png"
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(path)
    held, most, lock = 0, 0, threading.Lock()
    prepare = Operator.prepare

    def counted(self: Any, image: InputImage, data: bytes, digest: str) -> Any:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return prepare(self, image, data, digest)

    monkeypatch.setattr(Operator, "prepare", counted)
    paths = []
    for i in range(60):
        (tmp_path / f"{i}.png").symlink_to(path)
        paths.append(Source("image", str(tmp_path / f"{i}.png"), str(i)))
    results = ResultsFile.open(tmp_path / "out")
    for _ in localize_images(localizer, paths, results, batch_size=3, workers=2):
        with lock:
            held -= 1
    results.close()

    assert most <= 2 * (3 + 2) + 3


def test_a_folder_that_cannot_be_written_to_ends_the_run(localizer: Localizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "masks").write_bytes(b"a file where the folder should be")

    with pytest.raises(BoxPromptError, match="masks"):
        run(localizer, expand_inputs([str(photos)]), out)


def test_a_failing_network_ends_the_run(localizer: Localizer, photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(_: Any, __: Any) -> Any:
        raise ModelError("model: the network failed")

    monkeypatch.setattr(Localizer, "probabilities", fail)
    with pytest.raises(ModelError, match="network failed"):
        run(localizer, expand_inputs([str(photos)]), tmp_path / "out")


def test_large_images_are_decoded_one_at_a_time(
    localizer: Localizer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "LARGE_PIXELS", 1000)
    busy = threading.Lock()
    feed = PreprocessingSpec.feed

    def alone(*arguments: Any, **options: Any) -> Any:
        assert busy.acquire(blocking=False)
        try:
            time.sleep(0.01)  # long enough for another thread to come in
            return feed(*arguments, **options)
        finally:
            busy.release()

    monkeypatch.setattr(PreprocessingSpec, "feed", alone)
    inputs = list(expand_inputs([str(photos)]))

    assert len(run(localizer, inputs, tmp_path / "out", workers=8)) == len(inputs)
