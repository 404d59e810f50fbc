"""Tampered images made while training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import RecipeError
from boxpromptiml.shards import Part
from boxpromptiml.synthesis.given import Given
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.sample import Sample

# Decoded photos that each worker process keeps.
_CACHE_BYTES = 256 * 2**20


class SyntheticSource:
    """Makes synthesised training images. Picklable; safe to use in worker processes.

    Args:
        photos: files and folders of authentic photographs, or photographs that lie in shards.
        recipe: of the run.
    """

    def __init__(self, photos: Sequence[Path | Given], recipe: Recipe) -> None:
        # OpenCV comes in here, and only where synthesis is wanted.
        from boxpromptiml.synthesis import ObjectPool, PhotoPool, Synthesizer

        settings = recipe.synthesis
        side, bytes_ = settings.max_side, _CACHE_BYTES
        pool = PhotoPool(photos, max_side=side, cache_bytes=bytes_)
        objects = ObjectPool(settings.objects, max_side=side, cache_bytes=bytes_) if settings.objects else None
        self._synthesizer = Synthesizer(pool, objects, settings.config)
        self._authentic = settings.authentic
        # Photographs of the data set itself are in the run's list of images.
        self._given = {"photos": pool if settings.photos else None, "objects": objects}

    @classmethod
    def of(cls, recipe: Recipe, train: Sequence[Sample]) -> Self | None:
        """The source that a recipe asks for, None if it asks for none.

        Raises:
            RecipeError: there are no photographs to make tampered images from.
            BoxPromptError: those given are missing or not usable.
        """
        if recipe.synthesis.fraction == 0:
            return None
        given = recipe.synthesis.photos
        photos: list[Path | Given] = []
        if not given or recipe.synthesis.training_photos:
            photos = [_given(sample) for sample in train if not sample.tampered]
            if not photos:
                raise RecipeError(
                    "synthesis.fraction is above 0, but there are no authentic training images to make tampered ones "
                    "from; give photographs in synthesis.photos"
                )
        return cls([*photos, *map(Path, given)], recipe)

    def content(self) -> dict[str, str]:
        """By setting, what its folders hold: with a photograph more, other images are made."""
        facts = {name: pool.facts() for name, pool in self._given.items() if pool is not None}
        return {f"synthesis.{name}": f"{fact['number']} files ({fact['digest'][:16]})" for name, fact in facts.items()}

    def make(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
        """Image, uint8 (h, w, 3), mask, uint8 (h, w) 0 or 255, and whether the image is tampered."""
        if rng.random() < self._authentic:
            made = self._synthesizer.make_authentic(rng)
            return made.image, made.mask, False
        made = self._synthesizer.make(rng)
        return made.image, made.mask, True


def _given(sample: Sample) -> Path | Given:
    if not isinstance(sample.path, Part):
        return sample.path
    # Any photograph may be next: shards are not fetched for it.
    return Given(sample.name, Path(str(sample.path)), sample.width, sample.height, sample.path.singly().read)
