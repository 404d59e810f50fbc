"""The Segment Anything teacher behind the page's pool: encoded once, asked with boxes and points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("fastapi")

from boxpromptiml.dataset import ImageRecord
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box
from boxpromptiml.teachers import Point, load_teacher
from boxpromptiml.web.teacher_pool import TeacherPool

BOX = Box(30, 20, 90, 80)


def test_previews_come_from_the_kept_embeddings(sam_folder: Callable[[str], Path], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", image)
    record = ImageRecord("a.png", 150, 90)
    teacher = load_teacher("sam", weights=str(sam_folder("sam")), device="cpu")
    pool = TeacherPool(["sam"], lambda _: teacher)
    try:
        assert pool.takes_points("sam")
        pool.prefetch(tmp_path, [record])
        # The worker is one thread: what was asked for first is through.
        first = pool.preview(tmp_path, record, [BOX])
        again = pool.preview(tmp_path, record, [BOX], [Point(60, 50, True)])
        assert again.cached
        assert not first.draft
        (mask,) = teacher.masks(image, [BOX])
        assert first.boxes[0].quality == mask.quality
        if first.boxes[0].fallback is None:
            np.testing.assert_array_equal(first.mask, np.rint(mask.probability * 255).astype(np.uint8))
    finally:
        pool.close()
