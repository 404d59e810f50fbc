"""What a client asks for, and what it gets."""

from __future__ import annotations

import pytest

from boxpromptiml.http.errors import HttpError
from boxpromptiml.serve.answers import choose_output
from boxpromptiml.serve.query import Asked, parameters, read_query


@pytest.mark.parametrize(
    ("accept", "output"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("image/png", "mask"),
        ("IMAGE/PNG", "mask"),
        ("image/*", "mask"),
        ("image/png, application/json", "json"),
        ("image/png, application/json;q=0.5", "mask"),
        ("image/png;q=0.2, application/json;q=0.5", "json"),
        ("text/html, image/png", "mask"),
        ("text/html, */*;q=0.1", "json"),
        ("*/*, application/json;q=0", "mask"),
        ("image/*;q=0.9, image/png;q=0.1, application/*;q=0.5", "json"),
        ("image/png;q=high, application/json;q=0.1", "json"),
    ],
)
def test_the_accept_header_chooses(accept: str | None, output: str) -> None:
    assert choose_output(accept, None) == output


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "", "application/json;q=0", ";;;,,,"])
def test_what_cannot_be_made_is_not_acceptable(accept: str) -> None:
    with pytest.raises(HttpError) as error:
        choose_output(accept, None)
    assert error.value.status == 406


def test_the_query_outdoes_the_header() -> None:
    assert choose_output("text/html", "map") == "map"


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", {}),
        ("threshold=0.25", {"threshold": 0.25}),
        ("output=overlay&name=a%20b.jpg", {"output": "overlay", "name": "a b.jpg"}),
        ("include=mask&include=map", {"include": ("mask", "map")}),
        ("include=mask,overlay", {"include": ("mask", "overlay")}),
        ("timeout=1.5", {"timeout": 1.5}),
    ],
)
def test_queries(query: str, asked: dict[str, object]) -> None:
    assert read_query(query.encode()) == Asked(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("threshold=2", "threshold: Input should be less than or equal to 1"),
        ("threshold=nan", "threshold: "),
        ("threshold=high", "threshold: Input should be a valid number"),
        ("output=jpeg", "output: Input should be 'json', 'mask', 'map' or 'overlay'"),
        ("include=everything", "include: "),
        ("timeout=0", "timeout: Input should be greater than 0"),
        ("name=" + "x" * 256, "name: "),
        ("treshold=0.5", "treshold: there is no such parameter; there are threshold, output, include, detail, tta"),
        ("threshold=%ff", "threshold: "),
    ],
)
def test_bad_queries(query: str, words: str) -> None:
    with pytest.raises(HttpError, match="^" + words) as error:
        read_query(query.encode())
    assert error.value.status == 422
    assert "\n" not in str(error.value)


def test_openapi_knows_all_parameters() -> None:
    assert [one["name"] for one in parameters()] == list(Asked.model_fields)
    assert all(one["description"] for one in parameters())
