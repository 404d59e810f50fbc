"""The manipulations themselves: arrays and a generator in, an `Edit` out."""

from boxpromptiml.synthesis.operations.copy_move import copy_move
from boxpromptiml.synthesis.operations.removal import object_hole, remove
from boxpromptiml.synthesis.operations.retouch import retouch
from boxpromptiml.synthesis.operations.splice import CutOut, splice

__all__ = ["CutOut", "copy_move", "object_hole", "remove", "retouch", "splice"]
