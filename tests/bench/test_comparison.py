"""`python -m benchmarks.peers`: our side does what `localize` does, and the ratios are those of the medians."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.peers.contestant import timed
from benchmarks.peers.measuring import Entry, measure
from benchmarks.peers.report import network_rows, photo_rows, ratio_rows
from benchmarks.peers.students import NaiveContestant, StudentContestant, make_student

from boxpromptiml.bench.photo import made_jpeg
from boxpromptiml.model_config import ModelConfig, StudentConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer

pytestmark = pytest.mark.usefixtures("convert_once")
TINY = StudentConfig(backbone="test_resnet.r160_in1k", width=16, memory_size=8)
SPECS = {
    "stretch": PreprocessingSpec(height=64, width=64),
    "native": PreprocessingSpec(height=64, width=64, fit="native", max_side=128),
}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(made_jpeg(192, 128))
    return path


@pytest.fixture(scope="module", params=["native", pytest.param("stretch", marks=pytest.mark.torture)])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    config = ModelConfig(student=TINY, preprocessing=SPECS[request.param])
    folder, usable = make_student(tmp_path_factory.mktemp("student"), config, photo, ["onnx"])
    assert usable == ["onnx"]
    return folder


def test_our_side_does_what_localize_does(student: Path, photo: Path) -> None:
    contestant = StudentContestant(student, "onnx", 1)
    prepared = contestant.prepare(photo)
    score, mask = contestant.finish(prepared, contestant.network(prepared))
    expected = Localizer.load(student, threads=1).localize(photo)
    assert score == expected.score
    np.testing.assert_array_equal(mask, expected.mask)
    assert 0.005 < mask.mean() < 0.2  # the threshold leaves a mask to make, about 5 %
    assert contestant.facts().multiply_adds == ModelConfig.load(student).flops


def test_the_naive_program_gives_much_the_same(student: Path, photo: Path) -> None:
    contestant = NaiveContestant(student, 1)
    prepared = contestant.prepare(photo)
    _, mask = contestant.finish(prepared, contestant.network(prepared))
    expected = Localizer.load(student, threads=1).localize(photo).mask
    assert mask.shape == expected.shape == (128, 192)
    assert (mask != expected).mean() < 0.05


def test_every_step_of_every_call_is_timed(student: Path, photo: Path) -> None:
    contestant = StudentContestant(student, "onnx", 1)
    other = photo.with_name("other.jpg")
    other.write_bytes(made_jpeg(96, 96))
    figures = timed(contestant, [photo, other], calls=3, seconds=0.0, network_once=False)
    for found in figures.values():
        assert [len(found[step]) for step in ("prepare", "network", "finish")] == [3, 3, 3]
        assert min(found["prepare"]) > 0


def test_a_network_of_one_size_is_timed_with_the_first_photo_only(tmp_path: Path, photo: Path) -> None:
    config = ModelConfig(student=TINY, preprocessing=SPECS["stretch"])
    folder, _ = make_student(tmp_path / "student", config, photo, ["onnx"])
    other = tmp_path / "other.jpg"
    other.write_bytes(made_jpeg(96, 96))
    figures = timed(StudentContestant(folder, "onnx", 1), [photo, other], calls=2, seconds=0.0, network_once=True)
    assert [len(found["network"]) for found in figures.values()] == [2, 0]
    assert [len(found["finish"]) for found in figures.values()] == [2, 2]


@pytest.mark.slow
def test_a_run_of_both_sides(student: Path, photo: Path) -> None:
    """Real workers; a peer that cannot be built is a row that says why, and the others go on."""
    entries = [
        Entry("ours", "onnx", True, {"kind": "student", "folder": str(student), "runtime": "onnx"}, 0),
        Entry("none", "fp32", False, {"kind": "peer", "name": "no such peer", "way": "fp32"}, 1),
        Entry("ours", "naive", False, {"kind": "naive", "folder": str(student)}, 1),
    ]
    pythons = (sys.executable, sys.executable)
    figures = measure(entries, pythons, [photo], threads=1, rounds=2, calls=2, seconds=0.0)
    ours, none, naive = figures["entries"]
    assert ours["photos"]["photo.jpg"]["whole_ms"] > ours["photos"]["photo.jpg"]["network_ms"] > 0
    assert naive["photos"]["photo.jpg"]["shape"] == ours["photos"]["photo.jpg"]["shape"]
    assert "Error" in none["error"]
    assert figures["peaks"]["fp32"][1] > 1e9


def _row(name: str, way: str, kind: str, steps: tuple[float, float, float]) -> dict[str, object]:
    prepare, network, finish = steps
    photo = {"prepare_ms": prepare, "network_ms": network, "finish_ms": finish, "whole_ms": sum(steps)}
    facts = {"params": 5_000_000, "multiply_adds": 1_000_000_000, "height": 100, "width": 100, "precision": "fp32"}
    photos = {"a.jpg": photo | {"spread": 0.1, "shape": [200, 100], "tampered": 0.1}}
    return {"name": name, "way": way, "kind": kind, "ours": kind == "student", "photos": photos, **facts}


def test_the_ratios_are_against_the_fastest_peer() -> None:
    figures = {
        "peaks": {"fp32": ("numpy", 100e9)},
        "entries": [
            _row("student", "onnx", "student", (10.0, 20.0, 20.0)),
            _row("slow", "fp32", "peer", (50.0, 4000.0, 50.0)),
            _row("fast", "fp32", "peer", (500.0, 2000.0, 50.0)),
            _row("fast", "bf16", "peer", (50.0, 1000.0, 50.0)),
            {"name": "broken", "way": "fp32", "kind": "peer", "ours": False, "error": "no weights"},
        ],
    }
    _, rows = ratio_rows(figures, "a.jpg")
    assert rows == [["student", "onnx", "40.0", "51.0", "100.0", "20.0"]]
    _, rows = network_rows(figures)
    # 1 G multiply-adds at 100 x 100 are 2 G at 100 x 200, 4 G operations in 20 ms.
    assert rows[0] == ["student", "onnx", "5.0", "2.00", "100 x 200", "20.0", "10%", "200", "200%"]
    assert "no weights" in rows[-1][2]
    _, rows = photo_rows(figures, "a.jpg")
    assert [row[-1] for row in rows] == ["50.0", "4100.0", "2550.0", "1100.0"]
