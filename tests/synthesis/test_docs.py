"""The documentation shows the defaults as they are."""

from __future__ import annotations

from pathlib import Path

import yaml

from boxpromptiml.synthesis import SynthesisConfig


def test_the_documented_defaults_are_the_defaults() -> None:
    text = (Path(__file__).parents[2] / "docs" / "synthesis.md").read_text(encoding="utf-8")
    block = text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == SynthesisConfig().model_dump(mode="json")
