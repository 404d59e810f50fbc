"""What every server is told when it starts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import DEFAULT_MAX_PIXELS

_NAME = re.compile(r"[a-z0-9._-]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where a server listens, by which names it may be reached, and how large a request may be.

    Attributes:
        host: address that it listens on.
        port: its port; 0 lets the system choose.
        allowed_hosts: further names under which browsers may reach it, lower case, without a port.
        origins: further origins (``https://name``) whose pages may change something: those of a reverse proxy that
            rewrites the Host header.
        max_upload_bytes: of one request's body.
        max_pixels: of one image.

    Raises:
        BoxPromptError: a port that does not exist; a name or an origin that no request could ever carry.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allowed_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_upload_bytes: int = 64 * 2**20
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BoxPromptError(f"port {self.port} is not in 0 to 65535")
        for host in self.allowed_hosts:
            if not _NAME.fullmatch(host) and address_of(host) is None:
                raise BoxPromptError(f"--allow-host {host}: give the name alone, such as annotate.example")
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
                or not parts.netloc
            ):
                raise BoxPromptError(f"--allow-origin {origin}: give scheme and name, such as https://annotate.example")

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach the host."""
        return is_loopback(self.host)


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, with or without brackets; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reachable from nowhere else."""
    if host.lower() == "localhost":
        return True
    address = address_of(host)
    return address is not None and address.is_loopback
