"""One side of the comparison, in its own environment: ``python -m`` this, with jobs on standard input.

Contestants are built once and stay; a job (a line of JSON) is answered by a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.peers.contestant import Contestant, timed


def build(job: dict[str, Any]) -> Contestant:
    """A contestant: ``kind`` peer (``name``, ``way``), student (``folder``, ``runtime``) or naive (``folder``)."""
    threads = int(job["threads"])
    if job["kind"] == "peer":
        import torch

        from benchmarks.peers.networks import PeerContestant

        torch.set_num_threads(threads)
        return PeerContestant(job["name"], job["way"], threads)
    from benchmarks.peers.students import NaiveContestant, StudentContestant

    if job["kind"] == "naive":
        return NaiveContestant(Path(job["folder"]), threads)
    return StudentContestant(Path(job["folder"]), job["runtime"], threads)


def answer(job: dict[str, Any], contestants: dict[str, Contestant]) -> dict[str, Any]:
    """Do one job: ``build`` a contestant, ``time`` one, or measure the machine's ``peak``."""
    if job["do"] == "build":
        contestants[job["id"]] = build(job)
        return {"facts": asdict(contestants[job["id"]].facts())}
    if job["do"] == "time":
        photos = [Path(path) for path in job["photos"]]
        contestant = contestants[job["id"]]
        return {
            "photos": timed(
                contestant,
                photos,
                job["calls"],
                job["seconds"],
                network_once=job["network_once"],
                warm_up=job["warm_up"],
                clock=job["clock"],
            )
        }
    from boxpromptiml.bench import measure_peak

    return {"rates": measure_peak(job["precision"], job["threads"], "cpu", job["seconds"])}


def main() -> None:
    """Answer until standard input ends."""
    # What libraries print must not come between our lines.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    contestants: dict[str, Contestant] = {}
    for line in sys.stdin:
        try:
            said = answer(json.loads(line), contestants)
        except Exception as error:  # a peer that cannot be built here is a row of the table that says why
            traceback.print_exc()
            said = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
