"""BoxPromptIML: image manipulation localization trained from coarse boxes.

Importing this package never imports torch; `Localizer` needs only ONNX Runtime.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime reports to its makers which models run where, from the moment it is imported: by us, by PyTorch's
# exporter, by whatever comes after. Who wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from boxpromptiml.dataset import Dataset
    from boxpromptiml.runtime import Localization, Localizer

__all__ = ["Dataset", "Localization", "Localizer", "__version__"]
__version__ = "0.1.0"

_HOMES = {
    "Dataset": "boxpromptiml.dataset",
    "Localization": "boxpromptiml.runtime",
    "Localizer": "boxpromptiml.runtime",
}


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so that `import boxpromptiml` stays instant."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
