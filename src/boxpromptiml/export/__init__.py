"""Model folders to files for deployment (needs torch, onnx and onnxscript)."""

from boxpromptiml.errors import MissingExtraError

try:
    import onnx as _onnx
    import onnxscript as _onnxscript
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "onnx", "train") from error

from boxpromptiml.export.calibration import F1Loss
from boxpromptiml.export.parity import Difference
from boxpromptiml.export.run import MAX_F1_LOSS, Calibration, Exported, export_model, export_onnx

__all__ = [
    "MAX_F1_LOSS",
    "Calibration",
    "Difference",
    "Exported",
    "F1Loss",
    "export_model",
    "export_onnx",
]
del _onnx, _onnxscript
