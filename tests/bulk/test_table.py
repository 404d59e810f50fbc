"""Rows say what the localizer says, and parts say what they hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from boxpromptiml import rle
from boxpromptiml.bulk import Failed, InputImage, Operator
from boxpromptiml.bulk.table import Counts, PartWriter, part_counts, table_row, table_schema
from boxpromptiml.runtime import Localizer


@pytest.mark.parametrize(("photo", "regions"), [(1, 0), (3, 1), (6, 2)])
def test_a_row_is_the_localization(
    localizer: Localizer, make_photo: Callable[..., bytes], tmp_path: Path, photo: int, regions: int
) -> None:
    data = make_photo(photo)
    operator = Operator(localizer)
    image = InputImage("a.png", "a", data)

    (row,) = operator.run(
        [image], lambda image, item, found: table_row(image, item, found, model=localizer.model_id, masks=True)
    )
    with PartWriter.open(tmp_path / "p.parquet", "run") as writer:
        writer.add(row)
    (stored,) = pq.read_table(tmp_path / "p.parquet").to_pylist()

    single = localizer.localize(data)
    expected = single.to_json()
    assert stored["image"] == "a.png"
    assert stored["score"] == pytest.approx(single.score, abs=1e-6)
    for key in ("sha256", "width", "height", "verdict", "threshold", "model"):
        assert stored[key] == expected[key]
    assert stored["error"] is None
    assert stored["copies"] == []
    assert len(stored["regions"]) == regions
    for region, wanted in zip(stored["regions"], single.regions, strict=True):
        assert (region["x0"], region["y0"], region["x1"], region["y1"]) == wanted.box
        assert region["area"] == wanted.area
        assert region["score"] == pytest.approx(wanted.score, abs=1e-6)
    if regions:
        np.testing.assert_array_equal(rle.decode(stored["mask"]), single.mask)
    else:
        assert stored["mask"] is None


def test_copies_are_told(
    tmp_path: Path, foliage: Callable[..., np.ndarray], copy_move: Callable[..., tuple[np.ndarray, ...]]
) -> None:
    localizer = Localizer.load("default", threads=1)
    Image.fromarray(copy_move(foliage(300, 400), (100, 150), (280, 145), 50)[0]).save(tmp_path / "forged.png")
    data = (tmp_path / "forged.png").read_bytes()
    (row,) = Operator(localizer).run(
        [InputImage("a.png", "a", data)],
        lambda image, item, found: table_row(image, item, found, model=localizer.model_id, masks=True),
    )
    with PartWriter.open(tmp_path / "p.parquet", "run") as writer:
        writer.add(row)
    (stored,) = pq.read_table(tmp_path / "p.parquet").to_pylist()

    (copy,), (expected,) = stored["copies"], localizer.localize(data).to_json()["copies"]
    assert [list(box.values()) for box in copy["boxes"]] == expected["boxes"]
    assert (copy["pasted"], copy["matrix"], copy["matches"]) == tuple(
        expected[key] for key in ("pasted", "matrix", "matches")
    )
    assert copy["similarity"] == pytest.approx(expected["similarity"])


def test_an_error_is_a_row(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    with PartWriter.open(tmp_path / "p.parquet", "run") as writer:
        for i in range(600):  # more than one batch
            failed = Failed("is empty (0 bytes)", "abc")
            writer.add(table_row(InputImage(odd if i == 0 else f"{i}", ""), failed, None, model="m", masks=True))

    table = pq.read_table(tmp_path / "p.parquet")
    assert table.schema.equals(table_schema())
    assert table["image"].to_pylist()[:2] == ["caf\\xe9.jpg", "1"]
    assert set(table["error"].to_pylist()) == {"is empty (0 bytes)"}
    assert writer.counts == Counts(600, 0, 600)
    with (tmp_path / "p.parquet").open("rb") as stream:
        assert part_counts(stream, "run") == Counts(600, 0, 600)
        assert part_counts(stream, "another run") is None


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet at all, but long enough to have a footer PAR1"])
def test_what_is_no_part(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p").write_bytes(content)

    with (tmp_path / "p").open("rb") as stream:
        assert part_counts(stream, "run") is None
