"""What models cost: real measurements of a real tiny model, in real processes."""

from __future__ import annotations

import doctest
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.bench import (
    RUNTIMES,
    Cell,
    CellResult,
    Effort,
    Runtime,
    SpeedResult,
    Timing,
    measure_speed,
    result,
)
from boxpromptiml.bench import run as run_module
from boxpromptiml.bench import turn as turn_module
from boxpromptiml.bench.cells import turns
from boxpromptiml.bench.steps import STEPS, WHOLE, answer_photos
from boxpromptiml.bench.tables import latency_tables, markdown, notes, size_table, throughput_tables
from boxpromptiml.bench.turn_store import TurnStore
from boxpromptiml.errors import BoxPromptError, ImageError, MissingExtraError, ModelError
from boxpromptiml.machine import usable_cores
from boxpromptiml.runtime import Localizer

QUICK = Effort(rounds=2, seconds=0.05, warm_up=0.0)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, convert_once: object) -> Path:
    """A model folder that both runtimes can run."""
    pytest.importorskip("torch")
    import torch

    from boxpromptiml.export import export_onnx
    from boxpromptiml.model_config import ModelConfig, StudentConfig
    from boxpromptiml.preprocessing import PreprocessingSpec
    from boxpromptiml.student import build_student, save_checkpoint

    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    config = ModelConfig(
        student=StudentConfig(backbone="test_resnet.r160_in1k", width=16, memory_size=8),
        preprocessing=PreprocessingSpec(height=64, width=64),
    )
    save_checkpoint(folder, build_student(config.student, False, (64, 64)), config)
    export_onnx(folder)
    return folder


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(result).failed == 0


def test_both_runtimes_of_a_model(student: Path) -> None:
    measured = measure_speed([student], threads=[1], batches=[1, 4], effort=Effort(1, 0.05, 0), peers=True)
    assert [(c.cell.runtime, c.cell.batch) for c in measured.cells] == [
        ("onnx", 1),
        ("onnx", 4),
        ("torch", 1),
        ("torch", 4),
    ]
    assert not measured.failed
    (facts,) = measured.models
    assert facts.params == json.loads((student / "config.json").read_text())["params"]
    assert facts.files == {name: (student / name).stat().st_size for name in ("model.onnx", "model.safetensors")}
    for cell in measured.cells:
        assert cell.network is not None
        assert cell.whole is not None
        assert cell.peak_mb is not None
        assert cell.baseline_mb is not None
        assert cell.whole_peak_mb is not None
        assert 0 < cell.network.median_ms <= cell.network.p95_ms
        assert cell.network.images_per_second == pytest.approx(1000 * cell.cell.batch / cell.network.median_ms)
        # Decoding 1600 x 1200 pixels dwarfs this network.
        assert cell.whole.median_ms > cell.network.median_ms
        assert 10 < cell.baseline_mb < cell.peak_mb <= cell.whole_peak_mb < 4000
        assert cell.steps_ms is not None
        assert cell.steps_ms.keys() == set(STEPS)
        assert 0 < sum(cell.steps_ms[step] for step in WHOLE) < 2 * cell.whole.median_ms
        # Operations: two for each multiply-add of every image.
        rate = 2 * json.loads((student / "config.json").read_text())["flops"] * cell.network.images_per_second
        assert measured.flops(cell) == pytest.approx(rate)
        assert measured.peaks[0].flops is not None
        assert measured.share_of_peak(cell) == pytest.approx(rate / measured.peaks[0].flops)
    by_runtime = {c.cell.runtime: c for c in measured.cells if c.cell.batch == 1}
    assert by_runtime["torch"].peak_mb > by_runtime["onnx"].peak_mb  # type: ignore[operator]
    text = markdown(latency_tables(measured), measured)
    assert "published [1]" in text
    assert "other methods: published, not measured here" in text
    assert "| decode | " in text
    answer = json.loads(json.dumps(measured.to_json()))
    assert answer["flops"].startswith("multiply-adds")
    assert answer["peers"]["status"] == "published, not measured here"
    assert answer["cells"][0]["threads"] == 1
    assert answer["cells"][0]["share_of_peak"] == measured.share_of_peak(measured.cells[0])
    assert [peak["precision"] for peak in answer["peaks"]] == ["fp32"]
    assert answer["peaks"][0]["flops_per_second"] > 1e9
    assert answer["machine"]["versions"].keys() >= {"boxpromptiml", "onnxruntime", "torch"}


def test_throughput_of_two_processes_beside_the_bound_of_decoding(red_model: Path) -> None:
    options = {"runtimes": ["onnx"], "threads": [1], "batches": [2], "processes": [1, 2], "effort": Effort(1, 0.3, 0)}
    measured = measure_speed([red_model], decoding=True, peak=False, **options)  # type: ignore[arg-type]
    assert [cell.cell.processes for cell in measured.cells] == [1, 2]
    assert [found.decoding.processes for found in measured.decodings] == [1, 2]
    for cell, found in zip(measured.cells, measured.decodings, strict=True):
        assert cell.whole is not None
        assert found.timing is not None
        assert cell.whole.images_per_second == pytest.approx(2000 * cell.cell.processes / cell.whole.median_ms)
        expected = cell.whole.images_per_second / found.timing.images_per_second
        assert measured.share_of_decoding(cell) == pytest.approx(expected)
        assert 0.1 < expected < 1.5
        assert measured.share_of_peak(cell) is None  # the red model's config counts nothing
    assert measured.cells[1].peak_mb > 1.5 * measured.cells[0].peak_mb  # type: ignore[operator]
    text = markdown(throughput_tables(measured), measured)
    assert "| onnx | 2 | 1 | 2 |" in text


@pytest.mark.parametrize("model", ["red", "default"])
def test_the_steps_are_what_localize_does(model: str, red_model: Path, tmp_path: Path) -> None:
    """What is timed is the work that is shipped: of `default` two looks and the search for copies as well."""
    picture = Image.new("RGB", (200, 150), "gray")
    picture.paste("red", (20, 30, 90, 80))
    picture.save(tmp_path / "photo.png")
    localizer = Localizer.load(red_model if model == "red" else model, threads=1)
    expected = localizer.localize(tmp_path / "photo.png")
    answers, spent = answer_photos(localizer, [tmp_path / "photo.png"] * 2)
    assert len(answers) == 2
    for answer in answers:
        np.testing.assert_array_equal(answer.mask, expected.mask)
        assert answer.to_json() | {"seconds": 0} == expected.to_json() | {"seconds": 0}
    assert answers[0].regions or model == "default"
    assert list(spent) == list(STEPS)
    assert min(spent.values()) > 0


def test_a_network_that_takes_any_size_is_timed_at_the_photo_s(student: Path, tmp_path: Path) -> None:
    """Multiply-adds are counted at the training window and grow with the area."""
    import torch

    from boxpromptiml.export import export_onnx
    from boxpromptiml.model_config import ModelConfig, StudentConfig
    from boxpromptiml.preprocessing import PreprocessingSpec
    from boxpromptiml.student import build_student, save_checkpoint

    torch.manual_seed(0)
    config = ModelConfig(
        student=StudentConfig(backbone="test_resnet.r160_in1k", width=16, memory_size=8),
        preprocessing=PreprocessingSpec(height=64, width=64, fit="native"),
    )
    save_checkpoint(tmp_path / "model", build_student(config.student, False, (64, 64)), config)
    export_onnx(tmp_path / "model")
    Image.new("RGB", (190, 128), "red").save(tmp_path / "photo.png")
    options = {"runtimes": ["onnx"], "threads": [1], "effort": Effort(1, 0.02, 0), "peak": False}
    measured = measure_speed([tmp_path / "model"], photo=tmp_path / "photo.png", **options)  # type: ignore[arg-type]
    (cell,) = measured.cells
    assert (cell.width, cell.height) == (192, 128)
    assert cell.network is not None
    counted = ModelConfig.load(tmp_path / "model").flops
    assert measured.flops(cell) == pytest.approx(2 * counted * 6 * cell.network.images_per_second)
    facts = measured.models[0]
    assert facts.at(128, 192) == 6 * counted
    assert [row[-1] for row in size_table(measured).rows] == [
        "counted here, one pass at 64 x 64",
        "the same, scaled to 192 x 128",
    ]


def test_runtimes_agree_on_the_map(student: Path) -> None:
    """What is timed is the same work."""
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    maps = [RUNTIMES[name].open(student, 1, "cpu").probabilities(batch) for name in ("onnx", "torch")]
    assert maps[0].shape == (2, 64, 64)
    for values in maps[1:]:
        np.testing.assert_allclose(values, maps[0], atol=1e-4)


def test_runtime_files_have_entries_of_their_own(student: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from boxpromptiml.export import export_model

    folder = Path(shutil.copytree(student, tmp_path / "student"))
    for form, precision in (("openvino", "fp32"), ("torch", "fp32"), ("onnx", "fp16")):
        export_model(folder, form, precision)
    measured = measure_speed([folder], threads=[1], batches=[1], effort=Effort(1, 0.02, 0), peak=False)
    assert [cell.cell.runtime for cell in measured.cells] == ["onnx", "torch", "onnx-fp16", "openvino", "torch-export"]
    assert not measured.failed
    files = measured.models[0].files
    assert files["model.xml"] == sum((folder / name).stat().st_size for name in ("model.xml", "model.bin"))
    batch = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    expected = RUNTIMES["onnx"].open(folder, 1, "cpu").probabilities(batch)
    for name in ("openvino", "torch-export"):
        np.testing.assert_allclose(RUNTIMES[name].open(folder, 1, "cpu").probabilities(batch), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
def test_threads_are_honoured(student: Path) -> None:
    measured = measure_speed(
        [student], threads=[1], batches=[8], effort=Effort(rounds=1, seconds=0.3, warm_up=0.1), peak=False
    )
    for cell in measured.cells:
        assert cell.cores is not None
        assert cell.cores < 1.2, str(cell.cell)


def test_a_gpu(student: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(BoxPromptError, match="torch sees no CUDA GPU"):
            RUNTIMES["torch"].open(student, 1, "cuda")
        pytest.skip("no CUDA GPU")
    measured = measure_speed([student], threads=[1], batches=[1], device="cuda", effort=Effort(1, 0.05, 0), peak=False)
    assert [cell.cell.runtime for cell in measured.cells] == ["torch"]
    assert measured.cells[0].device_mb


def test_cuda_without_a_gpu_is_refused_before_any_measurement(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU")
    monkeypatch.setattr(run_module, "run_turn", lambda *_: pytest.fail("measured"))
    for runtimes in (None, ["torch"]):
        with pytest.raises(BoxPromptError, match="torch sees no CUDA GPU; use --device cpu"):
            measure_speed([student], runtimes=runtimes, device="cuda", state=tmp_path / "state", peak=False)
    assert not (tmp_path / "state").exists()


def test_memory_is_not_the_parents(red_model: Path) -> None:
    """What the process that asks holds does not count."""
    ballast = np.ones(150_000_000, np.float32)  # 600 MB
    measured = measure_speed(
        [red_model], runtimes=["onnx"], threads=[1], batches=[1], effort=Effort(1, 0.02, 0), peak=False
    )
    assert ballast[-1] == 1
    assert measured.cells[0].peak_mb is not None
    assert measured.cells[0].peak_mb < 500


def test_a_runtime_is_left_out_where_its_file_is_missing(make_red_model: object, tmp_path: Path) -> None:
    folder = make_red_model(tmp_path / "red")  # type: ignore[operator]
    (folder / "model.safetensors").unlink()
    measured = measure_speed([folder], threads=[1], batches=[1], effort=Effort(1, 0.02, 0), peak=False)
    assert [cell.cell.runtime for cell in measured.cells] == ["onnx"]
    assert measured.models[0].params is None  # the red model's config does not say
    assert "peers" not in measured.to_json()
    assert "published" not in markdown(latency_tables(measured), measured)


def test_a_cell_that_fails_does_not_take_the_others_along(red_model: Path) -> None:
    """The red model's weights are no weights: torch finds out in its own process."""
    measured = measure_speed([red_model], threads=[1], batches=[1], effort=Effort(2, 0.02, 0), peak=False)
    assert [(cell.cell.runtime, bool(cell.error)) for cell in measured.cells] == [("onnx", False), ("torch", True)]
    assert "not a safetensors file" in measured.failed[0].error
    assert any("failed" in line and "not a safetensors file" in line for line in notes(measured))


def test_a_process_that_dies_is_a_failed_cell(red_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module.sys, "executable", "/bin/false")
    measured = measure_speed([red_model], runtimes=["onnx"], threads=[1], batches=[1], effort=QUICK, peak=False)
    assert "the measuring process died" in measured.cells[0].error


def test_an_image_of_ones_own(red_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), "red").save(tmp_path / "photo.png")
    options = {"runtimes": ["onnx"], "threads": [1], "effort": Effort(1, 0.02, 0), "peak": False}
    measured = measure_speed([red_model], photo=tmp_path / "photo.png", **options)  # type: ignore[arg-type]
    assert (measured.photo["width"], measured.photo["height"]) == (80, 60)
    with pytest.raises(ImageError):
        measure_speed([red_model], photo=tmp_path / "gone.png", **options)  # type: ignore[arg-type]


WRONG = [
    ({"runtimes": ["tensorrt"]}, BoxPromptError, "unknown runtime tensorrt; there are onnx, torch,"),
    ({"device": "tpu"}, BoxPromptError, "unknown device tpu; there are cpu, cuda"),
    ({"runtimes": ["onnx"], "device": "cuda"}, BoxPromptError, "runtime onnx does not run on cuda; these do: torch,"),
    ({"threads": [0]}, BoxPromptError, "threads must be numbers of at least 1, got 0"),
    ({"batches": []}, BoxPromptError, "batch must be numbers of at least 1, got none"),
    ({"processes": [0]}, BoxPromptError, "processes must be numbers of at least 1, got 0"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_questions(red_model: Path, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        measure_speed([red_model], **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_wrong_models(red_model: Path, make_red_model: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json there"):
        measure_speed([tmp_path], peak=False)
    with pytest.raises(BoxPromptError, match="given twice"):
        measure_speed([red_model, red_model], peak=False)
    folder = make_red_model(tmp_path / "red")  # type: ignore[operator]
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"no model\.onnx there, which runtime onnx needs; run  boxpromptiml export"):
        measure_speed([folder], runtimes=["onnx"], peak=False)


def test_a_runtime_whose_package_is_missing(red_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another runtime is one entry."""
    entry = Runtime("other", "model.onnx", ("no_such_package",), "openvino", ("cpu",), RUNTIMES["onnx"].open)
    monkeypatch.setitem(RUNTIMES, "other", entry)
    with pytest.raises(MissingExtraError, match=r"boxpromptiml\[openvino\]"):
        measure_speed([red_model], runtimes=["other"], peak=False)


def test_turns_are_interleaved() -> None:
    cells = [Cell("m", "onnx", 1, batch) for batch in (1, 2, 3)]
    order = [(number, cell.batch) for number, cell in turns(cells, 3)]
    assert order == [(0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (1, 1), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("effort", [(0, 1.0, 0.0), (1, 0.0, 0.0), (1, 1.0, -1.0)])
def test_efforts_that_make_no_sense(effort: tuple[int, float, float]) -> None:
    with pytest.raises(BoxPromptError, match="rounds must be at least 1"):
        Effort(*effort)


def test_a_round_with_more_calls_has_no_more_say() -> None:
    timing = Timing.of([[10.0] * 100, [20.0] * 3, [30.0] * 3], images=1)
    assert (timing.median_ms, timing.calls, timing.spread) == (20.0, 106, 1.0)


def test_the_notes_tell_of_a_machine_that_was_busy() -> None:
    cell = Cell("m", "onnx", 64, 1)
    answer = {"load_seconds": 1.0, "first_ms": 9.0, "cores": 1.0, "baseline_mb": 50.0, "peak_mb": 80.0}
    answer |= {"whole_peak_mb": 90.0, "device_mb": None, "steps_ms": {"decode": 1.0}, "input": [64, 64]}
    rounds = [{"answers": [answer | {"network_ms": [ms], "whole_ms": [ms]}]} for ms in (10.0, 20.0)]
    machine = {"cpu": "x", "cores": 2, "usable_cores": 2, "platform": "y", "python": "3", "versions": {}}
    busy = SpeedResult(
        [],
        [CellResult.of(cell, rounds)],
        [],
        [],
        Effort(),
        {"name": "made.jpg", "width": 1, "height": 1, "bytes": 1},
        machine | {"load": [3.0, 3.0]},
        None,
        1.0,
    )
    text = "\n".join(notes(busy))
    assert "rounds differ by up to 67%, load 3.0 at the start" in text
    assert "64 threads on 2 usable cores" in text


def test_finished_turns_are_not_measured_again(red_model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    options = {"runtimes": ["onnx"], "threads": [1], "batches": [1, 2], "effort": QUICK, "state": state, "peak": False}
    first = measure_speed([red_model], **options)  # type: ignore[arg-type]
    kept = json.loads(state.read_text())
    assert len(kept["answers"]) == 4
    again = measure_speed([red_model], **options)  # type: ignore[arg-type]
    assert again.cells == first.cells
    other = measure_speed([red_model], **(options | {"batches": [1]}))  # type: ignore[arg-type]
    assert other.cells[0] != first.cells[0]  # of another question: begun anew
    assert len(json.loads(state.read_text())["answers"]) == 2


def test_a_state_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "thesis.json"
    path.write_text("[]")
    with pytest.raises(BoxPromptError, match="not the state of an interrupted measurement; move it away"):
        TurnStore(path, {})
    assert path.read_text() == "[]"
