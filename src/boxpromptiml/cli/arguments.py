"""Arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset folder.", show_default=False)]
Split = Literal["train", "val", "test"]
OnMismatch = Literal["error", "skip", "resize"]
# As `boxpromptiml.formats.ImportFormat`, which is not imported before it is needed.
ForeignFormat = Literal[
    "folders", "images", "imdlbenco", "manifest", "coco", "yolo", "voc", "labelme", "label-studio", "cvat"
]
