"""From what a task says of its image to pixels: uploads, local files, cloud storage, URLs, data URIs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import ImageError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.images import DEFAULT_MAX_PIXELS, decode_image
from boxpromptiml.web.byte_cache import ByteCache
from boxpromptiml.web.label_studio.addresses import shown
from boxpromptiml.web.label_studio.fetching import Fetcher
from boxpromptiml.web.label_studio.tokens import Token

# Clicks on one image follow each other within seconds; what lies behind a URL may change within days.
_KEEP_SECONDS = 600.0
# Two images are decoded at once at most: one of 200 megapixels takes 600 MB.
_DECODING = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Picture:
    """The image of a task.

    Attributes:
        name: for messages: its path or address without a query.
        data: the file's bytes.
        sha256: of them.
        pixels: RGB, upright, uint8 (h, w, 3).
    """

    name: str
    data: bytes
    sha256: str
    pixels: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Bytes of memory that it takes."""
        return len(self.data) + int(self.pixels.nbytes)


class Pictures:
    """Gets the images of tasks and keeps the last ones. For many threads at once.

    Args:
        fetcher: for everything behind HTTP.
        local_files: the folder that Label Studio knows as its local files document root; None where such files are
            fetched from Label Studio.
        max_pixels: larger images are refused before they are decoded.
        cache_bytes: memory for images that may be asked for again.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        local_files: Path | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self._fetcher = fetcher
        self._local_files = None if local_files is None else local_files.resolve()
        self._max_pixels = max_pixels
        self._kept: ByteCache[tuple[float, Picture]] = ByteCache(cache_bytes)

    def get(self, value: object, *, task: object, project: str, token: Token | None) -> Picture:
        """The image that a task's data names.

        Args:
            value: what stands under the image's key in the task's data.
            task: id of the task; Label Studio signs addresses in cloud storages per task.
            project: id of the project; what one project fetched is not kept for another.
            token: for Label Studio.

        Raises:
            HttpError: the image cannot be had, for a reason that the status tells.
        """
        if not isinstance(value, str) or not value.strip():
            raise HttpError(400, "the task's data has no image: an address or a path is expected, as text")
        value = value.strip()
        key = (project, hashlib.sha256(value.encode("utf-8", "replace")).digest(), task)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < _KEEP_SECONDS:
            return kept[1]
        name, data = self._read(value, task, token)
        try:
            with _DECODING:
                pixels = decode_image(data, name, max_pixels=self._max_pixels)
        except ImageError as error:
            raise HttpError(413 if "over the limit" in error.reason else 415, str(error)) from error
        picture = Picture(name, data, hashlib.sha256(data).hexdigest(), pixels)
        self._kept.put(key, (time.monotonic(), picture), picture.size)
        return picture

    def _read(self, value: str, task: object, token: Token | None) -> tuple[str, bytes]:
        """A name for messages, and the encoded image."""
        if value[:5].lower() == "data:":
            return "data URI", self._embedded(value)
        if value.startswith(("upload/", "/upload/")):  # as exports write it
            value = "/data/" + value.lstrip("/")
        if value.startswith("/data/local-files") and self._local_files is not None:
            return self._local(value, self._local_files)
        if value.startswith(("s3://", "gs://", "azure-blob://")):
            if not isinstance(task, int):
                raise HttpError(400, f"{shown(value)}: Label Studio opens cloud storage for tasks with an id only")
            uri = base64.urlsafe_b64encode(value.encode()).decode()
            value = f"/tasks/{task}/presign/?fileuri={quote(uri)}"
        if value.startswith("/") and not value.startswith("//"):
            studio = self._fetcher.rules.label_studio
            if studio is None:
                raise HttpError(400, f"{shown(value)}: is on Label Studio; start with --label-studio-url URL")
            prefix = studio.path if value.startswith(studio.path + "/") else ""
            value = f"{studio}{value.removeprefix(prefix)}"
        return shown(value), self._fetcher.image(value, token)

    def _embedded(self, value: str) -> bytes:
        head, comma, body = value.partition(",")
        limit = self._fetcher.rules.max_bytes
        if len(body) > limit * 4 // 3 + 4:
            raise HttpError(413, f"the image in the task is larger than {limit / 2**20:.3g} MiB")
        try:
            if not comma:
                raise ValueError("no comma")
            if head.lower().endswith(";base64"):
                return base64.b64decode(unquote_to_bytes(body), validate=True)
        except (binascii.Error, ValueError) as error:
            raise HttpError(400, f"the data URI of the image is damaged ({error})") from error
        raise HttpError(400, "the data URI of the image is not base64: data:image/png;base64,... is expected")

    def _local(self, value: str, root: Path) -> tuple[str, bytes]:
        wanted = parse_qs(value.partition("?")[2]).get("d", [""])[-1]
        # As Label Studio reads it: relative to the root, however it is written.
        relative = posixpath.normpath(wanted).lstrip("/")
        limit = self._fetcher.rules.max_bytes
        try:
            path = (root / relative).resolve()
            if not wanted or not path.is_relative_to(root):
                raise HttpError(403, f"{shown(wanted)}: is not in the folder of --local-files")
            if not path.is_file():
                raise HttpError(404, f"{shown(wanted)}: no such file in the folder of --local-files")
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise HttpError(404, f"{shown(wanted)}: cannot be read ({reason})") from error
        if len(data) > limit:
            raise HttpError(413, f"{shown(wanted)}: larger than {limit / 2**20:.3g} MiB; --max-mib allows more")
        return wanted, data
