"""Verbs: synthesize."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxpromptiml.errors import RecipeError

if TYPE_CHECKING:
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.synthesis import ObjectPool, PhotoPool
    from boxpromptiml.synthesis.build import Made, SynthesisSummary
    from boxpromptiml.synthesis.journal import Recorded

_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("synthesize")(synthesize)


def synthesize(
    photos: Annotated[list[Path], typer.Argument(help="Authentic photos, and folders of them (recursive).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DATASET", help="Dataset folder to make.")],
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="Tampered images.")],
    authentic: Annotated[
        int | None,
        typer.Option(min=0, help="Authentic images with the same compression history. Default: half of -n."),
    ] = None,
    objects: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder with images/ and instances/ (PNG, 0 = background). Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, photos and settings: same images.")] = 0,
    config: Annotated[Path | None, typer.Option(metavar="YAML", help="Settings; see docs/synthesis.md.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as kinds.splice=0. Repeatable; wins."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Size of all images. Default: the photos' own.")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(min=64, help="Scale larger photos down to this long side first.")
    ] = None,
    split_by_source: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Such as val=0.1,test=0.2: split the photos first; every image uses photos of its own split only.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one a processor, fewer for few images.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make tampered images with exact masks from authentic photos.

    Splices, copy-moves, removals and local retouches with realistic JPEG histories. Interrupt it at any time: the same
    command goes on where it stopped, and a larger -n adds images.
    """
    wanted = None if size is None else _size(size)
    from boxpromptiml.synthesis import ObjectPool, PhotoPool, load_config
    from boxpromptiml.synthesis.sides import parse_fractions

    loaded = load_config(config, settings or ())
    fractions = parse_fractions(split_by_source) if split_by_source is not None else None
    pool = PhotoPool(photos, max_side=max_side)
    object_pool = ObjectPool(objects, max_side=max_side) if objects else None
    summary = synthesize_dataset(
        pool,
        output,
        number,
        authentic=authentic,
        objects=object_pool,
        config=loaded,
        seed=seed,
        size=wanted,
        fractions=fractions,
        workers=workers,
    )
    _report(summary, output, as_json)


def synthesize_dataset(
    photos: PhotoPool,
    output: str | Path,
    count: int,
    *,
    objects: ObjectPool | None = None,
    **options: Any,
) -> SynthesisSummary:
    """Synthesise images into a dataset folder (made if missing): what the verb does.

    Args:
        photos: hosts, and donors of irregular regions.
        output: the dataset.
        count: tampered images.
        objects: photographs with instance masks.
        options: `authentic`, `config`, `seed`, `size`, `fractions`, `workers` of `boxpromptiml.synthesis.build.build`,
            which also says what is raised.
    """
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.synthesis.build import build

    @contextmanager
    def store() -> Iterator[DatasetStore]:
        with Dataset.create(output) as dataset:
            yield DatasetStore(dataset)

    return build(photos, store, count, objects=objects, **options)


class DatasetStore:
    """Records synthesised images in a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self._dataset.root

    def recorded(self) -> Iterator[Recorded]:
        """All images of the dataset."""
        from boxpromptiml.synthesis.journal import Recorded

        for record in self._dataset.records():
            yield Recorded(record.image, record.mask, record.split, record.kind or "authentic")

    def add(self, batch: Sequence[Made]) -> None:
        """Put the records of finished images, in one transaction."""
        from boxpromptiml.dataset import ImageRecord

        self._dataset.put(
            ImageRecord(
                image=made.image,
                width=made.width,
                height=made.height,
                label="authentic" if made.mask is None else "tampered",
                mask=made.mask,
                split=made.split,
                group=made.group,
                kind=None if made.mask is None else made.kind,
            )
            for made in batch
        )


def _size(text: str) -> tuple[int, int]:
    """Height and width from ``WIDTHxHEIGHT``."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()) or min(int(width), int(height)) < 32:
        raise RecipeError(f"--size {text}: write it as WIDTHxHEIGHT in pixels, at least 32x32, such as 384x256")
    return int(height), int(width)


def _report(summary: SynthesisSummary, output: Path, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    for skipped in summary.skipped[:_SHOWN]:
        errors.print(f"skipped {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > _SHOWN:
        errors.print(f"skipped {len(summary.skipped) - _SHOWN} more files")
    if as_json:
        skipped_files = [{"path": str(s.path), "reason": s.reason} for s in summary.skipped]
        print(
            json.dumps(
                {
                    "dataset": str(output),
                    "made": summary.made,
                    "kept": summary.kept,
                    "images": summary.kinds,
                    "skipped": skipped_files,
                }
            )
        )
        return
    kinds = ("splice", "copy-move", "removal", "retouch", "authentic")
    table = Table(title=f"{output}: {summary.made} images made, {summary.kept} were there")
    table.add_column("split")
    for kind in (*kinds, "all"):
        table.add_column(kind, justify="right")
    for split in sorted(summary.kinds, key=["", "train", "val", "test"].index):
        counts = [summary.kinds[split].get(kind, 0) for kind in kinds]
        table.add_row(split or "-", *(str(count) for count in (*counts, sum(counts))))
    Console(markup=False).print(table)
