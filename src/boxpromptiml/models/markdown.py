"""A model card as Markdown: the one source of ``docs/model/card.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from boxpromptiml.models.card import AdaptiveFact, Diagram, Figure, ModelCard, Result

# Names of figures for people, in the order in which they are told; see docs/metrics.md.
FIGURES = {
    "f1": "pixel F1",
    "iou": "pixel IoU",
    "auc": "pixel AUC",
    "average_precision": "pixel AP",
    "best_shared_f1": "F1 at the best shared threshold",
    "image.auc": "image AUC",
    "image.f1": "image F1",
    "image.accuracy": "image accuracy",
    "image.tpr": "tampered images called tampered",
    "image.fpr": "false alarms: authentic images called tampered",
    "image.fpr_at_95_tpr": "false alarms at 95 % found",
    "false_positive_area": "false area on authentic images",
}


def card_markdown(card: ModelCard) -> str:
    """The card, complete; the same card gives the same text."""
    parts = [part for part in _parts(card) if part]
    return "\n\n".join(parts) + "\n"


def figure_text(figure: Figure) -> str:
    """``.552 [.531, .573]``: a figure with its 95 % interval, where there is one."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _parts(card: ModelCard) -> Iterator[str]:
    text = card.text
    yield f"# {text.title or f'Model card: {card.name}'}"
    yield f"<!-- Made by `boxpromptiml info {card.name} --markdown`: change the model's card, not this page. -->"
    yield text.summary
    yield "## What it is"
    yield _table(["", ""], _facts(card))
    yield _section("Method", [text.method])
    yield from _training(card)
    yield from _results(card.results)
    if text.further:
        rows = [
            [item.name, figure_text(Figure(value=item.value, low=item.low, high=item.high)), f"`{item.command}`"]
            for item in text.further
        ]
        yield _table(["further figures", "", "command"], rows)
    yield from _calibration(card)
    if text.pictures:
        yield "## What it does, in pictures"
        yield from (f"![{picture.caption}]({picture.file})\n\n{picture.caption}" for picture in text.pictures)
    yield _section("Intended use", _list(text.intended_use))
    yield _section("Misuse", _list(text.misuse))
    yield _section("What it cannot see", _list(text.limits))
    yield "## Files"
    rows = [[f"`{file.name}`", f"{file.bytes / 1e6:.2f} MB", f"`{file.sha256}`"] for file in card.files]
    yield _table(["file", "size", "SHA-256"], rows)


def _facts(card: ModelCard) -> list[list[str]]:
    student = dict(card.student)
    backbone = student.pop("backbone", "")
    switches = ", ".join(f"{key.replace('_', ' ')} {_word(value)}" for key, value in student.items())
    height, width = card.size
    return [
        ["backbone", f"`{backbone}`"],
        ["memory-guided gated fusion", switches],
        ["parameters", f"{card.params:,}"],
        ["multiply-adds", f"{card.flops / 1e9:.3f} G at {width} x {height}, by one look"],
        ["input", card.input],
        ["image score", card.score],
        ["mask", card.mask],
        ["weights", f"stored in {card.weights}, computed with in fp32"],
        ["made by", f"boxpromptiml {card.made_by}"],
    ]


def _training(card: ModelCard) -> Iterator[str]:
    text = card.text
    yield "## Training data and its terms"
    rows = [[item.name, item.role, item.terms, item.source or ""] for item in text.training_data]
    yield _table(["material", "role", "terms", "source"], rows)
    facts = [f"Supervision: {card.supervision}" if card.supervision else ""]
    facts.append(f"teacher: {card.teacher}" if card.teacher else "")
    facts.append(f"{card.images:,} images of the datasets" if card.images is not None else "")
    yield "; ".join(fact for fact in facts if fact) + "." if any(facts) else ""
    figures = ", ".join(f"{name.removeprefix('val_')} {value:.3f}" for name, value in card.validation.items())
    yield f"Held-out training images chose the epoch: {figures}." if figures else ""
    if text.commands:
        yield "\n".join(["```", *text.commands, "```"])
    yield text.compute


def _results(results: Sequence[Result]) -> Iterator[str]:
    if not results:
        return
    yield "## Figures"
    presets = ", ".join(sorted({result.preset for result in results}))
    yield (
        f"Preset {presets} (see docs/metrics.md), with 95 % intervals over images. `package` chose "
        "nothing by these images; where people did, the method above says so."
    )
    names = [key for key in FIGURES if any(key in result.figures for result in results)]
    header = ["", *(result.name + (f" ({result.split})" if result.split else "") for result in results)]
    rows = [["tampered + authentic images", *(f"{result.tampered} + {result.authentic}" for result in results)]]
    for key in names:
        cells = [figure_text(result.figures[key]) if key in result.figures else "–" for result in results]
        rows.append([FIGURES[key], *cells])
    rows += [
        ["calibration error of the score, before", *(_ece(result.score_before) for result in results)],
        ["calibration error of the score, after", *(_ece(result.score_after) for result in results)],
        ["calibration error of the map's pixels", *(_ece(result.pixel_after) for result in results)],
    ]
    yield _table(header, rows)


def _calibration(card: ModelCard) -> Iterator[str]:
    facts = card.calibration
    yield "## Threshold and calibration"
    tampered_share = facts.tampered / max(1, facts.tampered + facts.authentic)
    yield (
        f"Chosen on {facts.tampered} tampered and {facts.authentic} authentic training images that were held out, with "
        f"{facts.truth} as truth. The score is a probability for a mix with {tampered_share:.0%} "
        "tampered images, as these are: where fewer are tampered, it is too high."
    )
    if facts.adaptive is not None:
        yield from _adaptive(facts.adaptive)
    scaling = "sigmoid({slope:.4g} x logit + {bias:.4g})"
    rows = [
        [
            "map",
            scaling.format(**facts.map_scaling.model_dump()),
            _ece(facts.pixel_before),
            _ece(facts.pixel_after),
            "",
        ],
        [
            "score",
            scaling.format(**facts.score_scaling.model_dump()),
            _ece(facts.score_before),
            _ece(facts.score_after),
            _ece(facts.score_cross_validated),
        ],
    ]
    yield _table(["", "scaling", "calibration error before", "after", "after, cross-validated"], rows)
    if facts.cut is not None:
        cut, own = facts.cut, "the network's own map" if facts.adaptive is None else "the network's adapted map"
        yield (
            f"The threshold is at {cut.cut:.3f} of {own} ({cut.rule}; the best mean F1 was at "
            f"{cut.best:.3f}), which the scaling moves to 0.5: F1 {cut.f1_at_cut:.3f} there, {cut.f1_at_half:.3f} at "
            f"0.5 of {own}, {cut.f1_at_best:.3f} at best."
            + (
                f" Of authentic images {cut.false_area_at_cut:.2%} is marked there, {cut.false_area_at_half:.2%} at "
                f"0.5 of {own}."
                if cut.false_area_at_cut is not None and cut.false_area_at_half is not None
                else ""
            )
        )
        yield (
            ""
            if cut.cut == 0.5
            else "The map's values are centred on that threshold: 0.5 is where to cut, and the values are further from "
            "shares of tampered pixels than a temperature alone would leave them (the calibration error above)."
        )
    diagram = card.calibration.score_cross_validated or card.calibration.score_after
    if diagram is not None and diagram.bins:
        yield "Reliability of the score on these images" + (
            ", each scaled by what the others gave:" if card.calibration.score_cross_validated else ":"
        )
        yield _diagram(diagram)
    for result in card.results:
        if result.score_after is not None and result.score_after.bins:
            yield f"Reliability of the score on {result.name}:"
            yield _diagram(result.score_after)


def _adaptive(fact: AdaptiveFact) -> Iterator[str]:
    if not fact.background and not fact.peak:
        yield "A threshold that follows each image (adaptive) was tried, and one for all is best on these images."
        return
    yield (
        f"The threshold follows each image (adaptive): before all else, {fact.background:.3g} x (b - "
        f"({fact.usual_background:.4g})) - {fact.peak:.3g} x (t - ({fact.usual_peak:.4g})) is added to the logits of "
        "its map, b being their lower quartile and t the mean of the highest hundredth. Mean F1 on these images at the "
        "best allowed threshold:"
    )
    names = list(fact.f1_fixed)
    rows = [
        [label, *(f"{f1[name]:.3f}" for name in names)]
        for label, f1 in (("one threshold for all", fact.f1_fixed), ("adaptive", fact.f1_adaptive))
    ]
    yield _table(["", *names], rows)


def _diagram(diagram: Diagram) -> str:
    rows = [
        [f"{part.low:.2f} to {part.high:.2f}", f"{part.count:g}", f"{part.confidence:.3f}", f"{part.frequency:.3f}"]
        for part in diagram.bins
    ]
    return _table(["score", "images", "mean score", "share tampered"], rows)


def _ece(diagram: Diagram | None) -> str:
    return "–" if diagram is None or diagram.ece is None else f"{diagram.ece:.3f}"


def _section(title: str, parts: Sequence[str]) -> str:
    content = "\n".join(part for part in parts if part)
    return f"## {title}\n\n{content}" if content else ""


def _list(items: Iterable[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return " and ".join(str(item) for item in value) or "none"
    return str(value)
