"""The demo, small: every step of the method on real photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxpromptiml.demo.photographs import PHOTOGRAPHS, export_photographs
from boxpromptiml.demo.pipeline import DemoResult, run_demo
from boxpromptiml.demo.settings import DemoSettings
from boxpromptiml.demo.summary import build_page, figures
from boxpromptiml.errors import DatasetError
from boxpromptiml.images import image_size

SMALL = DemoSettings(images=24, authentic=4, side=96, epochs=1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo"), SMALL, say=lambda _: None)


def test_photographs_are_real_and_many(tmp_path: Path) -> None:
    written = export_photographs(tmp_path)
    assert [path.stem for path in written] == sorted(PHOTOGRAPHS)
    assert all(min(image_size(path)) >= 250 for path in written)


@pytest.mark.slow
class TestDemo:
    def test_no_photograph_is_in_two_splits(self, demo: DemoResult) -> None:
        names = [name for split in ("train", "val", "test") for name in demo.photographs[split]]
        assert len(names) == len(set(names)) >= 10
        assert sum(demo.counts.values()) == SMALL.images

    def test_grabcut_beats_the_boxes_that_it_is_given(self, demo: DemoResult) -> None:
        assert demo.teacher["iou"] > demo.boxes["iou"] > 0.2

    def test_three_students_are_trained_exported_and_evaluated(self, demo: DemoResult) -> None:
        assert {item.supervision for item in demo.students} == {"pseudo", "mask", "box"}
        for item in demo.students:
            assert (item.folder / "model.onnx").is_file()
            assert item.test.figures.n_tampered == demo.counts["test"]
        assert len(figures(demo)) == 5

    def test_every_test_image_is_localized(self, demo: DemoResult) -> None:
        lines = [json.loads(line) for line in (demo.localized / "results.jsonl").read_text().splitlines()]
        assert len(lines) == demo.counts["test"]
        assert all((demo.localized / line["mask"]).is_file() for line in lines)

    def test_the_report_needs_no_other_file(self, demo: DemoResult) -> None:
        build_page(demo).write(demo.out / "report.html")
        page = (demo.out / "report.html").read_text()
        assert page.count("<img src='data:image/jpeg;base64,") > 20
        assert "http" not in page
        assert "<script" not in page

    def test_a_second_run_has_nothing_left_to_do(self, demo: DemoResult) -> None:
        again = run_demo(demo.out, SMALL, say=lambda _: None)
        assert figures(again) == figures(demo)
        assert sum(again.seconds.values()) < sum(demo.seconds.values())


def test_the_output_must_be_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DatasetError, match="choose another --out"):
        run_demo(file)
