"""Options and settings of the verbs that serve a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from boxpromptiml.web import WebSettings

HostOption = Annotated[
    str,
    typer.Option(help="Address to listen on. Any but this machine's own needs a token; without one, one is made."),
]
PortOption = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Port; 0: a free one.", show_default="the first free one from 8008 on"),
]
TokenOption = Annotated[
    str | None,
    typer.Option(envvar="BOXPROMPTIML_TOKEN", help="What every request must carry: 16 or more letters and digits."),
]
AllowHostOption = Annotated[
    list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A further name by which browsers reach it.")
]
AllowOriginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin",
        metavar="ORIGIN",
        help="Where a proxy shows the page, such as https://name, if it does not pass the Host header on.",
    ),
]
MaxUploadOption = Annotated[
    float, typer.Option("--max-upload-mb", min=0.001, max=1e6, help="Limit of one request, megabytes.")
]
MaxPixelsOption = Annotated[
    float,
    typer.Option("--max-megapixels", min=0.000001, max=1e6, help="Larger images are refused before they are decoded."),
]
CacheOption = Annotated[
    float, typer.Option("--cache-mb", min=0.0, max=1e6, help="Memory for pictures; teachers get twice as much.")
]
MaxTilesOption = Annotated[
    int,
    typer.Option(
        "--max-tiles",
        min=0,
        max=4096,
        help="Tiles of a photo that is looked at in detail; one that needs more is cut at a smaller size. 0: none.",
    ),
]
DetailSecondsOption = Annotated[
    float,
    typer.Option("--detail-timeout", min=0.001, max=1e6, help="Seconds that looking at a photo's tiles may take."),
]
BrowserOption = Annotated[bool, typer.Option("--no-browser", help="Do not open the browser.")]


def make_settings(
    *,
    host: str,
    port: int,
    token: str | None,
    allow_host: list[str] | None,
    allow_origin: list[str] | None,
    max_upload_mb: float,
    max_megapixels: float,
    cache_mb: float = 256.0,
    max_tiles: int = 512,
    detail_seconds: float = 120.0,
) -> WebSettings:
    """Settings of a server from what the command line says; a token is made where one is needed and none is given.

    Raises:
        BoxPromptError: as `WebSettings`.
    """
    import secrets

    from boxpromptiml.http.settings import is_loopback
    from boxpromptiml.web import WebSettings

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    return WebSettings(
        host=host,
        port=port,
        token=token,
        allowed_hosts=tuple(allow_host or ()),
        origins=tuple(origin.rstrip("/") for origin in allow_origin or ()),
        max_upload_bytes=int(max_upload_mb * 1e6),
        max_pixels=int(max_megapixels * 1e6),
        cache_bytes=int(cache_mb * 1e6),
        max_tiles=max_tiles,
        detail_seconds=detail_seconds,
    )
