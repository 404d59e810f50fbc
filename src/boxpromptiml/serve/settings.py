"""What the service is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.settings import HttpSettings
from boxpromptiml.runtime import Localizer
from boxpromptiml.serve.keys import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings(HttpSettings):
    """Settings of the service. All limits are of one worker process.

    Attributes:
        keys: what clients must carry; None for none, which is possible on the loopback address only, or with `public`.
        public: answer anyone who can reach the host, without keys.
        threads: cores to use: so many images are decoded, inferred or finished at once.
        inference_threads: threads of one inference; ``threads // inference_threads`` run at once.
        max_batch: images per inference.
        max_wait: seconds that an image may wait for others to share an inference with.
        max_queue: images that are inside at once, from the arrival of their bytes to the departure of their answer.
        max_images: in one request.
        max_tiles: of one photo that is looked at in detail; one that needs more is cut at a smaller size. 0 refuses.
        timeout: seconds from a request's first byte to its answer.
        body_bytes: memory for requests' bodies, all together.
        max_connections: at once.
        idle_seconds: that a connection is kept without a request; longer than load balancers keep theirs.
        header_seconds: that the headers of a request may take to arrive.
        drain: seconds for which requests are still taken after the signal to stop, while ``/readyz`` says no.

    Raises:
        BoxPromptError: a limit out of range; another host than the loopback address without keys.
    """

    keys: Keys | None = None
    public: bool = False
    threads: int = 1
    inference_threads: int = 1
    max_batch: int = 4
    max_wait: float = 0.005
    max_queue: int = 64
    max_images: int = 32
    max_tiles: int = 64
    timeout: float = 30.0
    body_bytes: int = 512 * 2**20
    max_connections: int = 1000
    idle_seconds: float = 75.0
    header_seconds: float = 10.0
    drain: float = 0.0

    def __post_init__(self) -> None:
        HttpSettings.__post_init__(self)
        counts = ("threads", "inference_threads", "max_batch", "max_queue", "max_images", "max_connections")
        for name in counts:
            if getattr(self, name) < 1:
                raise BoxPromptError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("timeout", "idle_seconds", "header_seconds"):
            if not getattr(self, name) > 0:
                raise BoxPromptError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("max_wait", "drain", "max_tiles"):
            if getattr(self, name) < 0:
                raise BoxPromptError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.inference_threads > self.threads:
            raise BoxPromptError(f"an inference cannot have {self.inference_threads} threads of {self.threads}")
        if self.body_bytes < self.max_upload_bytes:
            raise BoxPromptError("the memory for bodies must hold the largest one; raise --body-memory-mb")
        if self.keys is None and not self.public and not self.is_loopback:
            raise BoxPromptError(
                f"host {self.host} can be reached by others: give keys (--api-key-env, --api-key-file), or --public"
            )

    @property
    def lanes(self) -> int:
        """Inferences that run at once."""
        return self.threads // self.inference_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Which model to serve, and by what; each worker process loads its own.

    Attributes:
        model: name, folder, file or hub id, see `boxpromptiml.runtime.find_model`.
        runtime, precision, device, copies, completion, looks: see `Localizer.load`.
        threads: of one inference.
    """

    model: str | Path | None = None
    runtime: str = "auto"
    precision: str | None = None
    device: str = "cpu"
    threads: int = 1
    copies: bool | None = None
    completion: bool | None = None
    looks: int | None = None

    def __call__(self) -> Localizer:
        """Load it.

        Raises:
            ModelError, MissingExtraError: as `Localizer.load`.
        """
        return Localizer.load(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            device=self.device,
            threads=self.threads,
            copies=self.copies,
            completion=self.completion,
            looks=self.looks,
        )
