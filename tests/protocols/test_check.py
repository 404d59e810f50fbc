"""Every kind of defect is found, and only that."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.errors import DatasetError, ImageError
from boxpromptiml.protocols import Protocol, find_sets
from boxpromptiml.protocols import facts as facts_module
from boxpromptiml.protocols.check import CheckReport, check_protocol
from boxpromptiml.protocols.facts import FactsCache

TINY = Protocol.model_validate(
    {
        "name": "tiny",
        "title": "t",
        "source": "s",
        "sets": [
            {"name": "alpha", "role": "train", "tampered": [{"count": 16, "source": "s"}]},
            {"name": "beta", "role": "test", "tampered": [{"count": 4, "source": "s"}]},
            {"name": "gamma", "role": "ood", "tampered": [{"count": 4, "source": "s"}, {"count": 5, "source": "t"}]},
        ],
        "notes": [{"text": "alpha and gamma overlap", "source": "s", "sets": ["alpha", "gamma"], "leak": True}],
    }
)


def check(root: Path, protocol: Protocol = TINY) -> CheckReport:
    return check_protocol(protocol, find_sets(protocol, root), FactsCache(root.parent / "facts.db"))


def kinds(report: CheckReport) -> dict[str, list[str]]:
    return {item.name: sorted(p.kind for p in item.problems) for item in report.sets if item.problems}


def test_what_is_as_it_should_be(root: Path) -> None:
    report = check(root)
    assert not report.kinds()
    assert not report.duplicates
    assert [(item.name, item.tampered, item.authentic) for item in report.sets] == [
        ("alpha", 16, 0),
        ("beta", 4, 0),
        ("gamma", 4, 0),
    ]
    assert report.to_json()["ok"] is True


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)


def half_tampered(mask: np.ndarray) -> np.ndarray:
    return np.where(mask > 127, 128, 0).astype(np.uint8)


def coloured(mask: np.ndarray) -> np.ndarray:
    return np.dstack([mask, mask * 0, mask * 0])


DEFECTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "the set is not there": (lambda beta: shutil.rmtree(beta), ["missing"]),
    "a plain folder of images": (
        lambda beta: (shutil.rmtree(beta / "Gt"), (beta / "Tp").rename(beta / "x")),
        ["layout"],
    ),
    "an empty folder": (lambda beta: (shutil.rmtree(beta), beta.mkdir()), ["layout"]),
    "no masks at all": (lambda beta: shutil.rmtree(beta / "Gt"), ["pairing"] * 4),
    "a mask is missing": (lambda beta: (beta / "Gt/1.png").unlink(), ["count", "pairing"]),
    "an image is missing": (lambda beta: (beta / "Tp/1.png").unlink(), ["count", "pairing"]),
    "one image less": (lambda beta: ((beta / "Tp/1.png").unlink(), (beta / "Gt/1.png").unlink()), ["count"]),
    "a mask of another size": (lambda beta: edit(beta / "Gt/1.png", lambda mask: mask[:, :-1]), ["size"]),
    "a turned mask": (lambda beta: edit(beta / "Gt/1.png", lambda mask: mask.T.copy()), ["size"]),
    "values between": (lambda beta: edit(beta / "Gt/1.png", half_tampered), ["values"]),
    "0 and 1": (lambda beta: edit(beta / "Gt/1.png", lambda mask: mask // 255), ["values"]),
    "a coloured mask": (lambda beta: edit(beta / "Gt/1.png", coloured), ["coloured"]),
    "an inverted mask": (lambda beta: edit(beta / "Gt/1.png", lambda mask: 255 - mask), ["inverted"]),
    "an empty mask": (lambda beta: edit(beta / "Gt/1.png", lambda mask: mask * 0), ["empty"]),
    "a truncated image": (lambda beta: truncate(beta / "Tp/1.png"), ["unreadable"]),
    "a truncated mask": (lambda beta: truncate(beta / "Gt/1.png"), ["unreadable"]),
    "a text file as an image": (lambda beta: (beta / "Tp/1.png").write_text("no image"), ["unreadable"]),
}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(("damage", "expected"), DEFECTS.values(), ids=DEFECTS)
def test_defects(root: Path, damage: Callable[[Path], object], expected: list[str]) -> None:
    damage(root / "beta")
    report = check(root)
    assert kinds(report) == {"beta": expected}
    assert report.to_json()["ok"] is False
    for problem in report.sets[1].problems:
        assert "\n" not in problem.detail


def test_large_manipulations_are_not_taken_for_inverted(root: Path) -> None:
    def large(mask: np.ndarray) -> np.ndarray:
        mask[:, :70] = 255  # two corners
        return mask

    edit(root / "beta/Gt/1.png", large)
    assert not check(root).kinds()


def test_any_published_count_is_right(root: Path) -> None:
    for part in ("Tp", "Gt"):
        shutil.copy(root / f"alpha/{part}/3.png", root / f"gamma/{part}/9.png")
    assert "gamma" not in kinds(check(root))
    (root / "gamma/Tp/9.png").unlink()
    (root / "gamma/Gt/9.png").unlink()
    (root / "gamma/Tp/1.png").unlink()
    (root / "gamma/Gt/1.png").unlink()
    (problem,) = check(root).sets[2].problems
    assert problem.detail == "3 tampered images, expected 4 or 5"


def save_jpeg(source: Path, target: Path, size: tuple[int, int]) -> None:
    stream = io.BytesIO()
    Image.open(source).convert("RGB").resize(size).save(stream, "JPEG", quality=60)
    target.write_bytes(stream.getvalue())


def test_the_same_file_in_training_and_test(root: Path) -> None:
    shutil.copy(root / "alpha/Tp/3.png", root / "beta/Tp/1.png")
    shutil.copy(root / "alpha/Gt/3.png", root / "beta/Gt/1.png")
    (pair,) = check(root).duplicates
    assert (pair.kind, pair.distance, pair.known) == ("exact", 0, False)
    assert (pair.train_image, pair.test_image) == (root / "alpha/Tp/3.png", root / "beta/Tp/1.png")


def test_the_same_picture_in_training_and_test(root: Path) -> None:
    """Half the size, compressed, under another name; the protocol knows of this leak and it is told all the same."""
    (root / "gamma/Tp/1.png").unlink()
    save_jpeg(root / "alpha/Tp/3.png", root / "gamma/Tp/1.jpg", (48, 36))
    edit(root / "gamma/Gt/1.png", lambda mask: mask[::2, ::2].copy())
    report = check(root)
    (pair,) = report.duplicates
    assert (pair.kind, pair.train_image.name, pair.test_image.name) == ("near", "3.png", "1.jpg")
    assert pair.known
    assert report.kinds() == {"duplicate": 1}


def test_authentic_images_count_only_where_they_are_used(
    root: Path, write_authentic: Callable[[Path, int], None]
) -> None:
    write_authentic(root / "beta", 3)
    shutil.copy(root / "beta/Au/a0.png", root / "alpha/Tp/0.png")
    report = check(root)
    assert not report.kinds()
    assert report.sets[1].authentic == 0

    sets = [item.model_dump() for item in TINY.sets]
    sets[1] |= {"use": "all", "authentic": [{"count": 2, "source": "s"}]}
    report = check(root, Protocol.model_validate({**TINY.model_dump(), "sets": sets}))
    assert report.sets[1].authentic == 3
    assert report.kinds() == {"count": 1, "duplicate": 1}


def test_lists_of_imdlbenco(root: Path) -> None:
    """An image with an empty mask is authentic there, a mask of 0 and 1 is not empty."""
    entries = [[f"beta/Tp/{i}.png", f"beta/Gt/{i}.png"] for i in range(4)] + [["alpha/Tp/0.png", "Negative"]]
    (root / "gamma.json").write_text(json.dumps(entries))
    shutil.rmtree(root / "gamma")
    assert not check(root).kinds()
    edit(root / "beta/Gt/0.png", lambda mask: mask * 0)
    assert kinds(check(root)) == {"beta": ["empty"], "gamma": ["count"]}
    edit(root / "beta/Gt/0.png", lambda mask: mask * 0 + np.eye(*mask.shape, dtype=np.uint8))
    assert kinds(check(root)) == {"beta": ["values"], "gamma": ["values"]}


def test_a_second_check_reads_only_what_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = check(root)
    read: list[Path] = []
    for name in ("image_facts", "mask_facts"):
        original = getattr(facts_module, name)
        monkeypatch.setattr(facts_module, name, lambda path, original=original: (read.append(path), original(path))[1])
    assert check(root) == first
    assert read == []
    changed = root / "beta/Tp/2.png"
    edit(changed, lambda image: image[::-1].copy())
    os.utime(changed, ns=(time.time_ns(), time.time_ns() + 1_000_000))
    check(root)
    assert read == [changed]


def test_a_check_that_is_stopped_keeps_what_it_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "_BATCH", 4)
    original, read = facts_module.image_facts, []

    def stopping(path: Path) -> facts_module.ImageFacts:
        read.append(path)
        if len(read) > 10:
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(facts_module, "image_facts", stopping)
    cache = FactsCache(root.parent / "facts.db")
    with pytest.raises(KeyboardInterrupt):
        check_protocol(TINY, find_sets(TINY, root), cache, workers=1)
    monkeypatch.setattr(facts_module, "image_facts", lambda path: (read.append(path), original(path))[1])
    before = len(read)
    assert not check_protocol(TINY, find_sets(TINY, root), cache, workers=1).kinds()
    assert len(read) - before == 24 - 8  # two batches of four were kept


def test_a_file_that_could_not_be_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that was away for a moment is back at the next check; the file is as it was."""
    away = root / "beta" / "Tp" / "1.png"
    original = facts_module.read_image_file

    def read(path: Path) -> bytes:
        if path == away:
            raise ImageError(path, "Input/output error")
        return original(path)

    monkeypatch.setattr(facts_module, "read_image_file", read)
    assert check(root).kinds() == {"unreadable": 1}
    monkeypatch.setattr(facts_module, "read_image_file", original)
    assert not check(root).kinds()


def test_a_cache_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    path.write_text("this is not a database, and long enough for SQLite to see that" * 20)
    with pytest.raises(DatasetError, match="cannot be used to keep hashes"):
        FactsCache(path)
