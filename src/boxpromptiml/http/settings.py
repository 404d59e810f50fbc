"""What every server is told when it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import DEFAULT_MAX_PIXELS


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
        BoxPromptError: a port that does not exist.
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

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach the host."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reachable from nowhere else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
