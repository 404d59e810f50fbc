"""The page's modules that know nothing of pages, run where they live: in a browser, over tables of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page


@pytest.fixture
def call(page: Page, live_server: Callable[..., Any], tmp_path: Path, make_photos: Callable[..., Any]) -> Any:
    """A function that runs JavaScript over a module's exports: ``call("canvas/boxes.js", "m.boxArea(a)", a=[...])``."""
    make_photos(tmp_path / "photos", 1)
    page.goto(f"{live_server(tmp_path / 'photos', teacher='none')}/static/icon.svg")

    def run(module: str, code: str, **values: Any) -> Any:
        names = ", ".join(values)
        function = f"async ({{{names}}}) => {{ const m = await import('/static/js/{module}'); {code} }}"
        return page.evaluate(function, values)

    return run


# Corners in fractions of pixels -> the box in an image of 100 x 80.
BETWEEN = [
    ((10, 20, 30, 40), [10, 20, 30, 40]),
    ((30, 40, 10, 20), [10, 20, 30, 40]),
    ((10.4, 20.6, 29.6, 40.4), [10, 21, 30, 40]),
    ((-50, -50, 500, 500), [0, 0, 100, 80]),
    ((10.1, 10.1, 10.3, 10.3), [10, 10, 11, 11]),  # thinner than a pixel: the pixel that it lies in
    ((99.9, 79.9, 120, 90), [99, 79, 100, 80]),
    ((-9, 10, -1, 20), [0, 10, 1, 20]),
    ((100, 80, 100, 80), [99, 79, 100, 80]),
]

MOVED = [
    ([10, 20, 30, 40], (5, -7), [15, 13, 35, 33]),
    ([10, 20, 30, 40], (-50, -50), [0, 0, 20, 20]),
    ([10, 20, 30, 40], (999, 999), [80, 60, 100, 80]),
    ([10, 20, 30, 40], (0.4, 0.6), [10, 21, 30, 41]),
    ([0, 0, 100, 80], (3, 3), [0, 0, 100, 80]),
]

RESIZED = [
    ([10, 20, 30, 40], (1, 1), (50, 60), [10, 20, 50, 60]),
    ([10, 20, 30, 40], (-1, 0), (5, 79), [5, 20, 30, 40]),
    ([10, 20, 30, 40], (-1, -1), (50, 60), [30, 40, 50, 60]),
    ([10, 20, 30, 40], (0, 1), (0, 10), [10, 10, 30, 20]),
    ([10, 20, 30, 40], (1, 0), (10, 0), [10, 20, 11, 40]),
]

# Place -> (index, handle) with boxes 0 (large), 1 (within it), 2 (apart, small), none selected.
HITS = [
    ((60, 60), (0, None)),
    ((30, 30), (1, None)),
    ((20, 20), (1, (-1, -1))),
    ((10, 50), (0, (-1, 0))),
    ((91, 73), (2, None)),
    ((86, 68), (2, (-1, -1))),
    ((5, 78), None),
]


def test_boxes(call: Any) -> None:
    code = "return a.map((one) => m.boxBetween(...one, 100, 80));"
    assert call("canvas/boxes.js", code, a=[corners for corners, _ in BETWEEN]) == [box for _, box in BETWEEN]
    code = "return a.map(([box, by]) => m.moveBox(box, ...by, 100, 80));"
    assert call("canvas/boxes.js", code, a=[row[:2] for row in MOVED]) == [row[2] for row in MOVED]
    code = "return a.map(([box, [hx, hy], to]) => m.resizeBox(box, {hx, hy}, ...to, 100, 80));"
    assert call("canvas/boxes.js", code, a=[row[:3] for row in RESIZED]) == [row[3] for row in RESIZED]


def test_what_the_pointer_takes(call: Any) -> None:
    code = """
      const boxes = [[10, 10, 80, 75], [20, 20, 40, 40], [88, 70, 94, 76]];
      return a.map((at) => {
        const hit = m.hitTest(boxes, ...at, 3);
        return hit && [hit.index, hit.handle && [hit.handle.hx, hit.handle.hy]];
      });"""
    expected = [hit and [hit[0], hit[1] and list(hit[1])] for _, hit in HITS]
    assert call("canvas/boxes.js", code, a=[at for at, _ in HITS]) == expected


def test_any_gesture_leaves_a_whole_box_inside_the_image(call: Any) -> None:
    """20,000 random drags, moves and resizes, images from one pixel on."""
    code = """
      let seed = 1;
      const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
      const wrong = [];
      for (let i = 0; i < 20000; i++) {
        const width = 1 + Math.floor(random() * 50), height = 1 + Math.floor(random() * 50);
        const anywhere = () => (random() - 0.3) * 90;
        let box = m.boxBetween(anywhere(), anywhere(), anywhere(), anywhere(), width, height);
        const check = (what) => {
          const [x0, y0, x1, y1] = box;
          const inside = 0 <= x0 && x0 < x1 && x1 <= width && 0 <= y0 && y0 < y1 && y1 <= height;
          if (!inside || !box.every(Number.isInteger)) wrong.push([what, box, width, height]);
        };
        check("drawn");
        const area = m.boxArea(box);
        box = m.moveBox(box, anywhere(), anywhere(), width, height);
        check("moved");
        if (m.boxArea(box) !== area) wrong.push(["size changed", box]);
        box = m.resizeBox(box, m.HANDLES[i % 8], anywhere(), anywhere(), width, height);
        check("resized");
      }
      return wrong.slice(0, 5);"""
    assert call("canvas/boxes.js", code) == []


def test_zooming_and_panning(call: Any) -> None:
    """What is under the pointer stays there, there and back again is exact, and the image can't be lost."""
    code = """
      let seed = 7;
      const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
      const wrong = [];
      for (let i = 0; i < 2000; i++) {
        const port = new m.Viewport();
        port.resize(200 + random() * 1500, 200 + random() * 900);
        port.setImageSize(1 + Math.floor(random() * 9000), 1 + Math.floor(random() * 9000));
        const [left, top] = port.toScreen(0, 0);
        const [right, bottom] = port.toScreen(port.imageWidth, port.imageHeight);
        const fits = left >= 0 && top >= 0 && right <= port.width + 1e-6 && bottom <= port.height + 1e-6;
        if (!fits) wrong.push(["not fitted", i]);
        for (let step = 0; step < 20; step++) {
          const [sx, sy] = [random() * port.width, random() * port.height];
          const before = port.toImage(sx, sy);
          port.zoomBy(0.3 + random() * 3, sx, sy);
          const after = port.toImage(sx, sy);
          // Only what would leave the window altogether is held back: then no more than that is in sight.
          const [u0, v0, u1, v1] = port.visible();
          const held = Math.min((u1 - u0), (v1 - v0)) * port.scale <= 48.001;
          if (!held && Math.hypot(after[0] - before[0], after[1] - before[1]) > 1e-6) wrong.push(["slipped", i, step]);
          if (random() < 0.5) port.panBy((random() - 0.5) * 5000, (random() - 0.5) * 5000);
          const back = port.toImage(...port.toScreen(3.25, 4.5));
          if (Math.abs(back[0] - 3.25) + Math.abs(back[1] - 4.5) > 1e-6) wrong.push(["not inverse", i]);
          const [x0, y0, x1, y1] = port.visible();
          if (!(x0 < x1 && y0 < y1)) wrong.push(["lost", i, step]);
        }
      }
      return wrong.slice(0, 5);"""
    assert call("canvas/viewport.js", code) == []


def test_undo_and_redo(call: Any) -> None:
    code = """
      const history = new m.History(0);
      const trace = [];
      for (const step of a) {
        if (typeof step === "number") history.push(step);
        else if (Array.isArray(step)) history.amend(step[0]);
        else history[step]();
        trace.push(history.state);
      }
      return [trace, history.canUndo, history.canRedo];"""
    steps = [1, 2, 2, "undo", "undo", "undo", "redo", 3, "redo", "undo", [9], "redo", "undo"]
    assert call("canvas/history.js", code, a=steps) == [
        [1, 2, 2, 1, 0, 0, 1, 3, 3, 1, 9, 9, 0],
        False,
        True,
    ]
    # There and back again is no change, and leaves nothing to undo.
    code = """
      const history = new m.History(0);
      history.push(1);
      history.push(2);
      return [history.amend(3), history.amend(1), history.state, history.undo(), history.state, history.canUndo];"""
    assert call("canvas/history.js", code) == [True, False, 1, True, 0, False]
    code = "const h = new m.History(0); for (let i = 1; i < 500; i++) h.push(i); while (h.undo()); return h.state;"
    assert call("canvas/history.js", code) > 0  # bounded


# A key, the modifiers that are held -> the command.
KEYS = [
    ("/", [], "focusSearch"),
    ("/", ["shift"], "focusSearch"),  # Shift+7 on a German keyboard
    (".", ["shift"], "fadeIn"),  # on a French one
    ("a", [], "authentic"),
    ("A", [], "authentic"),  # with Caps Lock
    ("A", ["shift"], None),
    ("z", ["ctrl"], "undo"),
    ("Z", ["ctrl", "shift"], "redo"),
    ("/", ["ctrl"], None),
    ("Delete", ["shift"], None),
]


def test_keys_and_their_commands(call: Any) -> None:
    code = """
      return a.map(([key, held]) => {
        const event = { key, ctrlKey: held.includes("ctrl"), shiftKey: held.includes("shift") };
        return m.commandOf(event)?.run ?? null;
      });"""
    assert call("annotate/commands.js", code, a=[row[:2] for row in KEYS]) == [row[2] for row in KEYS]


def test_arrows_there_and_back_are_no_change(call: Any) -> None:
    code = """
      const record = { image: "a", width: 100, height: 80, boxes: [], label: null, skipped: false };
      return [[12, 10], [12, 10, 12]].map((lefts) => {
        const one = new m.Annotation(record);
        one.addBox([10, 10, 20, 20]);
        lefts.forEach((left, i) => one.replaceBox(0, [left, 10, left + 10, 20], { amend: i > 0 }));
        const trace = [one.boxes];
        while (one.undo()) trace.push(one.boxes);
        return trace.map(([box]) => box?.[0]);
      });"""
    # There, back and on again: what comes after is a change of its own.
    assert call("annotate/annotation.js", code) == [[10, None], [12, 10, None]]


def test_a_view_that_is_being_left_does_not_take_the_address_back(call: Any) -> None:
    """Browsers tell of a new address a moment after it is there; what was under way in the view may come in between."""
    code = """
      const heard = [];
      const router = new m.Router(["one", "two"], (name, params) => heard.push([name, params]));
      const change = (act) => new Promise((done) => { addEventListener("hashchange", done, { once: true }); act(); });
      const addresses = [];
      const write = (name, image) => { router.write(name, { image }); addresses.push(location.hash); };
      router.start("one");
      write("one", "a b");
      await change(() => { router.go("two"); write("one", "c"); });
      write("two", "d");
      await change(() => { location.hash = "#place"; });
      write("two", "e");
      await change(() => { history.back(); });
      write("two", "f");
      return [heard, addresses];"""
    heard, addresses = call("router.js", code)
    assert heard == [["one", {}], ["two", {}], ["two", {"image": "d"}]]
    assert addresses == [f"#/{name}" for name in ("one?image=a+b", "two", "two?image=d", "two?image=e", "two?image=f")]


def test_a_bare_address_leads_to_where_a_view_was_last(call: Any) -> None:
    code = """
      const heard = [];
      const router = new m.Router(["one", "two"], (...told) => heard.push(told));
      const change = (hash) => new Promise((done) => {
        addEventListener("hashchange", done, { once: true });
        location.hash = hash;
      });
      router.start("one");
      router.write("one", { image: "a", state: null });
      await change("#/one");  // where it is
      await change("#/two");
      router.write("two", { image: "b" });
      router.write("one", { image: "d" });  // what was under way in a view that was left
      const address = location.hash;
      await change("#/one");
      router.write("one", {});  // shows nothing in particular any more
      await change("#/two?image=c");
      await change("#/one");
      await change("#/neither");
      await change("#/two");
      return [heard, address, location.hash];"""
    heard, address, last = call("router.js", code)
    assert [one[:2] for one in heard] == [
        ["one", {}],
        ["one", {"image": "a"}],
        ["two", {}],
        ["one", {"image": "d"}],
        ["two", {"image": "c"}],
        ["one", {}],
        ["one", {}],
        ["two", {"image": "c"}],
    ]
    assert [one[2]["again"] for one in heard] == [False, True, False, False, False, False, True, False]
    assert (address, last) == ("#/two?image=b", "#/two?image=c")


# Signs of life at these seconds, the page left (pause) or taken (take) -> active seconds.
WORK = [
    ([("activity", 0), ("activity", 2), ("take", 4)], 4),
    ([("activity", 0), ("take", 3600)], 5),  # a lunch: the clock stopped five seconds after the last sign
    ([("activity", 0), ("activity", 100), ("take", 103)], 8),
    ([("activity", 0), ("pause", 2), ("take", 50)], 2),  # a hidden tab
    ([("activity", 0), ("pause", 2), ("activity", 10), ("take", 11)], 3),
    ([("take", 9)], 0),
]


def test_active_seconds(call: Any) -> None:
    code = """
      return a.map((events) => {
        const timer = new m.ActiveTimer();
        let taken = null;
        for (const [what, at] of events) taken = timer[what](at * 1000);
        return [taken, timer.take(events.at(-1)[1] * 1000)];
      });"""
    assert call("annotate/active-timer.js", code, a=[events for events, _ in WORK]) == [
        [seconds, 0] for _, seconds in WORK
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5400, "1.5 h"), (2_300_000 * 60, "38,333 h")]
)
def test_durations(call: Any, seconds: int, text: str) -> None:
    assert call("annotate/stats-panel.js", "return m.duration(a);", a=seconds) == text
