"""The figures as tables, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boxpromptiml.bench.peers import NOTE
from boxpromptiml.bench.result import CellResult, SpeedResult, Timing
from boxpromptiml.bench.runtimes import RUNTIMES
from boxpromptiml.bench.steps import STEPS

# Rounds that differ by more say that the machine was doing something else.
_BUSY = 0.15


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of texts; the columns in `words` hold words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: tuple[int, ...]

    def markdown(self) -> str:
        """As Markdown."""
        rule = ["---" if i in self.words else "---:" for i in range(len(self.columns))]
        lines = [self.columns, rule, *self.rows]
        return "\n".join([f"**{self.title}**", "", *("| " + " | ".join(line) + " |" for line in lines)])


def latency_tables(result: SpeedResult) -> list[PlainTable]:
    """Size, latency, the machine's peak, and where the time goes."""
    return [size_table(result), _latency_table(result), *_peaks(result), steps_table(result)]


def throughput_tables(result: SpeedResult) -> list[PlainTable]:
    """Throughput and its bounds."""
    return [_throughput_table(result), *_peaks(result)]


def size_table(result: SpeedResult) -> PlainTable:
    """What is counted of each model and, where wanted, what is published of others: each row says which."""
    names = _short([model.model for model in result.models])
    rows: list[tuple[str, ...]] = []
    for model in result.models:
        start = names[model.model], model.supervision or "-", _number(model.params, 1e6, 2)
        own = model.width, model.height
        timed = {(c.width, c.height) for c in result.cells if c.cell.model == model.model and c.width and c.height}
        for width, height in [own, *sorted(timed - {own})]:
            how = "counted here, one pass at" if (width, height) == own else "the same, scaled to"
            rows.append((*start, _number(model.at(height, width), 1e9, 2), f"{how} {width} x {height}"))
    if result.peers is not None:
        keys = list(result.peers.sources)
        for peer in result.peers.peers:
            quantities = [quantity for quantity in (peer.params_m, peer.flops_g) if quantity is not None]
            places = dict.fromkeys(f"[{keys.index(quantity.source) + 1}]" for quantity in quantities)
            params, flops = ("-" if q is None else f"{q.value:g}" for q in (peer.params_m, peer.flops_g))
            rows.append((peer.name, peer.supervision, params, flops, f"published {' '.join(places)}"))
    columns = ("method", "trained from", "params M", "FLOPs G", "source")
    return PlainTable("size (FLOPs are multiply-adds)", columns, rows, (0, 1, 4))


def peak_table(result: SpeedResult) -> PlainTable:
    """The machine's peak."""
    rows: list[tuple[str, ...]] = [
        (
            found.peak.precision,
            str(found.peak.processes),
            str(found.peak.threads),
            found.library or "no library here multiplies so",
            _number(found.flops, 1e9, 0),
        )
        for found in result.peaks
    ]
    columns = ("peak", "processes", "threads", "fastest library", "GFLOP/s")
    return PlainTable("the machine's peak, measured here: a large matrix product", columns, rows, (0, 3))


def steps_table(result: SpeedResult) -> PlainTable:
    """Milliseconds of each step, one column a cell that was measured."""
    cells = [cell for cell in result.cells if cell.steps_ms is not None]
    names = _short([model.model for model in result.models])
    several = len(names) > 1
    heads = [(f"{names[c.cell.model]}, " if several else "") + f"{c.cell.runtime} x{c.cell.threads}" for c in cells]
    rows: list[tuple[str, ...]] = [(step, *(_digits((cell.steps_ms or {})[step]) for cell in cells)) for step in STEPS]
    return PlainTable("where the time goes, ms a photo", ("step", *heads), rows, (0,))


def notes(result: SpeedResult) -> list[str]:
    """What must be said of the figures: machine, input, doubts, failures, sources."""
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    photo, effort = result.photo, result.effort
    inputs = dict.fromkeys(f"{cell.width} x {cell.height}" for cell in result.cells if cell.width)
    lines = [
        f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores usable, {machine['platform']}, "
        f"Python {machine['python']}, {versions}",
        f"input {', '.join(inputs) or '-'}; whole: from {photo['name']} on disk ({photo['width']} x {photo['height']}, "
        f"{photo['bytes'] / 1000:.0f} kB) to score, mask and regions at that size",
        f"ms: median call for the whole batch, over {effort.rounds} rounds of {effort.seconds:g} s; "
        "% of peak: two operations a multiply-add, against the same precision, threads and processes",
    ]
    wanted = [cell.cell.threads * cell.cell.processes for cell in result.cells]
    if wanted and max(wanted) > machine["usable_cores"]:
        lines.append(f"{max(wanted)} threads on {machine['usable_cores']} usable cores: they wait for each other")
    spread = max((timing.spread for cell in result.cells for timing in (cell.network,) if timing), default=0.0)
    if spread > _BUSY:
        load = machine["load"][0]
        busy = "" if load is None else f", load {load:.1f} at the start"
        lines.append(f"the machine was not quiet: rounds differ by up to {spread:.0%}{busy}; measure again for figures")
    lines += [f"failed: {cell.cell}: {cell.error}" for cell in result.failed]
    lines += [f"failed: {found.decoding}: {found.error}" for found in result.decodings if found.error]
    if result.peers is not None:
        lines.append(f"other methods: {NOTE}. {result.peers.note}")
        sources = enumerate(result.peers.sources.values(), 1)
        lines += [f"[{number}] {s.title}, {s.where}: {s.url}" for number, s in sources]
    return lines


def markdown(tables: Sequence[PlainTable], result: SpeedResult) -> str:
    """Everything as Markdown."""
    return "\n\n".join([*(table.markdown() for table in tables), "\n".join(f"- {line}" for line in notes(result))])


def _peaks(result: SpeedResult) -> list[PlainTable]:
    return [peak_table(result)] if result.peaks else []


def _latency_table(result: SpeedResult) -> PlainTable:
    columns: tuple[str, ...] = ("runtime", "threads", "file MB", "cold s", "ms", "p95", "p99", "GFLOP/s", "% of peak")
    columns += ("whole ms", "p95", "peak MB")
    rows: list[tuple[str, ...]] = []
    for cell in result.cells:
        start = (*_start(result, cell), str(cell.cell.threads), _file(result, cell))
        network, whole = cell.network, cell.whole
        if network is None or whole is None or cell.load_seconds is None or cell.first_ms is None:
            rows.append((*start, "failed", *["-"] * 8))
            continue
        figures = (f"{cell.load_seconds + cell.first_ms / 1000:.2f}", *_percentiles(network), *_work(result, cell))
        rows.append((*start, *figures, _digits(whole.median_ms), _digits(whole.p95_ms), _memory(cell)))
    return _table(result, "latency, one photo at a time, measured here", columns, rows)


def _throughput_table(result: SpeedResult) -> PlainTable:
    columns: tuple[str, ...] = ("runtime", "processes", "threads", "batch", "network img/s", "GFLOP/s", "% of peak")
    columns += ("whole img/s", "decoding alone", "% of it", "peak MB")
    bounds = {found.decoding: found.timing for found in result.decodings}
    rows: list[tuple[str, ...]] = []
    for cell in result.cells:
        place = cell.cell
        start = (*_start(result, cell), str(place.processes), str(place.threads), str(place.batch))
        if cell.network is None or cell.whole is None:
            rows.append((*start, "failed", *["-"] * 6))
            continue
        bound = next((t for d, t in bounds.items() if (d.model, d.processes) == (place.model, place.processes)), None)
        rows.append(
            (
                *start,
                _digits(cell.network.images_per_second),
                *_work(result, cell),
                _digits(cell.whole.images_per_second),
                "-" if bound is None else _digits(bound.images_per_second),
                _number(result.share_of_decoding(cell), 0.01, 0),
                _memory(cell),
            )
        )
    return _table(result, "throughput, measured here", columns, rows)


def _table(result: SpeedResult, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> PlainTable:
    if len(result.models) > 1:
        return PlainTable(title, ("model", *columns), rows, (0, 1))
    name = next(iter(_short([model.model for model in result.models]).values()))
    return PlainTable(f"{title}: {name}", columns, rows, (0,))


def _start(result: SpeedResult, cell: CellResult) -> tuple[str, ...]:
    names = _short([model.model for model in result.models])
    device = "" if cell.cell.device == "cpu" else f" ({cell.cell.device})"
    model = (names[cell.cell.model],) if len(names) > 1 else ()
    return (*model, f"{cell.cell.runtime}{device}")


def _file(result: SpeedResult, cell: CellResult) -> str:
    facts = next(model for model in result.models if model.model == cell.cell.model)
    return _number(facts.files[RUNTIMES[cell.cell.runtime].file], 1e6, 1)


def _percentiles(timing: Timing) -> tuple[str, str, str]:
    return _digits(timing.median_ms), _digits(timing.p95_ms), _digits(timing.p99_ms)


def _work(result: SpeedResult, cell: CellResult) -> tuple[str, str]:
    return _number(result.flops(cell), 1e9, 0), _number(result.share_of_peak(cell), 0.01, 0)


def _memory(cell: CellResult) -> str:
    return _number(cell.peak_mb, 1, 0) + (f" + {cell.device_mb:.0f} GPU" if cell.device_mb is not None else "")


def _number(value: float | None, unit: float, digits: int) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"


def _digits(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _short(models: Sequence[str]) -> dict[str, str]:
    """The last part of each path, more where that does not tell them apart."""
    parts = {model: model.rstrip("/").split("/") for model in models}
    for length in range(1, max(map(len, parts.values()), default=1) + 1):
        names = {model: "/".join(words[-length:]) for model, words in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {model: model for model in models}
