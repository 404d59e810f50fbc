"""`web.records` and `web.session`: pages, records, changes, figures."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from boxpromptiml import __version__
from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.images import save_png
from boxpromptiml.pseudolabels.staleness import boxes_digest
from boxpromptiml.regions import Box
from boxpromptiml.web import WebSettings, WebState, create_app

BOX = Box(10, 20, 110, 90)


def pseudo(*flags: str, boxes: tuple[Box, ...] = (BOX,)) -> PseudoMask:
    settings = {"boxes": boxes_digest(boxes)}
    return PseudoMask("pseudo/x.png", "grabcut", settings, qualities=(None,), flags=(flags,), fallbacks=(None,))


RECORDS = [
    ImageRecord("a.jpg", 200, 100),
    ImageRecord("b.jpg", 200, 100, label="tampered", boxes=(BOX,), pseudo=pseudo("leaks"), seconds=4.0),
    ImageRecord("c.jpg", 200, 100, label="authentic", seconds=2.0),
    ImageRecord("d_1.jpg", 200, 100, label="tampered", boxes=(BOX,), pseudo=pseudo(), review="accepted", seconds=9.0),
    ImageRecord("sub/e é.jpg", 200, 100, skipped=True),
    ImageRecord("../f.jpg", 200, 100, split="train", group="g", kind="splice", mask="../f.png"),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "album") as made:
        made.put(RECORDS)
        yield made


@pytest.fixture
def client(dataset: Dataset) -> TestClient:
    return TestClient(create_app(WebState(dataset=dataset)), base_url="http://localhost")


def names(answer: Any) -> list[str]:
    return [item["image"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "images", "total"),
    [
        ("", ["../f.jpg", "a.jpg", "b.jpg", "c.jpg", "d_1.jpg", "sub/e é.jpg"], 6),
        ("limit=2", ["../f.jpg", "a.jpg"], 6),
        ("limit=2&offset=5", ["sub/e é.jpg"], 6),
        ("offset=99", [], 6),
        ("state=todo", ["../f.jpg", "a.jpg"], 2),
        ("state=boxed", ["b.jpg", "d_1.jpg"], 2),
        ("state=authentic", ["c.jpg"], 1),
        ("state=skipped", ["sub/e é.jpg"], 1),
        ("review=open", ["b.jpg"], 1),
        ("review=accepted&state=boxed", ["d_1.jpg"], 1),
        ("contains=SUB/", ["sub/e é.jpg"], 1),
        ("contains=_", ["d_1.jpg"], 1),
        ("contains=%25", [], 0),
        ("order=suspicion&limit=1", ["b.jpg"], 6),
    ],
)
def test_pages(client: TestClient, query: str, images: list[str], total: int) -> None:
    answer = client.get(f"/api/images?{query}")
    assert names(answer) == images
    assert answer.json()["total"] == total


@pytest.mark.parametrize("query", ["state=done", "review=maybe", "order=size", "limit=501", "contains=" + "a" * 501])
def test_unknown_filters_are_named(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/images?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(query.split("=")[0] + ": ")


def test_an_item_says_what_a_list_shows(client: TestClient) -> None:
    (item,) = client.get("/api/images?contains=b.jpg").json()["items"]
    assert item == {
        "image": "b.jpg",
        "width": 200,
        "height": 100,
        "state": "boxed",
        "label": "tampered",
        "boxes": 1,
        "review": None,
        "suspicion": 0.5,
        "version": 1,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("image=a.jpg", {"position": 1, "total": 6}),
        ("image=a.jpg&state=todo", {"position": 1, "total": 2}),
        ("image=a.jpg&state=boxed", {"position": None, "total": 2}),
        ("image=b.jpg&order=suspicion", {"position": 0, "total": 6}),
    ],
)
def test_positions(client: TestClient, query: str, expected: dict[str, Any]) -> None:
    assert client.get(f"/api/position?{query}").json() == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "../f.jpg"),
        ("state=boxed", "b.jpg"),
        ("image=a.jpg", "b.jpg"),
        ("image=a.jpg&direction=-1", "../f.jpg"),
        ("image=../f.jpg&direction=-1", None),
        ("image=../f.jpg&direction=-1&wrap=1", "sub/e é.jpg"),
        ("image=c.jpg&state=boxed", "d_1.jpg"),
        ("image=d_1.jpg&state=todo", None),
        ("image=d_1.jpg&state=todo&wrap=1", "../f.jpg"),
        ("contains=nothing", None),
    ],
)
def test_the_next_image(client: TestClient, query: str, expected: str | None) -> None:
    assert client.get(f"/api/next?{query}").json() == {"image": expected}


@pytest.mark.parametrize("route", ["record", "position", "next", "picture"])
def test_an_unknown_image_is_not_found(client: TestClient, route: str) -> None:
    answer = client.get(f"/api/{route}?image=x.jpg")
    assert (answer.status_code, answer.json()) == (404, {"error": "the dataset has no such image"})


def test_a_record_says_everything(client: TestClient) -> None:
    assert client.get("/api/record", params={"image": "../f.jpg"}).json() == {
        "image": "../f.jpg",
        "width": 200,
        "height": 100,
        "label": None,
        "state": "todo",
        "skipped": False,
        "boxes": [],
        "seconds": None,
        "review": None,
        "split": "train",
        "group": "g",
        "kind": "splice",
        "version": 1,
        "has_mask": True,
        "pseudo": None,
    }
    pseudo = client.get("/api/record?image=b.jpg").json()["pseudo"]
    assert re.fullmatch("[0-9a-f]{16}", pseudo.pop("id"))
    assert pseudo == {
        "teacher": "grabcut",
        "flags": [["leaks"]],
        "qualities": [None],
        "fallbacks": [None],
        "suspicion": 0.5,
        "stale": False,
    }


@pytest.mark.parametrize(
    ("body", "state", "label"),
    [
        ({"boxes": [[1, 2, 30, 40], [0, 0, 200, 100]], "label": None}, "boxed", "tampered"),
        ({"boxes": [], "label": "authentic"}, "authentic", "authentic"),
        ({"boxes": [], "label": "tampered"}, "todo", "tampered"),
        ({"boxes": [], "label": None, "skipped": True}, "skipped", None),
        ({"boxes": [[1, 2, 30, 40]], "label": "tampered", "skipped": True}, "boxed", "tampered"),
    ],
)
def test_a_change_is_stored_and_answered(
    client: TestClient, dataset: Dataset, body: dict[str, Any], state: str, label: str | None
) -> None:
    answer = client.put("/api/record?image=a.jpg", json={"version": 1, "add_seconds": 2.5, **body}).json()
    stored = dataset.get("a.jpg")
    assert (answer["state"], answer["label"], answer["seconds"]) == (state, label, 2.5)
    assert (answer["version"], answer["boxes"]) == (2, body["boxes"])
    assert (stored.state, stored.label, [list(box) for box in stored.boxes]) == (state, label, body["boxes"])


def test_two_people_do_not_overwrite_each_other(client: TestClient, dataset: Dataset) -> None:
    mine = {"version": 1, "boxes": [[1, 2, 30, 40]], "label": None, "add_seconds": 3}
    theirs = {**mine, "boxes": [[5, 5, 9, 9]]}
    assert client.put("/api/record?image=a.jpg", json=theirs).status_code == 200
    answer = client.put("/api/record?image=a.jpg", json=mine)
    assert answer.status_code == 409
    assert "somebody else changed it" in answer.json()["error"]
    assert answer.json()["record"]["boxes"] == [[5, 5, 9, 9]]
    assert answer.json()["record"]["version"] == dataset.get("a.jpg").version == 2


def test_a_retry_after_a_lost_answer_is_no_conflict(client: TestClient, dataset: Dataset) -> None:
    body = {"version": 1, "boxes": [[1, 2, 30, 40]], "label": None, "add_seconds": 3}
    first, second = (client.put("/api/record?image=a.jpg", json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert dataset.get("a.jpg").seconds == 3


def test_other_boxes_make_the_pseudo_mask_stale(client: TestClient) -> None:
    body = {"version": 1, "boxes": [[1, 2, 30, 40]], "label": "tampered"}
    assert client.put("/api/record?image=d_1.jpg", json=body).json()["pseudo"]["stale"] is True


def test_a_database_that_cannot_be_written_is_worth_another_try(
    client: TestClient, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(dataset.root / "dataset.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with dataset._reading() as connection:
        connection.execute("PRAGMA busy_timeout = 50")
    answer = client.put("/api/record?image=a.jpg", json={"version": 1, "boxes": [], "label": "authentic"})
    assert answer.status_code == 503
    assert "busy" in answer.json()["error"]
    other.execute("ROLLBACK")
    other.close()
    answer = client.put("/api/record?image=a.jpg", json={"version": 1, "boxes": [], "label": "authentic"})
    assert answer.status_code == 200


def test_figures(client: TestClient) -> None:
    assert client.get("/api/stats").json() == {
        "images": 6,
        "done": 3,
        "todo": 2,
        "boxed": 2,
        "authentic": 1,
        "skipped": 1,
        "median_seconds": 4.0,
        "total_seconds": 15.0,
        "eta_seconds": 8.0,
        "mask_seconds": 3 * 23 * 60,
    }


def test_without_times_nothing_is_foretold(client: TestClient, dataset: Dataset) -> None:
    dataset.put([replace(record, seconds=None) for record in dataset.records()])
    answer = client.get("/api/stats").json()
    assert (answer["median_seconds"], answer["total_seconds"], answer["eta_seconds"]) == (None, 0.0, None)


def test_the_session_says_what_there_is(client: TestClient) -> None:
    answer = client.get("/api/session").json()
    assert answer.pop("id")
    assert answer == {
        "name": "album",
        "images": 6,
        "counts": {
            "todo": 2,
            "boxed": 2,
            "authentic": 1,
            "skipped": 1,
            "open": 1,
            "accepted": 1,
            "rejected": 0,
        },
        "teacher": None,
        "teachers": [],
        "points": {},
        "model": None,
        "read_only": False,
        "version": __version__,
        "limits": {"upload_bytes": 64 * 2**20, "pixels": 200_000_000, "tiles": 512},
    }


def test_without_a_dataset_there_is_a_session_and_no_record() -> None:
    client = TestClient(create_app(WebState(settings=WebSettings(max_pixels=7))), base_url="http://localhost")
    answer = client.get("/api/session").json()
    assert (answer["name"], answer["images"], answer["counts"], answer["limits"]["pixels"]) == (None, 0, None, 7)
    assert client.get("/api/images").status_code == 404


def test_a_true_mask_contradicts_authentic(client: TestClient, dataset: Dataset) -> None:
    """The truth marks something: one of the two is wrong, and neither is changed silently."""
    mask = np.zeros((100, 200), np.uint8)
    dataset.put(replace(dataset.get("a.jpg"), mask="truth.png"))
    body = {
        "version": dataset.get("a.jpg").version,
        "boxes": [],
        "label": "authentic",
        "skipped": False,
        "add_seconds": 1,
    }
    save_png(dataset.root / "truth.png", mask + np.uint8(255))
    answer = client.put("/api/record", params={"image": "a.jpg"}, json=body)
    assert (answer.status_code, "true mask" in answer.json()["error"]) == (400, True)
    save_png(dataset.root / "truth.png", mask)
    assert client.put("/api/record", params={"image": "a.jpg"}, json=body).status_code == 200
