"""From an image to a localization: ONNX Runtime, OpenVINO or torch behind one `Localizer`, none imported before use."""

from boxpromptiml.runtime.finding import find_model, is_there_a_model
from boxpromptiml.runtime.localizer import Localizer
from boxpromptiml.runtime.overlay import draw_overlay
from boxpromptiml.runtime.result import Localization, LocalizedRegion, image_score, native_mask
from boxpromptiml.runtime.sessions import RUNTIME_NAMES, RuntimeName

__all__ = [
    "RUNTIME_NAMES",
    "Localization",
    "LocalizedRegion",
    "Localizer",
    "RuntimeName",
    "draw_overlay",
    "find_model",
    "image_score",
    "is_there_a_model",
    "native_mask",
]
