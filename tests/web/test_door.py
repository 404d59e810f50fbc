"""`web.door`: the browser is opened, and nobody else on the machine is told the token."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from boxpromptiml.web.door import Door

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "a-token-of-many-letters"

# A browser that notes what it was started with, and the file that this names.
_BROWSER = """#!/bin/sh
case "$1" in file://*) cp -p "${1#file://}" "$HOME/../seen.html";; esac
echo "$@" > "$HOME/../arguments.part" && mv "$HOME/../arguments.part" "$HOME/../arguments"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "browser").write_text(_BROWSER)
    (tmp_path / "browser").chmod(0o755)
    return tmp_path / "home"


@pytest.fixture
def opening(
    home: Path, make_photos: Callable[..., list[Path]]
) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start the page's server with a browser, and return the process and the address that it printed."""
    started: list[subprocess.Popen[str]] = []
    photos = home.parent / "photos"
    make_photos(photos, 1)

    def start(**more: str) -> tuple[subprocess.Popen[str], str]:
        environment = os.environ | {"HOME": str(home), "BROWSER": str(home.parent / "browser"), **more}
        command = [
            sys.executable,
            "-m",
            "boxpromptiml.cli.main",
            "annotate",
            str(photos),
            "--model",
            "none",
            "--teacher",
            "none",
        ]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        assert started[-1].stdout is not None
        address = next(line for line in started[-1].stdout if line.startswith("http"))
        return started[-1], address.split()[0]

    yield start
    for process in started:
        process.kill()
        process.wait(30)


@pytest.mark.slow
def test_the_browser_is_started_with_a_file_that_leads_to_the_page(
    opening: Callable[..., Any], home: Path, page: Page, wait_until: Callable[..., Any]
) -> None:
    process, printed = opening(BOXPROMPTIML_TOKEN=TOKEN)
    assert TOKEN in printed
    wait_until((home.parent / "arguments").exists)
    arguments = (home.parent / "arguments").read_text().strip()
    assert TOKEN not in arguments
    seen = home.parent / "seen.html"
    assert stat.S_IMODE(seen.stat().st_mode) == 0o600
    page.goto(seen.as_uri())
    page.wait_for_url(printed.split("?")[0] + "**")
    page.wait_for_selector('.annotate .stage[data-ready="photo-000.jpg"]')  # seen with the token only
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert list(home.glob("*.html")) == []


@pytest.mark.slow
def test_an_address_without_a_token_is_no_secret(
    opening: Callable[..., Any], home: Path, wait_until: Callable[..., Any]
) -> None:
    _, printed = opening()
    wait_until((home.parent / "arguments").exists)
    assert (home.parent / "arguments").read_text().strip() == printed
    assert list(home.iterdir()) == []


def test_the_file_does_not_stay(home: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., Any]) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("boxpromptiml.web.door._SECONDS", 0.2)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    door = Door(f"http://127.0.0.1:1/?token={TOKEN}&x", secret=True)
    door.open()
    wait_until(lambda: opened and not list(home.iterdir()))
    door.close()
    assert TOKEN not in opened[0]


def test_where_the_home_folder_cannot_be_written_another_one_is_taken(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(home))
    monkeypatch.setattr("webbrowser.open", lambda place: None)
    door = Door("http://127.0.0.1:1/?token=a&b", secret=True)
    door.open()
    (file,) = home.iterdir()
    assert "token=a&amp;b" in file.read_text()
    door.close()
    assert list(home.iterdir()) == []


def test_files_of_servers_that_were_killed_are_removed_and_no_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr("webbrowser.open", lambda place: None)
    killed = [Door("http://127.0.0.1:1/?token=a", secret=True) for _ in range(3)]
    for door in killed:
        door.open()
        door._closing.cancel()
    old, other, young = sorted(home.iterdir())
    content = old.read_text()
    (temporary / "boxpromptiml-fallback.html").write_text(content)
    other.write_text("<p>a page of the person's own")
    (home / "boxpromptiml-copy.txt").write_text(content)
    (home / "boxpromptiml-folder.html").mkdir()
    (tmp_path / "target").write_text(content)
    (home / "boxpromptiml-link.html").symlink_to(tmp_path / "target")
    os.mkfifo(home / "boxpromptiml-pipe.html")
    kept = {"boxpromptiml-copy.txt", "boxpromptiml-folder.html", "boxpromptiml-link.html", "boxpromptiml-pipe.html"}
    for path in {*home.iterdir(), *temporary.iterdir()} - {young}:
        os.utime(path, (1, 1), follow_symlinks=False)
    # Whether it needs a file of its own or not.
    Door("http://127.0.0.1:1/", secret=False).open()
    assert {path.name for path in home.iterdir()} == kept | {other.name, young.name}
    assert list(temporary.iterdir()) == []
    assert (tmp_path / "target").exists()


def test_a_file_of_another_user_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("webbrowser.open", lambda place: None)
    door = Door("http://127.0.0.1:1/?token=a", secret=True)
    door.open()
    (file,) = home.iterdir()
    os.utime(file, (1, 1))
    monkeypatch.setattr("os.getuid", lambda: file.stat().st_uid + 1)
    Door("http://127.0.0.1:1/", secret=False).open()
    assert file.exists()
    door.close()
