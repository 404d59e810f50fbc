"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

# Before the first import of huggingface_hub, timm or transformers: set later, it is ignored.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research data sets (CASIA and others), which are not part of the project; skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the research data sets are not at {folder}")
    return folder
