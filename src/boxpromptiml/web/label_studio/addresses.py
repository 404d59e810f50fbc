"""Which addresses images may be fetched from: those that the operator named, and nothing on the inside of a network.

A task's data is written by whoever may create tasks. Without this a task could make the backend ask any service that
its machine can reach (server-side request forgery), such as a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Where Label Studio hands out files; the token goes nowhere else, so that a task cannot use it for the API.
_FILE_PATHS = re.compile(r"/(?:data|storage-data)/.|/(?:tasks|projects)/\d+/(?:presign|resolve)/?$")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a browser calls an origin.

    Attributes:
        scheme: ``http`` or ``https``.
        host: lower case, IPv6 without brackets, international names in ASCII.
        port: 1 to 65535.
        path: prefix under which the service lives, without a slash at its end; no part of the identity of an origin.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    def is_at(self, other: Origin) -> bool:
        """Whether both are the same origin, whatever their paths."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host that images may come from.

    Attributes:
        host: its name, lower case; ``*.example.com`` means every name below example.com.
        port: its port; None for 80 and 443.
    """

    host: str
    port: int | None

    def matches(self, origin: Origin) -> bool:
        """Whether an origin is meant by this rule."""
        if origin.port != self.port if self.port is not None else origin.port not in _PORTS.values():
            return False
        if self.host.startswith("*."):
            return origin.host.endswith(self.host[1:])
        return origin.host == self.host

    @classmethod
    def parse(cls, text: str) -> HostRule:
        """Read ``HOST`` or ``HOST:PORT``.

        Raises:
            BoxPromptError: it is neither.
        """
        try:
            if "/" in text or "@" in text or not text.strip():
                raise ValueError
            parts = urlsplit(f"//{text.strip()}")
            host, port = _host(parts), parts.port
        except ValueError as error:
            raise BoxPromptError(f"--image-host {text}: write HOST or HOST:PORT, such as images.example.com") from error
        if host == "*." or "*" in host.removeprefix("*."):
            raise BoxPromptError(f"--image-host {text}: a star stands for a name's beginning only: *.example.com")
        return cls(host, port)


def parse_origin(url: str) -> Origin:
    """Scheme, host, port and path of an absolute URL.

    Raises:
        HttpError: it is none of http or https, or carries a user name.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise HttpError(400, f"{shown(url)}: only http and https URLs are fetched")
        host, port = _host(parts), parts.port
    except ValueError as error:
        raise HttpError(400, f"{shown(url)}: not a URL") from error
    if parts.username is not None or parts.password is not None:
        raise HttpError(400, f"{shown(url)}: a URL with a user name in it is not fetched")
    return Origin(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def target_of(url: str) -> str:
    """Path and query as a request sends them, with everything but ASCII quoted."""
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return path + ("?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?") if parts.query else "")


def hands_out_files(label_studio: Origin, url: str) -> bool:
    """Whether a URL of Label Studio's origin is one of those under which it hands out files."""
    path = unquote(urlsplit(url).path)
    if ".." in path.split("/") or "\\" in path or not path.startswith(label_studio.path + "/"):
        return False
    return _FILE_PATHS.match(path, len(label_studio.path)) is not None


def public_addresses(origin: Origin, *, private: bool) -> list[str]:
    """The addresses of a host, after a check of every one of them.

    Args:
        origin: whose host is looked up.
        private: whether addresses inside a network (10.0.0.0/8, 127.0.0.1, fc00::/7 ...) are fine. Link-local ones,
            where clouds keep their metadata services, are fine never.

    Raises:
        HttpError: the name is unknown, or any of its addresses is not allowed.
    """
    addresses = look_up(origin)
    for address in addresses:
        if not _is_allowed(address, private=private):
            raise HttpError(
                403,
                f"{origin.host} is {address}, an address inside a network; "
                "--private-image-hosts lets images come from there, if that is meant",
            )
    return addresses


def look_up(origin: Origin) -> list[str]:
    """The addresses of a host. Raises HttpError for a name that is unknown."""
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HttpError(502, f"{origin.host}: no such host") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def shown(url: str) -> str:
    """A URL for a message: without its query, which may hold a signature, and not too long."""
    text = "".join(c if c.isprintable() else "?" for c in url.split("?")[0])
    return text if len(text) <= 120 else f"{text[:117]}..."


def _host(parts: SplitResult) -> str:
    if not parts.hostname:
        raise ValueError("no host")
    host = parts.hostname.rstrip(".")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _is_allowed(address: str, *, private: bool) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    inner: ipaddress.IPv4Address | None = None
    if isinstance(ip, ipaddress.IPv6Address):
        # IPv6 addresses that lead to an IPv4 one are judged by that one.
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        inner = ip.ipv4_mapped or ip.sixtofour or nat64
    judged = inner or ip
    if judged.is_link_local or judged.is_multicast or judged.is_unspecified or judged.is_reserved:
        return False
    return judged.is_global or private
