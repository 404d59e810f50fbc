"""One HTTP request at a time, to a checked address, within limits of bytes, time and redirects."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from boxpromptiml import __version__
from boxpromptiml.http.errors import HttpError
from boxpromptiml.web.label_studio.addresses import (
    HostRule,
    Origin,
    hands_out_files,
    look_up,
    parse_origin,
    public_addresses,
    shown,
    target_of,
)
from boxpromptiml.web.label_studio.tokens import Token

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_JSON_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What may be fetched, and how much of it.

    Attributes:
        label_studio: where Label Studio is; its own address may be a private one. None for nowhere.
        allowed: further hosts that images may come from; they are never sent a token.
        private: whether those may have addresses inside a network.
        max_bytes: of one image.
        seconds: for one image, from looking up the host's name to its last byte.
    """

    label_studio: Origin | None = None
    allowed: tuple[HostRule, ...] = ()
    private: bool = False
    max_bytes: int = 64 * 2**20
    seconds: float = 30.0


class Fetcher:
    """Fetches images over HTTP. For many threads at once.

    The connection goes to the very address that was checked, so that a name whose addresses change between check and
    use (DNS rebinding) gains nothing; redirects are checked as the first address was; proxies of the environment are
    not used, for they would look names up again.
    """

    def __init__(self, rules: FetchRules) -> None:
        self.rules = rules
        self._tls = ssl.create_default_context()

    def image(self, url: str, token: Token | None) -> bytes:
        """The bytes behind an absolute http or https URL.

        Args:
            url: what to fetch.
            token: sent to Label Studio, to the addresses under which it hands out files.

        Raises:
            HttpError: a host that is not allowed, an address inside a network, a limit that is exceeded, no answer, or
                an answer that is not 200.
        """
        end = time.monotonic() + self.rules.seconds
        for _ in range(_MAX_REDIRECTS + 1):
            origin = parse_origin(url)
            addresses = self._addresses(origin, url)
            headers = {}
            studio = self.rules.label_studio
            if token is not None and studio is not None and origin.is_at(studio) and hands_out_files(studio, url):
                headers["Authorization"] = token.header(self)
            with self._request("GET", url, origin, addresses, headers, end) as answer:
                place = answer.getheader("Location")
                if answer.status in _REDIRECTS and place:
                    url = urljoin(url, place)
                    continue
                if answer.status != 200:
                    raise _refusal(url, answer.status, sent=bool(headers))
                return self._body(answer, url, end, self.rules.max_bytes)
        raise HttpError(502, f"{shown(url)}: redirected more than {_MAX_REDIRECTS} times")

    def post_to_label_studio(self, path: str, body: Mapping[str, str]) -> Any:
        """The JSON that Label Studio answers to JSON posted to a path of its API.

        Raises:
            HttpError: no answer, or one that is not 200 and JSON.
        """
        studio = self.rules.label_studio
        if studio is None:
            raise HttpError(400, "no Label Studio is known; start with --label-studio-url URL")
        url = f"{studio}{path}"
        data = json.dumps(body).encode()
        end = time.monotonic() + self.rules.seconds
        headers = {"Content-Type": "application/json"}
        with self._request("POST", url, studio, look_up(studio), headers, end, data) as answer:
            if answer.status != 200:
                raise _refusal(url, answer.status, sent=True)
            try:
                return json.loads(self._body(answer, url, end, _MAX_JSON_BYTES))
            except ValueError as error:
                raise HttpError(502, f"{shown(url)}: answered something else than JSON") from error

    def _addresses(self, origin: Origin, url: str) -> list[str]:
        studio = self.rules.label_studio
        if studio is not None and origin.is_at(studio):
            return look_up(origin)
        if any(rule.matches(origin) for rule in self.rules.allowed):
            return public_addresses(origin, private=self.rules.private)
        where = f"{origin.host}:{origin.port}"
        raise HttpError(403, f"{shown(url)}: images may not come from {where}; --image-host {where} lets them")

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        url: str,
        origin: Origin,
        addresses: list[str],
        headers: Mapping[str, str],
        end: float,
        data: bytes | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(origin.host, origin.port)
        known = {"Host": _host_header(origin), "User-Agent": f"boxpromptiml/{__version__}", "Accept": "*/*"}
        watch: threading.Timer | None = None
        try:
            line = self._connected(origin, addresses, end)
            connection.sock = line
            # A server may send one byte just before every time-out, for ever; at the end the line is cut.
            watch = threading.Timer(max(0.0, end - time.monotonic()), _cut, [line])
            watch.daemon = True
            watch.start()
            if isinstance(line, ssl.SSLSocket):
                line.do_handshake()
            connection.request(method, target_of(url), body=data, headers={**known, **headers})
            yield connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failure(url, error, end) from error
        finally:
            if watch is not None:
                watch.cancel()
            connection.close()

    def _connected(self, origin: Origin, addresses: list[str], end: float) -> socket.socket:
        """A socket to the first of the addresses that answers; for https one whose handshake is still to be done."""
        last: OSError | None = None
        for address in addresses:
            try:
                left = max(0.1, end - time.monotonic())
                raw = socket.create_connection((address, origin.port), timeout=left)
            except OSError as error:
                last = error
                continue
            if origin.scheme == "http":
                return raw
            return self._tls.wrap_socket(raw, server_hostname=origin.host, do_handshake_on_connect=False)
        raise last or OSError("no address")

    def _body(self, answer: http.client.HTTPResponse, url: str, end: float, limit: int) -> bytes:
        too_large = HttpError(413, f"{shown(url)}: larger than {limit / 2**20:.3g} MiB; --max-mib allows more")
        if (answer.length or 0) > limit:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        while piece := answer.read(_CHUNK):
            size += len(piece)
            if size > limit:
                raise too_large
            pieces.append(piece)
            if time.monotonic() >= end:
                break
        if time.monotonic() >= end:  # cut: what has been read may be a part
            raise TimeoutError
        if answer.length:  # http.client does not complain when it is asked for parts
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(pieces)

    def _failure(self, url: str, error: Exception, end: float) -> HttpError:
        if isinstance(error, HttpError):
            return error
        if isinstance(error, TimeoutError) or time.monotonic() >= end:
            return HttpError(504, f"{shown(url)}: not complete after {self.rules.seconds:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return HttpError(502, f"{shown(url)}: its certificate is not valid ({error.verify_message})")
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        return HttpError(502, f"{shown(url)}: could not be fetched ({reason})")


def _refusal(url: str, status: int, *, sent: bool) -> HttpError:
    phrase = f"{status} {http.client.responses.get(status, '')}".strip()
    if status in (401, 403):
        cure = "the API key is not accepted" if sent else "give an API key (LABEL_STUDIO_API_KEY)"
        return HttpError(502, f"{shown(url)}: answered {phrase}; {cure}")
    return HttpError(404 if status in (404, 410) else 502, f"{shown(url)}: answered {phrase}")


def _host_header(origin: Origin) -> str:
    return str(Origin(origin.scheme, origin.host, origin.port)).partition("://")[2]


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
