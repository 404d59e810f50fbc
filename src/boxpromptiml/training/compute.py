"""Where a run happens: what the recipe asks for, against what this machine has."""

from __future__ import annotations

import os
from typing import Any

import torch

from boxpromptiml.errors import RecipeError
from boxpromptiml.machine import usable_cores
from boxpromptiml.training.recipe import Recipe


def check_machine(recipe: Recipe) -> None:
    """Refuse what this machine cannot do, before anything is loaded.

    Raises:
        RecipeError: another number of processes than the recipe's, no GPU or too few, fp16 without a GPU.
    """
    compute = recipe.compute
    world = compute.devices * compute.nodes
    # torchrun and its like set RANK; without it the processes are Lightning's own.
    started = int(os.environ.get("WORLD_SIZE", world)) if "RANK" in os.environ else world
    if started != world:
        raise RecipeError(
            f"{started} processes were started, but compute.devices x compute.nodes is {world}; "
            "give --devices the number of processes per machine"
        )
    if compute.accelerator == "cuda" and not torch.cuda.is_available():
        raise RecipeError("compute.accelerator is cuda, but torch sees no CUDA GPU; set it to cpu")
    if uses_gpu(recipe) and compute.devices > torch.cuda.device_count():
        raise RecipeError(f"{compute.devices} devices are asked for, this machine has {torch.cuda.device_count()} GPUs")
    if compute.precision == "fp16" and not uses_gpu(recipe):
        raise RecipeError("compute.precision=fp16 needs a GPU; use bf16 or fp32 on the CPU")


def uses_gpu(recipe: Recipe) -> bool:
    """Whether the run takes place on a CUDA GPU."""
    return recipe.compute.accelerator != "cpu" and torch.cuda.is_available()


def strategy(recipe: Recipe) -> str:
    """Lightning's name for how the processes of the run start."""
    if recipe.compute.strategy == "auto":
        return "ddp" if recipe.compute.devices * recipe.compute.nodes > 1 else "auto"
    return recipe.compute.strategy


def precision(recipe: Recipe) -> Any:
    """Lightning's name for the precision of the run (its own type for them is not public)."""
    chosen = recipe.compute.precision
    if chosen == "auto":
        if not uses_gpu(recipe):
            return "32-true"
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[chosen]


def loading_workers(recipe: Recipe) -> int:
    """Loading processes of each training process; the default follows what is measured in docs/training.md."""
    if recipe.data.workers is not None:
        return recipe.data.workers
    if not uses_gpu(recipe):
        return 1
    return max(1, min(8, usable_cores() // recipe.compute.devices))
