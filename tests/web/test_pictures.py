"""`web.pictures`: what a person sees is the upright image, at once, and never older than the file."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import image_size
from boxpromptiml.web import WebSettings, WebState, create_app, pictures
from boxpromptiml.web.picture_store import Disk, Memory, OneAtATime


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "set") as made:
        yield made


def add(dataset: Dataset, name: str, width: int = 900, height: int = 300, mode: str = "RGB", **options: Any) -> bytes:
    """An image, red on the left and blue on the right; stored turned if there is an orientation in `options`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(dataset.root / name, **options)
    dataset.put(ImageRecord(name, *image_size(dataset.root / name)))
    return (dataset.root / name).read_bytes()


def client(dataset: Dataset, **settings: Any) -> TestClient:
    state = WebState(dataset=dataset, settings=WebSettings(**settings))
    return TestClient(create_app(state), base_url="http://localhost")


def get(asked: TestClient, name: str, size: str, known: str | None = None) -> Any:
    headers = {} if known is None else {"if-none-match": known}
    return asked.get("/api/picture", params={"image": name, "size": size}, headers=headers)


def turned(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


CASES: list[tuple[str, dict[str, Any], str | None]] = [
    # what is stored, and the type under which a browser gets the file itself; None where it gets another one
    ("plain.jpg", {"quality": 90}, "image/jpeg"),
    ("turned.jpg", {"exif": turned(6)}, "image/jpeg"),
    ("grey.jpg", {"mode": "L"}, "image/jpeg"),
    ("cmyk.jpg", {"mode": "CMYK"}, None),
    ("plain.png", {}, "image/png"),
    ("palette.png", {"mode": "P"}, "image/png"),
    ("alpha.png", {"mode": "RGBA"}, None),
    ("turned.png", {"exif": turned(8)}, None),
    ("deep.png", {"mode": "I;16"}, None),
    ("plain.webp", {"lossless": True}, "image/webp"),
    ("turned.webp", {"exif": turned(3)}, None),
    ("plain.tif", {}, None),
    ("plain.bmp", {}, None),
]


@pytest.mark.parametrize(("name", "options", "kind"), CASES, ids=[case[0] for case in CASES])
def test_every_format_is_shown_upright(dataset: Dataset, name: str, options: dict[str, Any], kind: str | None) -> None:
    stored = add(dataset, name, **options)
    record = dataset.get(name)
    asked = client(dataset)
    for size, side in (("thumb", 256), ("view", 2048), ("full", None)):
        answer = get(asked, name, size)
        assert answer.status_code == 200
        own = kind is not None and size != "thumb"
        assert answer.headers["content-type"] == (kind if own else "image/jpeg")
        assert (answer.content == stored) == own
        picture = Image.open(io.BytesIO(answer.content))
        longest = max(record.width, record.height)
        if not own:
            scale = min(1.0, (side or longest) / longest)
            assert picture.size == (round(record.width * scale), round(record.height * scale))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["t.jpg", "t.png", "t.tif"])
def test_a_thumbnail_is_turned_as_its_image_is(dataset: Dataset, turn: int, name: str) -> None:
    from boxpromptiml.images import open_image

    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    big = Image.fromarray(pixels).resize((500, 300), Image.Resampling.NEAREST)
    big.save(dataset.root / name, exif=exif, **({"quality": 95} if name.endswith("jpg") else {}))
    dataset.put(ImageRecord(name, *image_size(dataset.root / name)))
    upright = Image.fromarray(open_image(dataset.root / name))
    thumb = Image.open(io.BytesIO(get(client(dataset), name, "thumb").content))
    assert max(thumb.size) == 256
    expected = np.asarray(upright.resize(thumb.size, Image.Resampling.BICUBIC), np.float32)
    assert np.abs(np.asarray(thumb, np.float32) - expected).mean() < 8


def test_an_orientation_that_browsers_do_not_know_is_applied_here(dataset: Dataset) -> None:
    """Pillow reads it from XMP too."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    stored = add(dataset, "xmp.jpg", xmp=xmp)
    assert (dataset.get("xmp.jpg").width, dataset.get("xmp.jpg").height) == (300, 900)
    answer = get(client(dataset), "xmp.jpg", "full")
    assert answer.content != stored
    assert Image.open(io.BytesIO(answer.content)).size == (300, 900)


def test_a_large_photo_is_viewed_small_and_had_whole(dataset: Dataset) -> None:
    stored = add(dataset, "large.jpg", 4000, 1000)
    asked = client(dataset)
    assert Image.open(io.BytesIO(get(asked, "large.jpg", "view").content)).size == (2048, 512)
    assert get(asked, "large.jpg", "full").content == stored


@pytest.mark.parametrize("size", ["thumb", "view", "full"])
def test_what_is_known_is_not_sent_again(dataset: Dataset, size: str) -> None:
    add(dataset, "a.png", mode="RGBA")
    asked = client(dataset)
    first = get(asked, "a.png", size)
    tag = first.headers["etag"]
    for known in (tag, f'W/{tag}, "other"', "*"):
        again = get(asked, "a.png", size, known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "private" in first.headers["cache-control"]


@pytest.mark.parametrize("size", ["thumb", "view", "full"])
def test_a_file_that_changed_is_shown_as_it_is_now(dataset: Dataset, size: str) -> None:
    add(dataset, "a.png", mode="RGBA")
    asked = client(dataset)
    before = get(asked, "a.png", size)
    path = dataset.root / "a.png"
    Image.new("RGBA", (900, 300), (0, 255, 0, 255)).save(path)
    os.utime(path, ns=(1, 1))
    after = get(asked, "a.png", size, before.headers["etag"])
    assert after.status_code == 200
    red, green, blue = Image.open(io.BytesIO(after.content)).convert("RGB").getpixel((5, 5))
    assert green > 250 > 10 > max(red, blue)


def test_a_thumbnail_is_made_once_and_kept_on_disk(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    add(dataset, "a.png")
    made: list[str] = []
    gate = threading.Event()
    original = pictures.open_shrunk

    def slow(path: Path, *args: Any, **options: Any) -> Image.Image:
        made.append(path.name)
        gate.wait(0.3)
        return original(path, *args, **options)

    monkeypatch.setattr(pictures, "open_shrunk", slow)
    asked = client(dataset)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: get(asked, "a.png", "thumb").content, range(4)))
    assert made == ["a.png"]
    assert len(set(answers)) == 1
    # Another server finds it on disk; without the folder it is made again.
    assert get(client(dataset), "a.png", "thumb").content == answers[0]
    assert made == ["a.png"]
    (kept,) = (dataset.root / ".cache" / "thumbs").glob("*/*.jpg")
    kept.unlink()
    assert get(client(dataset), "a.png", "thumb").content == answers[0]
    assert made == ["a.png", "a.png"]


def test_a_failure_is_not_kept(dataset: Dataset) -> None:
    add(dataset, "a.png")
    path = dataset.root / "a.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    asked = client(dataset)
    answer = get(asked, "a.png", "thumb")
    assert (answer.status_code, answer.json()["error"][:5]) == (415, "a.png")
    path.write_bytes(whole)
    assert get(asked, "a.png", "thumb").status_code == 200


def test_where_nothing_can_be_written_pictures_are_made_all_the_same(dataset: Dataset) -> None:
    add(dataset, "a.png")
    (dataset.root / ".cache").write_text("in the way")
    assert get(client(dataset), "a.png", "thumb").status_code == 200


def test_disk_is_bounded(tmp_path: Path) -> None:
    disk = Disk(tmp_path, limit=10_000)
    for i in range(30):
        disk.put(f"key {i}", bytes(1000))
        for path in (tmp_path / ".cache/thumbs").glob("*/*"):
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    files = list((tmp_path / ".cache/thumbs").glob("*/*"))
    assert 5 <= len(files) <= 10
    assert disk.get("key 29") is not None
    assert disk.get("key 0") is None
    # What a killed server left is removed in time.
    (orphan := files[0].with_name(".half-written.jpg")).write_bytes(bytes(100))
    os.utime(orphan, (1, 1))
    for i in range(30, 40):
        disk.put(f"key {i}", bytes(1000))
    assert not orphan.exists()


def test_memory_is_bounded_and_forgets_the_least_used() -> None:
    memory = Memory(100)
    memory.put("a", bytes(40))
    memory.put("b", bytes(40))
    assert memory.get("a") == bytes(40)
    memory.put("c", bytes(40))
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (bytes(40), None, bytes(40))
    memory.put("a", bytes(90))
    assert (memory.get("a"), memory.get("c")) == (bytes(90), None)
    memory.put("huge", bytes(101))
    assert (memory.get("huge"), memory.get("a")) == (None, bytes(90))


def test_locks_do_not_pile_up() -> None:
    running = OneAtATime()
    with pytest.raises(ValueError, match="no"), running.of("key"):
        raise ValueError("no")
    assert running._running == {}
