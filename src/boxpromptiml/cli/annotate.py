"""Verb: annotate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.arguments import Split
from boxpromptiml.cli.network import (
    NO_MODEL,
    CompletionOption,
    CopiesOption,
    LooksOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    StudentDeviceOption,
    StudentOptions,
    TeacherDeviceOption,
    ThreadsOption,
)
from boxpromptiml.cli.serving import (
    AllowHostOption,
    AllowOriginOption,
    BrowserOption,
    CacheOption,
    DetailSecondsOption,
    HostOption,
    MaxPixelsOption,
    MaxTilesOption,
    MaxUploadOption,
    PortOption,
    TokenOption,
    make_settings,
)
from boxpromptiml.errors import TeacherError

if TYPE_CHECKING:
    from boxpromptiml.web import WebSettings
    from boxpromptiml.web.opening import Found
    from boxpromptiml.web.teacher_pool import TeacherPool

# So many files that do not fit are named one by one.
_SHOWN = 10
# Memory for what teachers have seen of images, against that for pictures: the former are larger.
_TEACHERS_SHARE = 2


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("annotate")(annotate)


def annotate(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A dataset folder, or a folder of images (also with Tp/, Gt/, Au/), which becomes one.",
            show_default=False,
        ),
    ],
    host: HostOption = "127.0.0.1",
    port: PortOption = 0,
    token: TokenOption = None,
    teacher: Annotated[
        Literal["grabcut", "sam", "none"],
        typer.Option(
            help="Who previews masks while boxes are drawn; none for neither previews nor review by teachers."
        ),
    ] = "grabcut",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Hub id or folder of SAM, SAM-HQ, SAM 2 or EdgeTAM, for --teacher sam, or to be asked in review.",
            show_default="SAM ViT-H",
        ),
    ] = None,
    teacher_device: TeacherDeviceOption = None,
    model: ModelOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: StudentDeviceOption = None,
    threads: ThreadsOption = None,
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    split: Annotated[Split | None, typer.Option(help="Put images that are new into this split.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show everything, change nothing.")] = False,
    no_browser: BrowserOption = False,
    allow_host: AllowHostOption = None,
    allow_origin: AllowOriginOption = None,
    max_upload_mb: MaxUploadOption = 64.0,
    max_megapixels: MaxPixelsOption = 200.0,
    cache_mb: CacheOption = 256.0,
    max_tiles: MaxTilesOption = 512,
    detail_timeout: DetailSecondsOption = 120.0,
) -> None:
    """Annotate and review a dataset in the browser.

    The model's maps are shown as suggestions, and photos can be dropped to be localized; `--model none` goes without.
    New images in the folder are found each time it is opened. Every change is stored at once: stop with Ctrl-C at any
    time and run the same command again to go on.
    """
    from dataclasses import replace

    from boxpromptiml.runtime import is_there_a_model
    from boxpromptiml.web import WebState, create_app, listen, serve
    from boxpromptiml.web.opening import open_folder

    if weights is not None and teacher == "none":
        raise TeacherError("--weights is for the sam teacher; leave --teacher none out")
    if teacher_device is not None and teacher != "sam" and weights is None:
        raise TeacherError("--teacher-device is for the sam teacher; give --teacher sam, or --weights")
    with_model = model != NO_MODEL and is_there_a_model(model)
    student = StudentOptions(runtime, precision, device, threads, copies, completion, looks)
    if not with_model:
        student.check_without_model()
    settings = make_settings(
        host=host,
        port=port,
        token=token,
        allow_host=allow_host,
        allow_origin=allow_origin,
        max_upload_mb=max_upload_mb,
        max_megapixels=max_megapixels,
        cache_mb=cache_mb,
        max_tiles=max_tiles,
        detail_seconds=detail_timeout,
    )
    # What can fail at once does so before a large folder is looked through.
    localizer = student.load(model) if with_model else None
    with listen(settings) as listening:
        opened, found = open_folder(dataset, split=split, read_only=read_only)
        with opened:
            _report(found)
            settings = replace(settings, read_only=read_only or opened.read_only)
            if opened.read_only and not read_only:
                print(f"{dataset}: cannot be written, changes are refused", file=sys.stderr)
            pool = _teachers(teacher, weights, teacher_device, settings)
            try:
                if pool is not None:
                    pool.teacher(pool.default)  # missing weights are told now, not at the first box
                app = create_app(WebState(dataset=opened, settings=settings, teachers=pool, localizer=localizer))
                serve(app, settings, open_browser=not no_browser, listening=listening)
            finally:
                if pool is not None:
                    pool.close()


def _report(found: Found) -> None:
    for verb, mismatches in (("without its mask", found.without_mask), ("left out", found.left_out)):
        for mismatch in mismatches[:_SHOWN]:
            print(f"{verb}: {mismatch}", file=sys.stderr)
        if len(mismatches) > _SHOWN:
            print(f"{verb}: {len(mismatches) - _SHOWN:,} more", file=sys.stderr)
    if found.added:
        print(f"{found.added:,} new image{'s' if found.added != 1 else ''}")


def _teachers(teacher: str, weights: str | None, device: str | None, settings: WebSettings) -> TeacherPool | None:
    """The teachers that may be asked, that of the previews first; each is loaded when it is first asked."""
    if teacher == "none":
        return None
    from boxpromptiml.teachers import Teacher, load_teacher
    from boxpromptiml.web.teacher_pool import TeacherPool

    def load(name: str) -> Teacher:
        options = {"device": device} if name == "sam" and device is not None else {}
        return load_teacher(name, weights=weights if name == "sam" else None, **options)

    with_sam = ["sam"] if weights is not None else []
    return TeacherPool(
        [teacher, *with_sam, "grabcut", "box"],
        load,
        cache_bytes=_TEACHERS_SHARE * settings.cache_bytes,
        max_pixels=settings.max_pixels,
    )
