"""The figures of a run as tables, with the ratios that they are about."""

from __future__ import annotations

from typing import Any

TARGET = 30


def network_rows(figures: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Every network alone, at the first photo."""
    head = ["network", "runs as", "params M", "G multiply-adds", "input", "ms", "spread", "GFLOP/s", "% of peak"]
    rows = []
    for entry in figures["entries"]:
        if "error" in entry:
            rows.append([entry["name"], entry["way"], f"not measured: {entry['error']}", *["-"] * 6])
            continue
        first = next(iter(entry["photos"].values()))
        rows.append(
            [
                entry["name"],
                entry["way"],
                f"{entry['params'] / 1e6:.1f}",
                f"{_work(entry, first) / 1e9:.2f}",
                f"{first['shape'][1]} x {first['shape'][0]}",
                f"{first['network_ms']:.1f}",
                f"{first['spread']:.0%}",
                f"{_rate(entry, first) / 1e9:.0f}",
                _share(figures, entry, first),
            ]
        )
    return head, rows


def photo_rows(figures: dict[str, Any], photo: str) -> tuple[list[str], list[list[str]]]:
    """Every contestant from one photo on disk to mask and score."""
    head = ["network", "runs as", "read, decode, resize", "network", "mask and score", "whole ms"]
    rows = [
        [
            entry["name"],
            entry["way"],
            *(f"{entry['photos'][photo][f'{step}_ms']:.1f}" for step in ("prepare", "network", "finish", "whole")),
        ]
        for entry in figures["entries"]
        if "error" not in entry
    ]
    return head, rows


def ratio_rows(figures: dict[str, Any], photo: str) -> tuple[list[str], list[list[str]]]:
    """How many times faster every way of ours is than the fastest peer: the peers as they are, and at their best."""
    peers = [e for e in figures["entries"] if not e["ours"] and "error" not in e and e["kind"] == "peer"]
    if not peers:
        return ["no peer was measured"], []
    plain = [e for e in peers if e["way"] == "fp32"] or peers
    head = ["student", "runs as", "peer's network / our whole", "whole / whole", "network / network"]
    head.append("peer's network at its best / our whole")
    rows = []
    for entry in figures["entries"]:
        if entry["kind"] == "peer" or "error" in entry:
            continue
        ours = entry["photos"][photo]

        def fastest(group: list[dict[str, Any]], figure: str) -> float:
            return min(peer["photos"][photo][figure] for peer in group)

        rows.append(
            [
                entry["name"],
                entry["way"],
                f"{fastest(plain, 'network_ms') / ours['whole_ms']:.1f}",
                f"{fastest(plain, 'whole_ms') / ours['whole_ms']:.1f}",
                f"{fastest(plain, 'network_ms') / ours['network_ms']:.1f}",
                f"{fastest(peers, 'network_ms') / ours['whole_ms']:.1f}",
            ]
        )
    return head, rows


def _work(entry: dict[str, Any], photo: dict[str, Any]) -> float:
    """Multiply-adds at the size that was shown: they grow with the area, all but exactly."""
    rows, columns = photo["shape"]
    return float(entry["multiply_adds"]) * rows * columns / (entry["height"] * entry["width"])


def _rate(entry: dict[str, Any], photo: dict[str, Any]) -> float:
    return 2000 * _work(entry, photo) / float(photo["network_ms"])


def _share(figures: dict[str, Any], entry: dict[str, Any], photo: dict[str, Any]) -> str:
    peak = figures["peaks"].get(entry["precision"])
    return "-" if peak is None else f"{_rate(entry, photo) / peak[1]:.0%}"
