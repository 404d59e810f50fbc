"""`web.review`: verdicts, another try, masks painted by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import encode_png, open_mask, save_png
from boxpromptiml.pseudolabels import pseudo_label
from boxpromptiml.regions import Box
from boxpromptiml.teachers import load_teacher
from boxpromptiml.web import create_app
from boxpromptiml.web.settings import WebSettings, WebState
from boxpromptiml.web.teacher_pool import TeacherPool

HOME = {"base_url": "http://127.0.0.1"}
WIDTH, HEIGHT = 300, 200
DISC = Box(60, 40, 160, 140)


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.hypot(y - 90, x - 110) < 48
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH, 3))
    image = (np.where(disc[..., None], [190, 40, 40], [50, 140, 60]) + noise).clip(0, 255).astype(np.uint8)
    with Dataset.create(tmp_path / "set") as dataset:
        save_png(dataset.path("a.png"), image)
        save_png(dataset.path("b.png"), image)
        dataset.put([ImageRecord("a.png", WIDTH, HEIGHT, "tampered", (DISC,)), ImageRecord("b.png", WIDTH, HEIGHT)])
        pseudo_label(dataset, load_teacher("grabcut"))
        yield dataset


@pytest.fixture
def serve(dataset: Dataset) -> Iterator[Callable[..., TestClient]]:
    opened: list[TestClient] = []

    def start(**settings: Any) -> TestClient:
        pool = TeacherPool(["grabcut", "box"])
        app = create_app(WebState(dataset=dataset, teachers=pool, settings=WebSettings(**settings)))
        opened.append(TestClient(app, **HOME).__enter__())
        return opened[-1]

    yield start
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    return serve()


def painted(value: int = 255) -> NDArray[np.uint8]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[50:120, 70:150] = value
    return mask


def version(dataset: Dataset, image: str = "a.png") -> int:
    return dataset.get(image).version


def post(client: TestClient, what: str, status: int = 200, **body: Any) -> Any:
    answer = client.post(f"/api/{what}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def paint(client: TestClient, dataset: Dataset, data: bytes, status: int = 200, **query: Any) -> Any:
    query = {"image": "a.png", "version": version(dataset)} | query
    answer = client.put("/api/pseudo", params=query, content=data, headers={"Content-Type": "image/png"})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_mask_as_a_picture(client: TestClient, dataset: Dataset) -> None:
    answer = client.get("/api/pseudo", params={"image": "a.png", "size": "full"})
    assert answer.headers["content-type"] == "image/png"
    pseudo = dataset.get("a.png").pseudo
    assert pseudo is not None
    with Image.open(io.BytesIO(answer.content)) as found:
        assert found.mode == "L"
        np.testing.assert_array_equal(np.asarray(found), open_mask(dataset.path(pseudo.path)))
    known = {"If-None-Match": answer.headers["etag"]}
    assert client.get("/api/pseudo", params={"image": "a.png", "size": "full"}, headers=known).status_code == 304
    paint(client, dataset, encode_png(painted()))
    assert client.get("/api/pseudo", params={"image": "a.png", "size": "full"}, headers=known).status_code == 200


def test_a_view_is_bounded(client: TestClient, dataset: Dataset) -> None:
    save_png(dataset.path("wide.png"), np.zeros((50, 5000, 3), np.uint8))
    dataset.put(ImageRecord("wide.png", 5000, 50, "tampered", (Box(0, 0, 2500, 50),)))
    pseudo_label(dataset, load_teacher("box"))
    answer = client.get("/api/pseudo", params={"image": "wide.png"})
    with Image.open(io.BytesIO(answer.content)) as found:
        assert found.size == (2048, 20)
        assert np.asarray(found)[10, 1000] == 255
        assert np.asarray(found)[10, 1100] == 0


@pytest.mark.parametrize(
    ("image", "message"), [("b.png", "has no pseudo mask"), ("c.png", "no such image"), ("../a.png", "no such image")]
)
def test_masks_that_are_not_there(client: TestClient, image: str, message: str) -> None:
    answer = client.get("/api/pseudo", params={"image": image})
    assert answer.status_code == 404
    assert message in answer.json()["error"]


def test_a_mask_whose_file_is_gone(client: TestClient, dataset: Dataset) -> None:
    pseudo = dataset.get("a.png").pseudo
    assert pseudo is not None
    dataset.path(pseudo.path).unlink()
    answer = client.get("/api/pseudo", params={"image": "a.png"})
    assert answer.status_code == 404
    assert "is gone; run the teacher again" in answer.json()["error"]


def test_verdicts(client: TestClient, dataset: Dataset) -> None:
    for verdict in ("accepted", "rejected", None):
        record = post(client, "review", image="a.png", version=version(dataset), verdict=verdict)
        assert record["review"] == verdict
        assert dataset.get("a.png").review == verdict
    answer = post(client, "review", 409, image="a.png", version=1, verdict="accepted")
    assert answer["record"]["version"] == version(dataset)
    assert "somebody else changed it" in answer["error"]
    assert "no pseudo mask" in post(client, "review", 400, image="b.png", version=1, verdict="accepted")["error"]
    assert "verdict" in post(client, "review", 422, image="a.png", version=1, verdict="fine")["error"]
    post(client, "review", 404, image="nope.png", version=1, verdict=None)


def test_another_try_with_another_teacher(client: TestClient, dataset: Dataset) -> None:
    post(client, "review", image="a.png", version=version(dataset), verdict="rejected")
    record = post(client, "relabel", image="a.png", version=version(dataset), teacher="box")
    assert (record["pseudo"]["teacher"], record["review"]) == ("box", None)
    pseudo = dataset.get("a.png").pseudo
    assert pseudo is not None
    assert (open_mask(dataset.path(pseudo.path)) == 255).sum() == DISC.area


def test_boxes_and_mask_are_stored_together(client: TestClient, dataset: Dataset) -> None:
    boxes = [list(DISC), [200, 20, 280, 100]]
    before = version(dataset)
    record = post(client, "relabel", image="a.png", version=before, boxes=boxes, teacher="box")
    assert record["version"] == before + 1
    assert record["boxes"] == boxes
    assert not record["pseudo"]["stale"]
    assert len(record["pseudo"]["flags"]) == 2
    # An automatic run with the same teacher finds nothing to do.
    assert pseudo_label(dataset, load_teacher("box")).already == 1


def test_the_first_box_makes_an_image_tampered(client: TestClient, dataset: Dataset) -> None:
    assert "has no boxes" in post(client, "relabel", 400, image="b.png", version=1)["error"]
    record = post(client, "relabel", image="b.png", version=1, boxes=[list(DISC)])
    assert (record["label"], record["state"], record["pseudo"]["teacher"]) == ("tampered", "boxed", "grabcut")


def test_points_are_kept_until_others_are_given(client: TestClient, dataset: Dataset) -> None:
    middle = [[110, 90, False, 0]]
    post(client, "relabel", image="a.png", version=version(dataset), points=middle)
    steered = dataset.get("a.png").pseudo
    assert steered is not None
    assert steered.settings["points"] == middle
    assert open_mask(dataset.path(steered.path))[90, 110] < 50
    post(client, "relabel", image="a.png", version=version(dataset))
    assert dataset.get("a.png").pseudo == steered
    post(client, "relabel", image="a.png", version=version(dataset), points=[])
    plain = dataset.get("a.png").pseudo
    assert plain is not None
    assert open_mask(dataset.path(plain.path))[90, 110] > 200


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"boxes": [[0, 0, 301, 10]]}, 400, "not inside the image of 300 x 200"),
        ({"boxes": []}, 400, "has no boxes"),
        ({"teacher": "sam"}, 400, "no teacher 'sam'"),
        ({"teacher": "box", "points": [[110, 90, True, 0]]}, 400, "boxes only, no points"),
        ({"points": [[110, 90, True, 3]]}, 400, "belongs to box 3, of 1"),
        ({"version": 77}, 409, "somebody else changed it"),
        ({"version": -1}, 422, "version"),
    ],
)
def test_tries_that_are_refused_change_nothing(
    client: TestClient, dataset: Dataset, change: dict[str, Any], status: int, message: str
) -> None:
    before = dataset.get("a.png")
    body = {"image": "a.png", "version": before.version} | change
    assert message in post(client, "relabel", status, **body)["error"]
    assert dataset.get("a.png") == before


def test_a_painted_mask(client: TestClient, dataset: Dataset) -> None:
    record = paint(client, dataset, encode_png(painted(200)))
    assert (record["review"], record["pseudo"]["teacher"], record["pseudo"]["stale"]) == ("accepted", "person", False)
    pseudo = dataset.get("a.png").pseudo
    assert pseudo is not None
    np.testing.assert_array_equal(open_mask(dataset.path(pseudo.path)), painted(200))
    assert pseudo_label(dataset, load_teacher("box"), redo=True).accepted == 1
    assert dataset.get("a.png").pseudo == pseudo


@pytest.mark.parametrize(
    ("data", "query", "status", "message"),
    [
        (encode_png(np.zeros((200, 301), np.uint8)), {}, 400, "the mask is 301 x 200 pixels, the image 300 x 200"),
        (encode_png(painted(90)), {}, 400, "the mask is empty"),
        (encode_png(np.stack([painted()] * 3, axis=2)), {}, 415, "mode RGB, not 8-bit grey"),
        (encode_png(painted().astype(np.uint16) * 256), {}, 415, "not 8-bit grey"),
        (encode_png(painted())[:60], {}, 415, "damaged or truncated"),
        (b"", {}, 415, "is empty"),
        (b"hello", {}, 415, ""),
        (encode_png(painted()), {"version": 99}, 409, "somebody else changed it"),
        (encode_png(painted()), {"image": "b.png", "version": 1}, 400, "not labelled tampered"),
        (encode_png(painted()), {"image": "../x.png"}, 404, "no such image"),
        (encode_png(painted()), {"version": "x"}, 422, "version"),
    ],
)
def test_painted_masks_that_are_refused_change_nothing(
    client: TestClient, dataset: Dataset, data: bytes, query: dict[str, Any], status: int, message: str
) -> None:
    before = dataset.get("a.png")
    assert message in paint(client, dataset, data, status, **query)["error"]
    assert dataset.get("a.png") == before
    assert not (dataset.root / "pseudo" / "person").exists()


def test_changed_boxes_make_a_mask_stale(client: TestClient, dataset: Dataset) -> None:
    post(client, "review", image="a.png", version=version(dataset), verdict="accepted")
    body = {"version": version(dataset), "boxes": [[10, 10, 50, 50]], "label": "tampered"}
    record = client.put("/api/record", params={"image": "a.png"}, json=body).json()
    assert record["pseudo"]["stale"]
    assert record["review"] == "accepted"  # of the mask; a run that makes masks looks at the boxes as well


def test_a_server_for_reading_only(serve: Callable[..., TestClient], dataset: Dataset) -> None:
    client, before = serve(read_only=True), dataset.get("a.png")
    assert client.get("/api/pseudo", params={"image": "a.png"}).status_code == 200
    assert client.post("/api/preview", json={"image": "a.png", "boxes": [list(DISC)]}).status_code == 200
    post(client, "review", 403, image="a.png", version=before.version, verdict="accepted")
    post(client, "relabel", 403, image="a.png", version=before.version)
    paint(client, dataset, encode_png(painted()), 403)
    assert dataset.get("a.png") == before
