"""What the backend does, free of HTTP: a project's requests in, Label Studio's predictions out."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from boxpromptiml.errors import BoxPromptError
from boxpromptiml.http.errors import HttpError
from boxpromptiml.regions import Box
from boxpromptiml.runtime import Localizer
from boxpromptiml.teachers import Encoding, Point, Teacher, TeacherMask
from boxpromptiml.web.byte_cache import ByteCache
from boxpromptiml.web.label_studio.labelling import Labelling, parse_labelling
from boxpromptiml.web.label_studio.pictures import Picture, Pictures
from boxpromptiml.web.label_studio.prompts import (
    DrawnBox,
    Interaction,
    boxes_of_task,
    clicked_box,
    points_on,
    read_interaction,
)
from boxpromptiml.web.label_studio.results import brush_region, rectangle_region, tampered
from boxpromptiml.web.label_studio.tokens import Token

_log = logging.getLogger("boxpromptiml.web.label_studio")

_MAX_PROJECTS = 1000
_MAX_TASKS = 10_000
_ENCODING_BYTES = 512 * 2**20


class Backend:
    """Teacher and student as Label Studio asks for them. For many threads at once.

    Args:
        teacher: turns boxes (and clicks, where it takes them) into masks.
        pictures: gets the images of tasks.
        localizer: the student that makes pre-annotations; None for none.
        token: for Label Studio; None takes what Label Studio sends with /setup.
        draft: rougher masks at once, where the teacher's exact ones may take seconds.

    Attributes:
        version: of everything that shapes the predictions. Label Studio asks again for tasks whose predictions are of
            another version.
    """

    def __init__(
        self,
        teacher: Teacher,
        pictures: Pictures,
        *,
        localizer: Localizer | None = None,
        token: Token | None = None,
        draft: bool = False,
    ) -> None:
        self._teacher = teacher
        self._pictures = pictures
        self._localizer = localizer
        self._token = token
        self._draft = draft
        self._project_tokens: OrderedDict[str, Token] = OrderedDict()
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._encodings: ByteCache[Encoding] = ByteCache(_ENCODING_BYTES)
        self._drawn: OrderedDict[tuple[Any, ...], tuple[DrawnBox, ...]] = OrderedDict()
        self.version = _version(teacher, localizer, draft)

    def setup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer /setup: whether masks can be painted in this project, and the version of the predictions.

        Raises:
            HttpError: the labelling configuration lacks something that masks need.
        """
        labelling = parse_labelling(request.get("schema", request.get("label_config")))
        image = labelling.paintable_image()
        if self._localizer is not None:
            self._tampered_brush(labelling, image)
        self._remember_token(_project(request), request.get("access_token"))
        return {"model_version": self.version}

    def predict(self, request: Mapping[str, Any]) -> list[Any]:
        """Answer /predict.

        Returns:
            Where a person drew something: one prediction with a mask a box. Otherwise a list per task: the student's
            prediction, or none; ``{"error": line}`` for a task that failed, which Label Studio logs and passes over.

        Raises:
            HttpError: the request is malformed; what was drawn cannot be answered.
            TeacherError: the teacher failed.
        """
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
            raise HttpError(400, "the request has no tasks: a list of tasks with data is expected")
        labelling = parse_labelling(request.get("label_config"))
        params = request.get("params") or {}
        interaction = read_interaction(params.get("context") if isinstance(params, dict) else None)
        project = _project(request)
        if interaction is not None:
            if len(tasks) != 1:
                raise HttpError(400, f"what was drawn belongs to one task, the request has {len(tasks)}")
            return [self._answer(tasks[0], labelling, interaction, project)]
        if self._localizer is None:
            return [[] for _ in tasks]
        return [self._preannotate_or_say(task, labelling, project) for task in tasks]

    def _answer(
        self, task: Mapping[str, Any], labelling: Labelling, interaction: Interaction, project: str
    ) -> dict[str, Any]:
        image = interaction.image if interaction.image in labelling.images else labelling.paintable_image()
        assert image is not None
        boxes = self._boxes(task, interaction, project)
        # Before anything is fetched: a label that no brush has is the most frequent mistake.
        brushes = [labelling.brush_for(image, drawn.label) for drawn in boxes]
        picture = self._picture(task, labelling, image, project)
        height, width = picture.pixels.shape[:2]
        if interaction.size != (width, height):
            drawn_on = " x ".join(map(str, interaction.size))
            raise HttpError(
                409, f"{picture.name}: is {width} x {height} pixels, but was {drawn_on} where boxes were drawn"
            )
        masks = self._masks(picture, [drawn.box for drawn in boxes], points_on(boxes, interaction.clicks))
        regions = []
        for (control, label), mask in zip(brushes, masks, strict=True):
            inside = tampered(mask.probability)
            if inside.any():
                place: dict[str, Any] = {"image": image, "width": width, "height": height}
                regions.append(brush_region(inside, control=control, label=label, score=mask.quality, **place))
        scores = [region["score"] for region in regions if "score" in region]
        return {"model_version": self.version, "score": fmean(scores) if scores else None, "result": regions}

    def _boxes(self, task: Mapping[str, Any], interaction: Interaction, project: str) -> list[DrawnBox]:
        """The boxes that masks are wanted for: those drawn now, or the one that clicks refine.

        Label Studio sends regions of one kind at a time: clicks come without the box that was drawn before them.
        """
        if interaction.clicks and not self._teacher.points:
            raise HttpError(400, f"the {self._teacher.name} teacher takes no clicks; draw a box (<RectangleLabels>)")
        key = (project, task.get("id"), interaction.size)
        if interaction.boxes:
            with self._lock:
                self._drawn[key] = interaction.boxes
                self._drawn.move_to_end(key)
                if len(self._drawn) > _MAX_TASKS:
                    self._drawn.popitem(last=False)
            return list(interaction.boxes)
        with self._lock:
            latest = self._drawn.get(key, ())
        box = clicked_box([*latest, *boxes_of_task(task, interaction.size)], interaction.clicks)
        if box is None:
            raise HttpError(400, "clicks refine a box; draw one first (<RectangleLabels>), then click")
        return [DrawnBox(box.box, interaction.clicks[0].label)]

    def _masks(self, picture: Picture, boxes: Sequence[Box], points: Sequence[Point]) -> list[TeacherMask]:
        # One at a time: what the teacher takes in memory, or of the graphics card, it takes once.
        with self._asking:
            encoding = self._encodings.get(picture.sha256)
            if encoding is None:
                encoding = self._teacher.encode(picture.pixels)
                self._encodings.put(picture.sha256, encoding, encoding.nbytes)
            return self._teacher.decode(encoding, boxes, points, draft=self._draft)

    def _preannotate_or_say(self, task: Mapping[str, Any], labelling: Labelling, project: str) -> dict[str, Any]:
        try:
            return self._preannotate(task, labelling, project)
        except BoxPromptError as error:
            _log.warning("task %s: %s", task.get("id"), error)
            return {"error": " ".join(str(error).split()), "model_version": self.version}

    def _preannotate(self, task: Mapping[str, Any], labelling: Labelling, project: str) -> dict[str, Any]:
        assert self._localizer is not None
        image = labelling.paintable_image()
        control, label = self._tampered_brush(labelling, image)
        picture = self._picture(task, labelling, image, project)
        # Its bytes, not its pixels: the model's spec says at which size it is to be decoded.
        height, width = picture.pixels.shape[:2]
        found = self._localizer.localize(picture.data, max_pixels=width * height)
        place: dict[str, Any] = {"image": image, "width": found.width, "height": found.height}
        regions: list[dict[str, Any]] = []
        if found.regions:
            regions.append(brush_region(found.mask, control=control, label=label, score=found.score, **place))
        for rectangles in labelling.controls_on(image, "rectanglelabels")[:1]:
            name = rectangles.tampered_label()
            if name is not None:
                regions += [
                    rectangle_region(region.box, control=rectangles.name, label=name, score=region.score, **place)
                    for region in found.regions
                ]
        return {"model_version": self.version, "score": round(found.score, 6), "result": regions}

    def _picture(self, task: Mapping[str, Any], labelling: Labelling, image: str, project: str) -> Picture:
        data, key = task.get("data"), labelling.images[image]
        value = data.get(key) if isinstance(data, dict) else None
        if value is None:
            raise HttpError(400, f"the task's data has no {key!r}, which <Image name={image!r}> shows")
        with self._lock:
            token = self._token or self._project_tokens.get(project)
        return self._pictures.get(value, task=task.get("id"), project=project, token=token)

    def _tampered_brush(self, labelling: Labelling, image: str) -> tuple[str, str]:
        """Control and label for what the student finds."""
        for control in labelling.controls_on(image, "brushlabels"):
            label = control.tampered_label()
            if label is not None:
                return control.name, label
        raise HttpError(
            422,
            'it is not clear which label stands for what the model finds; add  predicted_values="tampered"  to a '
            "<Label> of <BrushLabels>",
        )

    def _remember_token(self, project: str, key: object) -> None:
        if self._token is not None or not isinstance(key, str) or not key:
            return
        try:
            token = Token(key)
        except BoxPromptError as error:
            raise HttpError(400, str(error)) from error
        with self._lock:
            self._project_tokens[project] = token
            self._project_tokens.move_to_end(project)
            if len(self._project_tokens) > _MAX_PROJECTS:
                self._project_tokens.popitem(last=False)


def _project(request: Mapping[str, Any]) -> str:
    """The id of the project: Label Studio sends ``id.time of its creation``."""
    return str(request.get("project") or "").partition(".")[0]


def _version(teacher: Teacher, localizer: Localizer | None, draft: bool) -> str:
    settings = json.dumps(teacher.settings, sort_keys=True, default=str)
    name = f"{teacher.name}{'-draft' if draft else ''}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
    return name if localizer is None else f"{name}+student-{localizer.model_id}"
