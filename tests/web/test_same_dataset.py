"""`web.same_dataset`: what is meant for one dataset does not reach another one at the same address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.web import WebState, create_app

CHANGE = {"version": 1, "boxes": [[1, 2, 9, 8]], "label": None}
ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/api/session?", {}),
    ("GET", "/api/record?image=a.png&", {}),
    ("GET", "/api/picture?image=a.png&size=thumb&", {}),
    ("PUT", "/api/record?image=a.png&", {"json": CHANGE}),
    ("PUT", "/api/pseudo?image=a.png&version=1&", {"content": b"", "headers": {"content-type": "image/png"}}),
    ("POST", "/api/review?", {"json": {"image": "a.png", "version": 1, "verdict": "accepted"}}),
    ("POST", "/api/relabel?", {"json": {"image": "a.png", "version": 1}}),
]


def serving(dataset: Dataset | None) -> TestClient:
    return TestClient(create_app(WebState(dataset=dataset)), base_url="http://localhost")


@pytest.mark.parametrize(("method", "address", "body"), ASKED)
def test_another_dataset_is_refused(tmp_path: Path, method: str, address: str, body: dict[str, Any]) -> None:
    with Dataset.create(tmp_path / "one") as one, Dataset.create(tmp_path / "two") as two:
        two.put(ImageRecord("a.png", 40, 30))
        first = serving(one).get("/api/session").json()["id"]
        asked = serving(two)
        refused = asked.request(method, f"{address}dataset={first}", **body)
        assert refused.status_code == 412
        assert "another dataset (two) is served here" in refused.json()["error"]
        assert two.get("a.png").version == 1
        own = asked.get("/api/session").json()["id"]
        assert asked.request(method, f"{address}dataset={own}", **body).status_code != 412
        assert serving(None).request(method, f"{address}dataset={own}", **body).status_code == 412
