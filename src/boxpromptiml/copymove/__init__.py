"""Copy-move: parts of an image that are there twice, found by matching the image with itself."""

from boxpromptiml.copymove.copy import VERSION, Copy
from boxpromptiml.copymove.marking import SCORE, Pasted, mark_copies, pasted_part

__all__ = ["SCORE", "VERSION", "Copy", "Pasted", "mark_copies", "pasted_part"]
