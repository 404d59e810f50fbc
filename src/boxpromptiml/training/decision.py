"""The decision rule that belongs to what was minimised. Torch-free."""

from __future__ import annotations

from boxpromptiml.model_config import DecisionRule
from boxpromptiml.training.recipe import Recipe, Supervision


def decision_rule(recipe: Recipe, supervision: Supervision) -> DecisionRule:
    """How a student of this recipe makes its image score: as the loss did, where there was one for whole images.

    With ``loss.image``, or from labels alone, the training minimised the cross-entropy of the mean of the highest
    logits; the score is then the sigmoid of that mean. Otherwise it is the package's default.
    """
    if supervision == "label" or recipe.loss.image > 0:
        return DecisionRule(score_pooling="logit", score_fraction=recipe.loss.top_fraction)
    return DecisionRule()
