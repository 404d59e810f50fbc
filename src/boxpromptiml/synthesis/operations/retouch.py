"""Local retouch: a region is blurred, made noisy, sharpened or given other colours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.compositing import Edge, Edit, Patch, paste
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.synthesis.sampling import pick, uniform
from boxpromptiml.synthesis.shapes import tight

Image = NDArray[np.uint8]
_Filter = Callable[[Image, float, np.random.Generator], tuple[Image, dict[str, Any]]]


def retouch(
    host: NDArray[np.uint8], region: NDArray[np.uint8], config: SynthesisConfig, rng: np.random.Generator
) -> Edit:
    """Retouch `region`.

    Args:
        host: uint8 (h, w, 3).
        region: uint8 (h, w), 255 inside.
        config: settings.
        rng: source of every random choice.
    """
    method = pick(rng, config.retouch.methods)
    strength = uniform(rng, *config.retouch.strength)
    edge = Edge.draw(config.edge, max(region.shape), rng)
    # The margin also gives filters their surroundings.
    rows, columns = tight(region, max(edge.margin, 16))
    changed, details = _FILTERS[method](np.ascontiguousarray(host[rows, columns]), strength, rng)
    alpha = edge.apply((region[rows, columns] > 0).astype(np.float32))
    details = {"method": method, "strength": round(strength, 3), "feather": edge.sigma, **details}
    return paste(host, Patch(changed, alpha), rows.start, columns.start, details)


def _blur(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    if rng.random() < 0.3:
        kernel = 3 + 2 * round(2 * strength)
        return cv2.medianBlur(image, kernel), {"median": kernel}
    sigma = 0.8 + 3.2 * strength
    return cv2.GaussianBlur(image, (0, 0), sigma), {"sigma": round(sigma, 3)}


def _noise(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    sigma = 3 + 15 * strength
    channels = 1 if rng.random() < 0.5 else 3
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32) * sigma
    noisy = np.rint(image + noise).clip(0, 255).astype(np.uint8)
    return noisy, {"sigma": round(sigma, 3), "coloured": channels == 3}


def _sharpen(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    sigma, amount = uniform(rng, 0.8, 2.0), 0.8 + 2.2 * strength
    soft = cv2.GaussianBlur(image, (0, 0), sigma)
    return cv2.addWeighted(image, 1 + amount, soft, -amount, 0), {"sigma": round(sigma, 3), "amount": round(amount, 3)}


def _colour(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    if rng.random() < 0.5:
        degrees = (10 + 80 * strength) * (1 if rng.random() < 0.5 else -1)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        # OpenCV's 8-bit hue counts 180 steps a turn.
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(degrees / 2)) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), {"hue": round(degrees, 1)}
    angle, reach = uniform(rng, 0, 2 * np.pi), 6 + 22 * strength
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 1:] += np.array([reach * np.cos(angle), reach * np.sin(angle)], dtype=np.float32)
    shifted = np.rint(lab).clip(0, 255).astype(np.uint8)
    return cv2.cvtColor(shifted, cv2.COLOR_LAB2RGB), {"cast": [round(angle, 3), round(reach, 2)]}


def _brightness(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    exponent = (0.2 + 0.6 * strength) * (1 if rng.random() < 0.5 else -1)
    gamma = float(np.exp(exponent))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return cv2.LUT(image, table), {"gamma": round(gamma, 3)}


def _saturation(image: Image, strength: float, rng: np.random.Generator) -> tuple[Image, dict[str, Any]]:
    factor = 1 + 1.2 * strength if rng.random() < 0.5 else 1 - strength
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0), {"factor": round(factor, 3)}


_FILTERS: dict[str, _Filter] = {
    "blur": _blur,
    "noise": _noise,
    "sharpen": _sharpen,
    "colour": _colour,
    "brightness": _brightness,
    "saturation": _saturation,
}
