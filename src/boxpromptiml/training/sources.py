"""What images and masks are read from: the files of a dataset folder, or parts of shards. Torch-free."""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from boxpromptiml import storage
from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import DatasetError
from boxpromptiml.shards import Part, ShardedDataset, ShardHolder, is_sharded
from boxpromptiml.training.recipe import DataConfig


class Located(NamedTuple):
    """An image of a data set and its files.

    Attributes:
        record: what is known of it.
        image, mask, pseudo: paths, or parts of shards; None where there is none.
    """

    record: ImageRecord
    image: Path | Part
    mask: Path | Part | None
    pseudo: Path | Part | None


def located(place: str | Path, holder: ShardHolder | None = None) -> Iterator[Located]:
    """Yield the images of a dataset folder, or of shards, in the order of their names.

    Raises:
        DatasetError: neither is there, or it is damaged.
        StorageError: a URL that cannot be reached.
    """
    if is_sharded(place):
        images = ShardedDataset.open(place).images(holder)
        yield from sorted((Located(*image) for image in images), key=lambda image: image.record.image)
        return
    with Dataset.open(place) as dataset:
        for record in dataset.records():
            mask = None if record.mask is None else dataset.path(record.mask)
            pseudo = None if record.pseudo is None else dataset.path(record.pseudo.path)
            yield Located(record, dataset.path(record.image), mask, pseudo)


def check_place(place: str | Path) -> None:
    """Raise as `located` does, without reading more than whether a data set is there."""
    if is_sharded(place):
        ShardedDataset.open(place)
    else:
        Dataset.open(place).close()


def real_place(place: str | Path) -> str:
    """The same for all spellings of a folder, as long as it is where it is."""
    name = str(place)
    return name.rstrip("/") if storage.is_url(name) else os.path.realpath(storage.local_path(name))


def refuse_repeated(places: Sequence[str | Path]) -> None:
    """Raise DatasetError for a data set that is given twice, by whatever spelling.

    Each copy would hold out validation images of its own, which the other one is trained on.
    """
    seen: set[str] = set()
    for place in places:
        if real_place(place) in seen:
            raise DatasetError(f"{place}: is given twice; give each dataset once")
        seen.add(real_place(place))


def holder_folder(places: Sequence[str | Path], config: DataConfig) -> Path:
    """Where this machine keeps local copies of shards."""
    if config.shard_cache is not None:
        return Path(config.shard_cache)
    user = "user"
    with suppress(KeyError, OSError, ImportError):  # a container's user may have no name
        user = getpass.getuser()
    digest = hashlib.blake2b("\n".join(sorted(map(str, places))).encode(), digest_size=6).hexdigest()
    return Path(tempfile.gettempdir()) / f"boxpromptiml-{user}" / f"shards-{digest}"
