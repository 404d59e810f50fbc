"""Train one student on a protocol's training sets, evaluate it on its test sets, and compare."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from boxpromptiml import __version__
from boxpromptiml.errors import DatasetError, MissingExtraError
from boxpromptiml.evaluation import evaluate
from boxpromptiml.evaluation.sources import misfits
from boxpromptiml.files import write_json, write_text
from boxpromptiml.model_config import ONNX_NAME
from boxpromptiml.protocols.check import count_problems
from boxpromptiml.protocols.facts import FactsCache, default_cache
from boxpromptiml.protocols.journal import Journal
from boxpromptiml.protocols.model import Protocol
from boxpromptiml.protocols.overlap import count_overlaps
from boxpromptiml.protocols.preparation import Prepared, derive_training_boxes, make_pseudo_masks, prepare_set
from boxpromptiml.protocols.results import ProtocolResults, SetResult
from boxpromptiml.protocols.settings import SUPERVISIONS, RunSettings
from boxpromptiml.protocols.table import markdown
from boxpromptiml.runtime import Localizer
from boxpromptiml.teachers import Teacher, load_teacher

if TYPE_CHECKING:
    from boxpromptiml.training.summary import TrainingSummary


def run_protocol(
    protocol: Protocol,
    places: Mapping[str, Path | None],
    out: str | Path,
    settings: RunSettings | None = None,
    say: Callable[[str], None] | None = None,
) -> ProtocolResults | None:
    """Run a protocol, or go on with a run that was interrupted.

    ``OUT`` gets ``datasets/`` (one a set), ``model/``, ``evaluations/`` (one file a test set), ``results.json``,
    ``results.md``, and ``run.json`` and ``steps/``, by which a second call goes on without repeating what is done.

    Args:
        protocol: what to run.
        places: where the sets are, see `find_sets`.
        out: a new or empty folder, or one of a run to go on with.
        settings: how; None for the defaults.
        say: told what is being done, a line a step; None prints to standard error.

    Returns:
        The figures; None in all but the first process of a training with several.

    Raises:
        DatasetError: sets that are missing or do not fit, a folder of another run, or a set that changed meanwhile.
        MissingExtraError: training needs packages that are not installed.
        Interrupted, RecipeError and others: see `boxpromptiml.training.run.train`.
    """
    settings = settings or RunSettings()
    tell = say or Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print
    missing = _missing(protocol, places, settings)
    teacher, localizer = _load(settings)
    cache = None if localizer else FactsCache(settings.cache or default_cache())
    identity = {
        "protocol": protocol.model_dump(mode="json", include={"name", "preset", "mode"}),
        "training": {} if localizer else {item.name: _text(places[item.name]) for item in protocol.training},
        "model": None if localizer is None else localizer.model_id,
        **settings.identity(),
    }
    journal = Journal(Path(out), identity)
    prepared: dict[str, Prepared] = {}
    for item in protocol.sets:
        path = places[item.name]
        if path is not None and not (localizer and item.role == "train"):
            tell(f"import {item.name}")
            prepared[item.name] = prepare_set(
                journal,
                item,
                path,
                on_mismatch=settings.on_mismatch,
                per_set=settings.per_set,
                seed=settings.seed,
            )
    overlaps: list[str] = []
    if cache is not None:
        tell("look for test images that are in training too")
        overlaps = count_overlaps(journal, protocol, prepared, cache)
        if overlaps:
            tell(f"{'; '.join(overlaps)}; `boxpromptiml protocol check` lists them")
    if localizer is None:
        training = [prepared[item.name] for item in protocol.training if item.name in prepared]
        if _train(journal, training, settings, teacher, tell) is None:
            return None
        localizer = Localizer.load(journal.out / "model", threads=settings.threads)
    sets = []
    for item in protocol.tests:
        expected = tuple(count.count for count in item.tampered)
        if item.name not in prepared:
            sets.append(SetResult(item.name, item.role, expected=expected))
            continue
        tell(f"evaluate on {item.name}")
        figures = _evaluated(journal, prepared[item.name], localizer, protocol, settings)
        ends = figures["ci95"].get("f1")
        interval = None if ends is None or None in ends else (ends[0], ends[1])
        sets.append(
            SetResult(item.name, item.role, figures["n_tampered"], expected, figures["pixel"]["f1"], interval, figures)
        )
    results = ProtocolResults(
        protocol=protocol,
        label=_label(settings),
        model=next(item.figures["model"] for item in sets if item.figures is not None),
        settings=settings.identity() | {"model": None if settings.model is None else str(settings.model)},
        sets=tuple(sets),
        remarks=tuple(_remarks(protocol, prepared, missing, settings)),
        overlaps=tuple(overlaps),
    )
    write_json(journal.out / "results.json", results.to_json())
    write_text(journal.out / "results.md", markdown(results))
    return results


def _missing(protocol: Protocol, places: Mapping[str, Path | None], settings: RunSettings) -> list[str]:
    """Names of the sets that are not there, or an error."""
    needed = protocol.tests if settings.model else protocol.sets
    missing = [item.name for item in needed if places[item.name] is None]
    if missing and not settings.allow_missing:
        raise DatasetError(
            f"protocol {protocol.name}: {len(missing)} of {len(needed)} sets are missing ({', '.join(missing)}); "
            "`boxpromptiml protocol show` says where they come from; --allow-missing runs without them"
        )
    for what, sets in (("training", protocol.training), ("test", protocol.tests)):
        if not (settings.model and what == "training") and all(places[item.name] is None for item in sets):
            raise DatasetError(f"protocol {protocol.name}: none of its {what} sets is there; nothing to run")
    return missing


def _load(settings: RunSettings) -> tuple[Teacher | None, Localizer | None]:
    """What can go wrong with teacher, model and packages goes wrong before the long work."""
    if settings.supervision not in SUPERVISIONS:
        raise DatasetError(f"supervision {settings.supervision!r} is not one of {', '.join(SUPERVISIONS)}")
    if settings.model is not None:
        if unused := settings.of_training():
            raise DatasetError(
                f"--model evaluates a model as it is and trains nothing: leave out {', '.join(unused)}, or --model"
            )
        return None, Localizer.load(
            settings.model,
            runtime=settings.runtime,
            precision=settings.precision,
            device=settings.device,
            threads=settings.threads,
            copies=settings.copies,
            completion=settings.completion,
            looks=settings.looks,
        )
    # Told now, not after the training.
    network = settings.runtime in ("auto", "onnx") and settings.precision in (None, "fp32") and settings.device == "cpu"
    if not network or settings.copies or settings.completion or settings.looks == 2:
        raise DatasetError(
            "a model that is trained here is evaluated by ONNX Runtime at fp32 on the CPU, by one look, not for "
            "copies, and completes nothing; leave the options out, run  boxpromptiml export OUT/model  and evaluate "
            "that in another folder, with --model OUT/model"
        )
    for package in ("torch", "lightning", "onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")
    if settings.supervision != "pseudo":
        return None, None
    return load_teacher(settings.teacher, weights=settings.weights), None


def _train(
    journal: Journal,
    training: list[Prepared],
    settings: RunSettings,
    teacher: Teacher | None,
    tell: Callable[[str], None],
) -> TrainingSummary | None:
    """Boxes, pseudo masks, student, export; None in all but the first process."""
    from boxpromptiml.export import export_onnx
    from boxpromptiml.training.run import is_main_process, train

    for item in training:
        if settings.supervision != "mask":
            tell(f"boxes of {item.spec.name}")
            derive_training_boxes(journal, item, settings.loosen, settings.jitter, settings.seed)
        if teacher is not None:
            tell(f"pseudo masks of {item.spec.name}, teacher {teacher.name}")
            make_pseudo_masks(journal, item, teacher)
    tell(f"train on {', '.join(item.spec.name for item in training)} from {settings.supervision}")
    model = journal.out / "model"
    folders = [item.folder for item in training]
    summary = train(folders, model, settings.recipe, supervision=settings.supervision, resume=True)
    if not is_main_process():
        return None
    if not (model / ONNX_NAME).is_file():
        export_onnx(model)
    return summary


def _evaluated(
    journal: Journal, prepared: Prepared, localizer: Localizer, protocol: Protocol, settings: RunSettings
) -> dict[str, Any]:
    """The figures on a test set, from the run's file if they are there and were made by the same rule and version."""
    name = prepared.spec.name
    path = journal.out / "evaluations" / f"{name}.json"
    done = journal.done(f"evaluate-{name}")
    key = {
        "model": localizer.model_id,
        "digest": prepared.digest,
        "decision": localizer.config.decision.model_dump(mode="json"),
        "version": __version__,
    }
    if done == key and path.is_file():
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    result = evaluate(
        localizer,
        prepared.folder,
        protocol.preset,
        mode=protocol.mode,
        split="test",
        threads=settings.threads,
        state=journal.out / "steps" / f"evaluating-{name}",
        label=f"evaluate {name}",
    )
    figures = result.to_json()
    write_json(path, figures)
    journal.record(f"evaluate-{name}", key)
    return figures


def _remarks(
    protocol: Protocol, prepared: Mapping[str, Prepared], missing: list[str], settings: RunSettings
) -> list[str]:
    remarks = [f"the set {name} is missing" for name in missing]
    for item in prepared.values():
        name = item.spec.name
        remarks += [f"{name} has {problem}" for problem in count_problems(item.spec, item.tampered, item.authentic)]
        remarks += [f"{name}: {said}" for said in misfits(item.left_out, item.mended)]
    if settings.per_set is not None and settings.model is None:
        remarks.append(f"at most {settings.per_set} images of each training set were used")
    return remarks


def _label(settings: RunSettings) -> str:
    if settings.model is not None:
        return f"{Path(settings.model).name} (given)"
    words = {"mask": "masks", "box": "filled boxes", "pseudo": f"boxes, {settings.teacher}"}
    return f"this run ({words[settings.supervision]})"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())
