"""The room that requests share."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxpromptiml.http.errors import HttpError
from boxpromptiml.serve.admission import Admission, RefusedError


def room(images: int = 4, size: int = 100, pace: float = 0.1) -> tuple[Admission, list[int]]:
    changes: list[int] = []
    return Admission(images, size, lambda: pace, changes.append), changes


def test_what_is_full_refuses_and_takes_again() -> None:
    admission, changes = room()
    with admission.visit() as first:
        first.hold_images(3)
        with admission.visit() as second:
            second.hold_images(1)
            with pytest.raises(RefusedError, match="4 images are waiting already") as error:
                second.hold_images(2)
            assert (error.value.status, error.value.headers) == (429, {"retry-after": "1"})
        with admission.visit() as third:
            third.hold_images(1)
    assert admission.images == 0
    assert sum(changes) == 0


def test_what_never_fits_is_told_so() -> None:
    admission, _ = room()
    with admission.visit() as visit, pytest.raises(HttpError, match="more than 4 images") as error:
        visit.hold_images(5)
    assert error.value.status == 413


def test_bytes_are_limited_for_all_together() -> None:
    admission, _ = room()
    with admission.visit() as first, admission.visit() as second:
        first.hold_bytes(60)
        with pytest.raises(RefusedError, match="no memory is left") as error:
            second.hold_bytes(60)
        assert error.value.status == 503
        second.hold_bytes(40)
    assert admission.bytes == 0


@pytest.mark.parametrize(("inside", "pace", "seconds"), [(0, 1.0, 1), (4, 0.001, 1), (4, 5.0, 10), (4, 1000.0, 60)])
def test_advice_on_when_to_come_back(inside: int, pace: float, seconds: int) -> None:
    admission, _ = room(pace=pace)
    with admission.visit() as visit:
        visit.hold_images(inside)
        assert admission.retry_after() == seconds


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 150)), max_size=20))
def test_nothing_is_ever_lost_or_made(visits: list[tuple[int, int]]) -> None:
    admission, changes = room()
    held = []
    for images, size in visits:
        visit = admission.visit()
        held.append(visit)
        try:
            visit.hold_images(images)
            visit.hold_bytes(size)
        except HttpError:
            pass
        assert 0 <= admission.images <= 4
        assert 0 <= admission.bytes <= 100
    for visit in held:
        visit.__exit__()
        visit.__exit__()  # leaving twice gives back once
    assert (admission.images, admission.bytes, sum(changes)) == (0, 0, 0)


def test_refusals_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(RefusedError(429, "queue_full", 3, "full")))
    assert (error.status, error.reason, error.headers, str(error)) == (429, "queue_full", {"retry-after": "3"}, "full")
