"""The studies' variants, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from boxpromptiml.evaluation.studies.plan import BoxErrors, Variant
from boxpromptiml.training import Recipe, Supervision

SUPERVISION: tuple[Variant, ...] = (
    Variant("mask", "true masks", "mask"),
    Variant("pseudo", "pseudo masks from boxes", "pseudo"),
    Variant("box", "filled boxes", "box"),
    Variant("label", "image labels", "label"),
)
SUPERVISION_REFERENCE = "mask"

WHOLE = "full"  # of a recipe: what the studies that take parts out of it compare with
_ABLATION: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (WHOLE, "full model", ()),
    ("no-gates", "without gates", ("student.gates=false",)),
    ("no-memory", "without memory (size 0)", ("student.memory=false",)),
    ("no-dual-guidance", "without dual guidance", ("student.dual_guidance=false",)),
    ("memory-8", "memory of 8", ("student.memory_size=8",)),
    ("memory-32", "memory of 32", ("student.memory_size=32",)),
    ("memory-64", "memory of 64", ("student.memory_size=64",)),
    ("memory-256", "memory of 256", ("student.memory_size=256",)),
    ("temperature-0.01", "temperature 0.01", ("student.temperature=0.01",)),
    ("temperature-0.1", "temperature 0.1", ("student.temperature=0.1",)),
    ("temperature-1", "temperature 1", ("student.temperature=1.0",)),
    ("alpha-learnt", "alpha learnt", ("student.learn_alpha=true",)),
    ("alpha-fixed", "alpha fixed at 0.5", ("student.learn_alpha=false", "student.alpha=0.5")),
    ("bce", "cross-entropy alone", ("loss.dice=0",)),
    ("bce-dice", "cross-entropy + soft Dice", ("loss.dice=0.5",)),
    ("hard-targets", "targets cut at 0.5", ("loss.hard_targets=true",)),
)


def ablation(supervision: Supervision) -> tuple[Variant, ...]:
    """The full model of the recipe, and what differs from it in one thing each."""
    return tuple(Variant(name, label, supervision, overrides) for name, label, overrides in _ABLATION)


_FURTHER_PARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("no-objects", "without object cut-outs", ("synthesis.objects=[]",)),
    ("no-compression", "without compression", ("augmentation.jpeg=0",)),
    ("no-zoom", "without zoom", ("augmentation.zoom=0", "augmentation.crop=0")),
    ("no-turning", "without turning", ("augmentation.vertical_flip=0", "augmentation.rotate90=0")),
    ("no-colour", "without colour jitter", ("augmentation.colour=0",)),
    ("unweighted", "tampered pixels not weighted", ("loss.positive_weight=1",)),
    ("no-image-term", "without the image term of the loss", ("loss.image=0",)),
    ("no-averaging", "without the moving average", ("optimizer.ema_decay=0",)),
)
_EVIDENCE = {
    "input": ("no-residuals", "without noise residuals beside the colours"),
    "residual": ("no-residual-stage", "without the stage of noise residuals"),
    "dct": ("no-blocks", "without JPEG block frequencies"),
}


def training(recipe: Recipe, supervision: Supervision) -> tuple[Variant, ...]:
    """A recipe as it is, and without each of its parts.

    Without synthesis there are as many windows in all, of real images alone: the epochs are as many more as they are
    shorter. Where the recipe has several kinds of evidence, it is also tried without each.

    Args:
        recipe: what parts are taken from.
        supervision: what all variants are trained on.
    """
    longer = 1 / (1 - recipe.synthesis.fraction)
    no_synthesis = (
        "synthesis.fraction=0",
        f"epochs={round(recipe.epochs * longer)}",
        f"optimizer.warmup_epochs={recipe.optimizer.warmup_epochs * longer:g}",
    )
    kinds = recipe.student.evidence
    parts = [
        (WHOLE, "whole recipe", ()),
        ("random-weights", "from random weights", ("pretrained=false",)),
        ("no-synthesis", "without synthesised images", no_synthesis),
        ("shrunk", "whole images, resized", ("input.fit=stretch",)),
        ("no-evidence", "without evidence", ("student.evidence=[]",)),
        *(
            (*_EVIDENCE[kind], (f"student.evidence=[{','.join(other for other in kinds if other != kind)}]",))
            for kind in kinds
            if len(kinds) > 1
        ),
        *_FURTHER_PARTS,
    ]
    return tuple(Variant(name, label, supervision, overrides) for name, label, overrides in parts)


BOXES_REFERENCE = "base"
BOXES_YARDSTICK = "mask"
FACTORS = ("loosen", "jitter", "missing", "swapped")


def boxes(base: BoxErrors, levels: Mapping[str, Sequence[float]]) -> tuple[Variant, ...]:
    """True masks, pseudo masks from boxes of a base quality, and from boxes that differ from it in one thing each.

    Args:
        base: quality that the others depart from.
        levels: for each of `FACTORS` the levels to try; that of the base is not tried twice.

    Raises:
        RecipeError: a level that is not a share.
    """
    text = f"boxes: loosen {base.loosen:.0%}, jitter {base.jitter:.0%}"
    extra = [f"{name} {value:.0%}" for name in ("missing", "swapped") if (value := getattr(base, name))]
    found = [
        Variant(BOXES_YARDSTICK, "true masks", "mask"),
        Variant(BOXES_REFERENCE, ", ".join([text, *extra]), dataset=BOXES_REFERENCE, boxes=base),
    ]
    for factor in FACTORS:
        for level in sorted(set(levels.get(factor, ()))):
            if level != getattr(base, factor):
                name = f"{factor}-{level:g}"
                errors = replace(base, **{factor: level})
                label = f"{factor} {level:.0%}"
                found.append(Variant(name, label, dataset=name, factor=factor, level=level, boxes=errors))
    return tuple(found)
