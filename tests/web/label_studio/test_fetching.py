"""Images over HTTP: where they may come from, who is sent the token, and what is too much."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.web.label_studio import Fetcher, FetchRules, HostRule, Token, parse_origin
from boxpromptiml.web.label_studio.addresses import hands_out_files

KEY = "0123456789abcdef"


def _jwt(kind: str, ends: float) -> str:
    claims = json.dumps({"token_type": kind, "exp": int(ends)}).encode()
    return ".".join(["e30", base64.urlsafe_b64encode(claims).decode().rstrip("="), "c2ln"])


def _fetcher(site: Any, *allowed: str, **rules: Any) -> Fetcher:
    hosts = tuple(HostRule.parse(text) for text in allowed)
    return Fetcher(FetchRules(parse_origin(site.address), hosts, **rules))


def test_an_upload_is_fetched_with_the_token(site: Any) -> None:
    site.give("/data/upload/1/a%20b.png", b"image")
    assert _fetcher(site).image(f"{site.address}/data/upload/1/a b.png", Token(KEY)) == b"image"
    (_, headers), *_ = site.requests
    assert headers["Authorization"] == f"Token {KEY}"
    assert headers["Host"] == f"127.0.0.1:{site.port}"


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/data/upload/1/a.png", True),
        ("/data/local-files/", True),
        ("/storage-data/uploaded/", True),
        ("/tasks/12/presign/", True),
        ("/projects/3/resolve", True),
        ("/api/users", False),
        ("/api/projects/1/export", False),
        ("/tasks/12/delete", False),
        ("/data/", False),
        ("/data/../api/users", False),
        ("/data/%2e%2e/api/users", False),
        ("/data/..%2fapi/users", False),
        ("/data/x\\..\\..\\api", False),
        ("//data/upload/1/a.png", False),
        ("/", False),
    ],
)
def test_the_token_goes_to_files_only(path: str, given: bool) -> None:
    studio = parse_origin("https://studio.example.com")
    assert hands_out_files(studio, f"https://studio.example.com{path}") is given
    below = parse_origin("https://studio.example.com/labels/")
    assert hands_out_files(below, f"https://studio.example.com/labels{path}") is given
    assert not hands_out_files(below, f"https://studio.example.com{path}")


def test_another_host_gets_no_token_even_by_redirect(site: Any, open_site: Callable[[], Any]) -> None:
    bucket = open_site()
    bucket.give("/signed", b"image")
    site.send_to("/data/upload/1/a.png", f"{bucket.address}/signed?signature=1")
    fetcher = _fetcher(site, f"127.0.0.1:{bucket.port}", private=True)
    assert fetcher.image(f"{site.address}/data/upload/1/a.png", Token(KEY)) == b"image"
    ((path, headers),) = bucket.requests
    assert path == "/signed?signature=1"
    assert "Authorization" not in headers


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(site: Any, open_site: Callable[[], Any]) -> None:
    inside = open_site()
    inside.give("/secret", b"image")
    site.send_to("/data/upload/1/a.png", f"{inside.address}/secret")
    with pytest.raises(HttpError, match=f"may not come from 127.0.0.1:{inside.port}") as caught:
        _fetcher(site).image(f"{site.address}/data/upload/1/a.png", Token(KEY))
    assert caught.value.status == 403
    assert inside.requests == []


# Server-side request forgery: what a task may name, and what comes of it. The names under `allowed` are those that the
# operator gave; nothing of this table is ever connected to.
ATTACKS = [
    pytest.param("http://169.254.169.254/latest/meta-data/", [], 403, "may not come from", id="metadata"),
    pytest.param("http://169.254.169.254/", ["169.254.169.254"], 403, "inside a network", id="metadata, allowed"),
    pytest.param("http://[::ffff:169.254.169.254]/", ["[::ffff:169.254.169.254]"], 403, "inside", id="mapped"),
    pytest.param("http://[64:ff9b::a9fe:a9fe]/", ["[64:ff9b::a9fe:a9fe]"], 403, "inside", id="NAT64"),
    pytest.param("http://[2002:7f00:1::]/", ["[2002:7f00:1::]"], 403, "inside", id="6to4"),
    pytest.param("http://localhost/", [], 403, "may not come from", id="loopback by name"),
    pytest.param("http://localhost/", ["localhost"], 403, "inside a network", id="loopback by name, allowed"),
    pytest.param("http://127.1/", ["127.1"], 403, "inside a network", id="short for 127.0.0.1"),
    pytest.param("http://2130706433/", ["2130706433"], 403, "inside a network", id="127.0.0.1 as a number"),
    pytest.param("http://0.0.0.0/", ["0.0.0.0"], 403, "inside a network", id="this machine"),
    pytest.param("http://10.0.0.1/", ["10.0.0.1"], 403, "inside a network", id="private"),
    pytest.param("http://[::1]/", ["[::1]"], 403, "inside a network", id="IPv6 loopback"),
    pytest.param("http://[fe80::1]/", ["[fe80::1]"], 403, "inside a network", id="IPv6 link-local"),
    pytest.param("http://[fd00::1]/", ["[fd00::1]"], 403, "inside a network", id="IPv6 private"),
    pytest.param("http://224.0.0.1/", ["224.0.0.1"], 403, "inside a network", id="multicast"),
    pytest.param("http://8.8.8.8:22/", ["8.8.8.8"], 403, "may not come from", id="another port"),
    pytest.param("http://allowed.example.evil.test/", ["allowed.example"], 403, "may not come", id="prefix of a name"),
    pytest.param("http://evilallowed.example/", ["*.allowed.example"], 403, "may not come", id="suffix of a name"),
    pytest.param("http://allowed.example@10.0.0.1/", ["allowed.example"], 400, "user name", id="user name"),
    pytest.param("http://allowed.example\\@10.0.0.1/", ["allowed.example"], 400, "user name", id="backslash"),
    pytest.param("file:///etc/passwd", [], 400, "only http and https", id="file"),
    pytest.param("ftp://allowed.example/", ["allowed.example"], 400, "only http and https", id="ftp"),
    pytest.param("gopher://127.0.0.1:6379/_", [], 400, "only http and https", id="gopher"),
    pytest.param("etc/passwd", [], 400, "only http and https", id="relative path"),
    pytest.param("//169.254.169.254/x.png", [], 400, "only http and https", id="no scheme"),
    pytest.param("http://", [], 400, "not a URL", id="no host"),
    pytest.param("http://[::1/", [], 400, "not a URL", id="open bracket"),
    pytest.param("http://allowed.example:99999/", ["allowed.example"], 400, "not a URL", id="no such port"),
    pytest.param("http://allowed.example:80\r\nX: y/", ["allowed.example"], 400, "not a URL", id="line break"),
]


@pytest.mark.parametrize(("url", "allowed", "status", "message"), ATTACKS)
def test_attacks_reach_nothing(
    site: Any,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    allowed: list[str],
    status: int,
    message: str,
) -> None:
    def no_connection(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", no_connection)
    with pytest.raises(HttpError, match=message) as caught:
        _fetcher(site, *allowed).image(url, Token(KEY))
    assert caught.value.status == status
    assert "\n" not in str(caught.value)


def test_a_name_is_looked_up_once_and_all_its_addresses_are_checked(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a name that is public when checked and private when connected to."""
    answers = iter([["93.184.216.34", "127.0.0.1"], ["93.184.216.34"], ["127.0.0.1"]])
    tried: list[Any] = []

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(answers)]

    def connect(address: tuple[str, int], **_: Any) -> None:
        tried.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    fetcher = _fetcher(site, "rebind.example")
    with pytest.raises(HttpError, match=r"127\.0\.0\.1, an address inside"):
        fetcher.image("http://rebind.example/a.png", None)
    assert tried == []
    with pytest.raises(HttpError, match="Connection refused"):
        fetcher.image("http://rebind.example/a.png", None)
    assert tried == [("93.184.216.34", 80)]


def test_a_private_host_is_reached_where_the_operator_says_so(site: Any, open_site: Callable[[], Any]) -> None:
    store = open_site()
    store.give("/a.png", b"image")
    fetcher = _fetcher(site, f"127.0.0.1:{store.port}", private=True)
    assert fetcher.image(f"{store.address}/a.png", None) == b"image"


@pytest.mark.parametrize(
    ("rule", "url", "fits"),
    [
        ("images.example.com", "https://images.example.com/a", True),
        ("images.example.com", "http://IMAGES.example.com./a", True),
        ("images.example.com", "http://images.example.com:8080/a", False),
        ("images.example.com:8080", "http://images.example.com:8080/a", True),
        ("images.example.com:8080", "https://images.example.com/a", False),
        ("*.example.com", "https://a.b.example.com/a", True),
        ("*.example.com", "https://example.com/a", False),
        ("bücher.example", "https://xn--bcher-kva.example/", True),
    ],
)
def test_hosts_that_images_may_come_from(rule: str, url: str, fits: bool) -> None:
    assert HostRule.parse(rule).matches(parse_origin(url)) is fits


@pytest.mark.parametrize("text", ["", " ", "http://a.example", "a.example/x", "*", "*.", "a.*.example", "a:b", "u@a"])
def test_hosts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BoxPromptError, match="--image-host"):
        HostRule.parse(text)


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (404, 404, "404 Not Found"),
        (410, 404, "410 Gone"),
        (401, 502, "API key is not accepted"),
        (403, 502, "API key is not accepted"),
        (500, 502, "500 Internal Server Error"),
        (204, 502, "204 No Content"),
    ],
)
def test_answers_that_are_no_image(site: Any, status: int, answer: int, message: str) -> None:
    site.give("/data/upload/1/a.png", b"", status=status)
    with pytest.raises(HttpError, match=message) as caught:
        _fetcher(site).image(f"{site.address}/data/upload/1/a.png", Token(KEY))
    assert caught.value.status == answer


def test_an_endless_redirect_ends(site: Any) -> None:
    site.send_to("/data/a", f"{site.address}/data/a")
    with pytest.raises(HttpError, match="more than 5 times"):
        _fetcher(site).image(f"{site.address}/data/a", None)
    assert len(site.requests) == 6


@pytest.mark.parametrize("announced", [True, False])
def test_too_many_bytes_are_refused(site: Any, announced: bool) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b"\0" * 65536)

    site.pages["/data/a"] = page
    with pytest.raises(HttpError, match="larger than 1 MiB") as caught:
        _fetcher(site, max_bytes=1 << 20).image(f"{site.address}/data/a", None)
    assert caught.value.status == 413


@pytest.mark.parametrize("part", ["headers", "body", "nothing"])
def test_a_server_that_drips_is_cut_off(site: Any, part: str) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "body" else b"X-Long: "))
        try:
            for _ in range(100):
                handler.wfile.write(b"" if part == "nothing" else b"a")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    site.pages["/data/a"] = page
    start = time.monotonic()
    with pytest.raises(HttpError, match=r"not complete after 0\.4 s") as caught:
        _fetcher(site, seconds=0.4).image(f"{site.address}/data/a", None)
    assert caught.value.status == 504
    assert time.monotonic() - start < 3


def test_a_body_that_ends_too_early_is_an_error(site: Any) -> None:
    site.give("/data/a", b"half", **{"Content-Length": "8"})
    with pytest.raises(HttpError, match="could not be fetched") as caught:
        _fetcher(site).image(f"{site.address}/data/a", None)
    assert caught.value.status == 502


def test_nobody_listening_is_an_error(open_site: Callable[[], Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(HttpError, match="Connection refused"):
        Fetcher(FetchRules(parse_origin(url))).image(f"{url}/data/a", None)


def test_a_personal_access_token_is_exchanged_once(site: Any) -> None:
    access = _jwt("access", time.time() + 300)
    site.give("/api/token/refresh/", json.dumps({"access": access}).encode())
    site.give("/data/a", b"image")
    fetcher, token = _fetcher(site), Token(_jwt("refresh", time.time() + 10_000))
    for _ in range(3):
        assert fetcher.image(f"{site.address}/data/a", token) == b"image"
    assert [path for path, _ in site.requests].count("/api/token/refresh/") == 1
    assert all(headers["Authorization"] == f"Bearer {access}" for path, headers in site.requests if path == "/data/a")


def test_a_token_that_ends_soon_is_exchanged_again(site: Any) -> None:
    site.give("/api/token/refresh/", json.dumps({"access": _jwt("access", time.time() + 5)}).encode())
    site.give("/data/a", b"image")
    fetcher, token = _fetcher(site), Token(_jwt("refresh", time.time() + 10_000))
    for _ in range(2):
        fetcher.image(f"{site.address}/data/a", token)
    assert [path for path, _ in site.requests].count("/api/token/refresh/") == 2


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"{}", "API key is not accepted"),
        (200, b"<html>", "else than JSON"),
        (200, b"{}", "gave no access token"),
        (200, b'{"access": "a\\r\\nX: y"}', "gave no access token"),
    ],
)
def test_a_personal_access_token_that_is_not_accepted(site: Any, status: int, body: bytes, message: str) -> None:
    site.give("/api/token/refresh/", body, status=status)
    with pytest.raises(HttpError, match=message):
        _fetcher(site).image(f"{site.address}/data/a", Token(_jwt("refresh", time.time() + 10_000)))


@pytest.mark.parametrize(
    ("key", "header"),
    [(KEY, f"Token {KEY}"), ("a.b.c", "Token a.b.c"), (_jwt("access", 1), f"Bearer {_jwt('access', 1)}")],
)
def test_other_keys_are_sent_as_they_are(site: Any, key: str, header: str) -> None:
    assert Token(key).header(_fetcher(site)) == header


@pytest.mark.parametrize("key", ["", "a b", "a\r\nX: y", "schlüssel"])
def test_keys_that_no_header_can_carry_are_refused(key: str) -> None:
    with pytest.raises(BoxPromptError, match="API key"):
        Token(key)
