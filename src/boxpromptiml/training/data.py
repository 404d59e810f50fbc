"""The data of a run: loaders that run in processes of their own, know how long they were waited for, and resume."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from boxpromptiml.shards import Part, Shard
from boxpromptiml.training.cache import ResizedCache
from boxpromptiml.training.items import Batch, TrainingImages, ValidationImages, collate
from boxpromptiml.training.recipe import Recipe
from boxpromptiml.training.sampler import Layout, ResumableSampler, ShardSampler
from boxpromptiml.training.samples import Samples
from boxpromptiml.training.synthetic import SyntheticSource

MEGABYTE = 2**20


class TimedLoader(DataLoader[Any]):
    """A data loader that knows how long its caller has waited for it.

    Attributes:
        waited: seconds, since it was made or set to 0.
    """

    waited: float = 0.0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # The first wait includes the start of the worker processes.
        started = time.perf_counter()
        iterator = super().__iter__()
        self.waited += time.perf_counter() - started
        return self._timed(iterator)

    def _timed(self, iterator: Any) -> Iterator[Batch]:
        while True:
            started = time.perf_counter()
            batch = next(iterator, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            yield batch


class TrainingData(L.LightningDataModule):
    """The data of a run.

    Args:
        samples: training and validation images.
        recipe: of the run.
        folder: the cache goes there.
        workers: loading processes.
        source: of synthesised images; None if the recipe asks for none.
        epoch, start: where the run goes on: epoch, and batches of it that are done.
    """

    def __init__(
        self,
        samples: Samples,
        recipe: Recipe,
        folder: Path,
        workers: int,
        source: SyntheticSource | None = None,
        epoch: int = 0,
        start: int = 0,
    ) -> None:
        super().__init__()
        self._samples = samples
        self._recipe = recipe
        self._folder = folder
        self._workers = workers
        self._epoch = epoch
        self._start = start
        self._source = source
        self._loader: TimedLoader | None = None

    @property
    def images_per_epoch(self) -> int:
        """Images of the dataset and synthesised ones in one epoch, all processes together."""
        return len(self._samples.train) + self.synthetic

    @property
    def synthetic(self) -> int:
        """Synthesised images in one epoch."""
        fraction = self._recipe.synthesis.fraction
        return round(len(self._samples.train) * fraction / (1 - fraction))

    @property
    def _whole(self) -> bool:
        """Whether training images are always looked at as a whole, so that they can be kept resized."""
        return self._recipe.augmentation.crop == 0 and self._recipe.input.fit == "stretch"

    @property
    def waited(self) -> float:
        """Seconds that this process has waited for training batches so far."""
        return self._loader.waited if self._loader is not None else 0.0

    def prepare_data(self) -> None:
        """Make the cache files; one process of each machine does it."""
        if not self._recipe.data.cache:
            return
        size = self._recipe.input.height, self._recipe.input.width
        limit = self._recipe.data.cache_limit_mb * 2**20
        sizes = {"val": len(self._samples.val)}
        if self._whole:
            sizes["train"] = len(self._samples.train)
        for part, images in sizes.items():
            if images:
                ResizedCache.create(self._cache_path(part), images, *size, limit)
            path = self._cache_path(part)
            limit -= path.stat().st_size if path.exists() else 0

    def train_dataloader(self) -> TimedLoader:
        """Batches of the current epoch, from where the run goes on."""
        assert self.trainer is not None
        sampler = ResumableSampler(
            self.images_per_epoch,
            self._recipe.data.batch_size,
            self._recipe.seed,
            epoch=self._epoch,
            start=self._start,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            passes=self.trainer.current_epoch,
            layout=layout_of(self._samples, self.images_per_epoch, self._recipe.data.shuffle_mb * MEGABYTE),
        )
        images = TrainingImages(
            self._samples.train,
            self._recipe.input,
            self._recipe.augmentation,
            self._recipe.seed,
            self._cache("train") if self._whole else None,
            self._source,
            self.synthetic,
            self._recipe.distillation.model is not None and self._recipe.distillation.clean,
        )
        waited = self.waited
        self._loader = self._make(images, sampler, self._recipe.data.batch_size, self._workers)
        self._loader.waited = waited
        return self._loader

    def val_dataloader(self) -> TimedLoader:
        """All validation images, shared by the processes."""
        assert self.trainer is not None
        images = ValidationImages(self._samples.val, self._recipe.input, self._cache("val"))
        sampler = ShardSampler(len(images), self.trainer.global_rank, self.trainer.world_size)
        return self._make(images, sampler, self._recipe.validation.batch_size, self._workers)

    def teardown(self, stage: str) -> None:
        """Remove this machine's copies of shards, unless the user has named a place for them; a run is complete."""
        holder = self._samples.holder
        if holder is not None and self._recipe.data.shard_cache is None:
            shutil.rmtree(holder.folder, ignore_errors=True)

    def _make(self, images: Dataset[Any], sampler: Any, batch_size: int, workers: int) -> TimedLoader:
        return TimedLoader(
            images,
            batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
        )

    def _cache_path(self, part: str) -> Path:
        return self._folder / f"cache-{part}.bin"

    def _cache(self, part: str) -> ResizedCache | None:
        if not self._recipe.data.cache:
            return None
        return ResizedCache.open(self._cache_path(part), self._recipe.input.height, self._recipe.input.width)


def layout_of(samples: Samples, images: int, window: int) -> Layout | None:
    """Which images lie in which shard; None where none does. Synthesised ones, behind the others, lie by themselves."""
    shards: dict[str, int] = {}
    known: list[Shard | None] = []
    blocks, sizes = np.zeros(images, np.int64), np.zeros(images, np.int64)
    for i in range(images):
        path = samples.train[i].path if i < len(samples.train) else None
        if not isinstance(path, Part):
            blocks[i] = len(known)
            known.append(None)
            continue
        number = shards.setdefault(path.shard.location, len(known))
        if number == len(known):
            known.append(path.shard)
        mask = samples.train[i].mask
        blocks[i], sizes[i] = number, path.size + (mask.size if isinstance(mask, Part) else 0)
    if not shards:
        return None
    holder = samples.holder
    if holder is None:
        return Layout(blocks, sizes, window)

    def ahead(numbers: list[int]) -> None:
        wanted = [shard for number in numbers if (shard := known[number]) is not None and shard.remote]
        holder.ahead([(shard.location, shard.size, shard.sha256) for shard in wanted])

    return Layout(blocks, sizes, window, ahead)


def _start_worker(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal, and what `timeout` or a cluster sends every process of a group or job:
    # the main one decides, and needs its batches for as long as it saves the state. A second one ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
