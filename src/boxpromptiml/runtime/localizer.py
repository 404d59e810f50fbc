"""`Localizer`: a model folder put to work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.copymove import Copy
from boxpromptiml.errors import ModelError
from boxpromptiml.images import DEFAULT_MAX_PIXELS
from boxpromptiml.model_config import ModelConfig
from boxpromptiml.models import CARD_NAME, DEFAULT_NAME, file_digests
from boxpromptiml.preprocessing import Fed, PhotoLike
from boxpromptiml.runtime.card import file_name
from boxpromptiml.runtime.finding import resolve_model
from boxpromptiml.runtime.finishing import finish, finish_all
from boxpromptiml.runtime.given import Encoded, Pixels, given_bytes, given_pixels
from boxpromptiml.runtime.identity import model_id
from boxpromptiml.runtime.inference import averaged, in_batches, run_checked
from boxpromptiml.runtime.preparing import prepare
from boxpromptiml.runtime.result import Localization, Verdict, describe_copy, find_regions, image_score
from boxpromptiml.runtime.sessions import Choice, Session, choose, open_session
from boxpromptiml.runtime.tiling import MAX_TILES, detail_map, plan_tiles


class Localizer:
    """Finds the tampered pixels of images. One localizer may be used from many threads at once.

    Example:
        >>> localizer = Localizer.load("runs/casia")  # doctest: +SKIP
        >>> result = localizer.localize("photo.jpg")  # doctest: +SKIP
        >>> result.verdict, result.score, result.mask.shape  # doctest: +SKIP
        ('tampered', 0.93, (3000, 4000))

    Attributes:
        config: the model's configuration.
        model_id: first 16 digits of the SHA-256 of the runtime file, and of calibration and rule of the score where
            it has its own: another network, format, precision, calibration or rule has another, and so has the same
            without copies or completion, or with another number of looks.
        folder: where the model lies.
        session: the network.
        choice: runtime, precision, threads and device that it was opened with.
    """

    def __init__(self, session: Session, config: ModelConfig, folder: Path, choice: Choice) -> None:
        self.session = session
        self.config = config
        self.model_id = model_id(session.digest, config)
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
        copies: bool | None = None,
        completion: bool | None = None,
        looks: int | None = None,
    ) -> Localizer:
        """Load a model.

        Args:
            model: name, folder, file or hub id, see `find_model`; None takes ``BOXPROMPTIML_MODEL`` or ``default``.
            runtime: ``onnx``, ``openvino``, ``torch``, ``torch-compile``, or ``auto``: the first of these whose file
                is there, on ``cuda`` torch.
            threads: threads of one inference; None for all usable cores.
            device: ``cpu``, ``cuda`` (torch) or ``gpu`` (Intel graphics, OpenVINO).
            precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``; None takes fp32 where it is there.
            copies: whether to look for parts of an image that are there twice; None leaves it to the model.
            completion: whether what is marked of an object becomes all of it; None leaves it to the model.
            looks: 1, or 2: the network also sees each image turned by half; None leaves it to the model.

        Raises:
            ModelError: no model, an incomplete or damaged one, a network at odds with its config or weights, or no
                such runtime or device.
            MissingExtraError: the runtime's package is not installed.
        """
        folder, named = resolve_model(model)
        if named is not None:
            runtime = named[0] if runtime == "auto" else runtime
            precision = named[1] if precision is None else precision
        config = ModelConfig.load(folder).deciding(folder, copies=copies, completion=completion, looks=looks)
        choice = choose(folder, runtime, precision, threads, device)
        session = open_session(folder, config, choice)
        file = file_name(choice.format, choice.precision)
        # Of the digest that is known already: the check costs nothing. OpenVINO's is of two files.
        if choice.format != "openvino" and file_digests(folder).get(file, session.digest) != session.digest:
            raise ModelError(f"{folder / file}: is not the file that {CARD_NAME} beside it describes; install it again")
        return cls(session, config, folder, choice)

    @classmethod
    def from_pretrained(cls, model: str | Path = DEFAULT_NAME, **options: Any) -> Localizer:
        """Load a model by the name that other libraries have for it: the same as `load`.

        Example:
            >>> Localizer.from_pretrained("default")  # doctest: +SKIP
            >>> Localizer.from_pretrained("owner/name@v1", threads=2)  # doctest: +SKIP

        Args:
            model: ``default`` or ``paper`` (in the package), a folder, or a hub id ``owner/name[@revision]``.
            options: of `load`.

        Raises:
            ModelError, MissingExtraError: as `load`.
        """
        return cls.load(model, **options)

    def feed(self, image: NDArray[np.uint8] | Image.Image | PhotoLike, *, detail: bool = False) -> Fed:
        """Prepare an image, as `config.preprocessing.feed`, and look for copies in it where the model says so."""
        return self.with_copies(self.config.preprocessing.feed(image), detail=detail)

    def with_copies(self, fed: Fed, *, detail: bool = False) -> Fed:
        """A prepared image with the copies in it, where the model says that they be looked for.

        Args:
            fed: the image.
            detail: where there is none, look for smaller ones too.
        """
        if not self.config.decision.copies:
            return fed
        from boxpromptiml.copymove.search import FINE_SIDE, MAX_SIDE, find_copies  # OpenCV takes 0.1 s to import

        copies = find_copies(fed.picture, self.choice.threads)
        if detail and not copies and max(fed.picture.shape[:2]) > MAX_SIDE:
            found = find_copies(fed.picture, self.choice.threads, FINE_SIDE)
            copies = tuple(replace(copy, small=True) for copy in found)
        return fed._replace(copies=copies)

    def probabilities(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            batch: uint8 (n, 3, H, W) at an input size of the network; `config.preprocessing.batch` makes it.

        Returns:
            float32 (n, H, W): what the network says, in [0, 1], not calibrated.

        Raises:
            ValueError: another shape or type.
            ModelError: the network failed or gave values that are not finite.
        """
        return run_checked(self.session, self.config.preprocessing, batch, self.folder, self.choice)

    def maps(self, fed: Sequence[Fed], *, tta: bool = False, whole: bool = True) -> list[NDArray[np.float32]]:
        """Run the network on images that `feed` has prepared; those of one size share a batch.

        Args:
            fed: the images.
            tta: look at each four times, as it is and mirrored left to right, top to bottom and both ways, and average
                (test-time augmentation); else as often as ``config.decision.looks`` says.
            whole: False for parts of photos: what the network says of them is left as it is, as threshold and
                calibration are the whole photo's.

        Returns:
            Per image float32 (rows, columns): the probability, in [0, 1], that a pixel is tampered, by
            ``config.decision`` adapted to the image and calibrated, without padding; with the copies that `feed` found
            (`boxpromptiml.runtime.marking.mark_copies`), or completed (`boxpromptiml.runtime.completing.complete`).

        Raises:
            ValueError: one has a size that the network does not take.
            ModelError: the network failed or gave values that are not finite.
        """
        rule = self.config.decision
        looks = 4 if tta else rule.looks
        maps = in_batches(fed, lambda batch: averaged(batch, looks, self.probabilities))
        if not whole:
            return maps
        return finish_all(maps, fed, rule, self.choice.threads)

    def detailed(
        self,
        picture: Image.Image,
        fed: Fed,
        *,
        tta: bool = False,
        max_tiles: int = MAX_TILES,
        proceed: Callable[[], object] = lambda: None,
    ) -> NDArray[np.float32]:
        """The map of a photo on a finer grid: tiles at the photo's own size, beside its map as a whole.

        Args:
            picture: the upright photo, RGB, at full size.
            fed: the same as a whole, by `feed`.
            tta: look at each tile four times, see `maps`.
            max_tiles: a photo that would need more is cut at a smaller size.
            proceed: called before every few tiles; what it raises ends the work.

        Returns:
            float32 (rows, columns), see `boxpromptiml.runtime.tiling`, with the copies that `feed` found, or completed
            (on the grid of the photo as a whole); the map by `maps` where the network sees the whole photo at its own
            size already.
        """
        tiling = plan_tiles(*picture.size, self.config.preprocessing, max_tiles)
        # Copies are marked last, and objects completed: tiles, which know neither, would undo it for the rest.
        (overall,) = self.maps([fed], tta=tta, whole=False)
        values = overall
        if tiling is not None:

            def run(tiles: Sequence[Fed]) -> list[NDArray[np.float32]]:
                proceed()
                return self.maps(tiles, tta=tta, whole=False)

            values = detail_map(picture, overall, tiling, run)
        return finish(values, fed, self.config.decision, self.choice.threads, overall)

    def localize(
        self,
        image: Encoded | Pixels,
        *,
        threshold: float | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        detail: bool = False,
        tta: bool = False,
    ) -> Localization:
        """Localize the tampered pixels of one image.

        Args:
            image: path of an image file; an encoded image, as bytes or a binary stream at its start; a picture of
                Pillow; or an upright RGB array, uint8 (h, w, 3), at full size. A picture or array that was saved again,
                resized or turned by degrees has lost traces.
            threshold: for pixels and verdict, in [0, 1]; None takes the model's.
            max_pixels: of a file; one with more is refused before it is decoded.
            detail: look at tiles of the photo at its own size too, and for smaller copies; the map has a finer grid
                then, see `detailed`.
            tta: look at everything four times, mirrored, and average, see `maps`.

        Raises:
            ImageError: the image cannot be read; an array has another shape or type.
        """
        start = time.perf_counter()
        name, digest = str(image) if isinstance(image, str | Path) else None, None
        values: NDArray[np.float32] | None = None
        if isinstance(image, np.ndarray | Image.Image):
            pixels = given_pixels(image)
            height, width = pixels.shape[:2]
            fed = self.feed(pixels, detail=detail)
            if detail:
                values = self.detailed(Image.fromarray(pixels), fed, tta=tta)
        else:
            data = given_bytes(image)
            item = prepare(self, data, name or "<bytes>", max_pixels=max_pixels, detail=detail, tta=tta)
            digest, width, height, fed, values = item.sha256, item.width, item.height, item.fed, item.values
        if values is None:
            (values,) = self.maps([fed], tta=tta)
        result = self.result(
            values,
            width,
            height,
            threshold=threshold,
            image=name,
            sha256=digest,
            detail=detail,
            tta=tta,
            copies=fed.copies,
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
        copies: Sequence[Copy] = (),
    ) -> Localization:
        """Turn a map, float32 (H, W), into the answer for an image of width x height pixels.

        `detail`, `tta` and `copies` say how the map was made; they are noted in the answer.
        """
        limit = self.config.decision.threshold if threshold is None else float(threshold)
        if not 0 <= limit <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {limit}")
        score = image_score(values, self.config.decision, copies)
        verdict: Verdict = "tampered" if score > limit else "authentic"
        answer = Localization(image, sha256, width, height, score, verdict, limit, [], values, self.model_id, 0.0)
        answer.detail, answer.tta = detail, tta
        answer.copies = [describe_copy(copy, values, width, height) for copy in copies]
        if (values > limit).any():  # or the mask is empty: resizing never exceeds the highest value
            answer.regions = find_regions(answer.mask, values)
        return answer
