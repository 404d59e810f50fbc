"""Verb: page."""

from __future__ import annotations

import typer

from boxpromptiml.cli.network import (
    CompletionOption,
    CopiesOption,
    DeviceOption,
    LooksOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    StudentOptions,
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


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("page")(page)


def page(
    model: ModelOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 0,
    token: TokenOption = None,
    no_browser: BrowserOption = False,
    allow_host: AllowHostOption = None,
    allow_origin: AllowOriginOption = None,
    max_upload_mb: MaxUploadOption = 64.0,
    max_megapixels: MaxPixelsOption = 200.0,
    cache_mb: CacheOption = 256.0,
    max_tiles: MaxTilesOption = 512,
    detail_timeout: DetailSecondsOption = 120.0,
) -> None:
    """Localize photos in the browser: drop one, see the model's map over it.

    Photos go to this program and no further, and are not written to disk. With a dataset to annotate,
    `boxpromptiml annotate DATASET` has the same view.
    """
    from boxpromptiml.web import WebState, create_app, listen, serve

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
    localizer = StudentOptions(runtime, precision, device, threads, copies, completion, looks).load(model)
    with listen(settings) as listening:
        app = create_app(WebState(settings=settings, localizer=localizer))
        serve(app, settings, open_browser=not no_browser, listening=listening)
