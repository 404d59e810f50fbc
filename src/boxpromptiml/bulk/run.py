"""A run over any number of images into a table of parts, on whichever engine, that can be killed at any point."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from boxpromptiml.bulk.containers import ANY_COLUMNS, Columns
from boxpromptiml.bulk.inputs import Source
from boxpromptiml.bulk.names import RESULTS_NAME, RUN_NAME, is_part
from boxpromptiml.bulk.plan import Plan, Shard, make_plan
from boxpromptiml.bulk.shards import Job
from boxpromptiml.bulk.table import Counts, part_counts
from boxpromptiml.errors import BoxPromptError
from boxpromptiml.images import DEFAULT_MAX_PIXELS
from boxpromptiml.machine import usable_cores
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.storage import OutputFolder

SUMMARY_NAME = "_summary.json"

_FORMAT = 2
_FOOTERS_AT_ONCE = 16
# What makes two runs the same one, and how to say that it differs.
_NAMES = {
    "plan": "other inputs",
    "shard_images": "another --shard-size",
    "model": "another model",
    "threshold": "another threshold",
    "max_pixels": "another --max-megapixels",
    "masks": "another choice of masks",
    "columns": "other columns",
    "passes": "another choice of --detail and --tta",
    "digests": "another choice of --digests",
    "format": "another version of this program",
}

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class TableOptions:
    """How a table is made.

    Attributes:
        threshold: for pixels and verdict; None takes the model's.
        max_pixels: larger images become rows with an error before they are decoded.
        batch_size: images per inference.
        masks: whether the table holds the masks.
        columns: where tables among the inputs hold their images.
        shard_images: images that become one part.
        overwrite: begin anew, whatever the folder holds of an earlier run.
        retry_failed: do parts again that hold rows with an error.
        detail, tta, digests: see `Operator`.
    """

    threshold: float | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    batch_size: int = 4
    masks: bool = True
    columns: Columns = ANY_COLUMNS
    shard_images: int = 1000
    overwrite: bool = False
    retry_failed: bool = False
    detail: bool = False
    tta: bool = False
    digests: bool = True


@dataclass
class TableRun:
    """A run that is prepared: its plan is made, and what an earlier one has done is known.

    Attributes:
        plan: all shards.
        pending: those that are still to be done.
        done: counts of the parts that were there already.
        counts: of all parts that are there by now.
    """

    plan: Plan
    pending: list[Shard]
    done: Counts
    _job: Job
    _out: OutputFolder
    counts: Counts = field(init=False)
    _finished: int = 0

    def __post_init__(self) -> None:
        self.counts = self.done

    @property
    def images(self) -> int | None:
        """All images; where archives are among the inputs an estimate, None before there is any ground for one."""
        if self.plan.images is not None:
            return self.plan.images
        parts = len(self.plan.shards) - len(self.pending) + self._finished
        return None if not parts else round(self.counts.images / parts * len(self.plan.shards))

    def work(
        self, engine: Engine = "local", *, cores: int | None = None, ray_address: str | None = None
    ) -> Iterator[int]:
        """Do what is pending.

        Args:
            engine: ``local``: a process a core of this machine. ``ray``: actors of Ray Data, a core each.
            cores: to use; None for all that are usable, on a cluster all that it has.
            ray_address: of a running cluster; None starts one on this machine that ends with the run.

        Yields:
            Images done, as they are; a negative number takes back what a worker had done before it died.

        Raises:
            BoxPromptError: the network failed, a part cannot be written, or workers keep dying.
        """
        if self.pending:
            if engine == "ray":
                from boxpromptiml.bulk.on_ray import run_on_ray

                events = run_on_ray(self._job, self.pending, cores, ray_address)
            else:
                from boxpromptiml.bulk.processes import run_in_processes

                events = run_in_processes(self._job, self.pending, cores or usable_cores())
            for images, counts in events:
                if counts is not None:
                    self._finished += 1
                    self.counts = _sum((self.counts, counts))
                if images:
                    yield images
        summary = {"run": self._job.run, "parts": len(self.plan.shards), **self.counts._asdict()}
        self._out.write(SUMMARY_NAME, json.dumps(summary, indent=2).encode() + b"\n")


def prepare_table(
    localizer: Localizer, sources: Iterable[Source], out: OutputFolder, options: TableOptions
) -> TableRun:
    """List the inputs, cut them into shards, and find what an earlier run of the same command has done.

    Args:
        localizer: the model.
        sources: the inputs, streamed.
        out: where to, held by the caller (`OutputFolder.held`).
        options: how.

    Raises:
        BoxPromptError: the folder holds results of other inputs, of another model or other options, or the inputs
            cannot be listed.
    """
    threshold = localizer.config.decision.threshold if options.threshold is None else options.threshold
    with tempfile.TemporaryDirectory(prefix="boxpromptiml-") as scratch:
        plan = make_plan(sources, Path(scratch), shard_images=options.shard_images, columns=options.columns)
        identity: dict[str, Any] = {
            "format": _FORMAT,
            "plan": plan.digest,
            "shard_images": options.shard_images,
            "model": localizer.model_id,
            "threshold": threshold,
            "max_pixels": options.max_pixels,
            "masks": options.masks,
            "columns": [options.columns.image, options.columns.id],
        }
        # Not where there are none: runs that were begun before they could be asked for are still the same.
        if not options.digests:
            identity["digests"] = False
        if passes := [name for name in ("detail", "tta") if getattr(options, name)]:
            identity["passes"] = passes
        run = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        files = out.files()
        if options.overwrite:
            _clear(out, files)
            files = set()
        if RESULTS_NAME in files:
            raise BoxPromptError(f"{out.name}: holds {RESULTS_NAME} of --format files; choose another folder")
        if RUN_NAME in files:
            _check_same(out, identity)
        else:
            if stray := sorted(name for name in files if is_part(name)):
                raise BoxPromptError(f"{out.name}: holds {stray[0]} of something else; choose another folder")
            with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
                list(pool.map(lambda file: out.write(file, Path(scratch, file).read_bytes()), plan.files))
            # Last, so that where it is, all of the plan is.
            content = {**identity, "run": run, "images": plan.images, "parts": len(plan.shards)}
            out.write(RUN_NAME, json.dumps(content, indent=2).encode() + b"\n")
    if SUMMARY_NAME in files:
        out.remove(SUMMARY_NAME)
    job = Job(
        run=run,
        out=out.name,
        base=os.getcwd(),
        model=str(localizer.folder.absolute()),
        model_id=localizer.model_id,
        threshold=threshold,
        max_pixels=options.max_pixels,
        batch_size=options.batch_size,
        masks=options.masks,
        columns=options.columns,
        runtime=localizer.choice.runtime,
        precision=localizer.choice.precision,
        device=localizer.choice.device,
        detail=options.detail,
        tta=options.tta,
        digests=options.digests,
        copies=localizer.config.decision.copies,
        completion=localizer.config.decision.completion,
        looks=localizer.config.decision.looks,
    )
    pending, done = _pending(plan, out, run, files, options.retry_failed)
    return TableRun(plan, pending, done, job, out)


def _check_same(out: OutputFolder, identity: dict[str, Any]) -> None:
    try:
        stored = json.loads(out.read(RUN_NAME))
        differing = {key: name for key, name in _NAMES.items() if stored.get(key) != identity.get(key)}
    except (ValueError, AttributeError) as error:
        raise BoxPromptError(f"{out.name}/{RUN_NAME}: is no state of a run; choose another folder") from error
    if "shard_images" in differing:
        differing.pop("plan", None)  # the same inputs may well be cut in another way
    if differing:
        what = " and ".join(differing.values())
        raise BoxPromptError(f"{out.name}: holds results of {what}; choose another folder, or begin anew: --overwrite")


def _clear(out: OutputFolder, files: set[str]) -> None:
    # First what says that the parts belong together, so that none is ever taken for a part of the new run.
    for name in sorted(files & {SUMMARY_NAME, RUN_NAME}) + sorted(name for name in files if is_part(name)):
        out.remove(name)


def _pending(
    plan: Plan, out: OutputFolder, run: str, files: set[str], retry_failed: bool
) -> tuple[list[Shard], Counts]:
    def counts_of(shard: Shard) -> Counts | None:
        if shard.part not in files:
            return None
        with out.open(shard.part) as stream:
            return part_counts(stream, run)

    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        found = list(pool.map(counts_of, plan.shards))
    held = [counts if counts and not (retry_failed and counts.failed) else None for counts in found]
    pending = [shard for shard, counts in zip(plan.shards, held, strict=True) if counts is None]
    return pending, _sum(counts for counts in held if counts is not None)


def _sum(parts: Iterable[Counts]) -> Counts:
    columns = list(zip(*parts, strict=True)) or [(0,)] * len(Counts._fields)
    return Counts(*(sum(column) for column in columns))
