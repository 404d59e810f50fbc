"""`Localizer`: a model folder put to work."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.errors import ImageError, ModelError
from boxpromptiml.images import DEFAULT_MAX_PIXELS, decode_photo, decode_picture, read_image_file
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.preprocessing import Fed
from boxpromptiml.runtime.card import export_command, parse_name
from boxpromptiml.runtime.result import Localization, Verdict, find_regions, image_score
from boxpromptiml.runtime.sessions import Choice, Session, choose, open_session
from boxpromptiml.runtime.tiling import MAX_TILES, detail_map, plan_tiles

MODEL_VARIABLE = "BOXPROMPTIML_MODEL"

_FLIPS = ((False, False), (True, False), (False, True), (True, True))  # across, down


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
    if parse_name(folder.name) is not None and not folder.is_dir():
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
        model_id: first 16 digits of the SHA-256 of the runtime file: another network, format or precision has another.
        folder: where the model lies.
        session: the network.
        choice: runtime, precision, threads and device that it was opened with.
    """

    def __init__(self, session: Session, config: ModelConfig, folder: Path, choice: Choice) -> None:
        self.session = session
        self.config = config
        self.model_id = session.digest[:16]
        self.folder = folder
        self.choice = choice

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        runtime: str = "auto",
        threads: int | None = None,
        device: str = "cpu",
        precision: str | None = None,
    ) -> Localizer:
        """Load a model folder.

        Args:
            model: folder with ``config.json`` and a runtime file such as ``model.onnx``, or such a file in it; None
                takes ``BOXPROMPTIML_MODEL``.
            runtime: ``onnx``, ``openvino``, ``torch``, ``torch-compile``, or ``auto``: the first of these whose file
                is there, on ``cuda`` torch.
            threads: threads of one inference; None for all usable cores.
            device: ``cpu``, ``cuda`` (torch) or ``gpu`` (Intel graphics, OpenVINO).
            precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``; None takes fp32 where it is there.

        Raises:
            ModelError: no model, an incomplete or damaged one, a network at odds with its config or weights, or no
                such runtime or device.
            MissingExtraError: the runtime's package is not installed.
        """
        folder = find_model(model)
        named = parse_name(Path(model).name) if model is not None and not Path(model).is_dir() else None
        if named is not None:
            runtime = named[0] if runtime == "auto" else runtime
            precision = named[1] if precision is None else precision
        config = ModelConfig.load(folder)
        choice = choose(folder, runtime, precision, threads, device)
        return cls(open_session(folder, config, choice), config, folder, choice)

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
            values = self.session.run(batch)
        except Exception as error:  # each runtime has its own exceptions
            raise ModelError(f"{self.folder}: the network failed ({' '.join(str(error).split())[:200]})") from error
        if values.shape != (len(batch), 1, height, width):
            command = export_command(self.folder, self.choice.format, self.choice.precision)
            raise ModelError(f"{self.folder}: the network gave {values.shape}; run  {command}")
        if not np.isfinite(values).all():
            raise ModelError(f"{self.folder}: the network gave values that are not finite; its weights are damaged")
        return np.clip(values[:, 0], 0.0, 1.0)

    def maps(self, fed: Sequence[Fed], *, tta: bool = False) -> list[NDArray[np.float32]]:
        """Run the network on images that `config.preprocessing.feed` has prepared; those of one size share a batch.

        Args:
            fed: the images.
            tta: look at each four times, as it is and mirrored left to right, top to bottom and both ways, and average
                (test-time augmentation).

        Returns:
            Per image float32 (rows, columns): the probability, in [0, 1], that a pixel is tampered, without padding.

        Raises:
            ValueError: one has a size that the network does not take.
            ModelError: the network failed or gave values that are not finite.
        """
        if not tta:
            return self._maps(fed)
        spec = self.config.preprocessing
        means = [np.zeros((item.rows, item.columns), np.float32) for item in fed]
        for across, down in _FLIPS:
            mirrored = [spec.flipped(item, across=across, down=down) for item in fed]
            for mean, values in zip(means, self._maps(mirrored), strict=True):
                mean += values[:: -1 if down else 1, :: -1 if across else 1] / len(_FLIPS)
        return means

    def _maps(self, fed: Sequence[Fed]) -> list[NDArray[np.float32]]:
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(fed):
            alike.setdefault(item.pixels.shape, []).append(index)
        found: dict[int, NDArray[np.float32]] = {}
        for indices in alike.values():
            values = self.probabilities(np.stack([fed[index].pixels for index in indices]))
            found.update(zip(indices, values, strict=True))
        # A copy where there was padding: a view would keep all of it, and Pillow wants rows without gaps.
        return [np.ascontiguousarray(found[i][: item.rows, : item.columns]) for i, item in enumerate(fed)]

    def detailed(
        self,
        picture: Image.Image,
        overall: NDArray[np.float32],
        *,
        tta: bool = False,
        max_tiles: int = MAX_TILES,
    ) -> NDArray[np.float32]:
        """The map of a photo on a finer grid: tiles at the photo's own size, beside its map as a whole.

        Args:
            picture: the upright photo, RGB, at full size.
            overall: its map as a whole, by `maps`.
            tta: look at each tile four times, see `maps`.
            max_tiles: a photo that would need more is cut at a smaller size.

        Returns:
            float32 (rows, columns), see `boxpromptiml.runtime.tiling`; `overall` itself where the network sees the
            whole photo at its own size already.
        """
        tiling = plan_tiles(*picture.size, self.config.preprocessing, max_tiles)
        if tiling is None:
            return overall
        return detail_map(picture, overall, tiling, lambda tiles: self.maps(tiles, tta=tta))

    def localize(
        self,
        image: str | Path | bytes | NDArray[np.uint8],
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        detail: bool = False,
        tta: bool = False,
    ) -> Localization:
        """Localize the tampered pixels of one image.

        Args:
            image: path of an image file, an encoded image, or an upright RGB array, uint8 (h, w, 3), at full size.
            threshold: for pixels and verdict, in [0, 1]; None takes the model's.
            max_pixels: larger images are refused before they are decoded.
            detail: look at tiles of the photo at its own size too; the map has a finer grid then, see `detailed`.
            tta: look at everything four times, mirrored, and average, see `maps`.

        Raises:
            ImageError: the image cannot be read; an array has another shape or type.
        """
        start = time.perf_counter()
        name, digest = None, None
        spec = self.config.preprocessing
        if isinstance(image, np.ndarray):
            pixels = _checked(image)
            height, width = image.shape[:2]
            fed, picture = spec.feed(pixels), Image.fromarray(pixels) if detail else None
        else:
            if isinstance(image, bytes):
                data = image
            else:
                name = str(image)
                data = read_image_file(image)
            digest = hashlib.sha256(data).hexdigest()
            photo = decode_photo(data, name or "<bytes>", enough=spec.enough, max_pixels=max_pixels)
            width, height = photo.width, photo.height
            fed, picture = spec.feed(photo), photo.picture if detail else None
            if detail and photo.picture.size != (width, height):
                picture = decode_picture(data, name or "<bytes>", max_pixels=max_pixels)
            del photo
        values = self.maps([fed], tta=tta)[0]
        if picture is not None:
            values = self.detailed(picture, values, tta=tta)
            del picture
        result = self.result(
            values, width, height, threshold=threshold, image=name, sha256=digest, detail=detail, tta=tta
        )
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
        detail: bool = False,
        tta: bool = False,
    ) -> Localization:
        """Turn a map of the network, float32 (H, W), into the answer for an image of width x height pixels.

        `detail` and `tta` say how the map was made; they are noted in the answer.
        """
        limit = self.config.decision.threshold if threshold is None else threshold
        if not 0 <= limit <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {limit}")
        score = image_score(values, self.config.decision.score_fraction)
        verdict: Verdict = "tampered" if score > limit else "authentic"
        answer = Localization(image, sha256, width, height, score, verdict, limit, [], values, self.model_id, 0.0)
        answer.detail, answer.tta = detail, tta
        if (values > limit).any():  # or the mask is empty: resizing never exceeds the highest value
            answer.regions = find_regions(answer.mask, values)
        return answer


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ImageError("<array>", f"must be RGB, uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    return np.ascontiguousarray(pixels)
