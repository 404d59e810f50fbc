"""The images of tasks: uploads, local files, cloud storage, data URIs; and what is refused."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.http.errors import HttpError
from boxpromptiml.web.label_studio import Fetcher, FetchRules, Pictures, Token, parse_origin


def _pictures(site: Any | None = None, rules: dict[str, Any] | None = None, **options: Any) -> Pictures:
    studio = None if site is None else parse_origin(site.address)
    return Pictures(Fetcher(FetchRules(studio, **(rules or {}))), **options)


def _get(pictures: Pictures, value: object, task: object = 7, project: str = "1") -> NDArray[np.uint8]:
    return pictures.get(value, task=task, project=project, token=Token("key")).pixels


@pytest.mark.parametrize(
    "value",
    ["/data/upload/1/a.png", "data/../upload/1/a.png", "upload/1/a.png", "/upload/1/a.png", "ABSOLUTE"],
)
def test_uploads_come_from_label_studio(site: Any, png: bytes, photo: NDArray[np.uint8], value: str) -> None:
    site.give("/data/upload/1/a.png", png)
    value = value.replace("ABSOLUTE", f"{site.address}/data/upload/1/a.png")
    if ".." in value:
        with pytest.raises(HttpError, match="only http and https"):
            _get(_pictures(site), value)
    else:
        assert np.array_equal(_get(_pictures(site), value), photo)


def test_label_studio_may_live_below_a_path(site: Any, png: bytes) -> None:
    site.give("/labels/data/upload/1/a.png", png)
    pictures = Pictures(Fetcher(FetchRules(parse_origin(f"{site.address}/labels/"))))
    for value in ("/data/upload/1/a.png", "/labels/data/upload/1/a.png"):
        assert _get(pictures, value, task=value).shape == (80, 120, 3)
    assert [headers["Authorization"] for _, headers in site.requests] == ["Token key"] * 2


def test_cloud_storage_is_opened_by_label_studio(site: Any, png: bytes) -> None:
    site.give("/tasks/7/presign/", png)
    _get(_pictures(site), "s3://bucket/a b.png")
    path, _, query = site.requests[0][0].partition("?fileuri=")
    assert path == "/tasks/7/presign/"
    assert base64.urlsafe_b64decode(query.replace("%3D", "=")) == b"s3://bucket/a b.png"


def test_an_image_is_fetched_once_a_project(site: Any, png: bytes) -> None:
    site.give("/data/upload/1/a.png", png)
    pictures = _pictures(site)
    for project in ("1", "1", "2", "1"):
        _get(pictures, "/data/upload/1/a.png", project=project)
    assert len(site.requests) == 2


def test_the_cache_is_bounded(site: Any, png: bytes) -> None:
    site.give("/data/upload/1/a.png", png)
    pictures = _pictures(site, cache_bytes=100_000)  # each takes some 55,000
    for task in (1, 2, 2, 1):
        _get(pictures, "/data/upload/1/a.png", task=task)
    assert len(site.requests) == 3


def test_an_image_within_the_task(png: bytes, photo: NDArray[np.uint8]) -> None:
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    assert np.array_equal(_get(_pictures(), uri), photo)


def test_pictures_are_upright(photo: NDArray[np.uint8]) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(stream, "PNG", exif=exif)
    uri = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    assert _get(_pictures(), uri).shape == (120, 80, 3)


def _bomb() -> bytes:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        pytest.param(b"<svg/>", 415, "SVG files are not read", id="SVG"),
        pytest.param(b"", 415, "is empty", id="nothing"),
        pytest.param(b"hello", 415, "is not an image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 40, 415, "damaged", id="damaged"),
        pytest.param(_bomb(), 413, "over the limit of 200 megapixels", id="bomb"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, status: int, message: str) -> None:
    with pytest.raises(HttpError, match=message) as caught:
        _get(_pictures(), "data:image/png;base64," + base64.b64encode(data).decode())
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [
        pytest.param(None, 400, "has no image", id="absent"),
        pytest.param("", 400, "has no image", id="empty"),
        pytest.param(["a.png"], 400, "has no image", id="list"),
        pytest.param({"url": "a.png"}, 400, "has no image", id="object"),
        pytest.param("data:image/png,abc", 400, "not base64", id="URI of text"),
        pytest.param("data:image/png;base64", 400, "damaged", id="URI without data"),
        pytest.param("data:image/png;base64,!!!", 400, "damaged", id="URI of something else"),
        pytest.param("data:image/png;base64," + "A" * 2000, 413, "larger than", id="URI too large"),
        pytest.param("/data/upload/1/a.png", 400, "--label-studio-url", id="no Label Studio known"),
        pytest.param("s3://bucket/a.png", 400, "--label-studio-url", id="cloud without Label Studio"),
        pytest.param("/etc/passwd", 400, "--label-studio-url", id="path of this machine"),
        pytest.param("C:\\a.png", 400, "only http and https", id="path of another machine"),
    ],
)
def test_values_that_are_no_image_are_refused(value: object, status: int, message: str) -> None:
    with pytest.raises(HttpError, match=message) as caught:
        _get(_pictures(rules={"max_bytes": 1000}), value)
    assert caught.value.status == status


@pytest.fixture
def root(tmp_path: Path, png: bytes) -> Path:
    """A document root with images, and a secret beside it."""
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a b.png").write_bytes(png)
    (folder / "..dots.png").write_bytes(png)
    (tmp_path / "secret.png").write_bytes(png)
    (tmp_path / "files-too").mkdir()
    (tmp_path / "files-too" / "secret.png").write_bytes(png)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.mark.parametrize("d", ["sub/a b.png", "sub/a%20b.png", "sub/a+b.png", "/sub/a b.png", "sub/../sub/a b.png"])
def test_local_files_are_read(root: Path, photo: NDArray[np.uint8], d: str) -> None:
    assert np.array_equal(_get(_pictures(local_files=root), f"/data/local-files/?d={d}"), photo)


def test_names_with_dots_are_names(root: Path) -> None:
    assert _get(_pictures(local_files=root), "/data/local-files/?d=..dots.png").shape == (80, 120, 3)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param("?d=../secret.png", 403, id="up"),
        pytest.param("?d=%2e%2e/secret.png", 403, id="up, quoted"),
        pytest.param("?d=sub/../../secret.png", 403, id="down and up"),
        pytest.param("?d=../files-too/secret.png", 403, id="a name that begins alike"),
        pytest.param("?d=link.png", 403, id="symbolic link to a file"),
        pytest.param("?d=out/secret.png", 403, id="symbolic link to a folder"),
        pytest.param("?d=/etc/passwd", 404, id="absolute is below the root"),
        pytest.param("?d=//etc/passwd", 404, id="two slashes"),
        pytest.param("?d=..%5csecret.png", 404, id="backslash"),
        pytest.param("?d=%00", 404, id="null byte"),
        pytest.param("?d=sub", 404, id="folder"),
        pytest.param("?d=pipe.png", 404, id="named pipe"),
        pytest.param("?d=" + "a" * 5000, 404, id="name too long"),
        pytest.param("?d=", 403, id="empty"),
        pytest.param("", 403, id="no query"),
        pytest.param("?e=sub/a b.png", 403, id="another query"),
    ],
)
def test_nothing_outside_the_folder_is_read(root: Path, query: str, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        _get(_pictures(local_files=root), f"/data/local-files/{query}")
    assert caught.value.status == status
    assert str(root) not in str(caught.value)


def test_a_local_file_over_the_limit_is_refused(root: Path) -> None:
    with pytest.raises(HttpError, match="--max-mib") as caught:
        _get(_pictures(rules={"max_bytes": 1000}, local_files=root), "/data/local-files/?d=sub/a b.png")
    assert caught.value.status == 413


def test_without_a_folder_local_files_come_from_label_studio(site: Any, png: bytes) -> None:
    site.give("/data/local-files/", png)
    _get(_pictures(site), "/data/local-files/?d=a b.png")
    assert site.requests[0][0] == "/data/local-files/?d=a%20b.png"
