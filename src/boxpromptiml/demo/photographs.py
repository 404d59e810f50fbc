"""Real photographs that need no download: the ones that scikit-image and scikit-learn ship with their packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.images import open_image, save_png

# Each name is one photograph, and so one source group: (package, file inside it).
_SKIMAGE = ("skimage", "data")
_SKLEARN = ("sklearn", "datasets/images")
PHOTOGRAPHS: dict[str, tuple[tuple[str, str], str]] = {
    "astronaut": (_SKIMAGE, "astronaut.png"),
    "brick": (_SKIMAGE, "brick.png"),
    "camera": (_SKIMAGE, "camera.png"),
    "cell": (_SKIMAGE, "cell.png"),
    "chelsea": (_SKIMAGE, "chelsea.png"),
    "china": (_SKLEARN, "china.jpg"),
    "coffee": (_SKIMAGE, "coffee.png"),
    "coins": (_SKIMAGE, "coins.png"),
    "flower": (_SKLEARN, "flower.jpg"),
    "grass": (_SKIMAGE, "grass.png"),
    "gravel": (_SKIMAGE, "gravel.png"),
    "hubble": (_SKIMAGE, "hubble_deep_field.jpg"),
    "ihc": (_SKIMAGE, "ihc.png"),
    "moon": (_SKIMAGE, "moon.png"),
    "motorcycle": (_SKIMAGE, "motorcycle_left.png"),
    "retina": (_SKIMAGE, "retina.jpg"),
    "rocket": (_SKIMAGE, "rocket.jpg"),
}


def photograph_path(name: str) -> Path | None:
    """Where the package that ships photograph `name` keeps it; None if that version no longer does.

    Raises:
        MissingExtraError: the package is not installed.
    """
    (package, folder), file = PHOTOGRAPHS[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        distribution = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
        raise MissingExtraError(distribution, "demo")
    path = Path(spec.submodule_search_locations[0]) / folder / file
    return path if path.is_file() else None


def export_photographs(folder: Path) -> list[Path]:
    """Write the photographs as PNG into `folder` (kept if already there) and return their paths, sorted by name."""
    written: list[Path] = []
    for name in PHOTOGRAPHS:
        source = photograph_path(name)
        if source is None:
            continue
        target = folder / f"{name}.png"
        if not target.exists():
            save_png(target, open_image(source))
        written.append(target)
    return written
