"""Copy-move: parts of an image that are there twice, found by matching the image with itself."""

from boxpromptiml.copymove.copy import Copy
from boxpromptiml.copymove.marking import SCORE, Pasted, mark_copies, pasted_part

__all__ = ["SCORE", "Copy", "Pasted", "mark_copies", "pasted_part"]
