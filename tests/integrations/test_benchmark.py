from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from boxpromptiml.errors import ModelError
from boxpromptiml.integrations.benchmark import BenchmarkStudent, image_scores
from boxpromptiml.model_config import DecisionRule, ModelConfig, StudentConfig
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PreprocessingSpec
from boxpromptiml.runtime import image_score
from boxpromptiml.scaling import AdaptiveThreshold, Scaling
from boxpromptiml.student import build_student, load_checkpoint, save_checkpoint

SIZE = 64


def _save(folder: Path, height: int = SIZE, width: int = SIZE, **config: object) -> Path:
    torch.manual_seed(1)
    student = build_student(StudentConfig(**{"backbone": "test_convnext", "width": 16, **config}))
    # Another normalisation than the benchmark's: it must be the checkpoint's that counts.
    spec = PreprocessingSpec(height=height, width=width, mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7))
    save_checkpoint(folder, student, ModelConfig(preprocessing=spec, decision=DecisionRule(score_fraction=0.1)))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return _save(tmp_path / "model")


def _pixels(seed: int = 0, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def _loaded(pixels: np.ndarray) -> torch.Tensor:
    """As the benchmark's loader normalises: float32 arithmetic on scaled constants (albumentations' Normalize)."""
    mean, std = (np.array(values, np.float32) * np.float32(255) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.from_numpy(((pixels.astype(np.float32) - mean) * np.reciprocal(std)).transpose(0, 3, 1, 2).copy())


def _mask(seed: int = 0, count: int = 2) -> torch.Tensor:
    return torch.from_numpy((np.random.default_rng(seed).random((count, 1, SIZE, SIZE)) < 0.3).astype(np.float64))


def test_the_maps_are_those_of_the_student_on_the_8_bit_pixels(checkpoint: Path) -> None:
    model = BenchmarkStudent(str(checkpoint)).eval()
    pixels = _pixels()
    student, config = load_checkpoint(checkpoint)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (config.preprocessing.mean, config.preprocessing.std))
    with torch.no_grad():
        expected = student((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std).sigmoid()
        output = model(_loaded(pixels), _mask(), torch.tensor([1, 0]), name=["a", "b"], shape=torch.zeros(2, 2))
    assert torch.equal(output["pred_mask"], expected)
    assert output["pred_label"].tolist() == pytest.approx(
        [image_score(map_, DecisionRule(score_fraction=0.1)) for map_ in expected[:, 0].numpy()], abs=1e-12
    )


def test_a_threshold_that_follows_each_image_does_so_here(checkpoint: Path) -> None:
    plain = BenchmarkStudent(str(checkpoint)).eval()
    adaptive = AdaptiveThreshold(background=0.3, peak=0.5, usual_background=-2, usual_peak=0)
    config = ModelConfig.load(checkpoint)
    config.model_copy(update={"decision": config.decision.model_copy(update={"adaptive": adaptive})}).save(checkpoint)
    following = BenchmarkStudent(str(checkpoint)).eval()
    with torch.no_grad():
        own, found = (model(_loaded(_pixels()), _mask())["pred_mask"].numpy() for model in (plain, following))
    for before, after in zip(own, found, strict=True):
        expected = DecisionRule(adaptive=adaptive).finished(before[0])
        assert not np.allclose(before[0], expected, atol=1e-3)
        np.testing.assert_allclose(after[0], expected, atol=1e-6)


def test_a_model_that_looks_twice_does_so_here(checkpoint: Path) -> None:
    """The mean of the map and of that of the image turned by half, then calibrated, as the runtime has it."""
    once = BenchmarkStudent(str(checkpoint)).eval()
    rule = DecisionRule(score_fraction=0.1, looks=2, map_scaling=Scaling(slope=1.5, bias=0.2))
    ModelConfig.load(checkpoint).model_copy(update={"decision": rule}).save(checkpoint)
    twice = BenchmarkStudent(str(checkpoint)).eval()
    pixels = _pixels()
    with torch.no_grad():
        upright, turned = (once(_loaded(p), _mask())["pred_mask"] for p in (pixels, pixels[:, ::-1, ::-1]))
        found = twice(_loaded(pixels), _mask())
        trained = twice.train()(_loaded(pixels), _mask())["pred_mask"]
    mean = ((upright + turned.flip(-2, -1)) / 2).numpy()
    assert not np.allclose(upright, mean, atol=1e-3)
    for after, score, own in zip(found["pred_mask"].numpy(), found["pred_label"].tolist(), mean, strict=True):
        np.testing.assert_allclose(after[0], rule.finished(own[0]), atol=1e-6)
        assert score == pytest.approx(image_score(rule.finished(own[0]), rule), abs=1e-6)
    assert not np.allclose(trained, found["pred_mask"], atol=1e-3)


def test_all_256_levels_of_all_channels_are_restored(checkpoint: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 1, 3))
    restored = BenchmarkStudent(str(checkpoint)).pixels(_loaded(ramp[None]))
    assert torch.equal(restored[0].permute(1, 2, 0), torch.from_numpy(ramp.copy()).float())


def test_the_loss_is_the_binary_cross_entropy_and_reaches_every_weight(checkpoint: Path) -> None:
    model = BenchmarkStudent(str(checkpoint)).train()
    output = model(_loaded(_pixels()), _mask(), torch.tensor([1, 1]), if_predcit_label=False)
    assert output["visual_loss"].keys() == {"bce_loss"}
    p, t = output["pred_mask"].detach().double(), _mask()
    assert output["backward_loss"].item() == pytest.approx(float(-(t * p.log() + (1 - t) * (1 - p).log()).mean()))
    output["backward_loss"].backward()
    # The benchmark's DistributedDataParallel does not look for unused parameters.
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, {"attention_base", "attention_memory", "memory_focus", "attention_final", "gates"}),
        ({"gates": False}, {"attention_base", "attention_memory", "memory_focus", "attention_final"}),
        ({"memory": False}, {"attention_base", "attention_final", "gates"}),
    ],
)
def test_pictures_show_the_parts_that_there_are(tmp_path: Path, config: dict[str, bool], names: set[str]) -> None:
    model = BenchmarkStudent(str(_save(tmp_path, **config))).eval()
    shown = model(_loaded(_pixels()), _mask(), None)["visual_image"]
    gates = {name for name in shown if name.startswith("gate_")}
    assert set(shown) == (names - {"gates"}) | gates
    assert len(gates) == (4 if "gates" in names else 0)
    for picture in shown.values():
        assert picture.dtype == torch.float32
        assert picture.shape[:2] == (2, 1)
        assert not picture.requires_grad
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


@pytest.mark.parametrize("scaling", [Scaling(), Scaling(slope=0.7, bias=-0.4)])
@pytest.mark.parametrize("pooling", ["probability", "logit"])
@pytest.mark.parametrize(("size", "fraction"), [(1, 0.5), (7, 0.005), (16, 0.1), (16, 1.0)])
def test_image_scores_follow_the_runtime(
    size: int, fraction: float, pooling: Literal["probability", "logit"], scaling: Scaling
) -> None:
    maps = np.random.default_rng(size).random((3, 1, size, size)).astype(np.float32)
    rule = DecisionRule(score_fraction=fraction, score_pooling=pooling, score_scaling=scaling)
    expected = [image_score(values[0], rule) for values in maps]
    assert image_scores(torch.from_numpy(maps), rule).tolist() == pytest.approx(expected, abs=1e-14)


def test_a_new_student_trains_and_becomes_a_model_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BenchmarkStudent(image_size=SIZE, backbone="test_convnext").train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(3):
        loss = model(_loaded(_pixels()), _mask(), None)["backward_loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    config = model.save(tmp_path / "trained")
    again = BenchmarkStudent(str(tmp_path / "trained"), image_size=SIZE)
    assert (config.preprocessing.height, config.params > 0) == (SIZE, True)
    for name, value in model.state_dict().items():
        assert name.startswith("student.")
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_model_can_be_traced(checkpoint: Path) -> None:
    # The benchmark's complexity test does so, with None for the parameters that its loader has nothing for.
    model = BenchmarkStudent(str(checkpoint)).eval()
    batch = (_loaded(_pixels()), _mask(), torch.tensor([1, 0]))
    graph, output = torch.jit._get_trace_graph(model, (*batch, None, None))
    assert "convolution" in str(graph)
    assert torch.equal(output["pred_mask"], model(*batch)["pred_mask"])


@pytest.mark.parametrize(
    ("shape", "extra", "message"),
    [
        ((SIZE, 96), {}, r"takes images resized to 64x64, got 96x64; start IMDLBenCo with  --if_resizing"),
        ((SIZE, SIZE), {"shape_mask": torch.ones(1, 1, SIZE, SIZE)}, r"got 64x64 padded; .*--image_size 64"),
    ],
)
def test_images_of_another_kind_are_refused(
    checkpoint: Path, shape: tuple[int, int], extra: dict[str, torch.Tensor], message: str
) -> None:
    model = BenchmarkStudent(str(checkpoint))
    with pytest.raises(ModelError, match=message):
        model(torch.zeros(1, 3, *shape), torch.zeros(1, 1, *shape), None, **extra)


@pytest.mark.parametrize(
    ("stored", "image_size", "message"),
    [
        ((SIZE, SIZE), 512, r"model: takes 64x64 images, not 512x512; start IMDLBenCo with  --if_resizing --image_"),
        ((SIZE, 96), 0, r"model: takes 96x64 images, IMDLBenCo makes square ones only"),
    ],
)
def test_a_checkpoint_of_another_size_is_refused(
    tmp_path: Path, stored: tuple[int, int], image_size: int, message: str
) -> None:
    folder = _save(tmp_path / "model", *stored)
    with pytest.raises(ModelError, match=message):
        BenchmarkStudent(str(folder), image_size=image_size)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json there"):
        BenchmarkStudent(str(tmp_path))


def test_the_constructor_can_be_parsed_as_the_benchmark_does() -> None:
    # It calls the annotation of each parameter on a word of the command line, and refuses *args and **kwargs.
    for name, parameter in inspect.signature(BenchmarkStudent.__init__).parameters.items():
        assert name == "self" or (parameter.annotation in (str, int) and parameter.default is not parameter.empty)
