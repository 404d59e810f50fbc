"""Copy-move: parts of an image that are there twice, found by matching the image with itself."""

from boxpromptiml.copymove.copy import VERSION, Copy

__all__ = ["VERSION", "Copy"]
