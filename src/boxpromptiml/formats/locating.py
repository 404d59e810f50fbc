"""Finding the images that an annotation file names, without letting it lead anywhere else."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from boxpromptiml.images import find_images


class NotFoundError(Exception):
    """An image that is not there, or that the annotation file has no business with; the message says which."""


class ImageFinder:
    """Looks images up by the names that an annotation file gives them.

    A name is tried below each folder of the format, then below `images`; then a file of the same name anywhere below
    `images` counts, if there is one only (where several have it, the one that shares more of the path). A name that
    leads out of these folders, by ``..`` or an absolute path, is never followed: annotation files come from elsewhere.

    Args:
        folders: where the format has its images, in this order.
        images: the user's own word on where they are; None without one.
    """

    def __init__(self, folders: Sequence[Path], images: Path | None) -> None:
        self._folders = [*([] if images is None else [images]), *folders]
        self._home = folders[0]
        self._tops = [os.path.abspath(folder) for folder in self._folders]
        self._images = images
        self._index: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path:
        """The file of an image.

        Raises:
            NotFoundError: there is none in the folders, or several.
        """
        if not name.strip() or "\0" in name:
            raise NotFoundError("has no file name")
        # Blanks at the ends are most often the layout of a file, but may be the name's own.
        names = list(dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/"))))
        for spelling in names:
            for folder in self._folders:
                found = os.path.normpath(os.path.join(folder, spelling))
                if self._is_inside(found) and _is_file(found):
                    return Path(found)
        alike = next((images for spelling in names if (images := self._alike(spelling))), [])
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise NotFoundError(f"is {alike[0]} or {alike[1]}; rename one, or give a smaller folder with --images")
        # `join` gives an absolute name back as it is.
        if not self._is_inside(os.path.join(self._home, names[-1])):
            raise NotFoundError("leads out of the annotations' folder; say with --images which folder has the images")
        if self._images is not None:
            raise NotFoundError(f"no such file below {self._images}")
        raise NotFoundError(f"no such file below {self._home}; say with --images which folder has the images")

    def _is_inside(self, path: str) -> bool:
        # By name, not by what links lead to: links are the user's own.
        absolute = os.path.abspath(path)
        return any(absolute.startswith(os.path.join(top, "")) for top in self._tops)

    def _alike(self, name: str) -> list[Path]:
        if self._images is None:
            return []
        if self._index is None:
            self._index = defaultdict(list)
            for image in find_images(self._images):
                self._index[image.name].append(image)
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        found = self._index.get(parts[-1], []) if parts else []
        if len(found) < 2:
            return found
        shared = [_shared(image.parts, parts) for image in found]
        return [image for image, count in zip(found, shared, strict=True) if count == max(shared)]


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except (OSError, ValueError):
        return False


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts two paths have in common at their ends."""
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count
