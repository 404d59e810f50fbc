"""How fast the teachers are: `python -m benchmarks.teachers [--json] [--device cpu] [--skip-sam]`.

Speed does not depend on what a model has learnt: the Segment Anything models are of full size with random weights,
and labelled so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.machine import usable_cores
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Teacher, load_teacher

Image = NDArray[np.uint8]
SIZES = {"384x256": (256, 384), "4000x3000": (3000, 4000)}


def photograph(height: int, width: int) -> Image:
    """Blobs of colour with an object of another colour in the middle, and noise."""
    import cv2

    rng = np.random.default_rng(0)
    small = rng.normal(0, 1, (max(2, height // 16), max(2, width // 16), 3))
    image = 120 + 40 * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.ogrid[:height, :width]
    object_ = np.hypot((y - height * 0.5) / (height * 0.24), (x - width * 0.45) / (width * 0.2)) < 1
    image[object_] += (70, -50, -40)
    image += rng.normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def boxes(height: int, width: int) -> list[Box]:
    """The object, 5 % loose."""
    return [Box(int(width * 0.23), int(height * 0.236), int(width * 0.67), int(height * 0.764))]


def rate(work: Callable[[], Any], seconds: float = 5.0) -> float:
    """Runs a second; the first run warms up and counts only if it takes longer than `seconds`."""
    start = time.perf_counter()
    work()
    first = time.perf_counter() - start
    if first > seconds:
        return 1 / first
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or runs == 0:
        work()
        runs += 1
    return runs / (time.perf_counter() - start)


def classical(name: str, workers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A teacher without weights, on small and large images, with one and with several threads."""
    teacher = load_teacher(name)
    for size, (height, width) in SIZES.items():
        image, prompt = photograph(height, width), boxes(height, width)
        for number in workers:
            with ThreadPoolExecutor(number) as pool:

                def work(count: int = number, pool: ThreadPoolExecutor = pool) -> None:
                    list(pool.map(lambda _: teacher.masks(image, prompt), range(count)))  # noqa: B023

                yield _row(name, size, f"{number} threads", number * rate(work))


def segment_anything(device: str) -> Iterator[dict[str, Any]]:
    """Full-size models with random weights."""
    import transformers as t

    t.utils.logging.disable_progress_bar()
    # The default configurations are the published sizes.
    backbone = t.TimmWrapperConfig(
        architecture="repvit_m1", model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    )
    edgetam = t.EdgeTamConfig(vision_config=t.EdgeTamVisionConfig(backbone_config=backbone))
    models: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "SAM ViT-B": (lambda: t.SamModel(t.SamConfig()), lambda: t.SamProcessor(t.SamImageProcessor())),
        "SAM-HQ ViT-B": (lambda: t.SamHQModel(t.SamHQConfig()), lambda: t.SamHQProcessor(t.SamImageProcessor())),
        "SAM 2 tiny": (lambda: t.Sam2Model(t.Sam2Config()), lambda: t.Sam2Processor(t.Sam2ImageProcessor())),
        "EdgeTAM": (lambda: t.EdgeTamModel(edgetam), lambda: t.Sam2Processor(t.Sam2ImageProcessor())),
    }
    height, width = SIZES["384x256"]
    image, prompt = photograph(height, width), boxes(height, width) * 2
    for name, (model, processor) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            _drawn(model()).save_pretrained(folder)
            processor().save_pretrained(folder)
            teacher: Teacher = load_teacher("sam", weights=str(Path(folder)), device=device)
        where = f"{teacher.device} {teacher.settings['dtype']}"  # type: ignore[attr-defined]
        speed = rate(lambda teacher=teacher: teacher.masks(image, prompt))  # type: ignore[misc]
        yield _row(f"{name}, random weights", "384x256, 2 boxes", where, speed)


def _drawn(model: Any) -> Any:
    """Draw the weights anew: the library's own make a CPU work in denormal numbers, ten times slower."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.02)
    return model


def _row(teacher: str, image: str, how: str, speed: float) -> dict[str, Any]:
    return {"teacher": teacher, "image": image, "how": how, "images_per_second": round(speed, 3)}


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", default="auto", help="of the Segment Anything models")
    parser.add_argument("--skip-sam", action="store_true", help="classical teachers only")
    options = parser.parse_args()
    workers = sorted({1, usable_cores()})
    sources = [classical("box", [1]), classical("grabcut", workers)]
    if not options.skip_sam:
        sources.append(segment_anything(options.device))
    rows = []
    for row in chain.from_iterable(sources):
        rows.append(row)
        if not options.json:
            columns = f"{row['teacher']:<30}{row['image']:<20}{row['how']:<18}"
            print(f"{columns}{row['images_per_second']:>10.3f} images/s", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
