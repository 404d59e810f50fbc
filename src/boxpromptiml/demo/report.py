"""`report.html`: one self-contained page with what the demo did, its figures and its pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from boxpromptiml.files import write_text
from boxpromptiml.regions import Box

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1d2330; --soft: #5c6577; --line: #d9dee7; --page: #fff; --card: #f5f7fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #333b49; --page: #14171d; --card: #1c2129 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1120px; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem }
p { max-width: 46rem }
.soft { color: var(--soft) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; color: var(--soft); font-size: .85rem }
td.n, th.n { text-align: right }
.wide { overflow-x: auto }
.pictures { min-width: 900px; table-layout: fixed }
.pictures td { padding: .25rem .25rem .7rem 0; border: 0 }
.pictures img { width: 100%; display: block; border-radius: 4px }
figure { margin: 0 }
figcaption { font-size: .78rem; color: var(--soft); margin-top: .2rem }
pre { background: var(--card); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; font-size: .85rem }
"""


@dataclass
class Figure:
    """One picture with its caption."""

    picture: NDArray[np.uint8]
    caption: str = ""


@dataclass
class Table:
    """A table; cells are text, and columns named in `numbers` are right-aligned."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass
class Section:
    """A titled part of the page: paragraphs, then at most one table, then rows of figures."""

    title: str
    text: Sequence[str] = ()
    table: Table | None = None
    figures: Sequence[Sequence[Figure]] = ()
    columns: Sequence[str] = ()
    code: str = ""


@dataclass
class Page:
    """The whole report."""

    title: str
    lead: str
    sections: list[Section] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the page to `path`, atomically. Everything is inside: no script, no outside file."""
        body = "".join(_section(s) for s in self.sections)
        write_text(
            path,
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{html.escape(self.title)}</h1><p class='soft'>{html.escape(self.lead)}</p>{body}</body></html>\n",
        )


def with_boxes(image: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """A copy of an RGB image (h, w, 3) with the boxes drawn on it."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        draw.rectangle((box.x0, box.y0, box.x1 - 1, box.y1 - 1), outline=(255, 140, 0), width=3)
    return np.asarray(picture)


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """A map (h, w) as a grey picture: floats are probabilities in [0, 1], integers are taken as 0..255."""
    scaled = np.rint(np.asarray(values) * 255) if np.issubdtype(values.dtype, np.floating) else values
    return np.repeat(np.asarray(scaled).astype(np.uint8)[..., None], 3, axis=2)


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
    if section.code:
        parts.append(f"<pre>{html.escape(section.code)}</pre>")
    if section.table is not None:
        parts.append(_table(section.table))
    if section.figures:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in section.columns)
        rows = "".join("<tr>" + "".join(f"<td>{_figure(f)}</td>" for f in row) + "</tr>" for row in section.figures)
        parts.append(f"<div class='wide'><table class='pictures'><thead><tr>{head}</tr></thead>{rows}</table></div>")
    return "".join(parts)


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        marked = (
            f"<{tag}{' class=n' if i in table.numbers else ''}>{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    return f"<table><thead>{row(table.head, 'th')}</thead>{''.join(row(cells, 'td') for cells in table.rows)}</table>"


def _figure(figure: Figure) -> str:
    caption = f"<figcaption>{html.escape(figure.caption)}</figcaption>" if figure.caption else ""
    alt = html.escape(figure.caption or "picture", quote=True)
    return f"<figure><img src='{_data_uri(figure.picture)}' alt='{alt}' loading='lazy'>{caption}</figure>"


def _data_uri(picture: NDArray[np.uint8], long_side: int = 360) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((long_side, long_side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
