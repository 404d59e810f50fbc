"""The Ray engine: the same worker in the actors of Ray Data, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from boxpromptiml.bulk.plan import Shard
from boxpromptiml.bulk.shards import Job, ShardWorker
from boxpromptiml.bulk.table import Counts
from boxpromptiml.errors import BoxPromptError, MissingExtraError
from boxpromptiml.machine import usable_cores
from boxpromptiml.storage import one_line

_MODEL_FILES = frozenset({".bin", ".data", ".json", ".onnx", ".pt2", ".safetensors", ".xml"})
_CLIENT_PORT = 10001  # of ray://HOST
_PATIENCE = 10.0  # seconds
_COPY = "boxpromptiml-actor-"  # of a model, while an actor loads it
_ABANDONED = 3600.0  # seconds; no model takes so long to load
_OBJECT_STORE = 128 * 2**20  # bytes; the model goes through it once, no image ever does


class ClusterError(BoxPromptError):
    """A Ray cluster that cannot be reached or that lost what it was doing."""


def run_on_ray(
    job: Job, shards: Sequence[Shard], cores: int | None, address: str | None
) -> Iterator[tuple[int, Counts | None]]:
    """Localize shards on Ray Data: a pool of actors, one core each, to which Ray hands shard after shard.

    Images never pass through Ray's object store: an actor reads its shard's images and writes its part by itself, so
    that a part is written by one, whole. Ray replaces actors and machines that are lost and does their shards again.

    Args:
        job: the run's. On a cluster, inputs and output must have the same names on all machines: URLs, or a file
            system that they share. The model is sent along.
        shards: what to do.
        cores: actors at most; None for as many as there are cores.
        address: of a running cluster (``auto``, ``HOST:PORT``, ``ray://HOST:PORT``); None starts one on this machine,
            unless this process is connected to one already.

    Yields:
        ``(images, None)`` and ``(0, counts)`` for every part that was written.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers there, or it broke down.
        BoxPromptError: what ended the first worker that gave up.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, cores, address)
    try:
        total = max(1, int(ray.cluster_resources().get("CPU", 1)))
        actors = min(len(shards), cores or total, total)
        model = ray.put(_model_files(Path(job.model)))
        rows = [{"number": s.number, "file": s.file, "start": s.start, "end": s.end} for s in shards]
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_kwargs={"job": job, "model": [model]},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=1,
        )
        for row in results.iter_rows():
            if row["error"]:
                raise BoxPromptError(row["error"])
            counts = Counts(*(int(row[name]) for name in Counts._fields))
            yield counts.images, None
            yield 0, counts
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray: {one_line(error)}; what is done is kept, run the same command again") from error
    finally:
        if started:
            ray.shutdown()


def _ray() -> Any:
    # Before the import: no report to Ray's makers, and no complaints of its C++ side about what Ray Data does.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "bulk") from error
    return ray


def _connect(ray: Any, cores: int | None, address: str | None) -> None:
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {
            "num_cpus": cores or usable_cores(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    try:
        if address is not None and address != "auto":
            _knock(address)
        with _stderr_closed():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray's own, gRPC's, OSError, RuntimeError
        place = "Ray cannot be started here" if address is None else f"--ray-address {address}: no Ray cluster answers"
        raise ClusterError(f"{place} ({one_line(error)})") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray itself tries for minutes. Raises ValueError for no address."""
    parts = urllib.parse.urlsplit(address if "://" in address else f"ray://{address}")
    if not parts.hostname:
        raise ValueError("give auto, HOST:PORT or ray://HOST:PORT")
    socket.create_connection((parts.hostname, parts.port or _CLIENT_PORT), timeout=_PATIENCE).close()


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Keep what Ray's C++ side says of its own log level off the terminal; errors come as exceptions."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _model_files(folder: Path) -> dict[str, bytes]:
    """What a runtime needs of a model folder, from whose weights its file may take its own: not logs and states."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in _MODEL_FILES}


@contextmanager
def _copy_of(model: dict[str, bytes]) -> Iterator[str]:
    """A model's files in a temporary folder. What killed actors left of such folders is removed after an hour."""
    for left in Path(tempfile.gettempdir()).glob(f"{_COPY}*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_COPY) as folder:
        for name, data in model.items():
            Path(folder, name).write_bytes(data)
        yield folder


class _Actor:
    """A `ShardWorker` on some machine of the cluster."""

    def __init__(self, job: Job, model: list[Any]) -> None:
        import ray

        self._error = ""
        # Gone once the model is loaded: Ray ends its actors without letting them clean up.
        with _copy_of(ray.get(model[0])) as folder:
            try:
                self._worker = ShardWorker(job, model=folder)
            except BoxPromptError as error:
                self._error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        # An error goes home in the row: raised, it would come out wrapped in Ray's own traceback.
        counts, error = Counts(), self._error
        if not error:
            number, file, start, end = (batch[name][0] for name in ("number", "file", "start", "end"))
            try:
                counts = self._worker.run(Shard(int(number), str(file), int(start), int(end), None))
            except BoxPromptError as failure:
                error = str(failure)
        return {**{name: [value] for name, value in counts._asdict().items()}, "error": [error]}
