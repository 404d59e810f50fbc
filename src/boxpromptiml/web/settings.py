"""What a server is told when it starts, and what its routes share."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.http.settings import HttpSettings
from boxpromptiml.web.lanes import Lane

if TYPE_CHECKING:
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.runtime import Localizer
    from boxpromptiml.web.teacher_pool import TeacherPool

# What a cookie, a header and an address can all carry as it is.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings(HttpSettings):
    """Settings of one server of pages.

    Attributes:
        token: what every request must carry; None for none, which is possible on the loopback address only.
        read_only: nothing is written, neither to the dataset nor beside it.
        cache_bytes: memory for pictures that were made for the page.
        max_tiles: of a photo that is looked at in detail; one that needs more is cut at a smaller size. 0: none is.
        detail_seconds: that looking at tiles may take.

    Raises:
        BoxPromptError: another host than the loopback address without a token, a token that is short or has
            characters that a cookie cannot carry, a port that does not exist.
    """

    token: str | None = None
    read_only: bool = False
    cache_bytes: int = 256 * 2**20
    max_tiles: int = 512
    detail_seconds: float = 120.0

    def __post_init__(self) -> None:
        HttpSettings.__post_init__(self)  # super() does not know this class: slots make another one of it
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise BoxPromptError("the token must be 16 to 256 letters, digits and  . _ ~ -")
        if self.token is None and not self.is_loopback:
            raise BoxPromptError(f"host {self.host} can be reached by others: it needs a token")


@dataclass
class WebState:
    """Everything a route needs; one per server. All of it may be used from many threads at once.

    Attributes:
        dataset: what is annotated and reviewed; None where the page only localizes.
        settings: of the server.
        teachers: who turns boxes into masks; None for no previews.
        localizer: the student; None for no suggestions and no localizing.
        stopping: set once the server is told to stop.
        lanes: where its routes do what takes long.
    """

    dataset: Dataset | None = None
    settings: WebSettings = field(default_factory=WebSettings)
    teachers: TeacherPool | None = None
    localizer: Localizer | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    lanes: list[Lane] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return any(lane.busy for lane in self.lanes) or (self.teachers is not None and self.teachers.busy)

    def lane(self, name: str, threads: int) -> Lane:
        """Threads for one kind of work, which begins nothing any more once the server is told to stop."""
        self.lanes.append(Lane(name, threads, self.check_serving))
        return self.lanes[-1]

    def stop(self) -> None:
        """The server is told to stop: nothing that takes long goes on, or is waited for."""
        self.stopping.set()
        if self.teachers is not None:
            self.teachers.close()

    def check_serving(self) -> None:
        """End work that nobody will get the result of.

        Raises:
            HttpError: 503, the server is being stopped.
        """
        if self.stopping.is_set():
            raise HttpError(503, "the server is being stopped")
