"""Which image comes when, in every process: the same after a resume as if the run had never stopped."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class ResumableSampler(Sampler[tuple[int, int]]):
    """Yields ``(epoch, index)``: a permutation per epoch that depends on seed and epoch alone.

    The epoch travels with the index, so that a worker process can seed the augmentation of that very sample.
    Each process takes every `world`-th entry. All processes get the same number: up to ``world - 1`` images sit an
    epoch out, other ones each time; so does a last batch of a single image, which batch norm cannot digest.

    Args:
        images: in one epoch.
        batch_size: of one process.
        seed: of the order.
        epoch: of the first pass.
        start: batches of the first pass that are already done.
        rank, world: this process and the number of processes.
        passes: passes made before this sampler was.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        *,
        epoch: int = 0,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        passes: int = 0,
    ) -> None:
        self._images = images
        self._batch_size = batch_size
        self._seed = seed
        self._first = epoch
        self._start = start
        self._rank = rank
        self._world = world
        self._passes = passes
        self._whole = samples_per_process(images, batch_size, world)

    def set_epoch(self, passes: int) -> None:
        """Told by the trainer, which counts the epochs of this process from 0."""
        self._passes = passes

    def __len__(self) -> int:
        return self._whole - (self._start * self._batch_size if self._passes == 0 else 0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self._first + self._passes
        generator = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
        order = torch.randperm(self._images, generator=generator)[self._rank :: self._world][: self._whole]
        first = self._whole - len(self)
        return iter([(epoch, index) for index in order[first:].tolist()])


class ShardSampler(Sampler[int]):
    """Every image once, shared by the processes; -1 pads the shorter shares, for it must not count twice."""

    def __init__(self, images: int, rank: int = 0, world: int = 1) -> None:
        self._images = images
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        return -(-self._images // self._world)

    def __iter__(self) -> Iterator[int]:
        share = list(range(self._rank, self._images, self._world))
        return iter(share + [-1] * (len(self) - len(share)))


def samples_per_process(images: int, batch_size: int, world: int = 1) -> int:
    """Images that one process trains on in an epoch."""
    share = images // world
    return share - 1 if share % batch_size == 1 and share > 1 else share


def batches_per_epoch(images: int, batch_size: int, world: int = 1) -> int:
    """Batches of one process in an epoch; the last one may be smaller."""
    return -(-samples_per_process(images, batch_size, world) // batch_size)
