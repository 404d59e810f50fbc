"""Pictures of the dataset's images: thumbnails, screen-sized views, all pixels."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request, Response
from PIL import Image
from starlette.responses import FileResponse

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import ImageError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.images.shrinking import browser_type, open_shrunk
from boxpromptiml.machine import usable_cores
from boxpromptiml.web.lanes import Visitor
from boxpromptiml.web.picture_store import Disk, Memory, OneAtATime, kept
from boxpromptiml.web.records import Image as ImageName
from boxpromptiml.web.records import find_record
from boxpromptiml.web.settings import WebState

Size = Literal["thumb", "view", "full"]

# Longer side, pixels; None: all of them.
_SIDES: dict[Size, int | None] = {"thumb": 256, "view": 2048, "full": None}
_QUALITY: dict[Size, int] = {"thumb": 80, "view": 90, "full": 95}
# A list of thumbnails is scrolled back and forth; a picture that is worked on must be the one that is on disk.
_CACHING: dict[Size, str] = {
    "thumb": "private, max-age=300, stale-while-revalidate=86400",
    "view": "private, no-cache",
    "full": "private, no-cache",
}
# Part of every key: pictures that another version made are not shown.
_RENDERING = "1"
_JPEG_SIDE = 65_500


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One picture of one file as it is now."""

    name: str
    path: Path
    size: Size
    width: int
    height: int
    key: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.key.encode("utf-8", "surrogateescape")).hexdigest()[:32]}"'

    @property
    def side(self) -> int | None:
        return _SIDES[self.size]


class Pictures:
    """Makes and keeps the pictures of one dataset.

    Args:
        state: of the server; without writing, thumbnails are kept in memory only.
        dataset: whose images.
    """

    def __init__(self, state: WebState, dataset: Dataset) -> None:
        self._state = state
        self._dataset = dataset
        self._memory = Memory(state.settings.cache_bytes)
        self._disk = None if state.settings.read_only else Disk(dataset.root)
        self._running = OneAtATime()

    def answer(self, image: str, size: Size, known: str | None) -> Response:
        """The answer to a request.

        Args:
            image: which one.
            size: of the picture.
            known: the request's If-None-Match header.

        Raises:
            HttpError: 404, the dataset does not know the image, or its file is gone.
            ImageError: the file cannot be read, or is another image than the one that was recorded.
        """
        wanted = self._wanted(image, size)
        headers = {"etag": wanted.etag, "cache-control": _CACHING[size]}
        if known is not None and _is_known(wanted.etag, known):
            return Response(status_code=304, headers=headers)
        try:
            if size != "thumb":
                own = self._own_bytes(wanted)
                if own is not None:
                    return FileResponse(wanted.path, media_type=own, headers=headers)
            # All pixels of a photograph are asked for once, and would push everything else out.
            memory = self._memory if size != "full" else Memory(0)
            disk = self._disk if size == "thumb" else None
            data = kept(wanted.key, lambda: self._made(wanted), memory, disk, self._running)
        except ImageError as error:
            raise ImageError(wanted.name, error.reason) from error  # not where it lies
        kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        return Response(data, media_type=kind, headers=headers)

    def _wanted(self, image: str, size: Size) -> _Wanted:
        record = find_record(self._state, image)
        path = self._dataset.path(record.image)
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            raise HttpError(404, f"{image}: its file is gone, or cannot be read") from error
        if not stat.S_ISREG(status.st_mode):
            raise HttpError(404, f"{image}: is not a file")
        key = "\0".join([_RENDERING, image, size, str(status.st_mtime_ns), str(status.st_size)])
        return _Wanted(image, path, size, record.width, record.height, key)

    def _own_bytes(self, wanted: _Wanted) -> str | None:
        """The media type of the file if it can be sent as it is."""
        kind, size = browser_type(wanted.path, max_pixels=self._state.settings.max_pixels)
        self._check_size(wanted, size)
        return kind if wanted.side is None or max(size) <= wanted.side else None

    def _made(self, wanted: _Wanted) -> bytes:
        if wanted.size == "thumb":
            self._check_size(wanted, browser_type(wanted.path, max_pixels=self._state.settings.max_pixels)[1])
        picture = open_shrunk(wanted.path, wanted.side, max_pixels=self._state.settings.max_pixels)
        return _encoded(picture, wanted.size)

    def _check_size(self, wanted: _Wanted, size: tuple[int, int]) -> None:
        # Boxes drawn on it would be stored for the image that was there before.
        if size != (wanted.width, wanted.height):
            recorded = f"{wanted.width} x {wanted.height}"
            raise ImageError(
                wanted.name, f"is {size[0]} x {size[1]} pixels, not {recorded} as recorded; import it again"
            )


def router(state: WebState) -> APIRouter:
    """``GET /api/picture`` over one server's dataset."""
    routes = APIRouter()
    if state.dataset is None:
        return routes
    pictures = Pictures(state, state.dataset)
    # Two lanes: a screen full of thumbnails must not keep the picture that is worked on waiting. No more threads than
    # there are cores: decoding is nothing but work, and each needs memory.
    cores = usable_cores()
    few = state.lane("thumbs", cores)
    large = state.lane("pictures", cores)

    @routes.get("/api/picture")
    async def picture(request: Request, image: ImageName, size: Size = "view") -> Response:
        known = request.headers.get("if-none-match")
        lane = few if size == "thumb" else large
        # Lists are scrolled past, and images stepped over, faster than their pictures are made.
        return await lane.run_for(Visitor(request), pictures.answer, image, size, known)

    return routes


def _encoded(picture: Image.Image, size: Size) -> bytes:
    stream = io.BytesIO()
    if max(picture.size) > _JPEG_SIDE:  # a JPEG has no more
        picture.save(stream, "PNG", compress_level=1)
    else:
        # Full colour resolution where a person looks for traces.
        subsampling = "4:4:4" if size == "full" else "4:2:0"
        picture.save(stream, "JPEG", quality=_QUALITY[size], subsampling=subsampling)
    return stream.getvalue()


def _is_known(etag: str, header: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or tags == ["*"]
