"""`package_model`: from the folder of a training run to a model that can be handed on."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from boxpromptiml import __version__
from boxpromptiml.errors import ModelError
from boxpromptiml.evaluation.run import evaluate
from boxpromptiml.export import export_model
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import CONFIG_NAME, ONNX_NAME, WEIGHTS_NAME, DecisionRule, ModelConfig, Provenance
from boxpromptiml.models import CARD_NAME, packaged_names, packaged_root
from boxpromptiml.models.card import AdaptiveFact, CardText, FileFact, ModelCard, Result
from boxpromptiml.packaging.adapting import CLEAN, QUALITIES, choose_adaptive
from boxpromptiml.packaging.fitting import Fitted, fit
from boxpromptiml.packaging.held_out import TRUTHS, held_out, recipe_of, supervision_of
from boxpromptiml.packaging.observing import observe
from boxpromptiml.packaging.results import result_of
from boxpromptiml.packaging.storing import halve_weights, share_weights
from boxpromptiml.packaging.threshold import choose_cut, choose_on
from boxpromptiml.runtime import Localizer
from boxpromptiml.runtime.marking import SCORE
from boxpromptiml.scaling import AdaptiveThreshold
from boxpromptiml.student import load_checkpoint
from boxpromptiml.training.decision import decision_rule
from boxpromptiml.training.sample import Sample

MAX_BYTES = 25_000_000
_RESULTS_FOLDER = "results"  # in the run's folder: a second call need not look again
Weights = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class Packaged:
    """A packaged model.

    Attributes:
        folder: where it is.
        card: what is said of it.
        bytes: of its files, without the card.
    """

    folder: Path
    card: ModelCard
    bytes: int


def package_model(
    run: str | Path,
    name: str,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    validation: Sequence[str | Path] = (),
    results: Mapping[str, str | Path] | None = None,
    text: CardText | None = None,
    weights: Weights = "fp32",
    max_false_area: float | None = None,
    cut: float | None = None,
    copies: bool = False,
    completion: bool = False,
    looks: int = 1,
    adaptive: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Packaged:
    """Package a model: weights, ONNX file, calibrated config and card.

    Threshold and calibration come from the training images that the run held out, with targets as it was trained on;
    test images are for `results` alone. The same run, data and versions give the same bytes.

    Args:
        run: folder of `boxpromptiml train`; of one that is not finished, the best epoch so far.
        name: what the model is called.
        output: the new folder; None for the place of the packaged models, under the name.
        overwrite: whether a packaged model that is there already is replaced.
        validation: where the datasets lie now, see `held_out`.
        results: by name, data sets to evaluate the finished model on, for the card.
        text: what only people know, for the card.
        weights: how matrices are stored, once for both files; the network computes in fp32 with what is stored.
        max_false_area: bound of the threshold's choice, see `boxpromptiml.packaging.threshold.choose_on`.
        cut: the threshold of the network's own map; None to choose it. 0.5 gives the map a temperature and no bias.
        copies: whether the model also looks for parts of an image that are there twice; threshold and calibration are
            the network's own.
        completion: whether the model also completes what it marks of an object, see
            `boxpromptiml.runtime.completing.complete`; the threshold is chosen with it.
        looks: how often the network looks at an image, 1 or 2, see `DecisionRule`; threshold and calibration are chosen
            with it.
        adaptive: whether the threshold follows each image, see `boxpromptiml.scaling.AdaptiveThreshold`; its weights
            are chosen on the held-out images, as they are and compressed.
        max_bytes: of the model, in the package of all models there together; more is refused.

    Raises:
        ModelError: the folder is no run, the files are too large, or the output is in the way.
        DatasetError: the held-out images are not there, or were trained on.
    """
    run = Path(run)
    target = Path(output) if output is not None else packaged_root() / name
    if target.exists() and not (target / CARD_NAME).is_file():
        raise ModelError(f"{target}: is in the way, and no packaged model; choose another --output")
    if target.exists() and not overwrite:
        raise ModelError(
            f"{target}: a packaged model is there already; choose another place with --output, or replace it with "
            "--overwrite"
        )
    _, config = load_checkpoint(run)  # whole weights, or it is refused by the run's own name
    config.deciding(run, copies=copies, completion=completion, looks=looks)  # or it is refused, before hours of work
    supervision, recipe = supervision_of(run, config), recipe_of(run, config)
    samples = held_out(run, config, validation)
    if not samples:
        raise ModelError(f"{run}: held out no images; give --validation DATASET with a val split")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".package-", dir=target.parent) as workshop:
        stage = Path(workshop) / name
        stage.mkdir()
        if weights == "fp16":
            halve_weights(run / WEIGHTS_NAME, stage / WEIGHTS_NAME)
        else:
            shutil.copyfile(run / WEIGHTS_NAME, stage / WEIGHTS_NAME)
        plain = config.model_copy(
            update={"decision": decision_rule(recipe, supervision), "trained_on": _shareable(config.trained_on)}
        ).deciding(run, looks=looks)
        plain.save(stage)
        export_model(stage)
        share_weights(stage / ONNX_NAME, stage / WEIGHTS_NAME)
        _check_size(stage, target, max_bytes)
        follows = None
        if adaptive:
            chosen, follows = _adapted(stage, samples, max_false_area)
            plain = plain.model_copy(update={"decision": plain.decision.model_copy(update={"adaptive": chosen})})
            plain.save(stage)
        localizer = Localizer.load(stage)
        seen = observe(localizer, samples)
        threshold = choose_cut(seen, max_false_area, cut)
        if completion:
            if threshold is None:
                raise ModelError("no held-out image has a mask to choose a threshold by; leave out --completion")
            from boxpromptiml.packaging.completed import observe_completed  # OpenCV, which most models do without

            completed = observe_completed(localizer, samples, seen, threshold.cut)
            threshold = choose_on(completed.curves, max_false_area, cut)
            threshold = threshold.model_copy(update={"rule": f"{threshold.rule}, all once objects are completed"})
            seen = completed.seen[threshold.cut]
        fitted = fit(seen, plain.decision, TRUTHS[supervision], threshold)
        fitted = replace(fitted, facts=fitted.facts.model_copy(update={"adaptive": follows}))
        final = plain.model_copy(update={"decision": fitted.rule}).deciding(run, copies=copies, completion=completion)
        final.save(stage)
        localizer = Localizer.load(stage)
        kept = run / _RESULTS_FOLDER / localizer.model_id  # the same run packaged otherwise is another model
        measured = [
            result_of(found, evaluate(localizer, place, state=kept / found, keep_state=True))
            for found, place in (results or {}).items()
        ]
        card = _card(name, final, fitted, measured, text or CardText(), weights, stage)
        card.save(stage)
        for path in stage.iterdir():
            path.chmod(0o644)
        _move(stage, target, Path(workshop) / "old")
    return Packaged(target, card, sum(file.bytes for file in card.files))


def _adapted(
    stage: Path, samples: Sequence[Sample], max_false_area: float | None
) -> tuple[AdaptiveThreshold | None, AdaptiveFact]:
    localizer = Localizer.load(stage)
    seen = {CLEAN: observe(localizer, samples)}
    seen |= {f"JPEG {quality}": observe(localizer, samples, quality) for quality in QUALITIES}
    return choose_adaptive(seen, max_false_area)


def _card(
    name: str,
    config: ModelConfig,
    fitted: Fitted,
    results: list[Result],
    text: CardText,
    weights: Weights,
    folder: Path,
) -> ModelCard:
    spec, trained = config.preprocessing, config.trained_on
    files = [folder / file for file in (CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME)]
    return ModelCard(
        name=name,
        made_by=__version__,
        text=text,
        student=config.student.model_dump(mode="json"),
        params=config.params,
        flops=config.flops,
        input=_input_text(config),
        size=[spec.height, spec.width],
        weights=weights,
        supervision=trained.supervision,
        teacher=trained.teacher,
        images=trained.images,
        validation=trained.validation,
        score=_score_text(config.decision),
        mask=_mask_text(config.decision),
        calibration=fitted.facts,
        results=results,
        files=[FileFact(name=p.name, bytes=p.stat().st_size, sha256=sha256_of(p)) for p in files],
    )


def _input_text(config: ModelConfig) -> str:
    spec = config.preprocessing
    looks = "; looked at twice, as it is and turned by half, and averaged" if config.decision.looks == 2 else ""
    if spec.fit == "native":
        return f"the photo at its own size, at most {spec.max_side} pixels on the longer side; RGB, 8 bit{looks}"
    size = f"{spec.width} x {spec.height}"
    return f"the photo resized to {size} (antialiased bilinear, aspect not kept); RGB, 8 bit{looks}"


def _score_text(rule: DecisionRule) -> str:
    what = "logits" if rule.score_pooling == "logit" else "probabilities"
    found = f"; at least {SCORE:g} where a copied part was found" if rule.copies else ""
    return f"mean of the {what} of the highest {rule.score_fraction:.3g} of the map's pixels, then Platt scaling{found}"


def _mask_text(rule: DecisionRule) -> str:
    completed = "; what is marked of an object is completed to all of it, by its colours" if rule.completion else ""
    return f"the map above the threshold{completed}"


def _check_size(stage: Path, target: Path, max_bytes: int) -> None:
    """Refuse a model that is too large, in the package together with the others there."""
    size = sum(path.stat().st_size for path in stage.iterdir())
    root = packaged_root()
    others = {
        name: sum(file.stat().st_size for file in (root / name).iterdir() if file.name != CARD_NAME)
        for name in packaged_names()
        if target.parent.resolve() == root.resolve() and name != target.name
    }
    if size + sum(others.values()) > max_bytes:
        beside = "".join(f", {name} beside it {bytes_ / 1e6:.1f} MB" for name, bytes_ in others.items())
        raise ModelError(
            f"{target}: {size / 1e6:.1f} MB{beside}: more than the {max_bytes / 1e6:g} MB allowed; use --weights fp16, "
            "a smaller backbone, or a higher --max-mb"
        )


def _shareable(trained: Provenance) -> Provenance:
    """Without the folders of the machine that trained: only what they are called."""
    raw = json.loads(trained.model_dump_json())
    return Provenance.model_validate(_without_places(raw))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith(("..", "~"))):
        return PurePath(value).name
    return value


def _move(stage: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        stage.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
