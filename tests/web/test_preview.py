"""`web.preview`: what the teacher makes of the boxes so far."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

cv2 = pytest.importorskip("cv2")

from boxpromptiml.dataset import Dataset, ImageRecord  # noqa: E402
from boxpromptiml.errors import TeacherError  # noqa: E402
from boxpromptiml.images import encode_png, save_png  # noqa: E402
from boxpromptiml.pseudolabels import pseudo_label  # noqa: E402
from boxpromptiml.regions import Box  # noqa: E402
from boxpromptiml.teachers import Point, Teacher, TeacherMask, load_teacher  # noqa: E402
from boxpromptiml.teachers.grabcut import GrabCutEncoding, GrabCutTeacher  # noqa: E402
from boxpromptiml.web import create_app  # noqa: E402
from boxpromptiml.web.settings import WebState  # noqa: E402
from boxpromptiml.web.teacher_pool import TeacherPool  # noqa: E402

HOME = {"base_url": "http://127.0.0.1"}
WIDTH, HEIGHT = 1500, 1200
DISC = [300, 200, 900, 800]


class Watched(GrabCutTeacher):
    """GrabCut that counts, and that can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[tuple[int, int]] = []
        self.decoded: list[tuple[Box, bool]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail: BaseException | None = None

    def encode(self, image: NDArray[np.uint8]) -> GrabCutEncoding:
        self.encoded.append((image.shape[0], image.shape[1]))
        assert self.gate.wait(20)
        if self.fail is not None:
            raise self.fail
        return super().encode(image)

    def decode(
        self,
        encoding: GrabCutEncoding,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        self.decoded += [(box, draft) for box in boxes]
        return super().decode(encoding, boxes, points, side=side, draft=draft)


def scene(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    disc = np.hypot((y - 500) / 280, (x - 600) / 280) < 1
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 1))
    return (np.where(disc[..., None], [190, 40, 40], [50, 140, 60]) + noise).clip(0, 255).astype(np.uint8)


@cache
def encoded(seed: int) -> bytes:
    return encode_png(scene(seed=seed))


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Dataset]:
    with Dataset.create(tmp_path / "set") as dataset:
        for index in range(3):
            dataset.path(f"{index}.png").write_bytes(encoded(index))
            dataset.put(ImageRecord(f"{index}.png", WIDTH, HEIGHT))
        yield dataset


@pytest.fixture
def teacher() -> Watched:
    return Watched()


@pytest.fixture
def pool(teacher: Watched) -> Iterator[TeacherPool]:
    found = TeacherPool(["grabcut", "box"], lambda name: teacher if name == "grabcut" else load_teacher(name))
    yield found
    teacher.gate.set()
    found.close()


@pytest.fixture
def client(dataset: Dataset, pool: TeacherPool, teacher: Watched) -> Iterator[TestClient]:
    with TestClient(create_app(WebState(dataset=dataset, teachers=pool)), **HOME) as client:
        yield client
        teacher.gate.set()


def ask(client: TestClient, /, image: str = "0.png", boxes: Any = (DISC,), status: int = 200, **more: Any) -> Any:
    answer = client.post("/api/preview", json={"image": image, "boxes": list(boxes), **more})
    assert answer.status_code == status, answer.text
    return answer.json()


def picture(answer: Any) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(answer["png"]))) as found:
        assert (found.format, found.mode) == ("PNG", "L")
        return np.asarray(found)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_mask_of_the_boxes(client: TestClient) -> None:
    answer = ask(client)
    mask = picture(answer)
    assert mask.shape == (819, 1024)
    y, x = np.mgrid[:819, :1024]
    disc = np.hypot(y / 819 * HEIGHT - 500, x / 1024 * WIDTH - 600) < 280
    assert iou(mask > 127, disc) > 0.95
    assert (answer["width"], answer["height"]) == (WIDTH, HEIGHT)
    assert (answer["flags"], answer["fallbacks"], answer["cached"], answer["draft"]) == ([[]], [None], False, True)
    assert 0.9 < answer["qualities"][0] <= 1.0
    assert answer["seconds"] > 0


def test_the_exact_preview_is_what_pseudo_labelling_makes(client: TestClient, dataset: Dataset) -> None:
    """Up to resizing."""
    boxes = [DISC, [20, 900, 100, 980]]
    answer = ask(client, boxes=boxes, exact=True)
    assert not answer["draft"]
    dataset.set_boxes("0.png", [Box(*box) for box in boxes])
    pseudo_label(dataset, load_teacher("grabcut"))
    pseudo = dataset.get("0.png").pseudo
    assert pseudo is not None
    with Image.open(dataset.path(pseudo.path)) as stored:
        resized = np.asarray(stored.resize((1024, 819), Image.Resampling.BOX))
    assert np.abs(picture(answer).astype(int) - resized).mean() < 0.5
    assert iou(picture(answer) > 127, resized > 127) > 0.99
    assert [tuple(flags) for flags in answer["flags"]] == list(pseudo.flags)
    assert answer["fallbacks"] == list(pseudo.fallbacks)
    assert answer["qualities"] == list(pseudo.qualities)


def test_an_image_is_encoded_once_and_each_box_asked_for_once(client: TestClient, teacher: Watched) -> None:
    other = [20, 900, 400, 1150]
    assert not ask(client)["cached"]
    assert ask(client, boxes=[DISC, other])["cached"]
    assert [box for box, _ in teacher.decoded] == [Box(*DISC), Box(*other)]
    assert len(teacher.encoded) == 1
    # The exact mask takes the draft's place for good.
    assert not ask(client, exact=True)["draft"]
    assert not ask(client)["draft"]
    assert ask(client, boxes=[DISC, other])["draft"]
    assert len(teacher.decoded) == 3


def test_another_file_of_the_same_name_is_another_image(client: TestClient, teacher: Watched, dataset: Dataset) -> None:
    ask(client)
    save_png(dataset.path("0.png"), scene(seed=9))
    assert not ask(client)["cached"]
    assert len(teacher.encoded) == 2


def test_no_boxes_give_an_empty_mask(client: TestClient) -> None:
    answer = ask(client, boxes=[])
    assert not picture(answer).any()
    assert answer["flags"] == []


def test_points_steer(client: TestClient) -> None:
    inside = 500 * 819 // HEIGHT, 600 * 1024 // WIDTH
    assert picture(ask(client))[inside] > 200
    assert picture(ask(client, points=[[600, 500, False, 0]]))[inside] < 50


def test_another_teacher(client: TestClient) -> None:
    answer = ask(client, teacher="box", boxes=[[0, 0, 750, 600]])
    assert not answer["draft"]
    mask = picture(answer)
    assert (mask[:409, :512] == 255).all()
    assert not mask[410:].any()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"image": "no.png", "boxes": []}, 404, "no such image"),
        ({"image": "../../etc/passwd", "boxes": []}, 404, "no such image"),
        ({"image": "0.png", "boxes": [[0, 0, 1501, 5]]}, 400, "not inside the image of 1500 x 1200"),
        ({"image": "0.png", "boxes": [[5, 5, 5, 9]]}, 400, "empty"),
        ({"image": "0.png", "boxes": [DISC], "points": [[600, 500, True, 1]]}, 400, "belongs to box 1, of 1"),
        ({"image": "0.png", "boxes": [DISC], "points": [[1, 1, True, 0]]}, 400, "outside its box"),
        ({"image": "0.png", "boxes": [DISC], "teacher": "oracle"}, 400, "no teacher 'oracle'; it has grabcut, box"),
        ({"image": "0.png", "boxes": [DISC], "teacher": "box", "points": [[600, 500, True, 0]]}, 400, "boxes only"),
        ({"image": "0.png", "boxes": [[0.5, 0, 1, 1]]}, 422, "boxes"),
        ({"image": "0.png", "boxes": [DISC] * 201}, 422, "boxes: 201, and a mask is made here for 200 at most"),
        ({"boxes": []}, 422, "image"),
        ({"image": "0.png", "boxes": [], "points": [[1, 1, "yes", 0]]}, 422, "points"),
    ],
)
def test_bad_requests_are_one_line(client: TestClient, body: Any, status: int, message: str) -> None:
    answer = client.post("/api/preview", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert message in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged or truncated"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: save_png(path, scene(60, 80)), "is 80 x 60 now, 1500 x 1200 when its boxes were drawn"),
    ],
)
def test_an_image_that_cannot_be_read_costs_one_answer(
    client: TestClient, dataset: Dataset, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(dataset.path("1.png"))
    assert message in ask(client, "1.png", status=415)["error"]
    assert picture(ask(client, "0.png")).any()


def test_a_huge_image_is_refused_before_it_is_decoded(dataset: Dataset) -> None:
    pool = TeacherPool(["grabcut"], max_pixels=WIDTH * HEIGHT - 1)
    with TestClient(create_app(WebState(dataset=dataset, teachers=pool)), **HOME) as client:
        assert "over the limit" in ask(client, status=413)["error"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (MemoryError(), 415, "does not fit into memory"),
        (TeacherError("grabcut: OpenCV failed"), 400, "OpenCV failed"),
    ],
)
def test_a_teacher_that_fails_lives_on(
    client: TestClient, teacher: Watched, error: BaseException, status: int, message: str
) -> None:
    teacher.fail = error
    assert message in ask(client, status=status)["error"]
    teacher.fail = None
    assert picture(ask(client)).any()


def test_weights_that_are_missing_are_the_servers_fault(dataset: Dataset) -> None:
    def load(_: str) -> Teacher:
        raise TeacherError("sam: no weights found there")

    with TestClient(create_app(WebState(dataset=dataset, teachers=TeacherPool(["sam"], load))), **HOME) as client:
        assert "no weights found" in ask(client, status=503)["error"]


def test_a_server_without_a_teacher_says_so(dataset: Dataset) -> None:
    with TestClient(create_app(WebState(dataset=dataset)), **HOME) as client:
        assert "--teacher" in ask(client, status=503)["error"]


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(work()))
    thread.start()
    return thread, answers


@pytest.mark.parametrize("other", ["2.png", "1.png"])  # the image at hand, and one that was left
def test_a_newer_request_makes_an_older_one_pointless(
    client: TestClient, teacher: Watched, wait_until: Callable[..., Any], other: str
) -> None:
    teacher.gate.clear()
    blockers = [
        in_background(lambda name=name: ask(client, name, client=name))  # type: ignore[misc]
        for name in ("0.png", "1.png")
    ]
    wait_until(lambda: len(teacher.encoded) == 2)
    # Both of the teacher's threads are taken: what comes now waits.
    first, old = in_background(lambda: ask(client, other, [[1, 1, 200, 200]]))
    time.sleep(0.2)
    second, new = in_background(lambda: ask(client, "2.png"))
    first.join(10)
    teacher.gate.set()
    assert old == [{"superseded": True}]
    for thread in (second, *(thread for thread, _ in blockers)):
        thread.join(20)
    assert all(picture(answers[0]).any() for answers in (new, *(answers for _, answers in blockers)))
    assert Box(1, 1, 200, 200) not in [box for box, _ in teacher.decoded]


def test_nobody_waits_behind_previews(
    dataset: Dataset, client: TestClient, teacher: Watched, wait_until: Callable[..., Any]
) -> None:
    """However many wait for a teacher: a box that was drawn is stored."""
    teacher.gate.clear()
    waiting = [in_background(lambda i=i: ask(client, client=str(i))) for i in range(60)]  # type: ignore[misc]
    wait_until(lambda: teacher.encoded)
    time.sleep(0.5)
    answer, stored = in_background(
        lambda: client.put("/api/record?image=1.png", json={"version": 1, "boxes": [DISC], "label": None})
    )
    answer.join(10)
    teacher.gate.set()
    assert [one.status_code for one in stored] == [200]
    for thread, _ in waiting:
        thread.join(60)


def test_the_next_images_are_encoded_ahead(
    client: TestClient, teacher: Watched, wait_until: Callable[..., Any]
) -> None:
    answer = client.post("/api/prefetch", json={"images": ["1.png", "gone.png", "2.png"]})
    assert (answer.status_code, answer.content) == (202, b"")
    wait_until(lambda: len(teacher.encoded) == 2)
    time.sleep(0.2)
    assert ask(client, "2.png")["cached"]
    assert len(teacher.encoded) == 2


def test_a_person_does_not_wait_for_what_is_done_ahead(
    client: TestClient, teacher: Watched, wait_until: Callable[..., Any]
) -> None:
    assert ask(client, "0.png")
    teacher.gate.clear()
    client.post("/api/prefetch", json={"images": ["1.png", "2.png"]})
    wait_until(lambda: len(teacher.encoded) == 2)
    assert ask(client, "0.png", [[5, 5, 300, 300]])["cached"]
    # A newer list takes the place of what has not begun.
    client.post("/api/prefetch", json={"images": []})
    teacher.gate.set()
    time.sleep(0.3)
    assert len(teacher.encoded) == 2


def test_encodings_are_bounded_in_bytes(dataset: Dataset, teacher: Watched) -> None:
    """Room for two images of three: the one that was used least recently is encoded again."""
    one = WIDTH * HEIGHT * 3 + 512 * 410 * 3
    pool = TeacherPool(["grabcut"], lambda _: teacher, cache_bytes=int(2.2 * one * 8 / 7))
    with TestClient(create_app(WebState(dataset=dataset, teachers=pool)), **HOME) as client:
        assert [ask(client, f"{i}.png")["cached"] for i in (0, 1, 0, 2, 0, 1)] == [
            False,
            False,
            True,
            False,
            True,
            False,
        ]


def test_pool_refuses_names_that_no_teacher_has() -> None:
    with pytest.raises(TeacherError, match="no teacher 'oracle'"):
        TeacherPool(["oracle"])
    with pytest.raises(TeacherError, match="at least one"):
        TeacherPool([])
