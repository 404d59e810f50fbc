"""Draw the pictures of a model card: what the model does well and badly, and its reliability curve.

    python docs/images/model_card.py [MODEL] [FOLDER]

MODEL is a name, folder or hub id (default: default), FOLDER gets ``model-NAME-examples.jpg`` and, for a model with a
card, ``model-NAME-reliability.png`` (default: docs/images). The photographs are those that scikit-image and
scikit-learn ship, tampered by this project's own synthesis: nothing of a research data set is shown. The same model
gives the same pictures.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boxpromptiml import Dataset, Localizer
from boxpromptiml.cli.synthesis import synthesize_dataset
from boxpromptiml.demo.photographs import export_photographs
from boxpromptiml.demo.report import grey
from boxpromptiml.images import open_image, open_mask
from boxpromptiml.metrics import confusion, f1_score
from boxpromptiml.models.card import Diagram, ModelCard
from boxpromptiml.preprocessing import resize_map
from boxpromptiml.runtime import Localization
from boxpromptiml.synthesis import PhotoPool

IMAGES, AUTHENTIC, SIDE, SEED = 48, 17, 384, 0
CELL, GAP, HEAD, LINE = 190, 6, 24, 18
COLUMNS = ("photo", "truth", "map", "mask")
INK = (30, 35, 48)


@dataclass(frozen=True)
class Example:
    """One photo and what the model says of it; `f1` is None for an authentic one."""

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_]
    found: Localization
    f1: float | None

    @property
    def words(self) -> str:
        """Under its pictures."""
        what = f"F1 {self.f1:.2f}" if self.f1 is not None else f"authentic, {self.found.mask.mean():.1%} marked"
        return f"{what}, score {self.found.score:.2f}, {self.found.verdict}"


def look(localizer: Localizer, folder: Path) -> list[Example]:
    """Make the photos and localize them."""
    photographs = PhotoPool(export_photographs(folder / "photographs"))
    made = folder / "made"
    synthesize_dataset(photographs, made, IMAGES, authentic=AUTHENTIC, seed=SEED, size=(SIDE, SIDE))
    examples = []
    with Dataset.open(made) as dataset:
        for record in dataset.records():
            image = open_image(dataset.path(record.image))
            found = localizer.localize(dataset.path(record.image))
            truth = np.zeros(image.shape[:2], bool)
            if record.mask is not None and record.label == "tampered":
                truth = open_mask(dataset.path(record.mask)) > 127
            f1 = f1_score(confusion(found.mask, truth)) if truth.any() else None
            examples.append(Example(record.image, image, truth, found, f1))
    return examples


def choose(examples: list[Example]) -> dict[str, list[Example]]:
    """Best, median and worst by F1, and the largest false alarms: two of each, no photo twice."""
    tampered = sorted((e for e in examples if e.f1 is not None), key=lambda e: (-(e.f1 or 0), e.name))
    authentic = sorted((e for e in examples if e.f1 is None), key=lambda e: (-e.found.mask.mean(), e.name))
    middle = len(tampered) // 2
    return {
        "best": tampered[:2],
        "median": tampered[middle - 1 : middle + 1],
        "worst": tampered[-2:],
        "largest false alarms": authentic[:2],
    }


def sheet(groups: dict[str, list[Example]]) -> Image.Image:
    """Two examples a row, four pictures an example."""
    width = 2 * len(COLUMNS) * (CELL + GAP) + 2 * GAP
    height = sum(HEAD + CELL + LINE + 2 * GAP for examples in groups.values() if examples)
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    top = 0
    for title, examples in groups.items():
        if not examples:
            continue
        draw.text((GAP, top + 3), title, fill=INK, font=ImageFont.load_default(15))
        for place, example in enumerate(examples):
            left = GAP + place * (len(COLUMNS) * (CELL + GAP) + GAP)
            pictures = (
                example.image,
                grey(example.truth.astype(np.float32)),
                grey(resize_map(example.found.map, *example.image.shape[:2])),
                grey(example.found.mask.astype(np.float32)),
            )
            for column, (name, pixels) in enumerate(zip(COLUMNS, pictures, strict=True)):
                x = left + column * (CELL + GAP)
                page.paste(Image.fromarray(pixels).resize((CELL, CELL), Image.Resampling.LANCZOS), (x, top + HEAD))
                draw.text((x + 4, top + 6), name if column else "", fill=(110, 115, 128))
            draw.text((left, top + HEAD + CELL + 3), example.words, fill=INK)
        top += HEAD + CELL + LINE + 2 * GAP
    return page


def reliability(card: ModelCard, path: Path) -> None:
    """The reliability curve of the score, on the images that were held out and on those of the card's results."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1, label="perfect")
    facts = card.calibration
    curves: dict[str, Diagram | None] = {
        "held out, uncalibrated": facts.score_before,
        "held out, calibrated": facts.score_cross_validated or facts.score_after,
        **{f"{result.name}, calibrated": result.score_after for result in card.results},
    }
    for name, diagram in curves.items():
        if diagram is not None and diagram.ece is not None:
            x, y = ([getattr(part, key) for part in diagram.bins] for key in ("confidence", "frequency"))
            (line,) = axes.plot(x, y, linewidth=1.3, label=f"{name} (error {diagram.ece:.3f})")
            axes.scatter(x, y, s=[6 + 120 * part.count / diagram.n for part in diagram.bins], color=line.get_color())
    axes.set_xlabel("score")
    axes.set_ylabel("share that is tampered")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(model: str, folder: Path) -> None:
    localizer = Localizer.from_pretrained(model)
    name = localizer.folder.name
    with tempfile.TemporaryDirectory() as workshop:
        groups = choose(look(localizer, Path(workshop)))
    folder.mkdir(parents=True, exist_ok=True)
    sheet(groups).save(folder / f"model-{name}-examples.jpg", quality=85, optimize=True)
    print(folder / f"model-{name}-examples.jpg")
    card = ModelCard.load(localizer.folder)
    if card is not None:
        reliability(card, folder / f"model-{name}-reliability.png")
        print(folder / f"model-{name}-reliability.png")


if __name__ == "__main__":
    if len(sys.argv) > 3 or "-h" in sys.argv or "--help" in sys.argv:
        sys.exit(__doc__)
    main(sys.argv[1] if len(sys.argv) > 1 else "default", Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"))
