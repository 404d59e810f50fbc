"""A dataset of small images on disk, and a recipe that trains on it in seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from boxpromptiml.dataset import Dataset, ImageRecord, PseudoMask
from boxpromptiml.images import save_png
from boxpromptiml.regions import Box
from boxpromptiml.training import Recipe, Supervision, dump_recipe
from boxpromptiml.training.keeper import Keeper
from boxpromptiml.training.processes import Interrupted

SIZE = (48, 64)

MakeDataset = Callable[..., Path]
InterruptedAfter = Callable[[int], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Writes a dataset: reddish rectangles pasted on grey noise; every third image is authentic."""

    def make(name: str = "dataset", images: int = 12, val: int = 3, splits: bool = True, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        folder = tmp_path / name
        with Dataset.create(folder) as dataset:
            records = []
            for i in range(images + val):
                height, width = SIZE
                image = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
                box = Box(x0 := int(rng.integers(4, 24)), y0 := int(rng.integers(4, 20)), x0 + 28, y0 + 20)
                tampered = i % 3 != 2
                mask = np.zeros(SIZE, np.uint8)
                if tampered:
                    image[box.slices] = image[box.slices] // 2 + np.array([120, 0, 0], np.uint8)
                    mask[box.slices] = 255
                save_png(folder / f"images/{i:02d}.png", image)
                save_png(folder / f"masks/{i:02d}.png", mask)
                save_png(folder / f"pseudo/{i:02d}.png", (mask * 0.9).astype(np.uint8))
                records.append(
                    ImageRecord(
                        image=f"images/{i:02d}.png",
                        width=width,
                        height=height,
                        label="tampered" if tampered else "authentic",
                        boxes=(box,) if tampered else (),
                        mask=f"masks/{i:02d}.png" if tampered else None,
                        pseudo=PseudoMask(f"pseudo/{i:02d}.png", "grabcut") if tampered else None,
                        split=("train" if i < images else "val") if splits else None,
                        group=f"photo{i // 2}",
                    )
                )
            dataset.put(records)
        return folder

    return make


@pytest.fixture
def interrupted_after(monkeypatch: pytest.MonkeyPatch) -> InterruptedAfter:
    """``with interrupted_after(3): train(...)``: a Ctrl-C behind the third batch, for which the run must stop."""

    @contextmanager
    def interrupted(batches: int) -> Iterator[None]:
        original, left = Keeper.on_train_batch_end, [batches]

        def stop(keeper: Keeper, *args: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)
            original(keeper, *args)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Keeper, "on_train_batch_end", stop)
            with pytest.raises(Interrupted):
                yield

    return interrupted


@pytest.fixture(scope="session")
def train_in_two() -> Callable[..., None]:
    """``train_in_two(dataset, run, recipe, supervision="pseudo")``: two processes, forked by a third one.

    That is a start and an export less than the command takes.
    """
    code = "import sys; from boxpromptiml.training import load_recipe; from boxpromptiml.training.run import train; "
    code += "train(sys.argv[1], sys.argv[2], load_recipe(sys.argv[3]), supervision=sys.argv[4])"

    def trained(dataset: Path, run: Path, recipe: Recipe, supervision: Supervision = "pseudo") -> None:
        compute = recipe.compute.model_copy(update={"devices": 2, "strategy": "ddp_fork"})
        file = run.with_suffix(".yaml")
        file.write_text(dump_recipe(recipe.model_copy(update={"compute": compute})))
        command = [sys.executable, "-c", code, str(dataset), str(run), str(file), supervision]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, timeout=240, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return trained


@pytest.fixture
def recipe() -> Recipe:
    """Two epochs of a very small network at 64 x 64."""
    return small_recipe()


def small_recipe(**changes: object) -> Recipe:
    sections = {
        "epochs": 2,
        "student": {"backbone": "test_resnet.r160_in1k", "width": 16, "memory_size": 8},
        "input": {"height": 64, "width": 64},
        "data": {"batch_size": 4, "workers": 0},
        "optimizer": {"lr": 0.003},
        "compute": {"accelerator": "cpu", "threads": 1},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            sections.setdefault(section, {})[name] = value  # type: ignore[union-attr, index]
        else:
            sections[section] = value
    return Recipe.model_validate(sections)


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    """A small recipe with changes, such as ``optimizer__accumulate=2``."""
    return small_recipe
