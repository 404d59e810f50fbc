"""A dataset of small images with masks, pseudo masks, boxes, groups and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box

SPLITS = ("train", "train", "train", "val", "test", None)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """24 images, JPEG and PNG by turns; every third is authentic. Files lie beside the folder, as after an import."""
    rng = np.random.default_rng(0)
    folder, photos = tmp_path / "dataset", tmp_path / "photos"
    photos.mkdir()
    with Dataset.create(folder) as opened:
        records = []
        for i in range(24):
            name = f"../photos/{i:02d} é.{'jpg' if i % 2 else 'png'}"
            pixels = rng.integers(0, 256, (40, 48 + i % 3, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
            tampered = i % 3 != 2
            mask = np.zeros(pixels.shape[:2], np.uint8)
            mask[10:30, 5:25] = 255
            if tampered:
                save_png(folder / f"masks/{i}.png", mask)
                save_png(folder / f"pseudo/{i}.png", mask // 2)
            records.append(
                ImageRecord(
                    name,
                    pixels.shape[1],
                    40,
                    "tampered" if tampered else "authentic",
                    boxes=(Box(5, 10, 25, 30),) if tampered else (),
                    mask=f"masks/{i}.png" if tampered else None,
                    pseudo=PseudoMask(f"pseudo/{i}.png", "grabcut", {"margin": 0.1}, (0.5,), (("odd",),), (None,))
                    if tampered
                    else None,
                    split=SPLITS[i % len(SPLITS)],
                    group=f"photo{i // 2}",
                    seconds=1.5 if tampered else None,
                    review="accepted" if i == 0 else None,
                )
            )
        opened.put(records)
    return folder
