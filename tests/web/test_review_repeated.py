"""`web.review`: a request whose answer was lost is sent again, and that is nobody else's change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.images import encode_png, save_png
from boxpromptiml.pseudolabels import pseudo_label, store_correction, store_verdict
from boxpromptiml.regions import Box
from boxpromptiml.teachers import load_teacher
from boxpromptiml.web import create_app
from boxpromptiml.web.settings import WebState
from boxpromptiml.web.teacher_pool import TeacherPool

WIDTH, HEIGHT = 60, 40
BOX, OTHER = Box(10, 10, 30, 30), Box(5, 5, 20, 20)


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "set") as dataset:
        save_png(dataset.path("a.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        dataset.put(ImageRecord("a.png", WIDTH, HEIGHT, "tampered", (BOX,)))
        pseudo_label(dataset, load_teacher("box"))
        yield dataset


@pytest.fixture
def client(dataset: Dataset) -> Iterator[TestClient]:
    state = WebState(dataset=dataset, teachers=TeacherPool(["box"]))
    with TestClient(create_app(state), base_url="http://127.0.0.1") as client:
        yield client


def seen(client: TestClient) -> Any:
    return client.get("/api/record", params={"image": "a.png"}).json()


def painted(value: int = 255) -> np.ndarray[Any, np.dtype[np.uint8]]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[12:20, 12:20] = value
    return mask


def judge(client: TestClient, record: Any, verdict: str | None, **more: Any) -> Any:
    body = {"image": "a.png", "version": record["version"], "verdict": verdict, "mask": record["pseudo"]["id"], **more}
    return client.post("/api/review", json=body)


def paint(client: TestClient, record: Any, mask: Any) -> Any:
    query = {"image": "a.png", "version": record["version"]}
    return client.put("/api/pseudo", params=query, content=encode_png(mask), headers={"Content-Type": "image/png"})


def remake(client: TestClient, record: Any, boxes: list[Box] | None) -> Any:
    body = {"image": "a.png", "version": record["version"], "teacher": "box", "boxes": boxes, "points": []}
    return client.post("/api/relabel", json=body)


def test_the_same_verdict_on_the_same_mask(client: TestClient) -> None:
    record = seen(client)
    first, again = (judge(client, record, "accepted") for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == seen(client)
    assert judge(client, record, "rejected").status_code == 409, "another verdict"


def test_the_same_verdict_on_another_mask_is_a_conflict(client: TestClient, dataset: Dataset) -> None:
    record = seen(client)
    store_correction(dataset, "a.png", painted(), expected_version=record["version"])
    answer = judge(client, record, "accepted")
    assert (answer.status_code, answer.json()["record"]["pseudo"]["teacher"]) == (409, "person")


def test_without_the_mask_it_is_not_known_whether_it_is_the_same(client: TestClient) -> None:
    record = seen(client)
    assert judge(client, record, "accepted", mask=None).status_code == 200
    assert judge(client, record, "accepted", mask=None).status_code == 409


def test_the_same_painted_mask(client: TestClient, dataset: Dataset) -> None:
    record = seen(client)
    first, again = (paint(client, record, painted()) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == seen(client)
    assert paint(client, record, painted(200)).status_code == 409, "another mask"
    store_verdict(dataset, "a.png", "rejected", expected_version=seen(client)["version"])
    assert paint(client, record, painted()).status_code == 409, "somebody has rejected it since"


def test_a_painted_mask_whose_boxes_others_have_changed(client: TestClient, dataset: Dataset) -> None:
    record = seen(client)
    assert paint(client, record, painted()).status_code == 200
    dataset.set_boxes("a.png", [OTHER])
    assert paint(client, record, painted()).status_code == 409


def test_a_mask_that_was_made_again(client: TestClient, dataset: Dataset) -> None:
    record = seen(client)
    first, again = (remake(client, record, [OTHER]) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == seen(client)
    assert remake(client, record, [BOX]).status_code == 409, "other boxes"
    assert remake(client, record, None).status_code == 409, "those that were there before"
    store_verdict(dataset, "a.png", "rejected", expected_version=seen(client)["version"])
    assert remake(client, record, [OTHER]).status_code == 409, "somebody has judged it since"
