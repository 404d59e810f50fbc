"""From an image to a localization, on ONNX Runtime and without torch."""

from boxpromptiml.runtime.localizer import Localizer, find_model
from boxpromptiml.runtime.overlay import draw_overlay
from boxpromptiml.runtime.result import Localization, LocalizedRegion, image_score, native_mask

__all__ = [
    "Localization",
    "LocalizedRegion",
    "Localizer",
    "draw_overlay",
    "find_model",
    "image_score",
    "native_mask",
]
