"""Which files in a folder of photographs that was made a dataset are masks, and none of the photographs."""

from __future__ import annotations

import os
import sqlite3
from functools import cache

from boxpromptiml import storage
from boxpromptiml.dataset.glance import image_names, mask_names

_LOOKED_FOR = 1000  # images; where so many are gone, the others are hardly there
# What is no dataset of ours, damaged or behind a URL must not end a run over photographs.
_NO_DATASET = (sqlite3.Error, OSError, TypeError, ValueError)


@cache
def mask_folders() -> frozenset[str]:
    """The folders right in a dataset that this project writes masks to."""
    # Not at the start: most runs meet no dataset.
    from boxpromptiml.formats.importing import MASKS
    from boxpromptiml.pseudolabels.files import FOLDER

    return frozenset({MASKS, FOLDER})


def named_masks(folder: str) -> frozenset[str]:
    """The true and pseudo masks that a dataset's records name in its folder, outside of `mask_folders`.

    Names are relative to the folder. None where the records cannot be read.
    """
    if storage.is_url(folder):
        return frozenset()
    apart = {*mask_folders(), os.pardir}
    try:
        names = map(os.path.normpath, mask_names(folder))
        return frozenset(name for name in names if name.split(os.sep, 1)[0] not in apart)
    except _NO_DATASET:
        return frozenset()


def lists_images(folder: str) -> bool:
    """Whether a dataset on this machine can be read and lists images that are there."""
    if storage.is_url(folder):
        return False
    try:
        root = os.path.realpath(folder)
        return any(os.path.isfile(os.path.join(root, name)) for name in image_names(folder, _LOOKED_FOR))
    except _NO_DATASET:
        return False
