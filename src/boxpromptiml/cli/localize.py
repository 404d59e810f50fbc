"""Verbs: localize."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from boxpromptiml.cli.localizing import to_files, to_parquet
from boxpromptiml.cli.network import (
    CompletionOption,
    CopiesOption,
    DeviceOption,
    LooksOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    ThreadsOption,
)


class _Format(StrEnum):
    files = "files"
    parquet = "parquet"


class _Engine(StrEnum):
    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("localize")(localize)


def localize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Image files, folders (searched recursively; results of earlier runs, Gt/ beside Tp/ and masks of "
            "datasets are left out), quoted globs, lists (.txt, manifests .jsonl), archives (.tar), tables (.parquet), "
            "URLs of any of these, or - for a list on stdin.",
            show_default=False,
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the results; with --format parquet also a URL.")],
    model: ModelOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="For pixels and verdict; default: the model's.", show_default=False),
    ] = None,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail",
            help="Look at overlapping tiles of each photo at its own size too: finer masks, smaller edits and copies, "
            "many times the time.",
        ),
    ] = False,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Look at everything four times, as it is and mirrored, and average."),
    ] = False,
    output_format: Annotated[
        _Format | None,
        typer.Option(
            "--format",
            help="files: results.jsonl and pictures. parquet: a table in parts, for many images. Default: files, with "
            "--engine ray parquet.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        _Engine, typer.Option(help="local: all cores of this machine. ray: Ray Data, here or on a cluster.")
    ] = _Engine.local,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to use: auto, HOST:PORT or ray://HOST:PORT; default: one started here."),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks/--no-masks", help="Masks at the image's own size: PNG, 0/255, or a column of RLE.")
    ] = True,
    digests: Annotated[
        bool,
        typer.Option(
            "--digests/--no-digests",
            help="Parquet: the SHA-256 of each image as a column; 5 % of the time on large photos.",
        ),
    ] = True,
    heatmaps: Annotated[
        bool | None,
        typer.Option(
            "--heatmaps/--no-heatmaps",
            help="16-bit PNG: probability x 65535 on the network's grid, with --detail a finer one. Files only; "
            "default: yes.",
            show_default=False,
        ),
    ] = None,
    overlays: Annotated[
        bool | None,
        typer.Option(
            "--overlays/--no-overlays",
            help="JPEG to look at: tint and outline, at most 2048 pixels. Files only; default: yes.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Look again at images whose earlier result still holds.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Parquet: do parts again that hold images with an error.")
    ] = False,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    threads: ThreadsOption = None,
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Images per inference.")] = 4,
    shard_size: Annotated[
        int | None,
        typer.Option(min=1, help="Parquet: images per part; an archive is one part. Default: 1000", show_default=False),
    ] = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            help="Of tables: bytes, {bytes, path}, or paths. Default: one of the usual names.", show_default=False
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(help="Of tables: what an image is called in the results. Default: TABLE#ROW.", show_default=False),
    ] = None,
    max_megapixels: Annotated[
        float, typer.Option(min=0.000001, max=1e6, help="Larger images become error lines before they are decoded.")
    ] = 200.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of as text.")] = False,
) -> None:
    """Find the tampered pixels of photographs.

    Writes OUT/results.jsonl, one line per image in the order of the inputs (image, sha256, width, height, score,
    verdict, threshold, regions, copies, detail, tta, mask, heatmap, overlay, model, seconds; or image, error),
    OUT/masks, OUT/heatmaps and OUT/overlays. A second run into the same folder goes on where the first one stopped:
    images with the same SHA-256, model, threshold, --detail, --tta and files are skipped. With --format parquet OUT
    gets part-000000.parquet and so on, one row per image; a second run does the parts that are missing. Exit code 1:
    some images failed, or a folder could not be read; 2: wrong usage.
    """
    import sys
    import warnings

    from boxpromptiml.bulk import Columns, LeftOut, Outputs, TableOptions, expand_inputs
    from boxpromptiml.runtime import Localizer
    from boxpromptiml.storage import is_url, local_path

    parquet = output_format is _Format.parquet or (output_format is None and engine is _Engine.ray)
    _check_together(
        {
            "--engine ray": (engine is _Engine.ray, True),
            "--retry-failed": (retry_failed, True),
            "--shard-size": (shard_size is not None, True),
            "--no-digests": (not digests, True),
            "--heatmaps": (bool(heatmaps), False),
            "--overlays": (bool(overlays), False),
        },
        parquet,
    )
    if is_url(out) and not parquet:
        raise typer.BadParameter("a URL as --out goes with --format parquet")
    if ray_address is not None and engine is not _Engine.ray:
        raise typer.BadParameter("--ray-address goes with --engine ray")
    # Pillow's remarks on odd metadata would tear the progress bar; what matters becomes an error line.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    columns = Columns(image_column, id_column)
    network: dict[str, Any] = {
        "runtime": runtime,
        "precision": precision,
        "device": device,
        "copies": copies,
        "completion": completion,
        "looks": looks,
    }
    max_pixels = int(max_megapixels * 1e6)
    left_out = LeftOut()
    sources = expand_inputs(inputs, out=out, lines=sys.stdin if "-" in inputs else None, left_out=left_out)
    if parquet:
        options = TableOptions(
            threshold=threshold,
            max_pixels=max_pixels,
            batch_size=batch_size,
            masks=masks,
            columns=columns,
            shard_images=shard_size or TableOptions.shard_images,
            overwrite=overwrite,
            retry_failed=retry_failed,
            detail=detail,
            tta=tta,
            digests=digests,
        )
        localizer = Localizer.load(model, threads=1, **network)  # to know it by its id; the workers have their own
        work = {"engine": engine.value, "cores": threads, "ray_address": ray_address}
        failed = to_parquet(localizer, sources, left_out, out, options, work, as_json)
    else:
        listed = list(sources)
        failed = to_files(
            Localizer.load(model, threads=threads, **network),
            listed,
            left_out,
            local_path(out),
            as_json,
            columns=columns,
            outputs=Outputs(masks, heatmaps is not False, overlays is not False),
            threshold=threshold,
            batch_size=batch_size,
            workers=threads,
            max_pixels=max_pixels,
            overwrite=overwrite,
            detail=detail,
            tta=tta,
        )
    if failed or left_out.folders:
        raise typer.Exit(1)


def _check_together(given: dict[str, tuple[bool, bool]], parquet: bool) -> None:
    """Refuse options of the other format; `given` tells by name whether one is given and whether it needs Parquet."""
    for name, (is_given, needs_parquet) in given.items():
        if is_given and needs_parquet != parquet:
            raise typer.BadParameter(f"{name} goes with --format {'parquet' if needs_parquet else 'files'}")
