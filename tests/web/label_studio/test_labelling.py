"""Labelling configurations: what is found in them, and what is refused."""

from __future__ import annotations

import pytest

from boxpromptiml.http.errors import HttpError
from boxpromptiml.web.label_studio.labelling import parse_labelling

BRUSH = '<BrushLabels name="mask" toName="{to}"><Label value="Tampered"/></BrushLabels>'


def test_images_controls_and_labels_are_found(config: str) -> None:
    labelling = parse_labelling(config)
    assert labelling.images == {"image": "image"}
    assert [(control.name, control.kind) for control in labelling.controls] == [
        ("mask", "brushlabels"),
        ("box", "rectanglelabels"),
        ("click", "keypointlabels"),
    ]
    assert [label.name for label in labelling.controls[0].labels] == ["Tampered", "Copied"]


@pytest.mark.parametrize(
    ("labels", "wanted", "expected"),
    [
        pytest.param('<Label value="A"/><Label value="B"/>', "B", "B", id="the same label"),
        pytest.param('<Label value="A"/>', "B", "A", id="the only one there is"),
        pytest.param('<Label value="A" alias="x"/><Label value="B"/>', "x", "x", id="an alias is what results carry"),
        pytest.param('<View><Label value="A"/></View><Label value="B"/>', "A", "A", id="nested in a View"),
        pytest.param('<Label value="A"/><Label value="B"/>', "C", None, id="unclear"),
        pytest.param('<Label value="A"/><Label value="B"/>', None, None, id="not labelled, unclear"),
        pytest.param("", "C", None, id="no labels"),
    ],
)
def test_a_mask_gets_the_label_of_its_box(labels: str, wanted: str | None, expected: str | None) -> None:
    labelling = parse_labelling(
        f'<View><Image name="i" value="$url"/><BrushLabels name="m" toName="i">{labels}</BrushLabels></View>'
    )
    if expected is None:
        with pytest.raises(HttpError, match="same labels"):
            labelling.brush_for("i", wanted)
    else:
        assert labelling.brush_for("i", wanted) == ("m", expected)


def test_the_brush_that_has_the_label_is_taken() -> None:
    labelling = parse_labelling(
        '<View><Image name="i" value="$url"/>'
        '<BrushLabels name="first" toName="i"><Label value="A"/></BrushLabels>'
        '<BrushLabels name="second" toName="i"><Label value="B"/></BrushLabels></View>'
    )
    assert labelling.brush_for("i", "B") == ("second", "B")
    assert labelling.brush_for("i", "C") == ("first", "A")


def test_labels_from_the_task_may_be_anything() -> None:
    labelling = parse_labelling(
        '<View><Image name="i" value="$url"/><BrushLabels name="m" toName="i" value="$labels"/></View>'
    )
    assert labelling.brush_for("i", "whatever") == ("m", "whatever")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param('<Label value="A"/><Label value="B" predicted_values="x, Tampered"/>', "B", id="predicted_values"),
        pytest.param('<Label value="Sky"/><Label value="FORGED"/>', "FORGED", id="its own name"),
        pytest.param('<Label value="Sky"/>', "Sky", id="the only one"),
        pytest.param('<Label value="Sky"/><Label value="Sea"/>', None, id="unclear"),
    ],
)
def test_the_label_for_what_a_student_finds(labels: str, expected: str | None) -> None:
    labelling = parse_labelling(
        f'<View><Image name="i" value="$url"/><BrushLabels name="m" toName="i">{labels}</BrushLabels></View>'
    )
    assert labelling.controls[0].tampered_label() == expected


def test_tags_are_known_in_any_case_and_order() -> None:
    labelling = parse_labelling(
        '<?xml version="1.0"?><view>'
        '<brushlabels name="m" toName="j,i"><label value="A"/></brushlabels>'
        '<image name="i" value="$photo"/></view>'
    )
    assert labelling.paintable_image() == "i"
    assert labelling.images == {"i": "photo"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "has no labelling configuration", id="empty"),
        pytest.param(None, "has no labelling configuration", id="absent"),
        pytest.param("<View>", "is not XML", id="not closed"),
        pytest.param("View", "is not XML", id="text"),
        pytest.param("<View>\0</View>", "is not XML", id="null byte"),
        pytest.param("x" * (1 << 20) + "x", "longer than", id="huge"),
        pytest.param(
            '<!DOCTYPE v [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><View>&b;</View>', "entities", id="billion laughs"
        ),
        pytest.param(
            '<!DOCTYPE v [<!ENTITY f SYSTEM "file:///etc/passwd">]><View>&f;</View>', "entities", id="external entity"
        ),
        pytest.param("<View/>", "no <Image>", id="nothing in it"),
        pytest.param('<View><Image name="i" value="fixed.png"/></View>', "no <Image>", id="image without a variable"),
        pytest.param('<View><Image name="i" value="$a"/></View>', "no <BrushLabels>", id="no brush"),
        pytest.param(f'<View><Image name="i" value="$a"/>{BRUSH.format(to="j")}</View>', "no <BrushL", id="other"),
    ],
)
def test_what_no_mask_can_be_painted_with_is_refused(text: object, message: str) -> None:
    with pytest.raises(HttpError, match=message) as caught:
        parse_labelling(text).paintable_image()
    assert caught.value.status == 422
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_no_crash() -> None:
    depth = 50_000
    assert parse_labelling("<View>" * depth + "</View>" * depth).images == {}
