"""What happened to the file before and after the manipulation: JPEG with misaligned 8x8 grids, resize, slight blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxpromptiml.synthesis._cv import cv2
from boxpromptiml.synthesis.config import CompressionConfig, PostprocessingConfig
from boxpromptiml.synthesis.sampling import chance, log_uniform, pick, uniform

Size = tuple[int, int]  # height, width
_SUBSAMPLING = {
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
_DOWN = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_UP = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@dataclass(frozen=True, slots=True)
class Compression:
    """One JPEG compression, and how many rows and columns are cut off at the top and left afterwards.

    Attributes:
        quality: 1 .. 100, libjpeg's scale.
        subsampling: ``420``, ``422``, ``440`` or ``444``.
        offset: rows and columns; neither or both of them in 1 .. 7, so that the next compression's grid differs.
    """

    quality: int
    subsampling: str
    offset: Size = (0, 0)

    @classmethod
    def draw(
        cls, config: CompressionConfig, post: PostprocessingConfig, rng: np.random.Generator, cut: bool = True
    ) -> Compression | None:
        """Draw a compression, or None for no compression; `cut` = False leaves the offset at 0."""
        low, mode, high = config.quality
        quality = round(float(rng.triangular(low, mode, high))) if low < high else low
        subsampling = pick(rng, post.subsampling).removeprefix("s")
        dy, dx = (int(v) for v in rng.integers(1, 8, 2))
        offset = (dy, dx) if chance(rng, post.misalign_probability) and cut else (0, 0)
        return cls(quality, subsampling, offset) if chance(rng, config.probability) else None

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """The JPEG file of an image, uint8 (h, w, 3)."""
        settings = [
            cv2.IMWRITE_JPEG_QUALITY,
            self.quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            _SUBSAMPLING[self.subsampling],
        ]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
        return bytes(data)

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Compress and decode an image, uint8 (h, w, 3); the offset is not cut off here."""
        return decode_jpeg(self.encode(image))

    def to_json(self) -> dict[str, Any]:
        """For the history."""
        record: dict[str, Any] = {"jpeg": self.quality, "subsampling": self.subsampling}
        return record | ({"cut": list(self.offset)} if any(self.offset) else {})


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Pixels of a JPEG file, uint8 (h, w, 3) RGB; equal to Pillow's (both use libjpeg-turbo)."""
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that happens to one image apart from the manipulation.

    Drawn before the manipulation, so that an image of a wanted size can be planned backwards: a sequence of host JPEG
    and cut, [manipulation], resize, blur, sharing JPEG and cut, final JPEG.
    """

    before: Compression | None
    donor: Compression | None
    scale: float
    interpolation: str
    blur: float
    share: Compression | None
    final: Compression | None

    @classmethod
    def draw(cls, config: PostprocessingConfig, rng: np.random.Generator) -> Plan:
        """Draw a plan. The same number of draws whatever comes out, so that a setting shifts nothing else."""
        before = Compression.draw(config.host_jpeg, config, rng)
        donor = Compression.draw(config.donor_jpeg, config, rng, cut=False)
        scale = log_uniform(rng, *config.resize)
        scale = scale if chance(rng, config.resize_probability) else 1.0
        ways = _DOWN if scale < 1 else _UP
        interpolation = list(ways)[int(rng.integers(len(ways)))]
        blur = uniform(rng, *config.blur)
        blur = blur if chance(rng, config.blur_probability) else 0.0
        share = Compression.draw(config.share_jpeg, config, rng)
        final = Compression.draw(config.final_jpeg, config, rng, cut=False)
        return cls(before, donor, scale, interpolation, blur, share, final)

    def host_size(self, output: Size) -> Size:
        """Height and width that the host must have before anything happens, for an output of that size."""
        before, share = _cut(self.before), _cut(self.share)
        height, width = output[0] + share[0], output[1] + share[1]
        return max(8, round(height / self.scale)) + before[0], max(8, round(width / self.scale)) + before[1]

    def prepare(self, host: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The host as the forger finds it: compressed and cut, uint8 (h, w, 3)."""
        if self.before is None:
            return host
        dy, dx = self.before.offset
        return np.ascontiguousarray(self.before.apply(host)[dy:, dx:])

    def finish(
        self, image: NDArray[np.uint8], alpha: NDArray[np.float32] | None, output: Size | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bytes | None]:
        """The image as it is published, and the mask moved along.

        Args:
            image: uint8 (h, w, 3).
            alpha: float32 (h, w), share of new pixels; None = authentic.
            output: height and width of the result; None = what comes out.

        Returns:
            Image uint8, mask uint8 (0 or 255: share above 0.5), and the JPEG file whose pixels the image is (None if
            there is no final JPEG).
        """
        cut = _cut(self.share)
        height, width = image.shape[:2]
        if output is not None:
            size = output[0] + cut[0], output[1] + cut[1]
        else:
            size = max(1, round(height * self.scale)), max(1, round(width * self.scale))
        if size != (height, width):
            image = cv2.resize(image, size[::-1], interpolation=(_DOWN | _UP)[self.interpolation])
            if alpha is not None:
                # Same geometry as the image's (pixel centres); the mask is thresholded only at the end.
                smooth = cv2.INTER_AREA if size < (height, width) else cv2.INTER_LINEAR
                alpha = cv2.resize(alpha, size[::-1], interpolation=smooth)
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.share is not None:
            image = np.ascontiguousarray(self.share.apply(image)[cut[0] :, cut[1] :])
            alpha = None if alpha is None else alpha[cut[0] :, cut[1] :]
        encoded = None
        if self.final is not None:
            encoded = self.final.encode(image)
            image = decode_jpeg(encoded)
        mask = np.zeros(image.shape[:2], dtype=np.uint8)
        if alpha is not None:
            mask[alpha > 0.5] = 255
        return image, mask, encoded

    def to_json(self) -> dict[str, Any]:
        """For the history: what happened before and after, in order."""
        after: list[dict[str, Any]] = []
        if self.scale != 1:
            after.append({"resize": round(self.scale, 4), "interpolation": self.interpolation})
        if self.blur:
            after.append({"blur": round(self.blur, 3)})
        after += [step.to_json() for step in (self.share, self.final) if step is not None]
        return {"before": [] if self.before is None else [self.before.to_json()], "after": after}


def _cut(compression: Compression | None) -> Size:
    return (0, 0) if compression is None else compression.offset
