"""Several machines: two launches of torchrun, each with a process of its own, as on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from boxpromptiml.dataset import Dataset
from boxpromptiml.errors import RecipeError
from boxpromptiml.shards import write_shards
from boxpromptiml.training import Recipe, dump_recipe
from boxpromptiml.training.compute import as_launched, check_machine

MakeRecipe = Callable[..., Recipe]
MakeDataset = Callable[..., Path]


def launch(number: int, port: int, dataset: object, run: Path, *options: object) -> subprocess.Popen[str]:
    """What is typed on one of two machines."""
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=1", "--nnodes=2", f"--node_rank={number}")
    where = ("--master_addr=127.0.0.1", f"--master_port={port}", "--monitor-interval=0.2")
    command = [sys.executable, *torchrun, *where, "-m", "boxpromptiml.cli.main", "train", dataset, "-o", run, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        map(str, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def both(port: int, dataset: object, run: Path, *options: object) -> list[subprocess.Popen[str]]:
    return [launch(number, port, dataset, run, *options) for number in range(2)]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and standard error of both; neither may wait for the other for ever."""
    return [(process.returncode, err) for process in processes for _, err in [process.communicate(timeout=240)]]


def said(text: str) -> list[str]:
    """What this package says, without torchrun's own lines."""
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_two_machines_go_on_after_one_was_killed(
    make_dataset: MakeDataset,
    make_recipe: MakeRecipe,
    train_in_two: Callable[..., None],
    own_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    """From shards, in windows; 7 validation images; the result is that of two processes on one machine."""
    recipe = make_recipe(epochs=2, data__batch_size=2, data__shuffle_mb=1, state__every_steps=1, student__width=8)
    shards, run, file = tmp_path / "shards", tmp_path / "run", tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    with Dataset.open(make_dataset(images=20, val=7)) as dataset:
        write_shards(dataset, str(shards), shard_bytes=25_000)

    processes = both(own_port(), shards, run, "--recipe", file)
    deadline = time.monotonic() + 120
    while not any(int(path.stem[-9:]) >= 7 for path in (run / "state").glob("state-*.pt")):
        assert all(process.poll() is None for process in processes), ended(processes)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (worker,) = children(processes[1].pid)
    os.kill(worker, signal.SIGKILL)
    (code, first), (_, second) = ended(processes)
    assert code != 0
    (line,) = said(first)
    assert "process 0 lost touch with another process, which has ended" in line
    assert "Traceback" not in first.partition("elastic")[0]
    assert said(second) == []
    assert not (run / "summary.json").exists()

    for code, err in ended(both(own_port(), shards, run, "--recipe", file, "--resume")):
        assert code == 0, err
    train_in_two(shards, tmp_path / "whole", recipe)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (run, tmp_path / "whole"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)
    assert figures(run) == figures(tmp_path / "whole")


def figures(run: Path) -> list[str]:
    rows = [line.split(",") for line in (run / "logs/metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(rows[0]) if name.startswith(("epoch", "train", "val")) or name == "images"]
    return [",".join(row[i] for i in kept) for row in rows]


def children(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_what_is_wrong_on_one_machine_is_said_once_and_ends_both(
    make_dataset: MakeDataset, make_recipe: MakeRecipe, own_port: Callable[[], int], tmp_path: Path
) -> None:
    file, run = tmp_path / "recipe.yaml", tmp_path / "run"
    file.write_text(dump_recipe(make_recipe()))
    port = own_port()
    datasets = make_dataset(), tmp_path / "not-mounted-there"
    results = ended([launch(i, port, dataset, run, "--recipe", file) for i, dataset in enumerate(datasets)])
    assert all(code != 0 for code, _ in results)
    (line,) = [line for _, err in results for line in said(err)]
    assert line.startswith("error: machine ")
    assert "not-mounted-there: no such folder" in line


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
SLURM = {"SLURM_NTASKS": "16", "SLURM_NNODES": "2"}


@pytest.mark.parametrize(
    ("environment", "given", "found"),
    [
        ({}, {}, (1, 1)),
        (TORCHRUN, {}, (8, 2)),
        (SLURM, {}, (8, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, {}, (1, 1)),
        ({"SLURM_NTASKS": "1"}, {}, (1, 1)),
        (TORCHRUN, {"compute__devices": 8, "compute__nodes": 2}, (8, 2)),
        (TORCHRUN, {"compute__devices": 4}, "16 processes were started, but compute.devices x compute.nodes is 4"),
        ({"SLURM_NTASKS": "5", "SLURM_NNODES": "2"}, {}, "5 processes are not the same number on each machine"),
    ],
)
def test_the_launcher_says_how_many_processes_there_are(
    make_recipe: MakeRecipe,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    given: dict[str, object],
    found: tuple[int, int] | str,
) -> None:
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    recipe = make_recipe(**given)
    if isinstance(found, str):
        with pytest.raises(RecipeError, match=found):
            check_machine(as_launched(recipe))
        return
    compute = as_launched(recipe).compute
    assert (compute.devices, compute.nodes) == found
