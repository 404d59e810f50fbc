"""The curves of a robustness run as a PNG, one panel an attack."""

from __future__ import annotations

from pathlib import Path

from boxpromptiml.errors import MissingExtraError
from boxpromptiml.evaluation.robustness.attacks import Attack
from boxpromptiml.evaluation.robustness.result import AttackResult, Estimate, RobustnessResult
from boxpromptiml.files import atomic_path

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingExtraError("matplotlib", "report") from error

_CURVE, _CLEAN = "#1f5fa8", "#6b6b6b"
_PANEL = (3.1, 3.0)  # inches


def draw_curves(result: RobustnessResult, path: str | Path) -> None:
    """Draw F1 over the levels of each attack with its 95 % band, and the untouched images as a dashed line.

    Args:
        result: at least one attack.
        path: PNG to write, atomically.
    """
    count = len(result.attacks)
    figure = Figure(figsize=(_PANEL[0] * count + 0.9, _PANEL[1] + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for place, (axes, attack) in enumerate(zip(panels, result.attacks, strict=True)):
        _draw_panel(axes, attack, result.clean.f1)
        if place == 0:
            axes.set_ylabel(f"pixel F1 ({result.clean.report['preset']})", fontsize=9)
            figure.legend(
                *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
            )
    clean = result.clean.f1.value
    if clean > 0:
        right = panels[-1].secondary_yaxis("right", functions=(lambda f1: f1 / clean, lambda kept: kept * clean))
        right.set_ylabel("retention (F1 / clean F1)", fontsize=9)
        right.tick_params(labelsize=8)
    top = max(estimate.high for estimate in _estimates(result) if estimate.high == estimate.high)
    panels[0].set_ylim(0, max(top * 1.06, 0.05))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=200)


def _estimates(result: RobustnessResult) -> list[Estimate]:
    levels = [level.f1 for attack in result.attacks for level in attack.levels]
    return [result.clean.f1, *levels, Estimate(0.0, 0.0, 0.0)]


def _draw_panel(axes: Axes, result: AttackResult, clean: Estimate) -> None:
    attack = result.attack
    places = _places(attack)
    values = [level.f1.value for level in result.levels]
    lows, highs = [level.f1.low for level in result.levels], [level.f1.high for level in result.levels]
    axes.axhspan(clean.low, clean.high, color=_CLEAN, alpha=0.10, linewidth=0)
    axes.axhline(clean.value, color=_CLEAN, linestyle="--", linewidth=1.2, label="clean, 95 % band in grey")
    if attack.numeric:
        axes.fill_between(places, lows, highs, color=_CURVE, alpha=0.18, linewidth=0)
        axes.plot(places, values, color=_CURVE, marker="o", markersize=4, linewidth=1.8, label="attacked, 95 % band")
        axes.set_xticks(places, [str(level) for level in attack.levels])
        if places[0] > places[-1]:  # harm grows to the right
            axes.invert_xaxis()
    else:
        below = [value - low for value, low in zip(values, lows, strict=True)]
        above = [high - value for value, high in zip(values, highs, strict=True)]
        axes.errorbar(
            places,
            values,
            yerr=[below, above],
            fmt="o",
            color=_CURVE,
            markersize=4,
            capsize=3,
            label="attacked, 95 % band",
        )
        axes.set_xticks(places, [str(level) for level in attack.levels])
        axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_xlabel(attack.axis, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    name = "area" if attack.numeric else "mean"
    kept = f", keeps {100 * result.retention.value:.0f} %" if result.retention.value == result.retention.value else ""
    axes.set_title(f"{attack.title}\n{name} {result.area.value:.3f}{kept}", fontsize=10)


def _places(attack: Attack) -> list[float]:
    return [float(level) if attack.numeric else float(place) for place, level in enumerate(attack.levels)]
