"""Who goes away before the answer is there: nothing is begun for them any more, and what takes long ends."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from boxpromptiml.dataset import Dataset, ImageRecord
from boxpromptiml.http.server import listen
from boxpromptiml.images import encode_png, save_png
from boxpromptiml.runtime import Localizer
from boxpromptiml.web import WebSettings, WebState, create_app, lanes, pictures

NAMES = [f"{letter}.png" for letter in "abcdefgh"]
Ask = Callable[..., http.client.HTTPConnection]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "set") as dataset:
        for name in NAMES:
            save_png(dataset.path(name), np.full((48, 64, 3), 120, np.uint8))
            dataset.put(ImageRecord(name, 64, 48))
        yield dataset


@pytest.fixture
def state(dataset: Dataset, red_model: Path) -> WebState:
    return WebState(dataset=dataset, localizer=Localizer.load(red_model, threads=1))


@pytest.fixture
def ask(state: WebState, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]) -> Iterator[Ask]:
    """Ask a server at a real socket; whoever asks has a connection of their own, and goes away by closing it."""
    monkeypatch.setattr(pictures, "usable_cores", lambda: 2)
    opened: list[http.client.HTTPConnection] = []
    with listen(WebSettings()) as listening:
        config = uvicorn.Config(create_app(state), lifespan="off", log_level="warning", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        wait_until(lambda: server.started)

        def asked(path: str, method: str = "GET", body: bytes | None = None) -> http.client.HTTPConnection:
            opened.append(http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=60))
            opened[-1].request(method, path, body)
            return opened[-1]

        yield asked
        for connection in opened:
            connection.close()
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["suggestions", "thumbs", "pictures"])
def test_what_was_given_up_is_not_made_before_what_is_wanted(
    kind: str, state: WebState, ask: Ask, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    begun: list[str] = []
    gate = threading.Event()

    def held(original: Any) -> Any:
        def wrapped(self: Any, image: Any, *args: Any, **options: Any) -> Any:
            begun.append(Path(image).name)
            assert gate.wait(60)
            return original(self, image, *args, **options)

        return wrapped

    if kind == "suggestions":
        monkeypatch.setattr(Localizer, "localize", held(Localizer.localize))
    else:
        monkeypatch.setattr(pictures.Pictures, "answer", held(pictures.Pictures.answer))
    path = {
        "suggestions": "/api/suggestion?image={}",
        "thumbs": "/api/picture?image={}&size=thumb",
        "pictures": "/api/picture?image={}&size=view",
    }[kind]
    (lane,) = (lane for lane in state.lanes if lane._pool._thread_name_prefix == kind)
    first = [ask(path.format(name)) for name in NAMES[:2]]
    wait_until(lambda: len(begun) == 2)
    for name in NAMES[2:7]:
        given_up = ask(path.format(name))
        wait_until(lambda: len(lane._open) == 3)
        given_up.close()
        wait_until(lambda: len(lane._open) == 2, what="a request that was given up still waits for its turn")
    wanted = ask(path.format(NAMES[7]))
    wait_until(lambda: len(lane._open) == 3)
    gate.set()
    assert [connection.getresponse().status for connection in (*first, wanted)] == [200] * 3
    assert sorted(begun) == [NAMES[0], NAMES[1], NAMES[7]]


def test_two_who_want_one_suggestion_have_it_looked_for_once(
    state: WebState, ask: Ask, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    begun: list[str] = []
    gate = threading.Event()
    localize = Localizer.localize

    def held(self: Localizer, image: Any, **options: Any) -> Any:
        begun.append(Path(image).name)
        assert gate.wait(60)
        return localize(self, image, **options)

    monkeypatch.setattr(Localizer, "localize", held)
    (lane,) = (lane for lane in state.lanes if lane._pool._thread_name_prefix == "suggestions")
    both = [ask("/api/suggestion?image=a.png") for _ in range(2)]
    wait_until(lambda: sum(future.running() for future in tuple(lane._open)) == 2)
    gate.set()
    first, second = (connection.getresponse().read() for connection in both)
    assert first == second
    assert begun == ["a.png"]


def test_looking_closer_ends_where_nobody_waits_for_it(
    state: WebState, ask: Ask, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]
) -> None:
    looks: list[int] = []
    visitors: list[lanes.Visitor] = []
    begun, go = threading.Event(), threading.Event()
    maps, leaves = Localizer.maps, lanes.Visitor.leaves

    def held(self: Localizer, fed: Any, **options: Any) -> Any:
        looks.append(len(fed))
        begun.set()
        assert go.wait(60)
        return maps(self, fed, **options)

    async def noted(self: lanes.Visitor) -> None:
        visitors.append(self)
        await leaves(self)

    monkeypatch.setattr(Localizer, "maps", held)
    monkeypatch.setattr(lanes.Visitor, "leaves", noted)
    photo = encode_png(np.full((1280, 2048, 3), 120, np.uint8))
    asked = ask("/api/localize?detail=true", "POST", photo)
    assert begun.wait(60)
    asked.close()
    wait_until(lambda: visitors[0]._gone.is_set())
    go.set()
    wait_until(lambda: not state.busy)
    assert len(looks) == 1, "tiles were looked at for nobody"
    assert ask("/api/localize", "POST", photo).getresponse().status == 200, "the next one is answered"
