"""The review's modules that know nothing of pages, run in a browser: painting with undo, PNG without loss, prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def call(page: Page, live_server: Callable[..., Any], red_model: Path) -> Callable[..., Any]:
    """A function that runs JavaScript over a module's exports, `m`."""
    page.goto(f"{live_server(verb='page', model=red_model)}/static/icon.svg")

    def run(module: str, code: str, **values: Any) -> Any:
        names = ", ".join(values)
        return page.evaluate(
            f"async ({{{names}}}) => {{ const m = await import('/static/js/review/{module}'); {code} }}", values
        )

    return run


_RANDOM = "let seed = 5; const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);"


def test_undo_restores_every_pixel_and_redo_paints_it_again(call: Callable[..., Any]) -> None:
    code = f"""
      {_RANDOM}
      const wrong = [];
      for (let round = 0; round < 40; round++) {{
        const width = 1 + Math.floor(random() * 200), height = 1 + Math.floor(random() * 200);
        const values = Uint8Array.from({{length: width * height}}, () => Math.floor(random() * 256));
        const mask = new m.PaintedMask(values, width, height);
        const states = [values.slice()];
        for (let stroke = 0; stroke < 6; stroke++) {{
          const place = () => [(random() * 1.4 - 0.2) * width, (random() * 1.4 - 0.2) * height];
          mask.begin(...place(), 1 + random() * 60, random() < 0.5 ? 255 : 0);
          for (let i = 0; i < 4; i++) mask.move(...place());
          if (random() < 0.2) {{ mask.cancel(); continue; }}
          mask.end();
          if (mask.done.length === states.length) states.push(values.slice());
        }}
        const same = (state) => values.every((value, i) => value === state[i]);
        if (!same(states.at(-1))) wrong.push("a stroke that was cancelled left something");
        const went = (worked, i) => worked && same(states[i]);
        for (let i = states.length - 2; i >= 0; i--) if (!went(mask.undo(), i)) wrong.push(["undo", round, i]);
        if (mask.undo() || mask.changed) wrong.push("more to undo than was painted");
        for (let i = 1; i < states.length; i++) if (!went(mask.redo(), i)) wrong.push(["redo", round, i]);
      }}
      return wrong.slice(0, 5);"""
    assert call("painted.js", code) == []


@pytest.mark.parametrize(
    ("size", "place", "painted"),
    [
        (1, (10.5, 10.5), [[10, 10]]),
        (1, (10.99, 10.01), [[10, 10]]),  # the pixel under the pointer, wherever in it
        (2, (10, 10), [[9, 9], [10, 9], [9, 10], [10, 10]]),
        (3, (10.5, 10.5), [[x, y] for y in (9, 10, 11) for x in (9, 10, 11)]),
        (1, (0, 0), [[0, 0]]),
        (1, (-3, 5), []),  # outside
    ],
)
def test_a_dab_paints_these_pixels(call: Callable[..., Any], size: int, place: Any, painted: Any) -> None:
    code = """
      const mask = new m.PaintedMask(new Uint8Array(400), 20, 20);
      mask.begin(...place, size, 255);
      mask.end();
      return [...mask.values.keys()].filter((i) => mask.values[i]).map((i) => [i % 20, Math.floor(i / 20)]);"""
    assert call("painted.js", code, size=size, place=list(place)) == painted


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (255, 257), (2311, 2000)])
def test_png_without_loss(call: Callable[..., Any], width: int, height: int) -> None:
    """Written by hand, read by the browser; the largest takes more than one strip."""
    code = f"""
      {_RANDOM}
      const values = Uint8Array.from({{length: width * height}}, () => Math.floor(random() * 256));
      const read = await m.decodeGrey(await m.encodeGrey(values, width, height));
      const same = read.values.every((value, i) => value === values[i]);
      return [read.width, read.height, same];"""
    assert call("png.js", code, width=width, height=height) == [width, height, True]


def test_clicks_belong_to_the_box_they_are_in(call: Callable[..., Any]) -> None:
    code = """
      const prompts = new m.Prompts([[10, 10, 90, 90], [20, 20, 40, 40], [150, 10, 180, 30]], 200, 100);
      for (const [x, y] of [[30, 30], [80, 80], [145, 12], [5, 50]]) prompts.addPoint(x, y, true);
      const owners = prompts.points.map(([, , , box]) => box);
      prompts.removeBox(0);
      const left = prompts.points.map(([x, , , box]) => [x, box]);
      prompts.undo();
      return [owners, left, prompts.points.length, new m.Prompts([], 9, 9).addPoint(1, 1, true)];"""
    assert call("prompts.js", code) == [[1, 0, 2, 0], [[30, 0], [145, 1]], 4, False]
