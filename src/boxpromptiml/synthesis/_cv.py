"""OpenCV, or one line that says how to get it."""

from __future__ import annotations

from boxpromptiml.errors import MissingExtraError

try:
    import cv2
except ImportError as error:
    raise MissingExtraError("opencv-python-headless", "train") from error

__all__ = ["cv2"]
