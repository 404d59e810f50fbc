"""A table of attacks on a running application, and what each of them gets."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.settings import is_loopback
from boxpromptiml.images import encode_png, save_png
from boxpromptiml.regions import Box
from boxpromptiml.runtime import Localizer
from boxpromptiml.web import WebSettings, WebState, create_app
from boxpromptiml.web.teacher_pool import TeacherPool

TOKEN = "correct-horse-battery-staple"
JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    """``inside.png`` and, outside of the folder, ``../outside.png``; a secret lies beside either."""
    folder = tmp_path / "dataset"
    with Dataset.create(folder) as made:
        for name, colour in (("inside.png", 40), ("../outside.png", 80)):
            save_png(folder / name, np.full((30, 40, 3), colour, np.uint8))
            made.put(ImageRecord(name, 40, 30))
        for place in (folder, tmp_path):
            save_png(place / "secret.png", np.full((30, 40, 3), 120, np.uint8))
            (place / "secret.txt").write_text("secret")
        yield made


def client(
    dataset: Dataset, localizer: Localizer | None = None, teachers: TeacherPool | None = None, **settings: Any
) -> TestClient:
    state = WebState(dataset=dataset, settings=WebSettings(**settings), localizer=localizer, teachers=teachers)
    return TestClient(create_app(state), base_url="http://127.0.0.1:8008", follow_redirects=False)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels: some kilobytes of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9))
        + chunk(b"IEND", b"")
    )


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["inside.png", "../outside.png"])
def test_what_the_dataset_names_is_served_wherever_it_lies(dataset: Dataset, image: str) -> None:
    answer = client(dataset).get("/api/picture", params={"image": image, "size": "full"})
    assert answer.status_code == 200
    assert answer.content == dataset.path(image).read_bytes()


@pytest.mark.parametrize(
    "image",
    [
        "secret.png",
        "secret.txt",
        "dataset.db",
        "../secret.png",
        "./inside.png",
        "inside.png/",
        "inside.png/../secret.png",
        "inside.png\0",
        "inside.png\0.jpg",
        "INSIDE.PNG",
        "..%2fsecret.png",
        "..%252fsecret.png",
        "%2e%2e/secret.png",
        "..\\secret.png",
        "....//secret.png",
        "..%c0%afsecret.png",
        "%",
        "_nside.png",
        "' OR 1=1 --",
        "/etc/passwd",
        "//etc/passwd",
        "file:///etc/passwd",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "",
        "a" * 4000,
        "\ufffd\U0001f4a9",
    ],
)
def test_what_it_does_not_name_is_not(dataset: Dataset, image: str) -> None:
    asked = client(dataset)
    for route in ("picture?size=full&", "picture?size=thumb&", "record?", "pseudo?", "suggestion?"):
        answer = asked.get(f"/api/{route}image={quote(image, safe='%')}")
        assert answer.status_code in (404, 503), route
        assert "secret" not in answer.text or "secret" in image
        assert str(dataset.root) not in answer.text


@pytest.mark.parametrize(
    "raw", ["image=%ff%fe", "image=%ed%a0%80", "image=inside.png%00", "image[]=inside.png", "image"]
)
def test_names_that_are_no_text_are_refused(dataset: Dataset, raw: str) -> None:
    assert client(dataset).get(f"/api/record?{raw}").status_code in (404, 422)


def test_a_repeated_parameter_names_one_image_only(dataset: Dataset) -> None:
    answer = client(dataset).get("/api/record?image=secret.png&image=inside.png")
    assert answer.json()["image"] == "inside.png"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2ferrors.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/.",
        "/static/",
        "/static/js",
        "/static/index.html%00",
        "/static/index.html%00.js",
        "/static/" + "a" * 5000,
        "/static/" + "a/" * 2000,
        "/static/%ff",
        "/app.py",
        "/dataset.db",
        "/api/../static/../app.py",
        "/.git/config",
        "/openapi.json",
        "/docs",
        "/redoc",
    ],
)
def test_no_other_file_has_an_address(dataset: Dataset, path: str) -> None:
    answer = client(dataset).get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_a_link_in_the_page_s_folder_leads_nowhere(tmp_path: Path) -> None:
    """The rule for static files: no symbolic link is followed out of the folder (starlette's own)."""
    from starlette.applications import Starlette
    from starlette.staticfiles import StaticFiles

    (tmp_path / "static").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "static" / "link.txt").symlink_to(tmp_path / "secret.txt")
    app = Starlette()
    app.mount("/static", StaticFiles(directory=tmp_path / "static"))
    assert TestClient(app).get("/static/link.txt").status_code == 404


def test_a_link_that_the_dataset_names_is_followed(dataset: Dataset) -> None:
    """The rule for images: who makes a dataset says which files it names, through links as well; no route makes one."""
    (dataset.root / "link.png").symlink_to("../outside.png")
    dataset.put(ImageRecord("link.png", 40, 30))
    assert client(dataset).get("/api/picture?image=link.png&size=full").status_code == 200


def test_a_link_does_not_lead_thumbnails_out_of_the_dataset(dataset: Dataset, tmp_path: Path) -> None:
    """The rule for what is written: never through a link that leaves the folder."""
    away = tmp_path / "away"
    away.mkdir()
    (dataset.root / ".cache").symlink_to(away)
    assert client(dataset).get("/api/picture?image=inside.png&size=thumb").status_code == 200
    assert list(away.iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "gone", "text"])
def test_a_record_that_names_no_image_file_does_not_hang_or_tell(dataset: Dataset, kind: str) -> None:
    path = dataset.root / "odd.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "text":
        path.write_text("root:secret:0")
    dataset.put(ImageRecord("odd.png", 40, 30))
    for size in ("thumb", "view", "full"):
        answer = client(dataset).get(f"/api/picture?image=odd.png&size={size}")
        assert answer.status_code == (415 if kind == "text" else 404)
        assert "secret" not in answer.text
        assert str(dataset.root) not in answer.text


# --- names and origins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8008", 200),
        ("127.0.0.1", 200),
        ("localhost:8008", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("[::1]:8008", 200),
        ("[0:0:0:0:0:0:0:1]", 200),
        ("localhost:9999", 200),  # a tunnel ends at another port
        ("evil.example", 403),
        ("evil.example:8008", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1#evil.example", 403),
        ("127.0.0.1, evil.example", 403),
        ("127.0.0.1:port", 403),
        ("127.1", 403),
        ("2130706433", 403),
        ("0x7f000001", 403),
        ("10.0.0.7", 403),
        ("[::ffff:127.0.0.1]", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_the_host_must_be_this_one(dataset: Dataset, host: str, expected: int) -> None:
    """DNS rebinding: a page of evil.example whose name was made to point here."""
    for path in ("/", "/static/index.html", "/api/session"):
        assert client(dataset).get(path, headers={"host": host}).status_code == expected


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({"allowed_hosts": ("box.lan",)}, "box.lan:8008", 200),
        ({"allowed_hosts": ("box.lan",)}, "other.lan", 403),
        ({"host": "192.168.1.5", "token": TOKEN}, "192.168.1.5:8008", 200),
        ({"host": "192.168.1.5", "token": TOKEN}, "192.168.1.6", 403),
        ({"host": "0.0.0.0", "token": TOKEN}, "192.168.1.6:8008", 200),  # an address cannot be rebound
        ({"host": "::", "token": TOKEN}, "[fd00::7]:8008", 200),
        ({"host": "0.0.0.0", "token": TOKEN}, socket.gethostname(), 200),
        ({"host": "0.0.0.0", "token": TOKEN}, "evil.example", 403),
    ],
)
def test_the_hosts_that_a_server_goes_by(dataset: Dataset, settings: Any, host: str, expected: int) -> None:
    headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
    assert client(dataset, **settings).get("/api/session", headers=headers).status_code == expected


SAME = {"origin": "http://127.0.0.1:8008", "sec-fetch-site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (SAME, 200),
        ({}, 200),  # a program, not a browser
        ({"origin": "http://127.0.0.1:8008"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://localhost:8008"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "file://127.0.0.1:8008"}, 403),
        ({"origin": "http://127.0.0.1:8008.evil.example"}, 403),
        ({"origin": "http://evil@127.0.0.1:8008"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({**SAME, "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_only_its_own_page_may_change_something(dataset: Dataset, headers: dict[str, str], expected: int) -> None:
    body = {"version": 1, "boxes": [[1, 2, 9, 8]], "label": None}
    answer = client(dataset).put("/api/record?image=inside.png", json=body, headers=headers)
    assert answer.status_code == expected
    assert len(dataset.get("inside.png").boxes) == (expected == 200)


def test_a_proxy_s_page_may_be_named(dataset: Dataset) -> None:
    headers = {"origin": "https://annotate.example", "sec-fetch-site": "cross-site"}
    body = {"version": 1, "boxes": [[1, 2, 9, 8]], "label": None}
    named = client(dataset, origins=("https://annotate.example",))
    assert named.put("/api/record?image=inside.png", json=body, headers=headers).status_code == 200


OPENED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/", OPENED, 200),  # a link in a message
        ("/", {**OPENED, "sec-fetch-dest": "iframe"}, 403),
        ("/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ("/api/picture?image=inside.png", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}, 403),
        ("/api/picture?image=inside.png", {"sec-fetch-site": "same-site", "sec-fetch-dest": "image"}, 403),
        ("/api/picture?image=inside.png", OPENED, 403),
        ("/static/index.html", {"sec-fetch-site": "cross-site", "sec-fetch-dest": "script"}, 403),
    ],
)
def test_other_sites_may_open_the_page_and_nothing_else(
    dataset: Dataset, path: str, headers: dict[str, str], expected: int
) -> None:
    assert client(dataset).get(path, headers=headers).status_code == expected


# --- the token --------------------------------------------------------------------------------------------------


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"name:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer {TOKEN}"}, 200),
        ({"authorization": basic(TOKEN)}, 200),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": f"Bearer {TOKEN.upper()}"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer None"}, 401),
        ({"authorization": b"Bearer \xe9\xff"}, 401),
        ({"authorization": basic("")}, 401),
        ({"authorization": "Basic !!!"}, 401),
        ({"authorization": "Basic /w=="}, 401),
        ({"cookie": f"token={TOKEN}"}, 401),
        ({"cookie": "boxpromptiml_00000000=" + TOKEN}, 401),
        ({"x-token": TOKEN}, 401),
    ],
)
def test_without_the_token_there_is_nothing(dataset: Dataset, headers: dict[str, str], expected: int) -> None:
    asked = client(dataset, token=TOKEN)
    for path in ("/", "/static/index.html", "/api/session", "/api/picture?image=inside.png"):
        answer = asked.get(path, headers=headers)
        assert answer.status_code == expected
        assert TOKEN not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/?token=" + TOKEN, 200),
        ("/?token=", 401),
        ("/?token=wrong-wrong-wrong-wrong", 401),
        ("/?token=%ff", 401),
        ("/?Token=" + TOKEN, 401),
        ("/api/session?token=" + TOKEN, 401),  # in the page's address only
        ("/static/index.html?token=" + TOKEN, 401),
    ],
)
def test_the_printed_address_makes_the_cookie(dataset: Dataset, path: str, expected: int) -> None:
    asked = client(dataset, token=TOKEN)
    answer = asked.get(path)
    assert answer.status_code == expected
    cookie = answer.headers.get("set-cookie", "")
    assert bool(cookie) == (expected == 200)
    assert asked.get("/api/session").status_code == expected
    if expected == 200:
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


def test_the_cookie_alone_does_not_let_another_site_in(dataset: Dataset) -> None:
    asked = client(dataset, token=TOKEN)
    asked.get("/?token=" + TOKEN)
    foreign = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert asked.put("/api/record?image=inside.png", json={}, headers=foreign).status_code == 403
    assert asked.get("/api/session", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "token", ["short", "", "x" * 257, "with space in the middle", 'quote"quote"quote', "ünïcödé-ünïcödé-ünï"]
)
def test_tokens_that_guessing_or_a_header_breaks_are_refused(token: str) -> None:
    with pytest.raises(BoxPromptError, match="16 to 256"):
        WebSettings(token=token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", ""])
def test_another_host_needs_a_token(host: str) -> None:
    with pytest.raises(BoxPromptError, match="needs a token"):
        WebSettings(host=host)
    assert WebSettings(host=host, token=TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "[::1]", "localhost", "LocalHost"])
def test_the_loopback_address_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert WebSettings(host=host).token is None


# --- bodies -----------------------------------------------------------------------------------------------------


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("length", ["said", "not said", "lied about"])
def test_a_body_over_the_limit_is_refused(dataset: Dataset, red_model: Path, length: str) -> None:
    asked = client(dataset, Localizer.load(red_model, threads=1), max_upload_bytes=100_000)
    content: Any = b" " * 200_000 if length == "said" else chunks(200_000)
    headers = JPEG if length != "lied about" else {**JPEG, "content-length": "10"}
    answer = asked.post("/api/localize", content=content, headers=headers)
    assert (answer.status_code, set(answer.json())) == (413, {"error"})


def test_json_is_limited_too(dataset: Dataset) -> None:
    asked = client(dataset)
    for content in (b" " * 9_000_000, chunks(9_000_000)):
        answer = asked.put(
            "/api/record?image=inside.png", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, set(answer.json())) == (413, {"error"})


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2_000_000, 2_000), (4001, 250)])
def test_a_decompression_bomb_is_refused_by_its_header(
    dataset: Dataset, red_model: Path, width: int, height: int
) -> None:
    asked = client(dataset, Localizer.load(red_model, threads=1), max_pixels=1_000_000)
    uploaded = asked.post("/api/localize", content=png_bomb(width, height), headers={"content-type": "image/png"})
    assert uploaded.status_code == 413
    assert "megapixels" in uploaded.json()["error"]
    # On disk too: a dataset may come from elsewhere.
    (dataset.root / "bomb.png").write_bytes(png_bomb(width, height))
    dataset.put(ImageRecord("bomb.png", width, height))
    for size in ("thumb", "view", "full"):
        answer = asked.get(f"/api/picture?image=bomb.png&size={size}")
        assert answer.status_code in (413, 415)
        assert "megapixels" in answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"no image", 415),
        (b"\x89PNG\r\n\x1a\n", 415),
        (png_bomb(60_000, 60_000), 413),
        (encode_png(np.zeros((30, 41), np.uint8)), 415),
        (encode_png(np.zeros((30, 40, 3), np.uint8)), 415),
        (encode_png(np.zeros((30, 40), np.uint16)), 415),
    ],
    ids=["empty", "text", "cut", "bomb", "other size", "colour", "16 bits"],
)
def test_a_painted_mask_is_looked_at_before_it_is_kept(dataset: Dataset, data: bytes, status: int) -> None:
    dataset.annotate("inside.png", boxes=[Box(1, 2, 9, 8)], label=None, expected_version=1)
    asked = client(dataset)
    answer = asked.put("/api/pseudo?image=inside.png&version=2", content=data, headers={"content-type": "image/png"})
    assert answer.status_code in (status, 400), answer.text
    assert set(answer.json()) == {"error"}
    assert dataset.get("inside.png").pseudo is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": ' + b"9" * 5000 + b"}",
        b'{"version": 1, "boxes": [], "label": null, "add_seconds": NaN}',
        b'{"version": 1, "boxes": [], "label": null, "add_seconds": 1e999}',
        b'{"version": 1, "boxes": [], "label": null, "add_seconds": -1}',
        b'{"version": 1, "boxes": [[0, 0, 1e9, 1]], "label": null}',
        b'{"version": 1, "boxes": [[0.5, 0, 2, 2]], "label": null}',
        b'{"version": 1, "boxes": [["0", 0, 2, 2]], "label": null}',
        b'{"version": 1, "boxes": [[0, 0, 2]], "label": null}',
        b'{"version": 1, "boxes": [[0, 0, 41, 2]], "label": null}',
        b'{"version": 1, "boxes": [[2, 0, 1, 2]], "label": null}',
        b'{"version": 1, "boxes": [[-1, 0, 1, 2]], "label": null}',
        b'{"version": 1, "boxes": [[0, 0, 99999999999999999999999, 2]], "label": null}',
        b'{"version": 1, "boxes": [[0, 0, 2, 2]], "label": "authentic"}',
        b'{"version": 1, "boxes": [], "label": "nonsense"}',
        b'{"version": 1, "boxes": [], "label": null, "mask": "../secret.png"}',
        b'{"version": 1, "boxes": [], "label": null, "\\ud800": 1}',
        b'{"version": true, "boxes": [], "label": null}',
        b'{"version": -1, "boxes": [], "label": null}',
        b'{"version": 99999999999999999999999, "boxes": [], "label": null}',
        b'{"boxes": [], "label": null}',
    ],
)
def test_malformed_changes_change_nothing(dataset: Dataset, body: bytes) -> None:
    answer = client(dataset).put(
        "/api/record?image=inside.png", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]
    assert dataset.get("inside.png").version == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_cannot_change_anything(dataset: Dataset, kind: str) -> None:
    """What an HTML form can send across sites without being asked first."""
    body = json.dumps({"version": 1, "boxes": [[1, 2, 9, 8]], "label": None}).encode()
    answer = client(dataset).put("/api/record?image=inside.png", content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert dataset.get("inside.png").version == 1


# --- everything else --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X" * 99]
)
def test_other_methods_are_refused(dataset: Dataset, method: str) -> None:
    asked = client(dataset)
    for path in ("/", "/static/index.html", "/api/session", "/api/picture?image=inside.png", "/nothing"):
        answer = asked.request(method, path)
        assert answer.status_code in (404, 405), path
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/api/session", "/static/x"])
def test_no_websocket_is_accepted(dataset: Dataset, path: str) -> None:
    with pytest.raises(WebSocketDisconnect), client(dataset).websocket_connect(path):
        pass


@pytest.mark.parametrize(
    ("offset", "limit"), [("-1", "10"), ("0", "0"), ("0", "501"), ("x", "10"), ("9" * 30, "10"), ("0", "1e3")]
)
def test_pages_have_limits(dataset: Dataset, offset: str, limit: str) -> None:
    assert client(dataset).get("/api/images", params={"offset": offset, "limit": limit}).status_code == 422


def test_reading_only_means_that_nothing_is_written(dataset: Dataset) -> None:
    pool = TeacherPool(["box"])
    asked = client(dataset, teachers=pool, read_only=True)
    before = sorted(dataset.root.rglob("*"))
    body = {"version": 1, "boxes": [[1, 2, 9, 8]], "label": None}
    mask = encode_png(np.zeros((30, 40), np.uint8))
    refused = [
        asked.put("/api/record?image=inside.png", json=body),
        asked.post("/api/review", json={"image": "inside.png", "version": 1, "verdict": "accepted"}),
        asked.post("/api/relabel", json={"image": "inside.png", "version": 1, "boxes": [[1, 2, 9, 8]]}),
        asked.put("/api/pseudo?image=inside.png&version=1", content=mask, headers={"content-type": "image/png"}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    allowed = [
        asked.get("/api/picture?image=inside.png&size=thumb"),
        asked.post("/api/preview", json={"image": "inside.png", "boxes": [[1, 2, 9, 8]]}),
    ]
    assert [answer.status_code for answer in allowed] == [200] * len(allowed)
    assert dataset.get("inside.png").version == 1
    assert sorted(dataset.root.rglob("*")) == before
    pool.close()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/static/index.html", {}),
        ("/api/session", {}),
        ("/api/picture?image=inside.png&size=full", {}),
        ("/nothing", {}),
        ("/api/session", {"host": "evil.example"}),
    ],
)
def test_every_answer_carries_the_policy(dataset: Dataset, path: str, headers: dict[str, str]) -> None:
    answer = client(dataset).get(path, headers=headers)
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "cache-control" in answer.headers


def test_a_failure_tells_nothing_but_that_it_failed(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Dataset) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(Dataset, "counts", broken)
    answer = client(dataset).get("/api/session")
    assert (answer.status_code, set(answer.json())) == (500, {"error"})
    assert "1234" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "1234" in caplog.text


def test_an_image_that_changed_its_size_is_another_image(dataset: Dataset) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (50, 30)).save(stream, "PNG")
    (dataset.root / "inside.png").write_bytes(stream.getvalue())
    for size in ("thumb", "view", "full"):
        answer = client(dataset).get(f"/api/picture?image=inside.png&size={size}")
        assert answer.status_code == 415
        assert "50 x 30 pixels, not 40 x 30" in answer.json()["error"]
