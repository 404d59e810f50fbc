"""How fast a student is on this machine and what it costs: latency, throughput, share of the peak, memory."""

from boxpromptiml.bench.cells import Cell, Decoding, Effort, Peak
from boxpromptiml.bench.peak import best_peak, measure_peak
from boxpromptiml.bench.peers import Peer, Peers, load_peers
from boxpromptiml.bench.result import CellResult, ModelFacts, SpeedResult, Timing
from boxpromptiml.bench.run import measure_speed
from boxpromptiml.bench.runtimes import RUNTIMES, Runtime
from boxpromptiml.bench.steps import STEPS, answer_photos

__all__ = [
    "RUNTIMES",
    "STEPS",
    "Cell",
    "CellResult",
    "Decoding",
    "Effort",
    "ModelFacts",
    "Peak",
    "Peer",
    "Peers",
    "Runtime",
    "SpeedResult",
    "Timing",
    "answer_photos",
    "best_peak",
    "load_peers",
    "measure_peak",
    "measure_speed",
]
