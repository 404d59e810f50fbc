"""Verb: serve."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from boxpromptiml.cli.network import (
    CompletionOption,
    CopiesOption,
    DeviceOption,
    LooksOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
)
from boxpromptiml.cli.serving import AllowHostOption, AllowOriginOption, MaxPixelsOption, MaxUploadOption, PortOption


class _LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("serve")(serve)


def serve(
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but this machine's own needs keys, or --public.")
    ] = "127.0.0.1",
    port: PortOption = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model and the limits for itself.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Cores of each worker.", show_default="the usable cores, divided among the workers"),
    ] = None,
    inference_threads: Annotated[
        int,
        typer.Option(
            min=1, help="Threads of one inference: 1 answers most images a second, more answer a lone one sooner."
        ),
    ] = 1,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable with API keys, separated by commas.",
            show_default="BOXPROMPTIML_API_KEYS, if set",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with API keys, one a line.", show_default=False)
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Answer anyone who can reach the host, without keys.")
    ] = False,
    max_batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Images per inference, at most.",
            show_default="8; 1 where an inference has one thread of a CPU, which gains nothing by sharing",
        ),
    ] = None,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, help="How long an image may wait for others to share an inference.")
    ] = 5.0,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Images inside at once, waiting or at work; more are answered with 429.")
    ] = 64,
    max_images: Annotated[int, typer.Option(min=1, help="Images in one request.")] = 32,
    max_tiles: Annotated[
        int,
        typer.Option(
            min=0, max=4096, help="Tiles of one photo with detail=true; larger ones are cut smaller. 0 refuses."
        ),
    ] = 64,
    max_upload_mb: MaxUploadOption = 64.0,
    max_megapixels: MaxPixelsOption = 100.0,
    body_memory_mb: Annotated[
        float, typer.Option(min=0.001, max=1e6, help="Memory for the bodies of requests, all together; then 503.")
    ] = 512.0,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=1e6, help="Seconds from a request's arrival to its answer.")
    ] = 30.0,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds to go on after SIGTERM while /readyz already says no.")
    ] = 0.0,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at once.")] = 1000,
    allow_host: AllowHostOption = None,
    allow_origin: AllowOriginOption = None,
    log_level: Annotated[_LogLevel, typer.Option(help="warning leaves out requests that went well.")] = _LogLevel.info,
) -> None:
    """Serve a model over HTTP: POST /v1/localize, with health, metrics and OpenAPI.

    Takes image bytes, forms with files, or JSON with base64; answers JSON, or PNG where the Accept header asks for it.
    Logs are JSON on standard error, one line a request. SIGTERM ends it: what is under way is finished first.
    See docs/serving.md.
    """
    from boxpromptiml.machine import usable_cores
    from boxpromptiml.runtime import find_model
    from boxpromptiml.serve import (
        ModelSource,
        ServeSettings,
        Task,
        base_address,
        listen,
        read_keys,
        run,
        run_workers,
    )

    cores = threads or max(1, usable_cores() // workers)
    settings = ServeSettings(
        host=host,
        port=port,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        origins=tuple(origin.rstrip("/") for origin in allow_origin or ()),
        max_upload_bytes=int(max_upload_mb * 1e6),
        max_pixels=int(max_megapixels * 1e6),
        keys=read_keys(api_key_env, api_key_file),
        public=public,
        threads=cores,
        inference_threads=inference_threads,
        max_batch=max_batch or (1 if device == "cpu" and inference_threads == 1 else 8),
        max_wait=max_wait_ms / 1e3,
        max_queue=max_queue,
        max_images=max_images,
        max_tiles=max_tiles,
        timeout=timeout,
        body_bytes=int(body_memory_mb * 1e6),
        max_connections=max_connections,
        drain=drain,
    )
    find_model(model)  # a wrong path is told before a port is taken
    load = ModelSource(
        model=model,
        runtime=runtime,
        precision=precision,
        device=device,
        threads=inference_threads,
        copies=copies,
        completion=completion,
        looks=looks,
    )
    with listen(settings) as listening:
        place = base_address(settings, listening.getsockname()[1])

        def started() -> None:
            print(f"{place}v1/localize  (Ctrl-C stops it)", flush=True)

        if workers == 1:
            run(settings, load, listening, started=started, log_level=log_level.value)
        else:
            run_workers(Task(settings, load, listening, log_level.value), workers, started=started)
