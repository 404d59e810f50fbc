"""Which images the page shows, and what it says of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from boxpromptiml.evaluation.plan import Plan
from boxpromptiml.evaluation.report import markup
from boxpromptiml.evaluation.report.pictures import draw
from boxpromptiml.evaluation.report.words import share
from boxpromptiml.evaluation.result import EvaluationResult
from boxpromptiml.evaluation.table import ImageResult
from boxpromptiml.progress import track
from boxpromptiml.runtime import Localizer

_EXAMPLES = 20
_AUTHENTIC_EXAMPLES = 10
Section = tuple[str, str, str]  # name, title, HTML


def examples(result: EvaluationResult, plan: Plan, localizer: Localizer) -> Iterator[Section]:
    """The parts of the page with pictures: the worst, the best, the largest false alarms. Each is looked at anew."""
    table = result.images
    usable = np.flatnonzero(table.tampered & table.scored & ~np.isnan(table.pixels[:, 0]))
    f1, share = table.pixels[usable, 0], table.region_share[usable]
    order = usable[np.lexsort((-share, f1))]  # of several at 0 the largest regions: these should have been found
    best = usable[np.lexsort((share, -f1))]
    authentic = np.flatnonzero(~table.tampered)
    false = authentic[np.argsort(-table.positive_area[authentic], kind="stable")]
    false = false[table.positive_area[false] > 0]
    halves = max(1, min(_EXAMPLES, len(usable) // 2))  # no image on both sides
    legend = "Photograph, true outline (cyan), heat map of the model with the outline: dark is 0, pale yellow is 1."
    chosen = [
        (
            "worst",
            "Worst tampered images",
            order[:halves] if len(usable) > 1 else order[:0],
            f"{legend} Lowest pixel F1 first.",
        ),
        ("best", "Best tampered images", best[:halves], f"{legend} Highest pixel F1 first."),
        (
            "false",
            "Authentic images with the largest false area",
            false[:_AUTHENTIC_EXAMPLES],
            "Photograph and heat map; nothing is tampered here.",
        ),
    ]
    total = sum(len(places) for _, _, places, _ in chosen)
    looked_at = iter(track((int(place) for _, _, places, _ in chosen for place in places), "pictures", total=total))
    for name, title, places, words in chosen:
        drawn = [_example(table[next(looked_at)], plan, localizer, "tta" in result.model) for _ in places]
        yield name, title, markup.paragraph(words) + markup.examples(drawn) if drawn else ""
    next(looked_at, None)  # closes the progress bar


def _example(image: ImageResult, plan: Plan, localizer: Localizer, tta: bool) -> str:
    pictures = draw(plan.task(image.dataset, image.image), localizer, tta=tta)
    shown = [(pictures.photo, "photograph")]
    if image.tampered and pictures.truth is not None:
        shown.append((pictures.truth, "true outline"))
    shown.append((pictures.heat, "heat map"))
    details = [f"score {image.score:.3f}"]
    if image.tampered:
        headline = f"F1 {image.pixels.f1:.3f}" if image.pixels is not None else ""
        details.append(f"{share(image.region_share)} of the image tampered")
        if image.kind:
            details.append(image.kind)
    else:
        headline = f"{share(image.positive_area)} falsely marked"
    return markup.example(shown, headline, f"· {' · '.join(details)}", image.image)
