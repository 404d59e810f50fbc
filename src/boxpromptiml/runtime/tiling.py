"""A photo at its own size through a network of a smaller input: overlapping tiles, blended without seams.

One rule: a pixel is as tampered as the network says of the whole photo or of the tiles around it, whichever is more.
The whole shows what is larger than a tile, of which a tile in the middle sees no border; tiles show what is smaller
than a cell of the whole's grid.

Tiles overlap by about a quarter at least. Their answers are averaged with weights that fall to nearly nothing at a
tile's edge, where a network knows least and where a step would show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.preprocessing import Fed, PreprocessingSpec, resize_map

MAX_TILES = 4096  # of one photo: 50 megapixels at their own size are 1,813 tiles of 224 x 224
_OVERLAP = 0.25
_BLOCK = 8  # of JPEG: tiles begin at whole blocks, as training windows do
_CELLS = (4, 2, 1)  # sides of the map's cells, in pixels
_AT_ONCE = 4  # tiles per inference: the memory of a network grows with them

Map = NDArray[np.float32]


class Side(NamedTuple):
    """How one side of a photo is cut.

    Attributes:
        size: of the photo at which it is cut, pixels.
        tile: of a tile.
        used: of a tile's answer, from its beginning: whole blocks.
        starts: where tiles begin, rising, multiples of 8; the last ones may reach beyond the photo.
    """

    size: int
    tile: int
    used: int
    starts: tuple[int, ...]

    @classmethod
    def cut(cls, size: int, tile: int) -> Side:
        """Tiles spread evenly."""
        used = tile // _BLOCK * _BLOCK
        reach = max(0, -(-(size - used) // _BLOCK) * _BLOCK)  # where the last tile begins
        count = 1 + math.ceil(reach / (used * (1 - _OVERLAP)))
        starts = [round(i * reach / max(1, count - 1)) // _BLOCK * _BLOCK for i in range(count)]
        return cls(size, tile, used, tuple(starts))

    def weights(self, cell: int) -> NDArray[np.float64]:
        """Per tile the weight of each of its cells, (tiles, used / cell); those of all tiles over a cell sum to 1."""
        cells = self.used // cell
        window = np.sin(np.pi * (np.arange(cells) + 0.5) / cells) ** 2
        total = np.zeros((self.starts[-1] + self.used) // cell)
        for start in self.starts:
            total[start // cell :][:cells] += window
        return np.stack([window / total[start // cell :][:cells] for start in self.starts])


class Tiling(NamedTuple):
    """How a photo is cut.

    Attributes:
        across, down: its sides.
        cell: pixels of a side of the map's cells.
    """

    across: Side
    down: Side
    cell: int

    @property
    def tiles(self) -> int:
        """How many."""
        return len(self.across.starts) * len(self.down.starts)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return -(-self.down.size // self.cell), -(-self.across.size // self.cell)


def plan_tiles(width: int, height: int, spec: PreprocessingSpec, max_tiles: int = MAX_TILES) -> Tiling | None:
    """Cut a photo of width x height pixels into tiles of the spec's height x width.

    A photo that would need more than `max_tiles` is cut at a smaller size. The map's cells are 4 x 4 pixels, or fewer
    where its grid would otherwise be coarser than that of the whole.

    Returns:
        None where the network sees the whole photo at its own size already, or larger.
    """
    rows, columns = spec.grid(width, height)
    if height <= rows and width <= columns:
        return None
    scale = 1.0
    while True:
        sizes = max(1, round(height * scale)), max(1, round(width * scale))
        cell = next((side for side in _CELLS if sizes[0] >= side * rows and sizes[1] >= side * columns), 1)
        tiling = Tiling(Side.cut(sizes[1], spec.width), Side.cut(sizes[0], spec.height), cell)
        if tiling.tiles <= max(1, max_tiles):
            return tiling
        scale *= min(0.99, math.sqrt(max_tiles / tiling.tiles))


def detail_map(
    picture: Image.Image,
    overall: Map,
    tiling: Tiling,
    run: Callable[[Sequence[Fed]], list[Map]],
) -> Map:
    """The map of a photo from its tiles and from the whole.

    Memory beside the photo: one row of tiles, and the map twice.

    Args:
        picture: the upright photo, RGB, at full size.
        overall: the network's map of the whole, float32 (H, W) in [0, 1].
        tiling: by `plan_tiles`.
        run: the network.

    Returns:
        float32 of the tiling's grid, in [0, 1].
    """
    across, down, cell = tiling
    if picture.size != (across.size, down.size):
        picture = picture.resize((across.size, down.size), Image.Resampling.BILINEAR)
    shares, fractions = across.weights(cell), down.weights(cell)
    sums = np.zeros((_end(down, cell), _end(across, cell)), np.float32)
    for top, fraction in zip(down.starts, fractions, strict=True):
        strip = _strip(picture, top, across, down)
        row = np.zeros((down.used // cell, sums.shape[1]), np.float32)
        for first in range(0, len(across.starts), _AT_ONCE):
            starts = across.starts[first : first + _AT_ONCE]
            tiles = [np.ascontiguousarray(strip[:, :, left : left + across.tile]) for left in starts]
            answers = run([Fed(tile, down.tile, across.tile) for tile in tiles])
            for left, share, values in zip(starts, shares[first:], answers, strict=False):
                cells = _in_cells(values[: down.used, : across.used], cell)
                row[:, left // cell :][:, : cells.shape[1]] += cells * share
        sums[top // cell :][: len(fraction)] += row * fraction[:, None]
    rows, columns = tiling.grid
    found = np.ascontiguousarray(sums[:rows, :columns])
    if down.size % cell or across.size % cell:  # the last cells belong to the photo only in part
        box = (0, 0, across.size / cell, down.size / cell)
        found = np.asarray(Image.fromarray(found).resize((columns, rows), Image.Resampling.BILINEAR, box))
    blended: Map = np.clip(np.maximum(found, resize_map(overall, rows, columns)), 0, 1).astype(np.float32)
    return blended


def _end(side: Side, cell: int) -> int:
    """Cells from the photo's beginning to the last tile's end."""
    return (side.starts[-1] + side.used) // cell


def _strip(picture: Image.Image, top: int, across: Side, down: Side) -> NDArray[np.uint8]:
    """The pixels of a row of tiles, uint8 (3, tile, width): what lies beyond the photo mirrors it."""
    # A photo lower than a tile is mirrored as a whole; the last rows of a higher one from as far as they reach.
    first = max(0, min(top, down.size - down.tile))
    last = min(down.size, top + down.tile)
    pixels = np.asarray(picture.crop((0, first, across.size, last)))
    below = top + down.tile - last
    beside = across.starts[-1] + across.tile - across.size
    if below > 0 or beside > 0:
        pixels = np.pad(pixels, ((0, max(0, below)), (0, max(0, beside)), (0, 0)), mode="symmetric")
    return pixels[top - first :].transpose(2, 0, 1)


def _in_cells(values: Map, cell: int) -> Map:
    """Means over cells of cell x cell pixels."""
    if cell == 1:
        return values
    rows, columns = values.shape
    means: Map = values.reshape(rows // cell, cell, columns // cell, cell).mean(axis=(1, 3))
    return means
