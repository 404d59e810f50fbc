"""`Localizer`: a model folder put to work."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.errors import ImageError, ModelError
from boxpromptiml.images import DEFAULT_MAX_PIXELS, decode_picture, read_image_file
from boxpromptiml.model_config import ONNX_NAME, ModelConfig
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime.result import Localization, Verdict, find_regions, image_score
from boxpromptiml.runtime.sessions import INPUT_NAME, OUTPUT_NAME, open_session

if TYPE_CHECKING:
    import onnxruntime as ort

MODEL_VARIABLE = "BOXPROMPTIML_MODEL"


def find_model(model: str | Path | None = None) -> Path:
    """The model folder to use: `model`, else the environment variable ``BOXPROMPTIML_MODEL``.

    Raises:
        ModelError: neither is given, or there is no such folder.
    """
    chosen = model if model is not None else os.environ.get(MODEL_VARIABLE)
    if not chosen:
        raise ModelError(
            f"no model: give --model FOLDER or set {MODEL_VARIABLE}; "
            "`boxpromptiml demo` makes a small one in minutes, `boxpromptiml train` makes your own"
        )
    folder = Path(chosen)
    if folder.name == ONNX_NAME:
        folder = folder.parent
    if not folder.is_dir():
        raise ModelError(f"{chosen}: no such model folder; `boxpromptiml train` or `boxpromptiml demo` makes one")
    return folder


class Localizer:
    """Finds the tampered pixels of images. One localizer may be used from many threads at once.

    Example:
        >>> localizer = Localizer.load("runs/casia")  # doctest: +SKIP
        >>> result = localizer.localize("photo.jpg")  # doctest: +SKIP
        >>> result.verdict, result.score, result.mask.shape  # doctest: +SKIP
        ('tampered', 0.93, (3000, 4000))

    Attributes:
        config: the model's configuration.
        model_id: first 16 digits of the SHA-256 of ``model.onnx``: a changed network has another id.
        folder: where the model lies.
    """

    def __init__(self, session: ort.InferenceSession, config: ModelConfig, model_id: str, folder: Path) -> None:
        self._session = session
        self.config = config
        self.model_id = model_id
        self.folder = folder

    @classmethod
    def load(cls, model: str | Path | None = None, *, threads: int | None = None) -> Localizer:
        """Load a model folder.

        Args:
            model: folder with ``config.json`` and ``model.onnx``; None takes ``BOXPROMPTIML_MODEL``.
            threads: threads of one inference; None for all usable cores.

        Raises:
            ModelError: no model, an incomplete or damaged one, or a network at odds with its config or weights.
        """
        if threads is not None and threads < 1:
            raise ModelError(f"threads must be at least 1, got {threads}")
        folder = find_model(model)
        config = ModelConfig.load(folder)
        session, digest = open_session(folder, config, threads)
        return cls(session, config, digest[:16], folder)

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            batch: uint8 (n, 3, H, W) at an input size of the network; `config.preprocessing.batch` makes it.

        Returns:
            float32 (n, H, W): the probability, in [0, 1], that a pixel is tampered.

        Raises:
            ValueError: another shape or type.
            ModelError: the network failed or gave values that are not finite.
        """
        spec = self.config.preprocessing
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1] != 3 or not spec.takes(*batch.shape[2:]):
            wanted = f"uint8 (n, 3, H, W), H x W {spec.input_text}"
            raise ValueError(f"the network takes {wanted}, got {batch.dtype} {batch.shape}")
        height, width = batch.shape[2:]
        if len(batch) == 0:
            return np.zeros((0, height, width), dtype=np.float32)
        try:
            (output,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: batch})
        except Exception as error:  # onnxruntime's exceptions share no base class that it promises
            raise ModelError(f"{self.folder}: the network failed ({' '.join(str(error).split())[:200]})") from error
        values = np.asarray(output, dtype=np.float32)
        if values.shape != (len(batch), 1, height, width):
            raise ModelError(f"{self.folder}: the network gave {values.shape}; run  boxpromptiml export {self.folder}")
        if not np.isfinite(values).all():
            raise ModelError(f"{self.folder}: the network gave values that are not finite; its weights are damaged")
        return np.clip(values[:, 0], 0.0, 1.0)

    def maps(self, fed: Sequence[Fed]) -> list[NDArray[np.float32]]:
        """Run the network on images that `config.preprocessing.feed` has prepared; those of one size share a batch.

        Returns:
            Per image float32 (rows, columns): the probability, in [0, 1], that a pixel is tampered, without padding.

        Raises:
            ValueError: one has a size that the network does not take.
            ModelError: the network failed or gave values that are not finite.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(fed):
            alike.setdefault(item.pixels.shape, []).append(index)
        found: dict[int, NDArray[np.float32]] = {}
        for indices in alike.values():
            values = self.probabilities(np.stack([fed[index].pixels for index in indices]))
            found.update(zip(indices, values, strict=True))
        # A copy where there was padding: a view would keep all of it, and Pillow wants rows without gaps.
        return [np.ascontiguousarray(found[i][: item.rows, : item.columns]) for i, item in enumerate(fed)]

    def localize(
        self,
        image: str | Path | bytes | NDArray[np.uint8],
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Localization:
        """Localize the tampered pixels of one image.

        Args:
            image: path of an image file, an encoded image, or an upright RGB array, uint8 (h, w, 3).
            threshold: for pixels and verdict, in [0, 1]; None takes the model's.
            max_pixels: larger images are refused before they are decoded.

        Raises:
            ImageError: the image cannot be read; an array has another shape or type.
        """
        start = time.perf_counter()
        name, digest = None, None
        picture: NDArray[np.uint8] | Image.Image
        if isinstance(image, np.ndarray):
            picture = _checked(image)
            height, width = image.shape[:2]
        else:
            if isinstance(image, bytes):
                data = image
            else:
                name = str(image)
                data = read_image_file(image)
            digest = hashlib.sha256(data).hexdigest()
            picture = decode_picture(data, name or "<bytes>", max_pixels=max_pixels)
            width, height = picture.size
        values = self.maps([self.config.preprocessing.feed(picture)])[0]
        result = self.result(values, width, height, threshold=threshold, image=name, sha256=digest)
        result.seconds = time.perf_counter() - start
        return result

    def result(
        self,
        values: NDArray[np.float32],
        width: int,
        height: int,
        *,
        threshold: float | None = None,
        image: str | None = None,
        sha256: str | None = None,
    ) -> Localization:
        """Turn a map of the network, float32 (H, W), into the answer for an image of width x height pixels."""
        limit = self.config.decision.threshold if threshold is None else threshold
        if not 0 <= limit <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {limit}")
        score = image_score(values, self.config.decision.score_fraction)
        verdict: Verdict = "tampered" if score > limit else "authentic"
        answer = Localization(image, sha256, width, height, score, verdict, limit, [], values, self.model_id, 0.0)
        answer.regions = find_regions(answer.mask, values)
        return answer


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ImageError("<array>", f"must be RGB, uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels)
