"""The application: every way in, every answer, every refusal."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from boxpromptiml.errors import ModelError
from boxpromptiml.runtime import Localizer
from boxpromptiml.scaling import AdaptiveThreshold

JPEG = {"content-type": "image/jpeg"}
JSON = {"content-type": "application/json"}
BOX = [32, 16, 56, 32]

Start = Callable[..., TestClient]


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def batch(*images: bytes) -> bytes:
    listed = [{"name": f"{i}.png", "data": base64.b64encode(data).decode()} for i, data in enumerate(images)]
    return json.dumps({"images": listed}).encode()


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels: some kilobytes of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


# --- ways in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "application/octet-stream", "IMAGE/PNG; a=b", None])
def test_bytes_as_they_are(start: Start, photo: bytes, localizer: Localizer, kind: str | None) -> None:
    answer = start().post("/v1/localize?name=a.png", content=photo, headers={"content-type": kind} if kind else {})
    assert answer.status_code == 200
    result = answer.json()
    expected = localizer.localize(photo).to_json() | {"image": "a.png"}
    assert result | {"seconds": 0} == expected | {"seconds": 0}
    assert result["sha256"] == hashlib.sha256(photo).hexdigest()
    assert result["verdict"] == "tampered"
    (region,) = result["regions"]
    assert np.abs(np.subtract(region["box"], BOX)).max() <= 1


def test_forms_keep_their_order_and_names(start: Start, photo: bytes, grey: bytes) -> None:
    files = [("file", ("b.png", photo)), ("other", ("ä/../a.png", grey)), ("file", ("", photo))]
    answer = start().post("/v1/localize", files=files[:2], data={"note": "not a file"})
    assert [(one["image"], one["verdict"]) for one in answer.json()["results"]] == [
        ("b.png", "tampered"),
        ("ä/../a.png", "authentic"),
    ]


def test_a_batch_of_json(start: Start, photo: bytes, grey: bytes) -> None:
    answer = start().post("/v1/localize", content=batch(grey, photo, grey), headers=JSON)
    assert [one["verdict"] for one in answer.json()["results"]] == ["authentic", "tampered", "authentic"]


def test_one_bad_image_does_not_harm_the_others(start: Start, photo: bytes) -> None:
    answer = start().post("/v1/localize", content=batch(photo, b"no image"), headers=JSON)
    assert answer.status_code == 200
    good, bad = answer.json()["results"]
    assert good["verdict"] == "tampered"
    assert bad == {"image": "1.png", "error": "1.png: is not an image (PNG, JPEG, TIFF, WebP or BMP)", "status": 415}


def test_where_all_are_bad_so_is_the_request(start: Start) -> None:
    answer = start().post("/v1/localize", files=[("file", ("a.png", b"no image"))])
    assert answer.status_code == 415
    assert answer.json()["results"][0]["image"] == "a.png"


# --- ways out ------------------------------------------------------------------------------------------------------


def test_a_mask_by_the_accept_header(start: Start, photo: bytes, localizer: Localizer) -> None:
    answer = start().post("/v1/localize", content=photo, headers=JPEG | {"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    mask = opened(answer.content)
    assert (mask == localizer.localize(photo).mask * 255).all()
    assert answer.headers["x-verdict"] == "tampered"
    assert float(answer.headers["x-score"]) > 0.9
    assert answer.headers["x-image-size"] == "96x64"


@pytest.mark.parametrize(("output", "mode", "size"), [("map", "I;16", (64, 64)), ("overlay", "RGB", (96, 64))])
def test_other_pictures_by_the_query(start: Start, photo: bytes, output: str, mode: str, size: tuple[int, int]) -> None:
    answer = start().post(f"/v1/localize?output={output}", content=photo, headers=JPEG)
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.mode, picture.size) == (mode, size)


def test_pictures_inside_of_json(start: Start, photo: bytes, grey: bytes) -> None:
    answer = start().post("/v1/localize?include=mask,overlay&include=map", content=batch(photo, grey), headers=JSON)
    first, second = answer.json()["results"]
    assert opened(base64.b64decode(first["mask_png"])).any()
    assert not opened(base64.b64decode(second["mask_png"])).any()
    assert opened(base64.b64decode(first["overlay_png"])).shape == (64, 96, 3)
    assert opened(base64.b64decode(first["map_png"])).max() > 60000


def test_the_threshold_counts(start: Start, photo: bytes) -> None:
    answer = start().post("/v1/localize?threshold=1", content=photo, headers=JPEG)
    assert (answer.json()["verdict"], answer.json()["regions"]) == ("authentic", [])


def test_large_answers_arrive_whole(start: Start) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    answer = start().post("/v1/localize?output=overlay", content=stream.getvalue(), headers=JPEG)
    assert len(answer.content) > 200_000
    assert opened(answer.content).shape == (600, 600, 3)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/model", "/openapi.json", "/nowhere"])
def test_head_is_get_without_a_body(start: Start, path: str) -> None:
    """What monitors ask with."""
    client = start()
    asked, full = client.head(path), client.get(path)
    assert (asked.status_code, asked.content) == (full.status_code, b"")
    assert asked.headers["content-type"] == full.headers["content-type"]
    if path != "/metrics":  # where each request changes the figures
        assert asked.headers["content-length"] == str(len(full.content))


def test_photos_are_not_localized_by_head(start: Start) -> None:
    asked = start().head("/v1/localize")
    assert (asked.status_code, asked.headers["allow"]) == (405, "POST")


# --- bad input -----------------------------------------------------------------------------------------------------

_FORM = {"content-type": "multipart/form-data; boundary=xyz"}
_FIELD = b'--xyz\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n'
_PART = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"", JPEG, 400, "the body is empty"),
        (b"no image at all", JPEG, 415, "is not an image"),
        (b"\xff\xd8\xff\xe0 and no more", JPEG, 415, "damaged or truncated JPEG"),
        (b"GIF89a" + bytes(40), JPEG, 415, "GIF files are not read"),
        (png_bomb(100_000, 100_000), JPEG, 413, "over the limit of 1 megapixels"),
        (png_bomb(900, 900), JPEG, 415, "damaged or truncated PNG"),
        (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "send image bytes"),
        (b"hello", {"content-type": "text/plain"}, 415, "text/plain is not read"),
        (b"x", JPEG | {"content-encoding": "gzip"}, 415, "without Content-Encoding"),
        (b"x" * 200_000, JPEG, 413, "more than 0.1 MB"),
        (b"{" * 200_000, JSON, 413, "more than 0.1 MB"),
        (b"{", JSON, 400, "is not JSON"),
        (b"\xff\xfe", JSON, 400, "is not JSON"),
        (b"[]", JSON, 422, "Input should be an object"),
        (b'{"images": []}', JSON, 422, "images: List should have at least 1 item"),
        (b'{"images": [{"data": "***"}]}', JSON, 422, "images.0.data: is not base64"),
        (b'{"images": [{"data": "\\ud800"}]}', JSON, 400, ""),
        (b'{"images": [{"data": 5}]}', JSON, 422, "images.0.data: Input should be a valid string"),
        (b'{"images": [{"data": "", "nmae": "a"}]}', JSON, 422, "images.0.nmae: Extra inputs"),
        (b'{"image": "x"}', JSON, 422, "images: Field required"),
        (b"[" * 90_000, JSON, 400, "is not JSON"),
        (batch(*[b"x"] * 5), JSON, 413, "5 images in one request; 4 are allowed"),
        (b"", {"content-type": "multipart/form-data"}, 400, "Missing boundary"),
        (b"", _FORM, 400, "cut short"),
        (b"no form", _FORM, 400, "the form cannot be read"),
        (_PART + b"half a photo", _FORM, 400, "cut short"),
        (_PART + b"photo\r\n" + _PART + b"half", _FORM, 400, "cut short"),
        (_PART[:30], _FORM, 400, "cut short"),
        (b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--xyz--\r\n', _FORM, 400, "no file in it"),
        (_PART + b"x\r\n" + _FIELD + b"0.1\r\n--xyz--\r\n", _FORM, 422, "threshold: a form is for files; options"),
        (_FIELD + b"x" * 70_000 + b"\r\n--xyz--\r\n", _FORM, 400, "more than 64 kB in a text field; send a photo as"),
        (b"--xyz\r\n\r\nphoto\r\n--xyz--\r\n", _FORM, 400, "the form cannot be read"),
        ((_PART + b"x\r\n") * 5 + b"--xyz--\r\n", _FORM, 413, "Too many files"),
    ],
)  # fmt: skip
def test_bad_bodies(start: Start, body: bytes, headers: dict[str, str], status: int, words: str) -> None:
    client = start(max_upload_bytes=100_000, max_pixels=1_000_000, max_images=4)
    answer = client.post("/v1/localize", content=body, headers=headers)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert "\n" not in answer.json()["error"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ((_PART.replace(b"a.png", b"") + b"x\r\n") * 2 + b"--xyz--\r\n", _FORM),
        (b'{"images": [{"data": "eA=="}, {"data": "eA==", "name": ""}]}', JSON),
    ],
)
def test_images_without_a_name_are_called_by_their_place(start: Start, body: bytes, headers: dict[str, str]) -> None:
    results = start().post("/v1/localize", content=body, headers=headers).json()["results"]
    assert [result["image"] for result in results] == ["images.0", "images.1"]
    assert all(result["error"].startswith(f"{result['image']}: is not an image") for result in results)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/localize", 405),
        ("POST", "/v1/localise", 404),
        ("POST", "/v1/localize?threshold=2", 422),
        ("POST", "/v1/localize?output=jpeg", 422),
        ("GET", "/docs", 404),
        ("POST", "/metrics", 405),
    ],
)
def test_bad_requests(start: Start, photo: bytes, method: str, path: str, status: int) -> None:
    answer = start().request(method, path, content=photo, headers=JPEG)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


def test_several_images_are_no_picture(start: Start, photo: bytes) -> None:
    answer = start().post("/v1/localize?output=mask", content=batch(photo, photo), headers=JSON)
    assert answer.status_code == 406


def test_a_network_that_fails_is_not_the_clients_fault(
    start: Start, photo: bytes, localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()

    def failing(fed: Any) -> Any:
        raise ModelError("the network failed")

    with monkeypatch.context() as broken:
        broken.setattr(localizer, "maps", failing)
        answer = client.post("/v1/localize", content=photo, headers=JPEG)
    assert (answer.status_code, answer.json()["error"]) == (503, "the network failed")
    assert client.post("/v1/localize", content=photo, headers=JPEG).status_code == 200  # and it goes on


def test_a_fault_of_ours_says_nothing_of_itself(
    start: Start, photo: bytes, localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()

    def failing(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("/secret/path")

    with monkeypatch.context() as broken:
        broken.setattr(localizer, "result", failing)
        answer = client.post("/v1/localize", content=photo, headers=JPEG)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert client.post("/v1/localize", content=photo, headers=JPEG).status_code == 200


# --- states --------------------------------------------------------------------------------------------------------


def test_it_answers_before_the_model_is_there(start: Start, photo: bytes, localizer: Localizer) -> None:
    loaded = threading.Event()

    def load() -> Localizer:
        loaded.wait(20)
        return localizer

    client = start(load, wait=False)
    try:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["error"]) == (503, "loading the model")
        answer = client.post("/v1/localize", content=photo, headers=JPEG)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "being loaded" in answer.json()["error"]
    finally:
        loaded.set()


def test_time_runs_out(start: Start, photo: bytes, localizer: Localizer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start()
    held = threading.Event()
    maps = localizer.maps
    monkeypatch.setattr(localizer, "maps", lambda fed, **options: held.wait(20) and maps(fed, **options))
    try:
        answer = client.post("/v1/localize?timeout=0.2", content=photo, headers=JPEG)
        assert (answer.status_code, answer.json()["error"]) == (504, "not done within 0.2 s")
        assert answer.headers["retry-after"] == "1"
    finally:
        held.set()
    assert "boxpromptiml_dropped_images_total 1.0" in client.get("/metrics").text


def test_a_full_queue_is_told_so_and_empties(
    start: Start,
    photo: bytes,
    localizer: Localizer,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., Any],
) -> None:
    client = start(max_queue=2)
    held = threading.Event()
    maps = localizer.maps
    monkeypatch.setattr(localizer, "maps", lambda fed, **options: held.wait(20) and maps(fed, **options))
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(client.post("/v1/localize", content=photo, headers=JPEG).status_code)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: "boxpromptiml_inside_images 2.0" in client.get("/metrics").text)
    refused = client.post("/v1/localize", content=photo, headers=JPEG)
    held.set()
    for thread in threads:
        thread.join()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "2 images are waiting already" in refused.json()["error"]
    assert answers == [200, 200]
    assert client.post("/v1/localize", content=photo, headers=JPEG).status_code == 200
    text = client.get("/metrics").text
    assert 'boxpromptiml_refused_requests_total{reason="queue_full"} 1.0' in text
    assert "boxpromptiml_inside_images 0.0" in text


def test_more_images_than_places_are_never_taken(start: Start, photo: bytes) -> None:
    answer = start(max_queue=2).post("/v1/localize", content=batch(photo, photo, photo), headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (413, "more than 2 images in one request")


def test_a_body_that_there_is_never_memory_for_is_told_so(start: Start, photo: bytes) -> None:
    client = start(max_upload_bytes=4 * len(photo) - 1, body_bytes=4 * len(photo) - 1)
    assert client.post("/v1/localize", content=photo, headers=JPEG).status_code == 200
    answer = client.post("/v1/localize", content=batch(photo), headers=JSON)  # held as bytes, text and decoded
    assert answer.status_code == 413  # 503 would have it tried again for ever
    assert "retry-after" not in answer.headers


# --- what it tells -------------------------------------------------------------------------------------------------


def test_request_ids_are_taken_where_they_are_sound(start: Start) -> None:
    client = start()
    assert client.get("/healthz", headers={"x-request-id": "abc-123"}).headers["x-request-id"] == "abc-123"
    made = client.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert len(made) == 32
    assert client.get("/nothing").headers["x-request-id"] != made


@pytest.mark.parametrize("max_batch", [1, 4])
def test_metrics(start: Start, photo: bytes, grey: bytes, max_batch: int) -> None:
    client = start(max_batch=max_batch)
    client.post("/v1/localize", content=batch(photo, grey, b"x"), headers=JSON)
    client.post("/v1/localize", content=b"x", headers=JPEG)
    client.get("/any/path/that/somebody/tries")
    text = client.get("/metrics").text
    for line in (
        'boxpromptiml_requests_total{route="/v1/localize",status="200"} 1.0',
        'boxpromptiml_requests_total{route="/v1/localize",status="415"} 1.0',
        'boxpromptiml_requests_total{route="other",status="404"} 1.0',
        'boxpromptiml_images_total{outcome="tampered"} 1.0',
        'boxpromptiml_images_total{outcome="authentic"} 1.0',
        'boxpromptiml_images_total{outcome="error"} 2.0',
        'boxpromptiml_request_seconds_count{route="/v1/localize"} 2.0',
        "boxpromptiml_queue_images 0.0",
        "boxpromptiml_in_flight_requests 1.0",
        "boxpromptiml_ready_workers 1.0",
        "boxpromptiml_batch_size_sum 2.0",
        'precision="fp32",runtime="onnx"',
        "process_resident_memory_bytes",
    ):
        assert line in text, line


def test_openapi_has_examples(start: Start) -> None:
    api = start().get("/openapi.json").json()
    post = api["paths"]["/v1/localize"]["post"]
    assert "multipart/form-data" in post["requestBody"]["content"]
    example = post["requestBody"]["content"]["application/json"]["examples"]["one pixel"]["value"]
    assert opened(base64.b64decode(example["images"][0]["data"])).shape == (1, 1, 3)
    assert {"200", "400", "401", "413", "415", "422", "429", "503", "504"} <= set(post["responses"])
    assert "image/png" in post["responses"]["200"]["content"]
    assert {one["name"] for one in post["parameters"]} == {
        *("threshold", "output", "include", "detail", "tta", "name", "timeout")
    }
    assert set(api["paths"]) == {"/v1/localize", "/v1/model", "/healthz", "/readyz", "/metrics"}


def test_the_example_of_openapi_is_answered(start: Start) -> None:
    client = start()
    content = client.get("/openapi.json").json()["paths"]["/v1/localize"]["post"]["requestBody"]["content"]
    example = content["application/json"]["examples"]["one pixel"]["value"]
    (result,) = client.post("/v1/localize", json=example).json()["results"]
    assert (result["image"], result["width"], result["height"]) == ("pixel.png", 1, 1)


def test_the_model_tells_how_it_looks(start: Start, localizer: Localizer) -> None:
    adaptive = AdaptiveThreshold(background=0.3, peak=0.5, usual_background=-2, usual_peak=0)
    rule = localizer.config.decision.model_copy(
        update={"looks": 2, "copies": True, "completion": True, "adaptive": adaptive}
    )
    config = localizer.config.model_copy(update={"decision": rule})
    told = start(lambda: Localizer(localizer.session, config, localizer.folder, localizer.choice))
    answer = told.get("/v1/model").json()
    assert (answer["looks"], answer["copies"], answer["completion"], answer["adaptive"]) == (2, True, True, True)


def test_the_model_tells_of_itself(start: Start, localizer: Localizer) -> None:
    told = start(max_images=100, max_queue=10).get("/v1/model").json()
    assert (told["id"], told["input"], told["runtime"]) == (localizer.model_id, "64 x 64", "onnx")
    assert (told["looks"], told["copies"], told["completion"], told["adaptive"]) == (1, False, False, False)
    assert told["limits"]["images"] == 10
