"""What the HTTP service costs beside the runtime it wraps: `python -m benchmarks.serve MODEL IMAGES... [--json]`.

Measures, in turns, the same JPEG bytes with the same model and the same number of threads

- in this process: `Localizer.localize` called from so many threads, nothing else (the runtime's own), and
- through a real ``boxpromptiml serve`` on loopback, asked over kept connections by a client in a process of its own.

The client costs time too, on the same cores. With ``--pin`` the runtime and the service get the first core alone, one
thread, and the client the second one: what is compared then is the service, not the client. CPU seconds an image,
which other programs on the machine hardly change, are given beside.

``--soak N`` sends N requests afterwards and reports the service's memory as it goes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from boxpromptiml.runtime import Localizer

_ROUNDS_SECONDS = 5.0
_HEADER_END = b"\r\n\r\n"


class Load(NamedTuple):
    """What a client measured.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, seconds.
        statuses: of the answers, with their number.
        failures: connections that broke.
    """

    seconds: float
    latencies: list[float]
    statuses: dict[int, int]
    failures: int


@dataclass(eq=False)
class _Connection:
    stream: socket.socket
    begun: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def put_load(
    place: tuple[str, int], images: Sequence[bytes], *, connections: int, seconds: float = 0.0, count: int = 0
) -> Load:
    """Send images over so many connections at once, the next as soon as the last one is answered.

    One thread and plain sockets: the client shall cost as little as a client can.

    Args:
        place: host and port.
        images: encoded, sent in turn.
        connections: kept open.
        seconds: for so long, or
        count: so many requests.
    """
    requests = [
        f"POST /v1/localize HTTP/1.1\r\nhost: {place[0]}\r\ncontent-type: image/jpeg\r\n"
        f"content-length: {len(data)}\r\n\r\n".encode()
        + data
        for data in images
    ]
    selector = selectors.DefaultSelector()
    statuses: dict[int, int] = {}
    latencies: list[float] = []
    sent = failures = 0
    start = time.perf_counter()

    def send(connection: _Connection) -> bool:
        nonlocal sent
        if sent >= count if count else time.perf_counter() - start >= seconds:
            selector.unregister(connection.stream)
            connection.stream.close()
            return False
        connection.begun = time.perf_counter()
        connection.stream.sendall(requests[sent % len(requests)])
        sent += 1
        return True

    for _ in range(connections):
        stream = socket.create_connection(place)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(stream)
        selector.register(stream, selectors.EVENT_READ, connection)
        send(connection)
    while selector.get_map():
        for key, _ in selector.select(60):
            connection = key.data
            piece = connection.stream.recv(262_144)
            if not piece:
                failures += 1
                selector.unregister(connection.stream)
                connection.stream.close()
                continue
            connection.received += piece
            status = _complete(connection.received)
            if status is not None:
                latencies.append(time.perf_counter() - connection.begun)
                statuses[status] = statuses.get(status, 0) + 1
                connection.received.clear()
                send(connection)
    return Load(time.perf_counter() - start, latencies, statuses, failures)


def _complete(received: bytearray) -> int | None:
    """The status of an answer that is all there."""
    end = received.find(_HEADER_END)
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return int(head[9:12]) if len(received) >= end + len(_HEADER_END) + length else None


def _client(cores: Sequence[int], says: Any, *arguments: Any, **options: Any) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
    before = time.process_time()
    load = put_load(*arguments, **options)
    says.send((load, time.process_time() - before))


def from_outside(cores: Sequence[int], *arguments: Any, **options: Any) -> tuple[Load, float]:
    """`put_load` in a process of its own; also the CPU seconds that it took there."""
    context = multiprocessing.get_context("spawn")
    said, says = context.Pipe(duplex=False)
    process = context.Process(target=_client, args=(cores, says, *arguments), kwargs=options)
    process.start()
    says.close()
    result: tuple[Load, float] = said.recv()
    process.join()
    return result


class Service:
    """A running ``boxpromptiml serve``."""

    def __init__(self, model: str, threads: int, cores: Sequence[int], options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "boxpromptiml.cli.main", "serve", "--model", model, *options]
        if cores:
            command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        host, _, port = self.process.stdout.readline().split("/")[2].partition(":")
        self.place = host, int(port)
        while not self.ask("/readyz").startswith(b"HTTP/1.1 200"):
            time.sleep(0.1)

    def ask(self, path: str) -> bytes:
        """An answer, head and all."""
        with socket.create_connection(self.place) as stream:
            stream.sendall(f"GET {path} HTTP/1.1\r\nhost: {self.place[0]}\r\nconnection: close\r\n\r\n".encode())
            answer = bytearray()
            while piece := stream.recv(65536):
                answer += piece
        return bytes(answer)

    def figures(self) -> dict[str, float]:
        """What it tells Prometheus, by name with labels."""
        lines = self.ask("/metrics").partition(_HEADER_END)[2].decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident, MB."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> int:
        """End it as an operator does; the exit code."""
        self.process.terminate()
        return self.process.wait(60)


def runtime_alone(localizer: Localizer, images: Sequence[bytes], threads: int, seconds: float) -> tuple[float, float]:
    """Images a second, and CPU milliseconds an image, of the runtime called from so many threads."""
    end = time.perf_counter() + seconds

    def work(number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            localizer.localize(images[(number + done * threads) % len(images)]).to_json()
            done += 1
        return done

    start, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(work, range(threads)))
    return total / (time.perf_counter() - start), (time.process_time() - cpu) / total * 1e3


def compare(options: argparse.Namespace, images: list[bytes]) -> dict[str, Any]:
    """Both in turns; medians, and the ratio of each turn."""
    server_cores, client_cores = ([0], [1]) if options.pin else ([], [])
    if options.pin:
        os.sched_setaffinity(0, server_cores)
    localizer = Localizer.load(options.model, threads=1)
    service = Service(options.model, options.threads, server_cores, options.option)
    runtime_alone(localizer, images, options.threads, 1)
    from_outside(client_cores, service.place, images, connections=options.connections, seconds=1)
    rounds = []
    for number in range(options.rounds):
        alone = runtime_alone(localizer, images, options.threads, options.seconds) if number % 2 == 0 else None
        before, figures = service.cpu_seconds(), service.figures()
        load, client_cpu = from_outside(
            client_cores, service.place, images, connections=options.connections, seconds=options.seconds
        )
        done, after = service.cpu_seconds() - before, service.figures()
        if alone is None:
            alone = runtime_alone(localizer, images, options.threads, options.seconds)
        answered = len(load.latencies)
        batches = after["boxpromptiml_batch_size_count"] - figures["boxpromptiml_batch_size_count"]
        rounds.append(
            {
                "runtime_per_second": alone[0],
                "service_per_second": answered / load.seconds,
                "ratio": answered / load.seconds / alone[0],
                "runtime_cpu_ms": alone[1],
                "service_cpu_ms": done / answered * 1e3,
                "cpu_ratio": alone[1] / (done / answered * 1e3),
                "client_cpu_ms": client_cpu / answered * 1e3,
                "batch": answered / batches,
                "p50_ms": _percentile(load.latencies, 50),
                "p99_ms": _percentile(load.latencies, 99),
                "errors": load.failures + sum(n for status, n in load.statuses.items() if status != 200),
            }
        )
    code = service.stop()
    median = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    median["errors"] = sum(one["errors"] for one in rounds)
    return {"median": median, "rounds": rounds, "exit_code": code}


def soak(options: argparse.Namespace, images: list[bytes]) -> dict[str, Any]:
    """Many requests; memory after each twentieth of them."""
    service = Service(options.model, options.threads, [], options.option)
    statuses: dict[int, int] = {}
    failures = 0
    latencies: list[float] = []
    memory = [service.memory()]
    start = time.perf_counter()
    for _ in range(20):
        load, _ = from_outside(
            [], service.place, images, connections=options.connections, count=max(1, options.soak // 20)
        )
        for status, number in load.statuses.items():
            statuses[status] = statuses.get(status, 0) + number
        failures += load.failures
        latencies += load.latencies
        memory.append(service.memory())
        if not options.json:
            print(f"{len(latencies):>8} requests, {memory[-1]:7.1f} MB, {statuses}", flush=True)
    seconds = time.perf_counter() - start
    return {
        "requests": len(latencies),
        "per_second": len(latencies) / seconds,
        "statuses": statuses,
        "broken_connections": failures,
        "p50_ms": _percentile(latencies, 50),
        "p99_ms": _percentile(latencies, 99),
        "memory_mb": [round(value, 1) for value in memory],
        "exit_code": service.stop(),
    }


def _percentile(seconds: Sequence[float], percent: int) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e3


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=_ROUNDS_SECONDS, help="of each measurement")
    parser.add_argument("--pin", action="store_true", help="one core for runtime and service, one for the client")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="requests to send afterwards")
    parser.add_argument("--option", action="append", default=[], help="of the service, such as --option=--max-batch=8")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.pin:
        options.threads = 1
    images = [path.read_bytes() for path in options.images]
    figures: dict[str, Any] = {"threads": options.threads, "connections": options.connections, "pinned": options.pin}
    if options.rounds:
        figures["comparison"] = compare(options, images)
        if not options.json:
            for key, value in figures["comparison"]["median"].items():
                print(f"{key:<24}{value:>10.2f}")
    if options.soak:
        figures["soak"] = soak(options, images)
    if options.json:
        print(json.dumps(figures, indent=2))
    elif options.soak:
        print(json.dumps(figures["soak"]))


if __name__ == "__main__":
    main()
