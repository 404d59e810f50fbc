"""Requests as Label Studio sends them, answered by the application with a real teacher and a real student."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.formats.label_studio_rle import decode
from boxpromptiml.regions import Box
from boxpromptiml.runtime import Localizer
from boxpromptiml.teachers import Point, TeacherMask, load_teacher
from boxpromptiml.teachers.box import BoxTeacher
from boxpromptiml.web.label_studio import (
    Backend,
    Fetcher,
    FetchRules,
    Pictures,
    Token,
    create_backend_app,
    parse_origin,
)
from boxpromptiml.web.settings import WebSettings

Requests = Callable[..., dict[str, Any]]


def _client(backend: Backend, **settings: Any) -> TestClient:
    app = create_backend_app(backend, WebSettings(**settings))
    return TestClient(app, base_url="http://127.0.0.1:9090", raise_server_exceptions=False)


@pytest.fixture
def backend(site: Any, png: bytes) -> Backend:
    """GrabCut behind a Label Studio that has one upload."""
    site.give("/data/upload/1/a.png", png)
    pictures = Pictures(Fetcher(FetchRules(parse_origin(site.address))))
    return Backend(load_teacher("grabcut"), pictures, token=Token("key"))


@pytest.fixture
def client(backend: Backend) -> TestClient:
    """What asks it."""
    return _client(backend)


@pytest.fixture
def student_client(site: Any, png: bytes, red_model: Path) -> TestClient:
    """What asks one with a student that finds what is red."""
    site.give("/data/upload/1/a.png", png)
    pictures = Pictures(Fetcher(FetchRules(parse_origin(site.address))))
    return _client(Backend(load_teacher("box"), pictures, localizer=Localizer.load(red_model)))


def test_health_as_label_studio_asks_for_it(client: TestClient) -> None:
    for path in ("/", "/health"):
        answer = client.get(path, headers={"User-Agent": "heartex/1.23.2"})
        assert answer.status_code == 200
        assert answer.json()["status"] == "UP"


def test_setup_and_versions_agree(client: TestClient, setup_request: dict[str, Any]) -> None:
    answer = client.post("/setup", json=setup_request)
    assert answer.status_code == 200
    version = answer.json()["model_version"]
    assert version.startswith("grabcut-")
    assert client.get("/versions").json() == {"versions": [version]}


def test_the_version_tells_teachers_their_settings_and_students_apart(red_model: Path) -> None:
    pictures = Pictures(Fetcher(FetchRules()))
    backends = [
        Backend(load_teacher("grabcut"), pictures),
        Backend(load_teacher("grabcut", iterations=5), pictures),
        Backend(load_teacher("box"), pictures),
        Backend(load_teacher("box"), pictures, localizer=Localizer.load(red_model)),
        Backend(load_teacher("grabcut"), pictures, draft=True),
    ]
    assert len({backend.version for backend in backends}) == 5
    assert Backend(load_teacher("grabcut"), pictures).version == backends[0].version


def test_a_box_becomes_exactly_the_teachers_mask(
    client: TestClient, photo: NDArray[np.uint8], drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    assert answer.status_code == 200
    (prediction,) = answer.json()["results"]
    (region,) = prediction["result"]
    assert region["type"] == "brushlabels"
    assert (region["from_name"], region["to_name"]) == ("mask", "image")
    assert (region["original_width"], region["original_height"], region["image_rotation"]) == (120, 80, 0)
    assert region["value"]["format"] == "rle"
    assert region["value"]["brushlabels"] == ["Tampered"]
    painted = decode(region["value"]["rle"], 80, 120)
    (expected,) = load_teacher("grabcut").masks(photo, [Box(30, 16, 90, 64)])
    assert np.array_equal(painted, expected.probability > 0.5)
    assert 1000 < painted.sum() < 2000  # the ellipse has 1414 pixels, the box 2880
    assert prediction["score"] == pytest.approx(expected.quality, abs=1e-6)
    assert prediction["model_version"] == client.get("/versions").json()["versions"][0]


def test_several_boxes_become_several_masks_with_their_labels(
    client: TestClient, drawn_box: dict[str, Any], make_region: Requests, predict_request: Requests
) -> None:
    other = make_region("rectanglelabels", "box", "Copied", x=0, y=0, width=20, height=20, rotation=0)
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box, other]))
    regions = answer.json()["results"][0]["result"]
    assert [region["value"]["brushlabels"] for region in regions] == [["Tampered"], ["Copied"]]
    assert len({region["id"] for region in regions}) == 2


def _painted(answer: Any) -> NDArray[np.bool_]:
    (region,) = answer.json()["results"][0]["result"]
    return decode(region["value"]["rle"], 80, 120)


def test_clicks_refine_the_box_that_was_drawn_before(
    client: TestClient,
    photo: NDArray[np.uint8],
    drawn_box: dict[str, Any],
    make_region: Requests,
    predict_request: Requests,
) -> None:
    # Label Studio sends the clicks alone, all of them each time.
    client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    click = make_region("keypointlabels", "click", "Copied", x=35.0, y=25.0, width=0.3, is_positive=True)
    no = make_region("keypointlabels", "click", "Copied", x=50.0, y=50.0, width=0.3, is_positive=False)
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[click, no]))
    assert answer.json()["results"][0]["result"][0]["value"]["brushlabels"] == ["Copied"]
    points = [Point(42, 20, True), Point(60, 40, False)]
    (expected,) = load_teacher("grabcut").masks(photo, [Box(30, 16, 90, 64)], points)
    assert np.array_equal(_painted(answer), expected.probability > 0.5)
    (without,) = load_teacher("grabcut").masks(photo, [Box(30, 16, 90, 64)])
    assert not np.array_equal(_painted(answer), without.probability > 0.5)


def test_clicks_refine_a_box_that_label_studio_has_stored(
    client: TestClient, drawn_box: dict[str, Any], make_region: Requests, predict_request: Requests
) -> None:
    click = make_region("keypointlabels", "click", "Tampered", x=50.0, y=50.0, width=0.3, is_positive=True)
    request = predict_request("/data/upload/1/a.png", drawn=[click])
    assert "draw one first" in client.post("/predict", json=request).json()["error"]
    request["tasks"][0]["drafts"] = [{"result": [drawn_box]}]
    assert _painted(client.post("/predict", json=request))[40, 60]


def test_another_task_or_project_does_not_know_the_box(
    client: TestClient, drawn_box: dict[str, Any], make_region: Requests, predict_request: Requests
) -> None:
    client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    click = make_region("keypointlabels", "click", "Tampered", x=50.0, y=50.0, width=0.3, is_positive=True)
    request = predict_request("/data/upload/1/a.png", drawn=[click])
    assert client.post("/predict", json=request | {"project": "2.1"}).status_code == 400
    request["tasks"][0]["id"] = 77
    assert client.post("/predict", json=request).status_code == 400


def test_a_teacher_that_takes_no_clicks_says_so(
    student_client: TestClient, drawn_box: dict[str, Any], make_region: Requests, predict_request: Requests
) -> None:
    click = make_region("keypointlabels", "click", "Tampered", x=50.0, y=50.0, width=0.3, is_positive=True)
    answer = student_client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box, click]))
    assert answer.status_code == 400
    assert "takes no clicks" in answer.json()["error"]


def test_a_click_that_the_teacher_cannot_take_gets_one_line(
    client: TestClient, drawn_box: dict[str, Any], make_region: Requests, predict_request: Requests
) -> None:
    outside = make_region("keypointlabels", "click", "Tampered", x=1.0, y=1.0, width=0.3, is_positive=True)
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box, outside]))
    assert answer.status_code == 400
    assert "outside its box" in answer.json()["error"]


def test_a_mask_of_nothing_is_no_region(site: Any, drawn_box: dict[str, Any], predict_request: Requests) -> None:
    class Blind(BoxTeacher):
        def decode(self, encoding: Any, boxes: Any, *_: Any, **__: Any) -> list[TeacherMask]:
            return [TeacherMask(np.zeros(encoding.size, np.float32)) for _ in boxes]

    stream = io.BytesIO()
    Image.new("RGB", (120, 80)).save(stream, "PNG")
    site.give("/data/upload/1/a.png", stream.getvalue())
    client = _client(Backend(Blind(), Pictures(Fetcher(FetchRules(parse_origin(site.address))))))
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    assert answer.json()["results"][0]["result"] == []
    assert answer.json()["results"][0]["score"] is None


def test_a_draft_is_what_the_teacher_drafts(site: Any, make_region: Requests, predict_request: Requests) -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 18, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((900, 600), Image.Resampling.BICUBIC).save(stream, "PNG")
    site.give("/data/upload/1/a.png", stream.getvalue())
    teacher = load_teacher("grabcut")
    encoding = teacher.encode(np.asarray(Image.open(stream).convert("RGB")))
    (expected,) = teacher.decode(encoding, [Box(90, 60, 720, 480)], draft=True)
    client = _client(Backend(teacher, Pictures(Fetcher(FetchRules(parse_origin(site.address)))), draft=True))
    box = make_region("rectanglelabels", "box", "Tampered", x=10, y=10, width=70, height=70, original_width=900)
    request = predict_request("/data/upload/1/a.png", drawn=[box | {"original_height": 600}])
    (region,) = client.post("/predict", json=request).json()["results"][0]["result"]
    assert np.array_equal(decode(region["value"]["rle"], 600, 900), expected.probability > 0.5)


def test_many_people_at_once_get_their_own_masks(
    client: TestClient, photo: NDArray[np.uint8], make_region: Requests, predict_request: Requests
) -> None:
    teacher = load_teacher("grabcut")

    def ask(x: int) -> bool:
        region = make_region("rectanglelabels", "box", "Tampered", x=x, y=10, width=60, height=80, rotation=0)
        answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[region]))
        x0, x1 = round(x * 1.2), round((x + 60) * 1.2)
        (expected,) = teacher.masks(photo, [Box(x0, 8, x1, 72)])
        return np.array_equal(_painted(answer), expected.probability > 0.5)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, [5, 10, 15, 20, 25, 30]))


def test_the_image_is_fetched_once_for_many_boxes(
    client: TestClient, site: Any, drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    for _ in range(3):
        client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]))
    ((_, headers),) = site.requests
    assert headers["Authorization"] == "Token key"


def test_nothing_drawn_and_no_student_gives_no_prediction(client: TestClient, predict_request: Requests) -> None:
    # `_get_predictions_from_ml_backend` takes a list per task, and makes no prediction of an empty one.
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", "/data/upload/1/b.png"))
    assert answer.json()["results"] == [[], []]


def test_a_student_gives_pre_annotations(student_client: TestClient, predict_request: Requests) -> None:
    answer = student_client.post("/predict", json=predict_request("/data/upload/1/a.png"))
    (prediction,) = answer.json()["results"]
    brush, *rectangles = prediction["result"]
    assert brush["type"] == "brushlabels"
    assert brush["value"]["brushlabels"] == ["Tampered"]
    painted = decode(brush["value"]["rle"], 80, 120)
    assert painted[40, 60]
    assert not painted[:10].any()
    assert {region["type"] for region in rectangles} == {"rectanglelabels"}
    largest = max(rectangles, key=lambda region: region["value"]["width"])["value"]
    assert largest["x"] / 100 * 120 == pytest.approx(35, abs=4)
    assert largest["width"] / 100 * 120 == pytest.approx(50, abs=6)
    assert 0.9 < prediction["score"] <= 1


def test_a_task_that_fails_does_not_take_the_others_with_it(
    student_client: TestClient, predict_request: Requests
) -> None:
    # Label Studio logs a prediction without "result" and goes on with the next task.
    request = predict_request("/data/upload/1/a.png", "/data/upload/1/gone.png", "http://169.254.169.254/a.png")
    first, second, third = student_client.post("/predict", json=request).json()["results"]
    assert first["result"]
    assert "404 Not Found" in second["error"]
    assert "may not come from" in third["error"]
    assert "result" not in second


def test_the_key_that_label_studio_sends_with_setup_is_used_for_that_project(
    site: Any, png: bytes, setup_request: dict[str, Any], drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    site.give("/data/upload/1/a.png", png)
    client = _client(Backend(load_teacher("box"), Pictures(Fetcher(FetchRules(parse_origin(site.address))))))
    client.post("/setup", json=setup_request)
    request = predict_request("/data/upload/1/a.png", drawn=[drawn_box])
    client.post("/predict", json=request)
    client.post("/predict", json=request | {"project": "2.1790000000"})
    sent = [headers.get("Authorization") for _, headers in site.requests]
    assert sent == [f"Token {setup_request['access_token']}", None]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        pytest.param({"tasks": None}, 400, "no tasks", id="no tasks"),
        pytest.param({"tasks": []}, 400, "no tasks", id="empty tasks"),
        pytest.param({"tasks": ["a"]}, 400, "no tasks", id="tasks of text"),
        pytest.param({"tasks": [{"id": 1}]}, 400, "no 'image'", id="no data"),
        pytest.param({"tasks": [{"id": 1, "data": {"photo": "x"}}]}, 400, "no 'image'", id="another key"),
        pytest.param({"tasks": [{"data": {"image": "x"}}] * 2}, 400, "belongs to one task", id="two tasks"),
        pytest.param({"label_config": "<View/>"}, 422, "no <Image>", id="labelling"),
        pytest.param({"label_config": None}, 422, "no labelling configuration", id="no labelling"),
        pytest.param({"params": {"context": {"result": 3}}}, 400, "not a list", id="context"),
    ],
)
def test_malformed_requests_get_one_line(
    client: TestClient,
    drawn_box: dict[str, Any],
    predict_request: Requests,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    status: int,
    message: str,
) -> None:
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=[drawn_box]) | change)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    # Label Studio shows the status only, and sends people to the console.
    assert message in caplog.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(b"", 422, id="nothing"),
        pytest.param(b"{", 422, id="not closed"),
        pytest.param(b"[]", 422, id="list"),
        pytest.param(b"null", 422, id="null"),
        pytest.param(b'{"a": ' + b"[" * 100_000, 400, id="nested too deep"),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook"])
def test_wrong_json_gets_one_line(client: TestClient, path: str, content: bytes, status: int) -> None:
    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_an_image_of_another_size_than_drawn_on_is_refused(
    client: TestClient, drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    drawn = [drawn_box | {"original_width": 240, "original_height": 160}]
    answer = client.post("/predict", json=predict_request("/data/upload/1/a.png", drawn=drawn))
    assert answer.status_code == 409
    assert "is 120 x 80 pixels, but was 240 x 160" in answer.json()["error"]


def test_an_image_that_is_not_there_is_404(
    client: TestClient, drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    answer = client.post("/predict", json=predict_request("/data/upload/1/gone.png", drawn=[drawn_box]))
    assert answer.status_code == 404


def test_setup_says_what_the_labelling_configuration_lacks(client: TestClient, setup_request: dict[str, Any]) -> None:
    answer = client.post("/setup", json=setup_request | {"schema": "<View></View>"})
    assert answer.status_code == 422
    assert "<Image>" in answer.json()["error"]


def test_setup_says_that_a_student_needs_a_label(student_client: TestClient, setup_request: dict[str, Any]) -> None:
    schema = (
        '<View><Image name="i" value="$image"/><BrushLabels name="m" toName="i">'
        '<Label value="Sky"/><Label value="Sea"/></BrushLabels></View>'
    )
    answer = student_client.post("/setup", json=setup_request | {"schema": schema})
    assert answer.status_code == 422
    assert 'predicted_values="tampered"' in answer.json()["error"]


def test_setup_says_that_a_key_cannot_be_one(site: Any, setup_request: dict[str, Any]) -> None:
    client = _client(Backend(load_teacher("box"), Pictures(Fetcher(FetchRules(parse_origin(site.address))))))
    answer = client.post("/setup", json=setup_request | {"access_token": "a\r\nX-Injected: b"})
    assert answer.status_code == 400
    assert "API key" in answer.json()["error"]


def test_training_is_refused_and_events_are_taken(client: TestClient) -> None:
    # `MLApi.train` and the webhook that Label Studio registers for each backend (`create_ml_webhook`).
    answer = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 1}})
    assert answer.status_code == 501
    assert "boxpromptiml train" in answer.json()["error"]
    assert client.post("/train", json={}).status_code == 501
    answer = client.post("/webhook", json={"action": "ANNOTATION_CREATED", "annotation": {}, "project": {"id": 1}})
    assert answer.status_code == 200
    assert answer.json()["status"] == "ignored"


def test_a_password_is_required_where_one_is_set(backend: Backend, setup_request: dict[str, Any]) -> None:
    client = _client(backend, token="a-long-enough-token")
    assert client.get("/health").status_code == 401
    assert client.post("/setup", json=setup_request).status_code == 401
    # As `requests.auth.HTTPBasicAuth` sends it for Label Studio.
    for password, status in (("a-long-enough-token", 200), ("another-long-token", 401)):
        basic = base64.b64encode(f"labelstudio:{password}".encode()).decode()
        assert client.get("/health", headers={"Authorization": f"Basic {basic}"}).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="page of another site"),
        pytest.param({"Host": "evil.example:9090"}, id="another name for this machine"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="request of another site"),
    ],
)
def test_other_sites_in_a_browser_cannot_ask(
    client: TestClient, setup_request: dict[str, Any], headers: dict[str, str]
) -> None:
    assert client.post("/setup", json=setup_request, headers=headers).status_code == 403


def test_tasks_may_hold_more_than_ordinary_json(
    client: TestClient, png: bytes, drawn_box: dict[str, Any], predict_request: Requests
) -> None:
    request = predict_request("data:image/png;base64," + base64.b64encode(png).decode(), drawn=[drawn_box])
    request["tasks"][0]["annotations"] = [{"result": [{"value": {"rle": [255] * (3 << 20)}}]}]
    assert len(json.dumps(request)) > 10 << 20
    assert client.post("/predict", json=request).status_code == 200
