"""What a server is told when it starts, and what its routes share."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.runtime import Localizer
    from boxpromptiml.web.teacher_pool import TeacherPool

# What a cookie, a header and an address can all carry as it is.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Settings of one server.

    Attributes:
        host: address that it listens on.
        port: its port; 0 lets the system choose.
        token: what every request must carry; None for none, which is possible on the loopback address only.
        allowed_hosts: further names under which browsers may reach it, lower case, without a port.
        origins: further origins (``https://name``) whose pages may change something: those of a reverse proxy that
            rewrites the Host header.
        max_upload_bytes: of one request's body.
        max_pixels: of one image.
        read_only: nothing is written, neither to the dataset nor beside it.
        cache_bytes: memory for pictures that were made for the page.

    Raises:
        BoxPromptError: another host than the loopback address without a token, a token that is short or has
            characters that a cookie cannot carry, a port that does not exist.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_upload_bytes: int = 64 * 2**20
    max_pixels: int = DEFAULT_MAX_PIXELS
    read_only: bool = False
    cache_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BoxPromptError(f"port {self.port} is not in 0 to 65535")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise BoxPromptError("the token must be 16 to 256 letters, digits and  . _ ~ -")
        if self.token is None and not self.is_loopback:
            raise BoxPromptError(f"host {self.host} can be reached by others: it needs a token")

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach the host."""
        return is_loopback(self.host)


@dataclass
class WebState:
    """Everything a route needs; one per server. All of it may be used from many threads at once.

    Attributes:
        dataset: what is annotated and reviewed; None where the page only localizes.
        settings: of the server.
        teachers: who turns boxes into masks; None for no previews.
        localizer: the student; None for no suggestions and no localizing.
    """

    dataset: Dataset | None = None
    settings: WebSettings = field(default_factory=WebSettings)
    teachers: TeacherPool | None = None
    localizer: Localizer | None = None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, reachable from nowhere else."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
