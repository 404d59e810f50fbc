"""Plots as SVG that takes its colours and its font from the page, so that one picture serves light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.metrics.calibration import Reliability

# matplotlib wants colours; these stand for the page's own and are replaced by them.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--soft)",
    "#030303": "var(--line)",
    "#040404": "var(--tampered)",
    "#050505": "var(--authentic)",
    "#060606": "var(--accent)",
}
INK, SOFT, LINE, TAMPERED, AUTHENTIC, ACCENT = _COLOURS
_SIZE = (5.0, 3.0)  # inches: the proportions, the page decides on the size
Floats = NDArray[np.float64]


def require_matplotlib() -> None:
    """Raise MissingExtraError if matplotlib is not installed: to be asked before hours of work."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error


def score_histogram(scores: Floats, tampered: NDArray[np.bool_], threshold: float) -> str:
    """Image scores of tampered and of authentic images, as shares of each."""
    figure, axes = _axes("image score", "share of images")
    edges = np.linspace(0, 1, 26)
    for mask, colour, name in ((~tampered, AUTHENTIC, "authentic"), (tampered, TAMPERED, "tampered")):
        if mask.any():
            counts, _ = np.histogram(scores[mask], edges)
            shares = counts / counts.sum()
            axes.stairs(shares, edges, fill=True, alpha=0.35, color=colour)
            axes.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{name} ({mask.sum():,})")
    axes.axvline(threshold, color=SOFT, linewidth=1, linestyle=":", label=f"threshold {threshold:g}")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return _svg(figure, "scores")


def figure_distribution(values: Floats, name: str) -> str:
    """How a figure in [0, 1] is distributed over images."""
    figure, axes = _axes(f"{name} of an image", "images")
    edges = np.linspace(0, 1, 21)
    counts, _ = np.histogram(values, edges)
    axes.stairs(counts, edges, fill=True, alpha=0.35, color=ACCENT)
    axes.stairs(counts, edges, color=ACCENT, linewidth=1.4)
    if values.size:
        axes.axvline(float(values.mean()), color=INK, linewidth=1, label=f"mean {values.mean():.3f}")
        axes.axvline(
            float(np.median(values)), color=SOFT, linewidth=1, linestyle=":", label=f"median {np.median(values):.3f}"
        )
        _legend(axes)
    axes.set_xlim(0, 1)
    return _svg(figure, "distribution")


def bars(names: Sequence[str], values: Floats, low: Floats, high: Floats, counts: Sequence[int], label: str) -> str:
    """A figure in [0, 1] for several groups of images, with intervals and the size of the groups."""
    figure, axes = _axes("", label)
    places = np.arange(len(names))
    axes.bar(places, np.nan_to_num(values), width=0.62, color=ACCENT, alpha=0.45)
    known = ~np.isnan(values)
    spread = np.stack([values - low, high - values])[:, known].clip(min=0)
    axes.errorbar(places[known], values[known], yerr=spread, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    axes.set_xticks(places, [f"{name}\n{count:,}" for name, count in zip(names, counts, strict=True)])
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", length=0)
    return _svg(figure, "bars-" + "-".join(names))


def curve(
    x: Floats, y: Floats, labels: tuple[str, str], legend: str, *, diagonal: bool = False, level: float | None = None
) -> str:
    """A curve in the unit square.

    Args:
        x: ascending or descending, in [0, 1].
        y: in [0, 1].
        labels: of the axes.
        legend: of the curve.
        diagonal: whether to draw the line of guessing.
        level: where to draw the level of guessing.
    """
    figure, axes = _axes(*labels)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="guessing")
    if level is not None:
        axes.axhline(level, color=SOFT, linewidth=1, linestyle=":", label=f"guessing ({level:.3f})")
    axes.plot(x, y, color=ACCENT, linewidth=1.7, label=legend)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    _legend(axes)
    return _svg(figure, labels[0])


def reliability(diagram: Reliability, name: str) -> str:
    """How often what is given a probability is tampered; the area of a dot is its bin's share, kept visible."""
    figure, axes = _axes(f"{name}: probability", "share that is tampered")
    used = diagram.count > 0
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="perfect")
    x, y, share = diagram.confidence[used], diagram.frequency[used], diagram.count[used] / diagram.count.sum()
    axes.plot(x, y, color=ACCENT, linewidth=1.4, label=f"error {diagram.ece:.3f}")
    axes.scatter(x, y, s=8 + 160 * share, color=ACCENT, alpha=0.6, linewidths=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.01)
    _legend(axes)
    return _svg(figure, f"reliability-{name}")


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label, color=SOFT)
    axes.set_ylabel(y_label, color=SOFT)
    axes.patch.set_visible(False)
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _svg(figure: Any, name: str) -> str:
    """Without prolog and fixed size; ids made unique, since all plots share one page."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', drawing, count=1)
    slug = re.sub(r"\W+", "-", name)
    drawing = re.sub(r'\bid="([^"]*)"', rf'id="{slug}-\1"', drawing)
    drawing = re.sub(r"url\(#([^)]*)\)", rf"url(#{slug}-\1)", drawing)
    drawing = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{slug}-\1"', drawing)
    for stand_in, colour in _COLOURS.items():
        drawing = drawing.replace(stand_in, colour)
    return drawing
