"""From a training run to a model that can be handed on: calibrated, small enough, with a card that says all of it."""

from boxpromptiml.packaging.run import MAX_BYTES, Packaged, package_model

__all__ = ["MAX_BYTES", "Packaged", "package_model"]
