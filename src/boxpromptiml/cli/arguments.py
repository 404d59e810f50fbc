"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset folder.", show_default=False)]
Split = Literal["train", "val", "test"]
OnMismatch = Literal["error", "skip", "resize"]
