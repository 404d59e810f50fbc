"""The attacks and their grids of levels, as transforms for `boxpromptiml.evaluation.evaluate`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ImageError
from boxpromptiml.perturbations import (
    BLUR_KERNELS,
    JPEG_QUALITIES,
    NOISE_VARIANCES,
    PLATFORMS,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    social_network,
)

Pixels = NDArray[np.uint8]
Value = int | str
Perturb = Callable[[Pixels, Value, np.random.Generator], Pixels]
CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of harm.

    Attributes:
        name: as the command line takes it.
        title: for people.
        axis: what the levels are, with their unit.
        levels: from mild to strong.
        perturb: image, level, generator -> image.
        clean: the level that leaves an image untouched; None if the grid has none.
    """

    name: str
    title: str
    axis: str
    levels: tuple[Value, ...]
    perturb: Perturb
    clean: Value | None = None

    def key(self, level: Value) -> str:
        """Name of a level, unique over all attacks, fit for a file."""
        return CLEAN if level == self.clean else f"{self.name}-{level}"

    @property
    def numeric(self) -> bool:
        """Whether the levels are numbers on an axis, not names."""
        return not isinstance(self.levels[0], str)

    def transform(self, level: Value, seed: int) -> Callable[[Pixels, str], Pixels]:
        """What `evaluate` applies to each image; the same whatever the order of the images and the number of threads.

        Args:
            level: one of `levels`.
            seed: what is random depends on (seed, attack, level, name of the image) alone.
        """

        def apply(image: Pixels, name: str) -> Pixels:
            parts = repr((seed, self.name, level, name)).encode("utf-8", "surrogateescape")
            rng = np.random.default_rng(list(hashlib.sha256(parts).digest()))
            try:
                return self.perturb(image, level, rng)
            except ValueError as error:  # a side longer than a JPEG can have
                raise ImageError(name, str(error)) from error

        return apply

    def try_out(self) -> None:
        """Apply every level to a tiny image, so that what is missing is missed before long work.

        Raises:
            MissingExtraError: OpenCV is not installed.
        """
        for level in self.levels:
            self.transform(level, seed=0)(np.zeros((8, 8, 3), np.uint8), "trial")


def untouched(image: Pixels, name: str) -> Pixels:
    """The transform of the clean level.

    With it these images are decoded in full, as those that are harmed: a model that decodes drafts of large JPEGs
    (``draft_margin``) would see a difference that is not the attack's.
    """
    return image


ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "blur",
            "Gaussian blur",
            "kernel, pixels",
            BLUR_KERNELS,
            lambda image, level, rng: gaussian_blur(image, int(level)),
            clean=0,
        ),
        Attack(
            "noise",
            "Gaussian noise",
            "variance, grey levels²",
            NOISE_VARIANCES,
            lambda image, level, rng: gaussian_noise(image, int(level), rng),
        ),
        Attack(
            "jpeg",
            "JPEG",
            "quality",
            JPEG_QUALITIES,
            lambda image, level, rng: jpeg(image, int(level)),
        ),
        Attack(
            "social",
            "Social networks (simulated)",
            "platform",
            tuple(PLATFORMS),
            lambda image, level, rng: social_network(image, str(level)),
        ),
    )
}
