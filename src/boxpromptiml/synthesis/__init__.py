"""Tampered images with exact masks, made from authentic photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boxpromptiml.synthesis.config import KINDS, SynthesisConfig
from boxpromptiml.synthesis.settings import load_config

if TYPE_CHECKING:
    from boxpromptiml.synthesis.generator import Synthesizer, Tampered
    from boxpromptiml.synthesis.pools import ObjectPool, PhotoPool

__all__ = ["KINDS", "ObjectPool", "PhotoPool", "SynthesisConfig", "Synthesizer", "Tampered", "load_config"]

_HOMES = {
    "ObjectPool": "boxpromptiml.synthesis.pools",
    "PhotoPool": "boxpromptiml.synthesis.pools",
    "Synthesizer": "boxpromptiml.synthesis.generator",
    "Tampered": "boxpromptiml.synthesis.generator",
}


def __getattr__(name: str) -> Any:
    """Import OpenCV with the first class that needs it: recipes hold a `SynthesisConfig` and never draw."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
