"""How many test images of a run are in its training sets too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from boxpromptiml.dataset import Dataset
from boxpromptiml.protocols.duplicates import find_duplicates
from boxpromptiml.protocols.facts import FactsCache
from boxpromptiml.protocols.journal import Journal
from boxpromptiml.protocols.model import Protocol
from boxpromptiml.protocols.preparation import Prepared

_STEP = "duplicates"


def count_overlaps(
    journal: Journal, protocol: Protocol, prepared: Mapping[str, Prepared], cache: FactsCache
) -> list[str]:
    """One sentence for each test set with images that are trained on too, as equal files or nearly equal pictures.

    Args:
        journal: keeps the answer, so that a run that goes on does not look again.
        protocol: says which sets are which.
        prepared: the sets of the run, those to train on included.
        cache: of facts of files; the one of a check has them already.
    """
    digests = {name: item.digest for name, item in prepared.items()}
    done = journal.done(_STEP)
    if done is not None and done["digests"] == digests:
        return list(done["found"])
    images = {name: _used(item) for name, item in prepared.items()}
    facts = cache.images(path for paths in images.values() for path in paths)
    pairs = find_duplicates(protocol, images, facts)
    found = []
    for item in protocol.tests:
        mine = [pair for pair in pairs if pair.test_set == item.name]
        copies = {pair.test_image for pair in mine}
        same = {pair.test_image for pair in mine if pair.kind == "exact"}
        if copies:
            found.append(
                f"{len(copies)} of {len(images[item.name])} test images of {item.name} are also in training "
                f"({len(same)} as the same file, {len(copies - same)} as nearly the same picture)"
            )
    if all(item.error is None for item in facts.values()):  # or some were not compared
        journal.record(_STEP, {"digests": digests, "found": found})
    return found


def _used(prepared: Prepared) -> list[Path]:
    """Images that are trained or tested on; training may have put some of them aside for validation."""
    with Dataset.open(prepared.folder) as dataset:
        return [dataset.path(record.image) for record in dataset.records() if record.split is not None]
