"""Draw docs/images/overview.jpg from what `boxpromptiml demo` made.

    python docs/images/overview.py demo-output docs/images/overview.jpg [TEST_IMAGE_NAME...]

Rows are test images of the demo: photographs that its students never saw. The teacher is asked here, for the picture:
test images need no pseudo mask otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boxpromptiml import Dataset, Localizer
from boxpromptiml.demo.report import grey, with_boxes
from boxpromptiml.images import open_image
from boxpromptiml.preprocessing import resize_map
from boxpromptiml.runtime.overlay import draw_overlay
from boxpromptiml.teachers import load_teacher

SIDE, GAP, HEAD = 240, 8, 26
COLUMNS = ("tampered photo and box", "teacher's pseudo mask", "student's map", "localization")


def main(demo: Path, output: Path, names: list[str]) -> None:
    localizer = Localizer.load(demo / "student-pseudo")
    teacher = load_teacher("grabcut")
    with Dataset.open(demo / "dataset") as dataset:
        records = [
            r for r in dataset.records(split="test", label="tampered") if not names or Path(r.image).stem in names
        ]
        rows = []
        for record in records[:2]:
            image = open_image(dataset.path(record.image))
            pseudo = np.max([m.probability for m in teacher.masks(image, record.boxes)], axis=0)
            found = localizer.localize(image)
            rows.append(
                [
                    with_boxes(image, record.boxes),
                    grey(pseudo),
                    grey(resize_map(found.map, *image.shape[:2])),
                    draw_overlay(image, found),
                ]
            )
    width, height = len(COLUMNS) * (SIDE + GAP) - GAP, HEAD + len(rows) * (SIDE + GAP) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        draw.text((column * (SIDE + GAP), 4), title, fill=(30, 35, 48), font=ImageFont.load_default(15))
        for row, pictures in enumerate(rows):
            panel = Image.fromarray(pictures[column]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(panel, (column * (SIDE + GAP), HEAD + row * (SIDE + GAP)))
    sheet.save(output, quality=88)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
