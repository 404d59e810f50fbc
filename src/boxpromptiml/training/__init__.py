"""Training: recipe, data, the Lightning glue and the run. Importing this package does not import torch."""

from boxpromptiml.training.recipe import SUPERVISIONS, Recipe, Supervision
from boxpromptiml.training.recipe_file import dump_recipe, load_recipe

__all__ = ["SUPERVISIONS", "Recipe", "Supervision", "dump_recipe", "load_recipe"]
