"""Model folders to files for deployment (needs torch, onnx and onnxscript)."""

from boxpromptiml.errors import MissingExtraError

try:
    import onnx as _onnx
    import onnxscript as _onnxscript
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "onnx", "train") from error

from boxpromptiml.export.onnx import export_onnx

__all__ = ["export_onnx"]
del _onnx, _onnxscript
