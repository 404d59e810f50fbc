"""How close a bulk run comes to what decoding alone allows: `python -m benchmarks.bulk MODEL IMAGES...`.

The bound is a program that does nothing but read the same files and decode them as the model's preprocessing
says, in as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import run_command
from boxpromptiml.bulk import InputImage, Operator, OutputFolder, TableOptions, expand_inputs, prepare_table
from boxpromptiml.bulk.table import PartWriter, table_row
from boxpromptiml.images import decode_photo, read_image_file
from boxpromptiml.machine import usable_cores
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer


def stages(localizer: Localizer, names: Sequence[str], batch_size: int) -> dict[str, float]:
    """Milliseconds of one core per image of each step, nothing overlapped, and of decoding alone among them."""
    steps = ["read and hash", "decode", "resize", "network", "mask and regions", "row of the table"]
    spent = dict.fromkeys(steps, 0.0)
    operator = Operator(localizer)
    spec = localizer.config.preprocessing
    with tempfile.TemporaryDirectory() as folder, PartWriter.open(Path(folder, "part.parquet"), "benchmark") as writer:
        for start in range(0, len(names), batch_size):
            batch = []
            for name in names[start : start + batch_size]:
                clock = [time.perf_counter()]
                data = read_image_file(name)
                digest = hashlib.sha256(data).hexdigest()
                clock.append(time.perf_counter())
                photo = decode_photo(data, name, enough=spec.enough)
                clock.append(time.perf_counter())
                localizer.feed(photo)
                clock.append(time.perf_counter())
                for step, before, after in zip(steps, clock, clock[1:], strict=False):
                    spent[step] += after - before
                image = InputImage(name, "")
                batch.append((image, operator.prepare(image, data, digest)))
            before = time.perf_counter()
            maps = operator.maps([item for _, item in batch])
            spent["network"] += time.perf_counter() - before
            for (image, item), values in zip(batch, maps, strict=True):
                before = time.perf_counter()
                found = operator.localization(image, item, values)
                spent["mask and regions"] += time.perf_counter() - before
                before = time.perf_counter()
                writer.add(table_row(image, item, found, model=localizer.model_id, masks=True))
                spent["row of the table"] += time.perf_counter() - before
    return {step: 1000 * seconds / len(names) for step, seconds in spent.items()}


def _decode(spec: PreprocessingSpec, names: Sequence[str]) -> None:
    for name in names:
        decode_photo(read_image_file(name), name, enough=spec.enough)


def decoding(spec: PreprocessingSpec, names: Sequence[str], cores: int) -> float:
    """Images a second that `cores` processes read and decode, and do nothing else with."""
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.starmap(_decode, [(spec, names[:1])] * cores, chunksize=1)  # started, and warm
        start = time.perf_counter()
        pool.starmap(_decode, [(spec, names[i::cores]) for i in range(cores)], chunksize=1)
        return len(names) / (time.perf_counter() - start)


def _processor_seconds() -> float:
    """Of all processes that this one has started and seen end."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def decoding_cost(spec: PreprocessingSpec, names: Sequence[str]) -> float:
    """Processor milliseconds of reading and decoding one image."""
    start = time.process_time()
    _decode(spec, names)
    return 1000 * (time.process_time() - start) / len(names)


def run_cost(localizer: Localizer, names: Sequence[str], batch_size: int, digests: bool = True) -> float:
    """Processor milliseconds of an image in a run into a table, beyond what starting the worker takes."""
    costs = []
    for some in (names[:1], names):
        start = _processor_seconds()
        table(localizer, some, 1, batch_size, digests)
        costs.append(_processor_seconds() - start)
    return 1000 * (costs[1] - costs[0]) / (len(names) - 1)


def costs(localizer: Localizer, names: Sequence[str], batch_size: int, rounds: int) -> dict[str, float]:
    """Processor milliseconds of an image, in turns: decoding alone, a run, a run without digests; and the shares.

    Medians over the rounds: of the figures, and of the shares of each round.
    """
    spec = localizer.config.preprocessing
    turns: list[dict[str, float]] = []
    before = decoding_cost(spec, names)
    for _ in range(rounds):
        turn = {}
        for name, digests in (("", True), ("_without_digests", False)):
            cost = run_cost(localizer, names, batch_size, digests)
            after = decoding_cost(spec, names)
            alone, before = (before + after) / 2, after
            turn |= {f"processor_ms{name}": cost, f"share_of_bound_by_processor_time{name}": alone / cost}
        turns.append(turn | {"decoding_processor_ms": alone})
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def table(
    localizer: Localizer, names: Sequence[str], cores: int, batch_size: int, digests: bool = True
) -> tuple[float, float]:
    """Images a second of a run into a table once its workers are at work, and bytes of the table per image."""
    options = TableOptions(
        batch_size=batch_size, shard_images=max(1, min(1000, len(names) // (2 * cores))), digests=digests
    )
    with tempfile.TemporaryDirectory() as folder:
        out = OutputFolder(folder)
        run = prepare_table(localizer, expand_inputs(["-"], lines=names), out, options)
        start, first, done = 0.0, 0, 0
        for images in run.work(cores=cores):
            done += images
            if not start and done >= min(len(names) - 1, cores * batch_size):  # every worker has come to speed
                start, first = time.perf_counter(), done
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).glob("part-*.parquet"))
    return (done - first) / seconds, size / len(names)


def benchmark(
    model: Path,
    inputs: Sequence[str],
    *,
    repeat: int = 1,
    cores: int | None = None,
    batch_size: int = 4,
    rounds: int = 1,
) -> dict[str, Any]:
    """All figures; `repeat` copies of the images (as links) make a longer run of a few files."""
    cores = cores or usable_cores()
    localizer = Localizer.load(model, threads=1)
    sources = [Path(source.name).absolute() for source in expand_inputs(inputs)]
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for i in range(repeat):
            for j, path in enumerate(sources):
                link = Path(folder, f"{i:04d}-{j:06d}{path.suffix}")
                link.symlink_to(path)
                names.append(str(link))
        step_times = stages(localizer, [str(path) for path in sources], batch_size)
        spec = localizer.config.preprocessing
        # Processor time, unlike the clock, hardly depends on what else a machine does meanwhile.
        spent = costs(localizer, names, batch_size, rounds)
        rates: list[dict[str, float]] = []
        for _ in range(rounds):
            bound = decoding(spec, names, cores)
            rate, size = table(localizer, names, cores, batch_size)
            bare, _ = table(localizer, names, cores, batch_size, digests=False)
            rates.append(
                {
                    "decoding_images_per_second": bound,
                    "images_per_second": rate,
                    "images_per_second_without_digests": bare,
                    "share_of_bound": rate / bound,
                    "share_of_bound_without_digests": bare / bound,
                }
            )
        command = ["localize", folder, "--out", f"{folder}/out", "--format", "parquet", "--model", str(model)]
        seconds, peak = run_command([*command, "--threads", str(cores), "--batch-size", str(batch_size)])
    return {
        "images": len(names),
        "cores": cores,
        "steps_ms": step_times,
        **{key: statistics.median(one[key] for one in rates) for key in rates[0]},
        **spent,
        "bytes_per_row": size,
        "command_seconds": seconds,
        "driver_peak_memory_mib": peak,
    }


def main() -> None:
    """Run the benchmark and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model folder with model.onnx")
    parser.add_argument("images", nargs="+", help="files, folders or globs")
    parser.add_argument("--repeat", type=int, default=1, help="so many copies of the images")
    parser.add_argument("--cores", type=int)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1, help="turns of all; medians are given")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = benchmark(
        options.model,
        options.images,
        repeat=options.repeat,
        cores=options.cores,
        batch_size=options.batch_size,
        rounds=options.rounds,
    )
    if options.json:
        print(json.dumps(figures))
        return
    for step, milliseconds in figures["steps_ms"].items():
        print(f"{step:<56}{milliseconds:>10.2f} ms of a core")
    cores = figures["cores"]
    print(
        f"{f'reading and decoding alone, {cores} processes':<56}{figures['decoding_images_per_second']:>10.1f} images/s"
    )
    print(f"{f'a run into a table, {cores} processes':<56}{figures['images_per_second']:>10.1f} images/s")
    print(f"{'share of the bound that decoding sets':<56}{100 * figures['share_of_bound']:>10.0f} %")
    bare = figures["share_of_bound_without_digests"]
    print(f"{'... with --no-digests':<56}{100 * bare:>10.0f} %")
    print(f"{'processor time: reading and decoding alone':<56}{figures['decoding_processor_ms']:>10.2f} ms/image")
    print(f"{'processor time: the run':<56}{figures['processor_ms']:>10.2f} ms/image")
    share = figures["share_of_bound_by_processor_time"]
    print(f"{'share of the bound by processor time':<56}{100 * share:>10.0f} %")
    share = figures["share_of_bound_by_processor_time_without_digests"]
    print(f"{'... with --no-digests':<56}{100 * share:>10.0f} %")
    print(f"{'the table':<56}{figures['bytes_per_row']:>10.0f} bytes/image")
    print(f"{'the whole command, cold start':<56}{figures['command_seconds']:>10.2f} s")
    print(f"{'peak memory of its driver':<56}{figures['driver_peak_memory_mib']:>10.0f} MiB")


if __name__ == "__main__":
    main()
