from __future__ import annotations

from dataclasses import replace

import pytest

from boxpromptiml.dataset import ImageRecord, PseudoMask
from boxpromptiml.dataset.records import suspicion_of
from boxpromptiml.regions import Box

BOXES = (Box(0, 0, 5, 5),)
PSEUDO = PseudoMask("p.png", "grabcut")


@pytest.mark.parametrize(
    ("fields", "state", "skipped"),
    [
        ({}, "todo", False),
        ({"label": "tampered"}, "todo", False),
        ({"label": "tampered", "mask": "Gt/a.png"}, "todo", False),
        ({"skipped": True}, "skipped", True),
        ({"skipped": True, "label": "tampered"}, "skipped", True),
        ({"label": "authentic"}, "authentic", False),
        ({"label": "tampered", "boxes": BOXES}, "boxed", False),
        ({"boxes": BOXES}, "boxed", False),
        ({"boxes": BOXES, "skipped": True}, "boxed", False),
        ({"label": "authentic", "skipped": True}, "authentic", False),
    ],
)
def test_the_state_of_an_image(fields: dict[str, object], state: str, skipped: bool) -> None:
    made = ImageRecord("a.jpg", 10, 10, **fields)  # type: ignore[arg-type]
    assert (made.state, made.skipped) == (state, skipped)
    changed = replace(ImageRecord("a.jpg", 10, 10), **fields)  # type: ignore[arg-type]
    assert (changed.state, changed.skipped) == (state, skipped)


@pytest.mark.parametrize(
    ("pseudo", "review", "state"),
    [
        (None, None, "none"),
        (None, "accepted", "none"),
        (PSEUDO, None, "open"),
        (PSEUDO, "accepted", "accepted"),
        (PSEUDO, "rejected", "rejected"),
    ],
)
def test_the_review_of_an_image(pseudo: PseudoMask | None, review: str | None, state: str) -> None:
    assert ImageRecord("a.jpg", 10, 10, pseudo=pseudo, review=review).review_state == state


@pytest.mark.parametrize(
    ("flags", "qualities", "suspicion"),
    [
        ((), (), 0.0),
        (((),), (None,), 0.0),
        (((),), (1.0,), 0.0),
        (((),), (0.9,), 0.1),
        ((("empty",),), (None,), 0.5),
        ((("empty",),), (0.5,), 0.75),
        ((("empty", "low-quality"),), (0.5,), 0.875),
        ((("empty",),), (0.0,), 1.0),
        # The worst box counts.
        (((), ("empty",), ()), (0.9, None, 0.8), 0.5),
        (((), ("empty",)), (0.3, 1.0), 0.7),
        # Estimates of IoU may leave [0, 1]; lists of a foreign manifest may differ in length.
        (((),), (1.03,), 0.0),
        (((),), (-0.2,), 1.0),
        ((("empty",),), (), 0.5),
        ((), (0.75,), 0.25),
    ],
)
def test_the_suspicion_of_a_pseudo_mask(
    flags: tuple[tuple[str, ...], ...], qualities: tuple[float | None, ...], suspicion: float
) -> None:
    assert suspicion_of(flags, qualities) == pytest.approx(suspicion)
    assert PseudoMask("p.png", "sam", {}, qualities, flags).suspicion == pytest.approx(suspicion)
