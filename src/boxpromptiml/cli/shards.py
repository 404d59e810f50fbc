"""Verbs: shard."""

from __future__ import annotations

from typing import Annotated

import typer

from boxpromptiml.cli.arguments import DatasetArgument


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("shard")(shard)


def shard(
    dataset: DatasetArgument,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="SHARDS", help="Folder or URL; new, empty, or with shards to go on with."
        ),
    ],
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="SPLIT",
            help="Only train, val, test, or none (images in no split); repeatable.",
            show_default="all",
        ),
    ] = None,
    shard_mb: Annotated[float, typer.Option(min=0.001, max=1e6, help="Megabytes of images in a shard, about.")] = 256.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Shards written at the same time.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also in place of shards of another dataset or of further splits.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all shards at the end and compare their checksums.")
    ] = False,
) -> None:
    """Write a dataset as tar archives (webdataset) to train from, into a folder or an object store."""
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.dataset.records import SPLITS
    from boxpromptiml.errors import DatasetError
    from boxpromptiml.shards import verify_shards, write_shards

    unknown = set(splits or ()) - {*SPLITS, "none"}
    if unknown:
        raise typer.BadParameter(f"{min(unknown)!r} is not one of {', '.join(SPLITS)}, none", param_hint="--split")
    chosen = None if not splits else {None if split == "none" else split for split in splits}
    with Dataset.open(dataset) as opened:
        report = write_shards(
            opened,
            output,
            shard_bytes=round(shard_mb * 2**20),
            splits=chosen,
            workers=workers,
            overwrite=overwrite,
        )
    kept = report.shards - report.written
    print(
        f"{output}: {report.images:,} images in {report.shards:,} shards, {report.bytes / 2**20:,.1f} MB"
        + (f" ({kept:,} were there already)" if kept else "")
    )
    if verify:
        damaged = list(verify_shards(output))
        if damaged:
            raise DatasetError(damaged[0] + (f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""))
        print("all checksums are right")
