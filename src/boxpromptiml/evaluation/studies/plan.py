"""What a study is: variants of one training, each repeated with several seeds. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from boxpromptiml.errors import RecipeError
from boxpromptiml.training import Recipe, Supervision, load_recipe

Kind = Literal["supervision", "boxes", "ablation", "training"]

# Seed of training; the study gives it, run by run.
_SEED = "seed"


@dataclass(frozen=True)
class BoxErrors:
    """How good simulated boxes are.

    Attributes:
        loosen: every side moves outward by this share of the tight box's width or height.
        jitter: then every side moves by a normal error of this share (standard deviation).
        missing: share of the regions that the annotator overlooks.
        swapped: share of the images that carry the boxes of another image.
    """

    loosen: float = 0.1
    jitter: float = 0.05
    missing: float = 0.0
    swapped: float = 0.0

    def __post_init__(self) -> None:
        limits = {"loosen": 10.0, "jitter": 10.0, "missing": 1.0, "swapped": 1.0}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise RecipeError(f"--{name} {getattr(self, name):g}: give shares from 0 to {most:g}")


@dataclass(frozen=True)
class Variant:
    """One row of a study's table.

    Attributes:
        name: short and fit for a file name; `--only` chooses by it.
        label: for tables and plots.
        supervision: where the targets of training come from.
        overrides: settings of the recipe that differ from the study's, as for ``--set``.
        dataset: the derived dataset (a folder name) that it is trained on.
        factor: what is varied, for variants that are points of a curve.
        level: how much of it.
        boxes: how the boxes of the derived dataset are drawn (see `BoxErrors`); None: the annotation as it is.
    """

    name: str
    label: str
    supervision: Supervision = "pseudo"
    overrides: tuple[str, ...] = ()
    dataset: str = "train"
    factor: str | None = None
    level: float | None = None
    boxes: BoxErrors | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"overrides": list(self.overrides)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Variant:
        """The way round."""
        boxes = None if raw.get("boxes") is None else BoxErrors(**raw["boxes"])
        return cls(**{**raw, "overrides": tuple(raw["overrides"]), "boxes": boxes})


@dataclass(frozen=True)
class Run:
    """One training of a study.

    Attributes:
        variant: what is trained.
        seed: of weights, order and augmentation.
        recipe: the study's, with the variant's overrides and the seed.
    """

    variant: Variant
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """Names the run's folder."""
        return f"{self.variant.name}-seed{self.seed}"

    def identity(self) -> dict[str, Any]:
        """What a finished run must agree with to count as this one."""
        return {
            "variant": self.variant.name,
            "supervision": self.variant.supervision,
            "dataset": self.variant.dataset,
            "seed": self.seed,
            "recipe": comparable(self.recipe),
        }


@dataclass(frozen=True)
class Plan:
    """A study's runs.

    Attributes:
        kind: which study.
        base: the recipe that variants start from.
        variants: in the order of the table; the first of a study without `reference` is it.
        seeds: each variant is trained once with each.
        reference: name of the variant that the others are compared with.
        yardstick: name of the variant that ratios are taken to.
        options: further settings that shape the results, for the check of a study that goes on.
    """

    kind: Kind
    base: Recipe
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    reference: str
    yardstick: str
    recipe_file: Path | None = None
    settings: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """All runs, seed by seed: a study that is stopped early has compared everything with fewer seeds."""
        return [Run(variant, seed, self.recipe(variant, seed)) for seed in self.seeds for variant in self.variants]

    def recipe(self, variant: Variant, seed: int) -> Recipe:
        """The recipe of one training.

        Raises:
            RecipeError: a setting that is wrong.
        """
        return load_recipe(self.recipe_file, [*self.settings, *variant.overrides, f"{_SEED}={seed}"])


def make_plan(
    kind: Kind,
    variants: Sequence[Variant],
    reference: str,
    *,
    yardstick: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    recipe_file: Path | None = None,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    options: dict[str, Any] | None = None,
) -> Plan:
    """Put a plan together and check all of its recipes.

    Variants whose recipe equals the reference's, with the same targets, are left out: they would be trained twice.

    Args:
        kind: which study.
        variants: all that the study knows.
        reference: name of the one to compare with.
        yardstick: name of the one that ratios are taken to; None: the reference.
        seeds: each variant is trained once with each.
        recipe_file: YAML file of the recipe; None for the defaults.
        settings: ``key=value`` over it.
        only: names of the variants to train; none: all.
        options: further settings that shape the results.

    Raises:
        RecipeError: an unknown variant, one of `only` that repeats another, a seed that is given twice or negative, or
            a setting that is wrong.
    """
    known = [variant.name for variant in variants]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise RecipeError(f"--only {unknown[0]}: no such variant; there are {', '.join(known)}")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise RecipeError(f"--seeds {','.join(map(str, seeds))}: give different whole numbers, such as 0,1,2")
    for setting in settings:
        if setting.partition("=")[0].strip() == _SEED:
            raise RecipeError(f"--set {setting}: a study gives the seed itself; choose them with --seeds")
    plan = Plan(
        kind=kind,
        base=load_recipe(recipe_file, [*settings, f"{_SEED}=0"]),
        variants=tuple(variant for variant in variants if not only or variant.name in only),
        seeds=tuple(seeds),
        reference=reference,
        yardstick=yardstick or reference,
        recipe_file=recipe_file,
        settings=tuple(settings),
        options=options or {},
    )
    plan = replace(plan, variants=_distinct(plan))
    kept = {variant.name for variant in plan.variants}
    if repeated := [name for name in only if name not in kept]:
        raise RecipeError(f"--only {repeated[0]}: is the same training as another one, with this recipe; leave it out")
    return plan


def _distinct(plan: Plan) -> tuple[Variant, ...]:
    """The plan's variants without those that would repeat another's training; the reference stays in any case."""
    seen: dict[tuple[str, str, str], str] = {}
    for variant in sorted(plan.variants, key=lambda variant: variant.name != plan.reference):
        recipe = plan.recipe(variant, 0).model_dump_json()
        seen.setdefault((recipe, variant.supervision, variant.dataset), variant.name)
    return tuple(variant for variant in plan.variants if variant.name in seen.values())


def comparable(recipe: Recipe) -> dict[str, Any]:
    """A recipe without what does not change results: machine, cache, states."""
    raw = recipe.model_dump(mode="json")
    for key in ("state",):
        raw.pop(key)
    for section, keys in {
        "data": ("workers", "cache", "cache_limit_mb"),
        "validation": ("batch_size", "samples"),
        "compute": ("strategy", "threads", "devices", "nodes", "accelerator"),
    }.items():
        for key in keys:
            raw[section].pop(key, None)
    return raw


def first_difference(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str | None:
    """The first key, with dots, in which two nested dicts differ, with both values; None if they are equal."""
    for key in dict.fromkeys([*then, *now]):
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            deeper = first_difference(old, new, f"{prefix}{key}.")
            if deeper is not None:
                return deeper
        elif old != new:
            return f"{prefix}{key} was {old!r} and is now {new!r}"
    return None


def slug(text: str) -> str:
    """A name that is fit for files."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.").lower()[:60] or "data"
