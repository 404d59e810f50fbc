"""No number without a source."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from boxpromptiml.bench import load_peers
from boxpromptiml.bench.peers import Peers

PEERS = load_peers()


@pytest.mark.parametrize("peer", PEERS.peers, ids=lambda peer: peer.name)
def test_every_number_has_a_source(peer: object) -> None:
    quantities = [q for q in (peer.params_m, peer.flops_g) if q is not None]  # type: ignore[attr-defined]
    assert quantities
    for quantity in quantities:
        source = PEERS.source(quantity)
        assert source.url.startswith("https://")
        assert source.where


def test_names_are_unique_and_every_source_is_used() -> None:
    names = [peer.name for peer in PEERS.peers]
    assert len(set(names)) == len(names)
    used = {q.source for peer in PEERS.peers for q in (peer.params_m, peer.flops_g) if q is not None}
    assert used == set(PEERS.sources)


def test_the_paper_s_table() -> None:
    """DESIGN 1.6: parameters in millions, FLOPs in thousand millions."""
    found = {p.name: (p.params_m.value, p.flops_g.value) for p in PEERS.peers if p.params_m and p.flops_g}
    assert found == {
        "BoxPromptIML (paper)": (5.5, 1.4),
        "PIM": (152.5, 682.9),
        "SparseViT": (50.3, 46.2),
        "Mesorch": (85.8, 124.9),
        "TruFor": (68.7, 229.8),
        "PSCC-Net": (3.7, 45.3),
        "SCAF": (27.57, 35.39),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"params_m": {"value": 3.0}},
        {"params_m": {"value": -3.0, "source": "boxpromptiml"}},
        {"latency": {"value": 3.0, "source": "boxpromptiml"}},
    ],
    ids=["no source", "negative", "unknown quantity"],
)
def test_a_file_that_breaks_the_rule_is_refused(change: dict[str, object]) -> None:
    raw = PEERS.model_dump(mode="json")
    raw["peers"][0] |= change
    with pytest.raises(ValidationError):
        Peers.model_validate(raw)
