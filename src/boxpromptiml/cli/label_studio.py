"""Verbs: label-studio."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from boxpromptiml.cli.network import (
    MODEL_HELP,
    CompletionOption,
    CopiesOption,
    LooksOption,
    PrecisionOption,
    RuntimeOption,
    StudentDeviceOption,
    StudentOptions,
    TeacherDeviceOption,
    ThreadsOption,
)
from boxpromptiml.errors import BoxPromptError

if TYPE_CHECKING:
    from boxpromptiml.web.label_studio import FetchRules, Token


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.command("label-studio")(label_studio)


def label_studio(
    teacher: Annotated[Literal["grabcut", "box", "sam"], typer.Option(help="Who turns boxes into masks.")] = "grabcut",
    weights: Annotated[
        str | None,
        typer.Option(help="sam: hub id or folder of SAM, SAM-HQ, SAM 2 or EdgeTAM.", show_default="SAM ViT-H"),
    ] = None,
    teacher_device: TeacherDeviceOption = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Rougher masks at once, where exact ones take seconds (large photos).")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help=f"{MODEL_HELP} Its predictions become pre-annotations.", show_default="none"
        ),
    ] = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = None,
    device: StudentDeviceOption = None,
    threads: ThreadsOption = None,
    copies: CopiesOption = None,
    completion: CompletionOption = None,
    looks: LooksOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; another than this machine needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 9090,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="BOXPROMPTIML_TOKEN",
            help="Password that Label Studio must send (basic authentication, any user name).",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name that Label Studio calls this server by.", show_default=False),
    ] = None,
    label_studio_url: Annotated[
        str | None,
        typer.Option(envvar="LABEL_STUDIO_URL", help="Label Studio: uploads come from there.", show_default=False),
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with an API key of Label Studio.")
    ] = "LABEL_STUDIO_API_KEY",
    local_files: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Label Studio's local files document root, where this machine sees it.",
            show_default="fetched from Label Studio",
        ),
    ] = None,
    image_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]", help="Images may come from here too; *.NAME: all below.", show_default=False
        ),
    ] = None,
    private_image_hosts: Annotated[
        bool, typer.Option("--private-image-hosts", help="Those hosts may be inside this network.")
    ] = False,
    max_mib: Annotated[float, typer.Option(min=0.001, max=1e6, help="Largest image file, MiB.")] = 64.0,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=1e6, help="Largest image, megapixels.")] = 200.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to fetch one image.")] = 30.0,
) -> None:
    """Serve as an ML backend of Label Studio: boxes drawn there come back as brush masks.

    See docs/label-studio.md for how to set it up, with a labelling configuration that works.
    """
    from boxpromptiml.teachers import load_teacher
    from boxpromptiml.web import WebSettings, serve
    from boxpromptiml.web.label_studio import Backend, Fetcher, Pictures, create_backend_app

    student = StudentOptions(runtime, precision, device, threads, copies, completion, looks)
    if model is None:
        student.check_without_model()
    settings = WebSettings(
        host=host,
        port=port,
        token=token,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        max_pixels=int(max_megapixels * 1e6),
        # Images within tasks are base64, a third longer.
        max_upload_bytes=max(64, int(max_mib * 1.5)) * 2**20,
    )
    rules, key = _rules(label_studio_url, image_host or [], private_image_hosts, max_mib, timeout), _key(api_key_env)
    if local_files is not None and not local_files.is_dir():
        raise BoxPromptError(f"{local_files}: no such folder; --local-files names Label Studio's document root")
    # Everything is loaded before the first request: Label Studio waits 3 seconds for an answer to /setup.
    options = {} if teacher_device is None else {"device": teacher_device}
    backend = Backend(
        load_teacher(teacher, weights=weights, **options),
        Pictures(Fetcher(rules), local_files=local_files, max_pixels=settings.max_pixels),
        localizer=None if model is None else student.load(model),
        token=key,
        draft=draft,
    )
    _log_to_console()
    serve(create_backend_app(backend, settings), settings, open_browser=False)


def _rules(url: str | None, hosts: list[str], private: bool, max_mib: float, timeout: float) -> FetchRules:
    from boxpromptiml.web.label_studio import FetchRules, HostRule, parse_origin

    try:
        label_studio = parse_origin(url) if url else None
    except BoxPromptError as error:
        raise BoxPromptError(f"--label-studio-url {error}; write it as http://localhost:8080") from error
    return FetchRules(
        label_studio=label_studio,
        allowed=tuple(HostRule.parse(text) for text in hosts),
        private=private,
        max_bytes=int(max_mib * 2**20),
        seconds=timeout,
    )


def _key(variable: str) -> Token | None:
    from boxpromptiml.web.label_studio import Token

    key = os.environ.get(variable, "").strip()
    return Token(key) if key else None


def _log_to_console() -> None:
    """What was refused goes to the console: Label Studio tells people to look there, and shows a status only."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("boxpromptiml.web.label_studio")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
