"""Where a run happens: what the recipe asks for, against what this machine has."""

from __future__ import annotations

import os
from typing import Any

import torch

from boxpromptiml.errors import RecipeError
from boxpromptiml.machine import usable_cores
from boxpromptiml.training.recipe import Recipe


def launched_outside() -> bool:
    """Whether a launcher (torchrun, srun) started this process among others, rather than Lightning."""
    return "RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", 1)) > 1


def as_launched(recipe: Recipe) -> Recipe:
    """The recipe with as many machines and processes on each as a launcher has started, unless it says other numbers.

    torchrun says them in WORLD_SIZE and LOCAL_WORLD_SIZE, srun in SLURM_NTASKS and SLURM_NNODES.
    """
    compute, environment = recipe.compute, os.environ
    if (compute.devices, compute.nodes) != (1, 1) or not launched_outside():
        return recipe
    if "RANK" in environment:
        world = int(environment.get("WORLD_SIZE", 1))
        devices = int(environment.get("LOCAL_WORLD_SIZE", world))
    else:
        world = int(environment["SLURM_NTASKS"])
        devices = world // int(environment.get("SLURM_NNODES", 1))
    if devices * (world // devices) != world:
        raise RecipeError(f"{world} processes are not the same number on each machine; start equally many on all")
    numbers = {"devices": devices, "nodes": world // devices}
    return recipe.model_copy(update={"compute": compute.model_copy(update=numbers)})


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
            "leave both out, or give the numbers that the launcher was given"
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
