"""How large the demo is, and how hard: chosen so that two cores finish it in less than five minutes.

A network that starts from nothing, sees a dozen photographs and has a minute can learn what is plain to see, and no
more. So the manipulations are easy on purpose (no colour matching, hard edges, strong retouches). The figures show
that the method works, not how well a student does on real forgeries; docs/results.md is for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Shares of the photographs that are kept for choosing the epoch and for testing; no photograph is in two splits.
SHARES = {"val": 0.15, "test": 0.25}

SYNTHESIS: dict[str, Any] = {
    "kinds": {"splice": 0.8, "copy_move": 0.0, "removal": 0.0, "retouch": 0.2},
    "area": (0.05, 0.3),
    "shapes": {"segment": 0.3, "blob": 0.4, "freehand": 0.2, "polygon": 0.0, "ellipse": 0.1, "rectangle": 0.0},
    "edge": {"feather_probability": 0.3},
    "splice": {"colour_match_probability": 0.0, "seamless_probability": 0.0},
    "retouch": {
        "strength": (0.9, 1.0),
        "methods": {"blur": 0, "sharpen": 0, "saturation": 0, "noise": 1, "colour": 1, "brightness": 1},
    },
    "second_region": 0.1,
    "min_change": 12.0,
    "postprocessing": {"resize_probability": 0.0, "share_jpeg": {"probability": 0.0, "quality": (70, 80, 90)}},
}

RECIPE: dict[str, Any] = {
    "epochs": 13,
    "student": {"backbone": "mobilenetv3_small_100", "width": 32, "memory_size": 32},
    "input": {"height": 160, "width": 160},
    "data": {"batch_size": 16, "authentic_per_tampered": 0.25},
    "optimizer": {"lr": 3e-3, "warmup_epochs": 1.0},
    # Without strong colour jitter a student learns the dozen photographs by heart; without soft Dice it stays below the
    # threshold nearly everywhere.
    "loss": {"dice": 1.0},
    "augmentation": {
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotate90": 0.5,
        "colour": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.6,
        "hue": 0.2,
    },
    "validation": {"samples": 4},
}


@dataclass(frozen=True)
class DemoSettings:
    """Sizes of the demo.

    Attributes:
        images: tampered images in all.
        authentic: authentic images in all.
        side: width and height of all images, pixels.
        epochs: passes over the training images; None for the recipe's.
        loosen: looseness of the simulated boxes.
        jitter: imprecision of the simulated boxes.
        seed: of everything.
    """

    images: int = 440
    authentic: int = 50
    side: int = 256
    epochs: int | None = None
    loosen: float = 0.1
    jitter: float = 0.05
    seed: int = 0
