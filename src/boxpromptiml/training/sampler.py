"""Which image comes when, in every process: the same after a resume as if the run had never stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Layout:
    """How images lie together, so that an epoch reads what lies together at about the same time.

    Attributes:
        blocks: of each image, the number of its shard, counted from 0; an image by itself has a number of its own.
        sizes: bytes of each image.
        window: bytes within which images are mixed.
        ahead: told of blocks, in this order, soon before their images come.
    """

    blocks: NDArray[np.int64]
    sizes: NDArray[np.int64]
    window: int
    ahead: Callable[[list[int]], None] | None = None

    @property
    def whole(self) -> bool:
        """Whether one window holds it all: then the order is that of images that lie anyhow."""
        return int(self.sizes.sum()) <= self.window

    def share(self, generator: torch.Generator, seed: int, rank: int, world: int) -> NDArray[np.int64]:
        """The images of one process in their order: blocks of its own, mixed window by window."""
        turn = torch.randperm(int(self.blocks.max()) + 1, generator=generator).numpy()
        order = np.argsort(turn[self.blocks], kind="stable")
        number = len(order) // world
        mine = order[rank * number : (rank + 1) * number]
        mixed = torch.randperm(number, generator=torch.Generator().manual_seed(seed * 1_009 + rank)).numpy()
        return np.asarray(mine[np.lexsort((mixed, self.windows(mine)))])

    def windows(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the windows that images, in the order of their blocks, fall into."""
        sizes = self.sizes[images]
        return np.asarray((np.cumsum(sizes) - sizes) // self.window)


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
        layout: of images in shards: each process then takes shards of its own, up to those at the borders.
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
        layout: Layout | None = None,
    ) -> None:
        self._images = images
        self._batch_size = batch_size
        self._seed = seed
        self._first = epoch
        self._start = start
        self._rank = rank
        self._world = world
        self._passes = passes
        self._layout = layout
        self._whole = samples_per_process(images, batch_size, world)

    def set_epoch(self, passes: int) -> None:
        """Told by the trainer, which counts the epochs of this process from 0."""
        self._passes = passes

    def __len__(self) -> int:
        return self._whole - (self._start * self._batch_size if self._passes == 0 else 0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self._first + self._passes
        number = self._seed * 100_003 + epoch
        generator = torch.Generator().manual_seed(number)
        first = self._whole - len(self)
        if self._layout is None or self._layout.whole:
            order = torch.randperm(self._images, generator=generator)[self._rank :: self._world]
        else:
            order = torch.from_numpy(self._layout.share(generator, number, self._rank, self._world))
        left = order[first : self._whole].tolist()
        if self._layout is None or self._layout.ahead is None:
            return iter([(epoch, index) for index in left])
        return self._announced(epoch, left, self._layout)

    def _announced(self, epoch: int, left: list[int], layout: Layout) -> Iterator[tuple[int, int]]:
        """Blocks are announced about a window before they are needed."""
        assert layout.ahead is not None
        said: set[int] = set()
        size = told = 0
        for place, index in enumerate(left):
            while told < len(left) and size <= 2 * layout.window:
                size += int(layout.sizes[left[told]])
                block = int(layout.blocks[left[told]])
                if block not in said:
                    said.add(block)
                    layout.ahead([block])
                told += 1
            size -= int(layout.sizes[left[place]])
            yield epoch, index


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
