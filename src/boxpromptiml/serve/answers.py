"""What a client may ask for, and how it is made: JSON, or one of three pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import encode_png
from boxpromptiml.runtime import Localization, draw_overlay

Picture = Literal["mask", "map", "overlay"]
PICTURES: tuple[Picture, ...] = get_args(Picture)
Output = Literal["json", "mask", "map", "overlay"]
Preview = NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one image, ready to be sent.

    Attributes:
        content: JSON or PNG.
        headers: that say the essence beside a picture.
    """

    content: bytes
    headers: dict[str, str]


def choose_output(accept: str | None, output: Output | None) -> Output:
    """What to answer with: what the query says, else what the Accept header likes best, else JSON.

    Raises:
        HttpError: 406, the header takes neither JSON nor PNG.
    """
    if output is not None:
        return output
    if accept is None or accept in ("*/*", "application/json"):
        return "json"
    likes = {"application/json": 0.0, "image/png": 0.0}
    ranks = dict.fromkeys(likes, -1)
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        for known in likes:
            ranges = ("*/*", known.partition("/")[0] + "/*", known)
            # The most exact range counts, whatever its place in the header.
            if kind in ranges and ranges.index(kind) > ranks[known]:
                ranks[known], likes[known] = ranges.index(kind), _quality(parameters)
    if max(likes.values()) <= 0:
        raise HttpError(406, "answers are application/json or image/png; the Accept header takes neither")
    return "mask" if likes["image/png"] > likes["application/json"] else "json"


def renderer(output: Output, include: Iterable[Picture]) -> Callable[[Localization, Preview], Answer]:
    """A function that makes an answer from what was found and, for overlays, a copy of the photo.

    Args:
        output: JSON or a picture.
        include: pictures to put into the JSON, as base64 of PNG.
    """
    wanted = tuple(dict.fromkeys(include))

    def render(found: Localization, preview: Preview) -> Answer:
        if output != "json":
            return Answer(picture(output, found, preview), _essence(found))
        content: dict[str, Any] = found.to_json()
        for name in wanted:
            content[f"{name}_png"] = base64.b64encode(picture(name, found, preview)).decode("ascii")
        return Answer(json.dumps(content, separators=(",", ":")).encode(), {})

    return render


def picture(name: Picture, found: Localization, preview: Preview) -> bytes:
    """A picture as PNG.

    ``mask``: 8-bit grey, 0 or 255, at the image's own size. ``map``: 16-bit grey, probability x 65535, on the network's
    grid. ``overlay``: RGB, the photo tinted by the map with the mask's outline, longer side at most 2048.
    """
    if name == "mask":
        return encode_png(found.mask.view(np.uint8) * np.uint8(255))
    if name == "map":
        return encode_png(found.map16)
    assert preview is not None
    return encode_png(draw_overlay(preview, found))


def _essence(found: Localization) -> dict[str, str]:
    return {
        "x-score": f"{found.score:.6f}",
        "x-verdict": found.verdict,
        "x-threshold": f"{found.threshold:g}",
        "x-model": found.model,
        "x-image-size": f"{found.width}x{found.height}",
    }


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
