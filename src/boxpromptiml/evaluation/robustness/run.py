"""Evaluate a model at every level of the attacks."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boxpromptiml import __version__
from boxpromptiml.evaluation.plan import open_plan
from boxpromptiml.evaluation.robustness.attacks import ATTACKS, CLEAN, Attack, Value, untouched
from boxpromptiml.evaluation.robustness.result import RobustnessResult
from boxpromptiml.evaluation.robustness.store import OUTPUTS, LevelStore, Outcome, check_folder
from boxpromptiml.evaluation.run import evaluate
from boxpromptiml.evaluation.sources import AUTO, Source
from boxpromptiml.files import write_json, write_text
from boxpromptiml.formats.importing import OnMismatch
from boxpromptiml.metrics import Mode, get_preset
from boxpromptiml.runtime import Localizer


@dataclass(frozen=True, slots=True)
class LevelDone:
    """A level that has just been finished.

    Attributes:
        label: attack and level.
        f1: pixel F1; None where it is not defined.
        done: levels that are finished, this one included.
        total: levels of the run.
        seconds_left: estimate, from the levels that this run has computed.
    """

    label: str
    f1: float | None
    done: int
    total: int
    seconds_left: float


def robustness(
    localizer: Localizer,
    sources: Source | Sequence[Source],
    out: str | Path,
    *,
    attacks: Sequence[str] = tuple(ATTACKS),
    preset: str = "imdlbenco",
    mode: Mode = "origin",
    split: str = AUTO,
    seed: int = 0,
    batch_size: int = 8,
    threads: int | None = None,
    on_mismatch: OnMismatch = "error",
    on_level: Callable[[LevelDone], None] | None = None,
) -> RobustnessResult:
    """Score a model's maps on images that were harmed at their own size; the masks stay as they are.

    Writes ``robustness.json``, ``robustness.csv`` and ``robustness.png`` into `out`, and every finished level into
    ``out/levels``: a run that was interrupted, in whatever way, goes on there and ends in the same digits; a later run
    with other attacks takes over the levels that are there.

    Args:
        localizer: the model.
        sources: see `boxpromptiml.evaluation.evaluate`.
        out: output folder.
        attacks: keys of `ATTACKS`.
        preset: protocol of the pixel figures.
        mode: the protocol's mode.
        split: ``train``, ``val``, ``test``, ``all``, or ``auto``.
        seed: of the noise, which depends on seed, level and name of the image alone.
        batch_size: images an inference.
        threads: threads that read, harm and score images; None for all usable cores.
        on_mismatch: for masks that do not fit their images, see `open_plan`.
        on_level: called after each level that this run has computed.

    Raises:
        BoxPromptError: `out` belongs to another model, data, preset, mode or seed, or to something else.
        DatasetError: a source that is missing, empty, or has no truth to score against.
        ImageError: an image or mask that cannot be read.
        MissingExtraError: OpenCV or Matplotlib is not installed.
        ValueError: unknown attack, preset or mode.
    """
    from boxpromptiml.evaluation.robustness.plot import draw_curves

    unknown = [name for name in attacks if name not in ATTACKS]
    if unknown or not attacks:
        raise ValueError(f"unknown attack {', '.join(unknown) or 'none'}; there are {', '.join(ATTACKS)}")
    rule = get_preset(preset)
    chosen = [ATTACKS[name] for name in dict.fromkeys(attacks)]
    for attack in chosen:
        attack.try_out()
    folder = Path(out)
    check_folder(folder)
    with open_plan(sources, split=split, on_mismatch=on_mismatch) as plan:
        # Earlier versions compared models that decode drafts by drafts of the untouched images.
        drafts = localizer.config.preprocessing.draft_margin is not None
        store = LevelStore.open(
            folder,
            {
                **({"way to decode untouched images": "in full"} if drafts else {}),
                "model": localizer.model_id,
                "decision rule": localizer.config.decision.model_dump(mode="json"),
                "data": plan.fingerprint,
                "preset": rule.name,
                "mode": mode,
                "seed": seed,
                "batch size": batch_size,  # it decides the last digits
                "version of boxpromptiml": __version__,
            },
        )
        levels = _levels(chosen)
        outcomes: dict[str, Outcome] = {}
        start, computed = time.monotonic(), 0
        for place, (key, (attack_or_none, level)) in enumerate(levels.items()):
            known = store.load(key)
            if known is None:
                label = CLEAN if attack_or_none is None else f"{attack_or_none.name} {level}"
                result = evaluate(
                    localizer,
                    plan,
                    preset,
                    mode=mode,
                    batch_size=batch_size,
                    threads=threads,
                    transform=untouched if attack_or_none is None else attack_or_none.transform(level, seed),
                    state=store.state(key),
                    keep_state=True,  # until the level is saved
                    label=label,
                )
                known = Outcome.of(result)
                store.save(key, known)
                computed += 1
                if on_level is not None:
                    left = (time.monotonic() - start) / computed * (len(levels) - place - 1)
                    on_level(LevelDone(label, known.report["pixel"]["f1"], place + 1, len(levels), left))
            outcomes[key] = known
    result_of_all = RobustnessResult.of(outcomes, [attack.name for attack in chosen], rule, seed)
    _write_csv(folder / OUTPUTS[1], result_of_all)
    draw_curves(result_of_all, folder / OUTPUTS[2])
    write_json(folder / OUTPUTS[0], result_of_all.to_json())
    return result_of_all


def _levels(attacks: Sequence[Attack]) -> dict[str, tuple[Attack | None, Value]]:
    """Every level once, the untouched images first."""
    levels: dict[str, tuple[Attack | None, Value]] = {CLEAN: (None, CLEAN)}
    for attack in attacks:
        for level in attack.levels:
            levels.setdefault(attack.key(level), (attack, level))
    return levels


def _write_csv(path: Path, result: RobustnessResult) -> None:
    rows = list(result.table())
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
