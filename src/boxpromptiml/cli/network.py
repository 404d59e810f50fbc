"""How a student is run: the options of every verb that runs one, which mean the same in all of them.

They go to `boxpromptiml.runtime.Localizer.load` as they are, which says what is wrong with them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from boxpromptiml.runtime import Localizer

MODEL_HELP = "Model: default, which comes with the package, a folder, or a hub id owner/name[@revision]."
NO_MODEL = "none"  # of verbs that can do without
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", envvar="BOXPROMPTIML_MODEL", help=MODEL_HELP, show_default="default"),
]
RuntimeOption = Annotated[
    str,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="What runs the network: onnx, openvino, torch, torch-compile, or auto: the first whose file is there.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="fp32, fp16, bf16 or int8, as exported.",
        show_default="fp32 where it is there",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="Where the network runs: cpu, cuda (torch) or gpu (Intel graphics, openvino)."
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Cores to use, by the network and by what is done around it.",
        show_default="all usable ones",
    ),
]
CopiesOption = Annotated[
    bool | None,
    typer.Option(
        "--copies/--no-copies",
        help="Look for parts of an image that are there twice, by matching it with itself; takes about 0.1 s a photo, "
        "more where one looks closer.",
        show_default="as the model says",
    ),
]
CompletionOption = Annotated[
    bool | None,
    typer.Option(
        "--completion/--no-completion",
        help="Complete what is marked of an object to all of it, by its colours; takes about 0.1 s where anything is.",
        show_default="as the model says",
    ),
]
LooksOption = Annotated[
    int | None,
    typer.Option(
        "--looks",
        min=1,
        max=2,
        help="How often the network looks at an image: once, or also turned by half, averaged: fewer accidents, for "
        "twice its time. --tta, where there is one, looks four times whatever this says.",
        show_default="as the model says",
    ),
]
# Of verbs that have a model only if one is named.
StudentDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where the student runs: cpu, cuda (torch) or gpu (Intel graphics, openvino).",
        show_default="cpu",
    ),
]
TeacherDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--teacher-device",
        metavar="NAME",
        help="Where the sam teacher runs: cpu, cuda, cuda:1, mps ...",
        show_default="the fastest there is",
    ),
]


@dataclass(frozen=True)
class StudentOptions:
    """What verbs that may run a student were told of it."""

    runtime: str
    precision: str | None
    device: str | None
    threads: int | None
    copies: bool | None
    completion: bool | None
    looks: int | None

    def check_without_model(self) -> None:
        """Refuse them where none is run.

        Raises:
            typer.BadParameter: one of them is given.
        """
        given = {
            "--runtime": self.runtime != "auto",
            "--precision": self.precision is not None,
            "--device": self.device is not None,
            "--threads": self.threads is not None,
            "--copies": self.copies is True,
            "--no-copies": self.copies is False,
            "--completion": self.completion is True,
            "--no-completion": self.completion is False,
            "--looks": self.looks is not None,
        }
        if any(given.values()):
            name = next(name for name, is_given in given.items() if is_given)
            hint = " (--teacher-device is the sam teacher's)" if name == "--device" else ""
            raise typer.BadParameter(f"{name} is for a student, and there is none; add --model FOLDER{hint}")

    def load(self, model: str | None) -> Localizer:
        """Load a student, see `Localizer.load`."""
        from boxpromptiml.runtime import Localizer

        return Localizer.load(model, **(asdict(self) | {"device": self.device or "cpu"}))
