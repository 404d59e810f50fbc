"""Published figures of other methods: data with sources, nothing that was measured here."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

NOTE = "published, not measured here"


class Source(BaseModel):
    """Where a number stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=10, description="Of the paper or page.")
    where: str = Field(min_length=3, description="Table or section.")
    url: str = Field(pattern=r"^https://", description="Of the paper or page.")


class Quantity(BaseModel):
    """A number and its source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(gt=0)
    source: str = Field(description="Key of a source.")


class Peer(BaseModel):
    """A published method."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    supervision: Literal["masks", "scribbles", "boxes", "labels"]
    params_m: Quantity | None = Field(None, description="Parameters, millions.")
    flops_g: Quantity | None = Field(None, description="FLOPs as published, thousand millions.")


class Peers(BaseModel):
    """All of them, and what their numbers were read from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    note: str
    sources: dict[str, Source]
    peers: list[Peer]

    def source(self, quantity: Quantity) -> Source:
        """Where a number stands."""
        return self.sources[quantity.source]


def load_peers() -> Peers:
    """The published figures that ship with the package."""
    text = (files("boxpromptiml.bench") / "peers.json").read_text(encoding="utf-8")
    return Peers.model_validate(json.loads(text))
