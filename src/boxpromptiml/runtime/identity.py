"""What tells one model's answers from another's."""

from __future__ import annotations

import hashlib
import json

from boxpromptiml import copymove
from boxpromptiml.model_config import DecisionRule, ModelConfig

# Of what `completing.complete` makes of the same map and picture; `completing` itself needs OpenCV.
_COMPLETION_VERSION = 1
_SCORE_FIELDS = {"score_fraction", "score_pooling"}


def model_id(digest: str, config: ModelConfig) -> str:
    """16 hex digits of the network file's SHA-256 and of all that changes what is made of its answers.

    The threshold is not among it: answers note their own, and keep map and score under another one.
    """
    rule = config.decision
    scalings = [rule.map_scaling, rule.score_scaling]
    adaptive = [] if rule.adaptive is None else [rule.adaptive.model_dump()]
    choices = [f"copies {copymove.VERSION}"] * rule.copies + ["two looks"] * (rule.looks == 2)
    choices += [f"completion {_COMPLETION_VERSION}"] * rule.completion
    # What is as everywhere adds nothing, so that a model without choices of its own is called by its file.
    score = [rule.model_dump(include=_SCORE_FIELDS)] if _score_differs(rule) else []
    if all(scaling.is_identity for scaling in scalings) and not choices and not adaptive and not score:
        return digest[:16]
    text = json.dumps([digest, *(scaling.model_dump() for scaling in scalings), *choices, *adaptive, *score])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _score_differs(rule: DecisionRule) -> bool:
    usual = DecisionRule()
    return any(getattr(rule, name) != getattr(usual, name) for name in _SCORE_FIELDS)
