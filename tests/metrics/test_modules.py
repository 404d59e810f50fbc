from __future__ import annotations

import doctest
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torchmetrics import Metric

from boxpromptiml.metrics import PRESETS, Curve, ImageFigures, Summary, get_preset, modules
from boxpromptiml.metrics.modules import ImageLevelMetrics, ImageMeans, PixelMetrics, PooledCurve, SharedThreshold

IMAGES, SIDE = 7, 24


def data() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    truth = np.zeros((IMAGES, 1, SIDE, SIDE), bool)
    for index, size in enumerate(rng.integers(3, 20, IMAGES)):
        truth[index, 0, : size + 3, 2 : size + 2] = True
    maps = np.clip(rng.normal(0.3, 0.25, truth.shape) + 0.3 * truth, 0, 1).astype(np.float32)
    return torch.from_numpy(maps), torch.from_numpy(truth)


def scores() -> tuple[torch.Tensor, torch.Tensor]:
    maps, _ = data()
    return maps.flatten(1).amax(1), torch.arange(IMAGES) % 2 == 0


METRICS: dict[str, tuple[Callable[[], Metric], Callable[[], tuple[torch.Tensor, torch.Tensor]]]] = {
    **{f"pixel {name}": (lambda name=name: PixelMetrics(name), data) for name in PRESETS},
    "pixel double, blind to ties": (lambda: PixelMetrics("imdlbenco", "double", tie_blind=True), data),
    "images": (ImageLevelMetrics, scores),
    "curve": (PooledCurve, data),
    "threshold": (SharedThreshold, data),
    "means": (ImageMeans, data),
}


def result(metric: Metric) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: compute before update, where a process has no images
        return {name: value.item() for name, value in metric.compute().items()}


def updated(name: str, places: list[int], batch: int = 2) -> Metric:
    make, inputs = METRICS[name]
    metric, (first, second) = make(), inputs()
    for start in range(0, len(places), batch):
        chosen = places[start : start + batch]
        metric.update(first[chosen], second[chosen])
    return metric


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(modules).failed == 0


@pytest.mark.parametrize("name", PRESETS)
def test_pixel_metrics_are_the_presets_summary(name: str) -> None:
    maps, truth = data()
    rows = [get_preset(name).score(p, t) for p, t in zip(maps[:, 0].numpy(), truth[:, 0].numpy(), strict=True)]
    expected = get_preset(name).summarise(np.array(rows, dtype=np.float64))
    found = result(updated(f"pixel {name}", list(range(IMAGES))))
    assert list(found) == list(Summary._fields)
    assert tuple(found.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_image_metrics_are_the_presets_figures() -> None:
    values, tampered = scores()
    found = result(updated("images", list(range(IMAGES))))
    expected = get_preset("imdlbenco").image_figures(values.double().numpy(), tampered.numpy(), 0.5)
    assert found == pytest.approx(ImageFigures(*expected)._asdict())


def test_the_pooled_curve_is_that_of_all_pixels() -> None:
    maps, truth = data()
    found, curve = result(updated("curve", list(range(IMAGES)))), Curve.of(maps.numpy(), truth.numpy())
    assert abs(found["auc"] - curve.roc_auc()) <= found["auc_error"] < 0.005
    assert abs(found["average_precision"] - curve.average_precision()) <= found["average_precision_error"] < 0.02


def test_image_means_are_the_benchmarks() -> None:
    found = result(updated("means", list(range(IMAGES))))
    expected = result(updated("pixel imdlbenco", list(range(IMAGES))))
    assert found == pytest.approx({name: expected[name] for name in ("f1", "iou")}, abs=1e-12)


def test_a_weight_of_zero_takes_an_image_out() -> None:
    maps, truth = data()
    metric = ImageMeans()
    metric.update(maps, truth.float(), torch.tensor([1.0, 0, 1, 0, 0, 0, 1]))
    assert result(metric) == pytest.approx(result(updated("means", [0, 2, 6])), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_batches_and_resets_change_nothing(name: str) -> None:
    whole = updated(name, list(range(IMAGES)), batch=IMAGES)
    expected = result(whole)
    assert result(updated(name, list(range(IMAGES)), batch=1)) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    whole.reset()
    first, second = METRICS[name][1]()
    whole.update(first, second)
    assert result(whole) == pytest.approx(expected, abs=1e-15, nan_ok=True)
    copy = pickle.loads(pickle.dumps(whole))
    assert result(copy) == pytest.approx(expected, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_without_images_nothing_is_defined(name: str) -> None:
    values = result(METRICS[name][0]())
    assert all(math.isnan(value) or value == 0 for value in values.values())
    if not name.startswith("pixel micro"):
        assert all(math.isnan(value) for value in values.values())


EXCHANGED = sorted({"pixel imdlbenco", "pixel micro"} | {name for name in METRICS if not name.startswith("pixel")})
SHARES = {"unequal": ([0, 1, 2, 3, 4], [5, 6]), "all in one": (list(range(IMAGES)), [])}


def _process(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {(share, name): result(updated(name, places[rank])) for share, places in SHARES.items() for name in METRICS}
    dist.destroy_process_group()
    (out / f"{rank}.pickle").write_bytes(pickle.dumps(found))


@pytest.mark.slow
def test_two_processes_give_what_one_does(tmp_path: Path, own_port: Callable[[], int]) -> None:
    mp.spawn(_process, args=(own_port(), tmp_path), nprocs=2)
    for rank in (0, 1):
        found = pickle.loads((tmp_path / f"{rank}.pickle").read_bytes())
        for (share, name), figures in found.items():
            expected = result(updated(name, list(range(IMAGES))))
            whole_numbers = name in ("images", "curve", "threshold", "pixel micro")
            tolerance = 0 if whole_numbers else 1e-14  # sums of floats depend on their order
            assert figures == pytest.approx(expected, abs=tolerance, rel=0, nan_ok=True), (share, name)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: PixelMetrics("f1"), "unknown preset"),
        (lambda: PixelMetrics("micro", "double"), "has no mode 'double'"),
        (lambda: PooledCurve(3), "power of two"),
        (lambda: SharedThreshold(4), "power of two"),
        (lambda: PixelMetrics().update(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5)), "differ in shape"),
        (lambda: PixelMetrics().update(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)), "must be"),
        (lambda: PixelMetrics().update(torch.full((1, 4, 4), math.nan), torch.zeros(1, 4, 4)), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(use: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        use()
