"""The labelling configuration of a Label Studio project: which image, which controls, which labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.http.errors import HttpError

# Names under which a label may say that it stands for what a student finds, besides its own `predicted_values`.
TAMPERED_NAMES = frozenset({"tampered", "manipulated", "forged", "fake"})
_MAX_CHARACTERS = 1 << 20
_EXAMPLE = "docs/label-studio.md has a configuration that works"


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a control.

    Attributes:
        name: as it stands in results: its alias, else its value.
        predicted: its ``predicted_values``, lower case: the model's names for it.
    """

    name: str
    predicted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Control:
    """A control tag with labels.

    Attributes:
        name: of the tag.
        kind: of the tag, lower case: ``brushlabels``, ``rectanglelabels``.
        to_names: the object tags that it labels.
        labels: in their order.
        dynamic: whether its labels come from the task's data; any name may be one then.
    """

    name: str
    kind: str
    to_names: tuple[str, ...]
    labels: tuple[Label, ...]
    dynamic: bool

    def label_for(self, wanted: str | None) -> str | None:
        """The label for a region that a person labelled `wanted`: the same one, else the only one; None for none."""
        if wanted is not None and (self.dynamic or any(label.name == wanted for label in self.labels)):
            return wanted
        return self.labels[0].name if len(self.labels) == 1 else None

    def tampered_label(self) -> str | None:
        """The label for what a student finds: by ``predicted_values``, by its own name, else the only one."""
        for label in self.labels:
            if label.predicted & TAMPERED_NAMES:
                return label.name
        for label in self.labels:
            if label.name.lower() in TAMPERED_NAMES:
                return label.name
        return self.labels[0].name if len(self.labels) == 1 else None


@dataclass(frozen=True)
class Labelling:
    """A labelling configuration, as far as masks on images need it.

    Attributes:
        images: name of each ``<Image>`` tag -> the key of a task's data that it shows.
        controls: every control with labels, in document order.
    """

    images: dict[str, str]
    controls: tuple[Control, ...]

    def controls_on(self, image: str, kind: str) -> list[Control]:
        """The controls of a kind (lower case) that label an image tag."""
        return [control for control in self.controls if control.kind == kind and image in control.to_names]

    def paintable_image(self) -> str:
        """The first image tag on which masks can be painted.

        Raises:
            HttpError: there is none.
        """
        for image in self.images:
            if self.controls_on(image, "brushlabels"):
                return image
        if not self.images:
            raise HttpError(422, f"the labelling configuration has no <Image> tag with a value; {_EXAMPLE}")
        raise HttpError(
            422, f"the labelling configuration has no <BrushLabels> for <Image name={self._first()}>; {_EXAMPLE}"
        )

    def brush_for(self, image: str, wanted: str | None) -> tuple[str, str]:
        """Name of the brush control and its label for a region that a person labelled `wanted`.

        Raises:
            HttpError: no brush control has that label, and it is not clear which one is meant.
        """
        brushes = self.controls_on(image, "brushlabels")
        # One that has the very label comes before one that has only one to offer.
        for control in brushes:
            if wanted is not None and control.label_for(wanted) == wanted:
                return control.name, wanted
        for control in brushes:
            label = control.label_for(wanted)
            if label is not None:
                return control.name, label
        if not brushes:
            raise HttpError(422, f"the labelling configuration has no <BrushLabels> for {image!r}; {_EXAMPLE}")
        names = ", ".join(repr(label.name) for control in brushes for label in control.labels) or "no labels"
        raise HttpError(422, f"<BrushLabels> has {names}, but the region is {wanted!r}; give both tags the same labels")

    def _first(self) -> str:
        return repr(next(iter(self.images)))


def parse_labelling(text: object) -> Labelling:
    """Read a labelling configuration.

    Args:
        text: the XML as Label Studio sends it (``schema`` of /setup, ``label_config`` of /predict).

    Raises:
        HttpError: it is no XML, too long, or makes use of entities.
        MissingExtraError: defusedxml is not installed.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import fromstring
    except ModuleNotFoundError as error:
        raise MissingExtraError("defusedxml", "web") from error

    if not isinstance(text, str) or not text.strip():
        raise HttpError(422, f"the request has no labelling configuration; {_EXAMPLE}")
    if len(text) > _MAX_CHARACTERS:
        raise HttpError(422, f"the labelling configuration is longer than {_MAX_CHARACTERS:,} characters")
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except DefusedXmlException as error:
        raise HttpError(422, "the labelling configuration declares entities or a document type; remove them") from error
    except (ParseError, ValueError) as error:
        raise HttpError(422, f"the labelling configuration is not XML ({' '.join(str(error).split())})") from error
    images: dict[str, str] = {}
    found: list[tuple[dict[str, Any], list[Label]]] = []
    # A stack of its own: a configuration may nest deeper than Python calls.
    stack: list[tuple[Element, list[Label] | None]] = [(root, None)]
    while stack:
        element, labels = stack.pop()
        tag, attributes = str(element.tag).lower(), element.attrib
        name, value = attributes.get("name"), attributes.get("value", "")
        if tag == "image" and name and value.startswith("$"):
            images[name] = value.removeprefix("$")
        elif name and attributes.get("toName"):
            labels = []
            found.append(({"name": name, "kind": tag, "to": attributes["toName"], "value": value}, labels))
        elif tag == "label" and labels is not None:
            shown = attributes.get("alias") or value
            if shown:
                predicted = attributes.get("predicted_values", "").split(",")
                labels.append(Label(shown, frozenset(word.strip().lower() for word in predicted if word.strip())))
        stack.extend((child, labels) for child in reversed(element))
    controls = tuple(
        Control(
            name=tag["name"],
            kind=tag["kind"],
            to_names=tuple(part.strip() for part in tag["to"].split(",")),
            labels=tuple(labels),
            dynamic=tag["value"].startswith("$"),
        )
        for tag, labels in found
    )
    return Labelling(images, controls)
