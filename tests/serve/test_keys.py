"""API keys: where they come from, and what they open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.serve import Keys, ServeSettings, read_keys

OLD, NEW = "old-key-0123456789", "new-key-0123456789"


def test_all_sources_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEYS", f"{OLD}, {NEW}")
    file = tmp_path / "keys"
    file.write_text("# of the newsroom\n\n  third-key-0123456789  \n")
    keys = read_keys("MY_KEYS", file)
    assert keys is not None
    assert len(keys) == 3
    assert all(keys.name(key) for key in (OLD, NEW, "third-key-0123456789"))


def test_the_usual_variable_need_not_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOXPROMPTIML_API_KEYS", raising=False)
    assert read_keys() is None
    monkeypatch.setenv("BOXPROMPTIML_API_KEYS", OLD)
    assert len(read_keys() or ()) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "has no key in it"),
        ("# nothing\n", "has no key in it"),
        ("short\n", r"keys, line 1: .* 16 to 512 visible"),
        ("# mine\n\n" + OLD + "\na key with spaces in it\n", r"keys, line 4: .* without spaces"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_bad_key_files(tmp_path: Path, content: str | bytes | None, words: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BoxPromptError, match=words):
        read_keys(None, file)


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(f"\ufeff{OLD}\r\n{NEW}\r\n".encode())
    keys = read_keys(None, file)
    assert keys is not None
    assert all(keys.name(key) for key in (OLD, NEW))


def test_a_bad_key_of_the_environment_is_said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEYS", f"{OLD},short")
    with pytest.raises(BoxPromptError, match="MY_KEYS in the environment: an API key must be"):
        read_keys("MY_KEYS")


def test_a_variable_that_is_named_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEYS", raising=False)
    with pytest.raises(BoxPromptError, match="--api-key-env MY_KEYS: this environment variable is not set"):
        read_keys("MY_KEYS")


@pytest.mark.parametrize("given", ["", OLD[:-1], OLD + "x", OLD.upper(), NEW, "\udcff" * 20, "ü" * 20])
def test_no_other_key_is_known(given: str) -> None:
    keys = Keys([OLD])
    assert keys.name(given) is None
    name = keys.name(OLD)
    assert name is not None
    assert OLD not in name


def test_other_hosts_need_keys_or_a_word() -> None:
    with pytest.raises(BoxPromptError, match="can be reached by others"):
        ServeSettings(host="0.0.0.0")
    ServeSettings(host="0.0.0.0", keys=Keys([OLD]))
    ServeSettings(host="0.0.0.0", public=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {OLD}"}, 200),
        ({"authorization": f"bearer {NEW}"}, 200),
        ({"x-api-key": NEW}, 200),
        ({"x-api-key": "wrong-key-0123456789"}, 401),
        ({"authorization": f"Basic {OLD}"}, 401),
        ({"authorization": "Bearer"}, 401),
        # Whoever has a key is no page that pretends: any name of the host will do.
        ({"x-api-key": NEW, "host": "boxpromptiml.forensics.svc"}, 200),
    ],
)
def test_who_may_ask(start: Callable[..., TestClient], headers: dict[str, str], status: int) -> None:
    client = start(keys=Keys([OLD, NEW]))
    answer = client.get("/v1/model", headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "API key" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/openapi.json", 401), ("/v1/model", 401), ("/x", 401)],
)
def test_what_is_open_to_all(start: Callable[..., TestClient], path: str, status: int) -> None:
    assert start(keys=Keys([OLD])).get(path).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:1234"}, 200),
        ({"host": "evil.example"}, 403),  # a page that pretends to be this server
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_without_keys_pages_of_others_get_nothing(
    start: Callable[..., TestClient], headers: dict[str, str], status: int
) -> None:
    assert start().get("/v1/model", headers=headers).status_code == status
