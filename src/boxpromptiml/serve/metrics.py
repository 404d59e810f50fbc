"""What Prometheus is told. With several worker processes the figures are of all of them together."""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

from boxpromptiml import __version__
from boxpromptiml.runtime import Localizer

# Set by `prometheus_client`'s users for processes that count together; see `boxpromptiml.serve.workers`.
SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGES = ("queue", "decode", "batch", "network", "wait", "finish")


class Metrics:
    """The counters of one service. May be used from many threads at once.

    Attributes:
        requests: by route and status.
        seconds: of requests by route, from their first byte to the last of the answer.
        images: by outcome: tampered, authentic, error.
        refused: requests that were turned away, by reason.
        dropped: images that nobody waited for any more.
        batch_size: images per inference.
        queue: images that nothing has been done with yet.
        inside: images from the arrival of their bytes to the departure of their answer.
        in_flight: requests that are being answered.
        ready: 1 while ``/readyz`` says yes.
        lost_lines: log lines that nobody read fast enough.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._shared = SHARED_VARIABLE in os.environ
        name = "boxpromptiml"
        self.requests = Counter("requests", "HTTP requests.", ["route", "status"], name, registry=registry)
        self.seconds = Histogram(
            "request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            name,
            registry=registry,
            buckets=_SECONDS,
        )
        images = Counter("images", "Images looked at.", ["outcome"], name, registry=registry)
        self.images = {outcome: images.labels(outcome) for outcome in ("tampered", "authentic", "error")}
        self.refused = Counter(
            "refused_requests", "Requests turned away for now (429, 503).", ["reason"], name, registry=registry
        )
        self.dropped = Counter(
            "dropped_images", "Images that nobody waited for any more.", namespace=name, registry=registry
        )
        self.lost_lines = Counter(
            "lost_log_lines", "Log lines dropped: nobody read them.", namespace=name, registry=registry
        )
        stage = Counter(
            "stage_seconds",
            "Where images spend their time: queue (nothing done yet), decode (and resize), batch (waiting for others), "
            "network, wait (for a thread), finish (mask, regions, encoding). Divide by images.",
            ["stage"],
            name,
            registry=registry,
        )
        self._stages = [stage.labels(word) for word in _STAGES]
        self.batch_size = Histogram(
            "batch_size",
            "Images per inference.",
            namespace=name,
            registry=registry,
            buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
        )
        self.queue = self._gauge("queue_images", "Images that nothing has been done with yet.")
        self.inside = self._gauge("inside_images", "Images inside: waiting, at work, or on their way out.")
        self.in_flight = self._gauge("in_flight_requests", "Requests that are being answered.")
        self.ready = self._gauge("ready_workers", "Worker processes that /readyz would say yes for.")
        self._model = Gauge(
            "model",
            "1; the labels say what is served.",
            ["model", "name", "runtime", "precision", "device", "version"],
            name,
            registry=registry,
            multiprocess_mode="max",
        )
        if not self._shared:
            ProcessCollector(registry=registry)

    def model(self, localizer: Localizer) -> None:
        """Say what is served, and that it is ready."""
        choice = localizer.choice
        labels = (localizer.model_id, localizer.folder.resolve().name, choice.runtime, choice.precision, choice.device)
        self._model.labels(*labels, __version__).set(1)
        self.ready.set(1)

    def stages(self, times: Sequence[float]) -> None:
        """Count the time between two instants after another: arrival, begin and end of decoding, of the network ..."""
        for counter, begun, ended in zip(self._stages, times, times[1:], strict=False):
            counter.inc(max(0.0, ended - begun))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        if not self._shared:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, namespace="boxpromptiml", registry=self._registry, multiprocess_mode="livesum")
