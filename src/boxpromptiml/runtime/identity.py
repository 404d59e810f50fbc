"""What tells one model's answers from another's."""

from __future__ import annotations

import hashlib
import json

from boxpromptiml.copymove import VERSION
from boxpromptiml.model_config import ModelConfig


def model_id(digest: str, config: ModelConfig) -> str:
    """16 hex digits of the network file's SHA-256 and of all that changes what is made of its answers."""
    rule = config.decision
    scalings = [rule.map_scaling, rule.score_scaling]
    adaptive = [] if rule.adaptive is None else [rule.adaptive.model_dump()]
    choices = [f"copies {VERSION}"] * rule.copies + ["two looks"] * (rule.looks == 2)
    if all(scaling.is_identity for scaling in scalings) and not choices and not adaptive:
        return digest[:16]
    text = json.dumps([digest, *(scaling.model_dump() for scaling in scalings), *choices, *adaptive])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
