"""The Segment Anything family as a frozen teacher: SAM, SAM-HQ, SAM 2 and EdgeTAM through transformers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxpromptiml.errors import MissingExtraError, TeacherError
from boxpromptiml.files import sha256_of
from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_request

DEFAULT_WEIGHTS = "facebook/sam-vit-huge"
DType = Literal["auto", "float32", "float16", "bfloat16"]

_ALGORITHM = 1
_FAMILIES = ("sam", "sam_hq", "sam2", "sam2_video", "edgetam", "edgetam_video")
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Boxes a decoder call: an image seldom has more, and a decoder call grows with its boxes.
_BOXES = 64


@dataclass(frozen=True)
class _Encoded:
    """An image behind the encoder.

    Attributes:
        embeddings: keyword arguments of the decoder call.
        size: (height, width) of the image.
        fed: (height, width) that the image takes up in the model's square input; SAM pads, SAM 2 squeezes.
        side: side of that square.
        padded: whether there may be padding, which post-processing has to cut off.
    """

    embeddings: dict[str, Any]
    size: tuple[int, int]
    fed: tuple[int, int]
    side: int
    padded: bool


class Candidate(NamedTuple):
    """One of the masks that a decoder offers for one box, as `choose_candidate` sees it."""

    predicted_iou: float
    agreement: float

    @property
    def score(self) -> float:
        """Predicted IoU (clipped to [0, 1]) times agreement with the box."""
        return min(max(self.predicted_iou, 0.0), 1.0) * self.agreement


class SamTeacher:
    """A frozen Segment Anything model, prompted with boxes.

    The image encoder runs once an image, all boxes of the image share one decoder call. Of the masks that the decoder
    offers for a box, the one with the largest *predicted IoU x agreement with the box* is taken (see
    `box_agreement`); its predicted IoU, clipped to [0, 1], is the quality.

    With float16 or bfloat16 only the image encoder runs in that precision, by autocast: prompt encoder and decoder
    cost next to nothing, and in half precision the prompt encoder would round the box to several pixels.

    Args:
        weights: hub id (from the local cache, or downloaded if the hub may be asked) or folder.
        device: ``auto`` (CUDA, else Apple's MPS, else CPU) or any torch device.
        dtype: ``auto`` is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        MissingExtraError: transformers is not installed.
        TeacherError: the weights are not found or not of this family, the device is not there.
    """

    threaded = False
    judged = True

    def __init__(self, weights: str = DEFAULT_WEIGHTS, device: str = "auto", dtype: DType = "auto") -> None:
        self.device = _device(device)
        if dtype not in ("auto", *_DTYPES):
            raise TeacherError(f"dtype {dtype!r} is not one of auto, {', '.join(_DTYPES)}")
        self.dtype = (
            _DTYPES["bfloat16" if self.device.type == "cuda" else "float32"] if dtype == "auto" else _DTYPES[dtype]
        )
        self.model, self.processor = _load(weights)
        self.family: str = self.model.config.model_type
        self.model = self.model.to(self.device).eval().requires_grad_(False)
        identity = _identity(weights, self.model)
        folder = Path(weights)
        self.name = f"sam:{folder.resolve().name if folder.is_dir() else weights}"
        self.settings: dict[str, Any] = {
            "algorithm": _ALGORITHM,
            "family": self.family,
            "weights": identity,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box]) -> list[TeacherMask]:
        """One soft mask a box (sigmoid of the decoder's logits); see `Teacher.masks`."""
        check_request(image, boxes)
        if not boxes:
            return []
        try:
            encoded = self._encode(image)
            found: list[TeacherMask] = []
            for start in range(0, len(boxes), _BOXES):
                found += self._decode(encoded, boxes[start : start + _BOXES])
        except torch.OutOfMemoryError as error:
            raise TeacherError(f"{self.name}: the memory of {self.device} is full; take smaller weights") from error
        except RuntimeError as error:
            raise TeacherError(f"{self.name}: the model failed ({_first_line(error)})") from error
        return found

    def _encode(self, image: NDArray[np.uint8]) -> _Encoded:
        inputs = self.processor(images=image, return_tensors="pt")
        pixels: Tensor = inputs["pixel_values"].to(self.device)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            embedding = self.model.get_image_embeddings(pixels)
        size = (image.shape[0], image.shape[1])
        reshaped = inputs.get("reshaped_input_sizes")
        side = int(pixels.shape[-1])
        fed = (side, side) if reshaped is None else (int(reshaped[0][0]), int(reshaped[0][1]))
        if self.family == "sam_hq":
            # Without the second part it runs as well, and gives other masks.
            embeddings = {"image_embeddings": _full(embedding[0]), "intermediate_embeddings": _full(embedding[1])}
        else:
            embeddings = {"image_embeddings": _full(embedding)}
        return _Encoded(embeddings, size, fed, side, reshaped is not None)

    def _decode(self, image: _Encoded, boxes: Sequence[Box]) -> list[TeacherMask]:
        scale = (image.fed[1] / image.size[1], image.fed[0] / image.size[0])
        corners = torch.tensor(boxes, dtype=torch.float32, device=self.device)[None] * torch.tensor(
            scale * 2, dtype=torch.float32, device=self.device
        )
        output = self.model(**image.embeddings, input_boxes=corners, multimask_output=True)
        logits: Tensor = output.pred_masks[0].float()  # (boxes, candidates, h, w)
        ious: Tensor = output.iou_scores[0].float()
        grid = (logits.shape[-2] / image.side, logits.shape[-1] / image.side)
        high, wide = round(image.fed[0] * grid[0]), round(image.fed[1] * grid[1])
        found = []
        for index in range(len(boxes)):
            x0, y0, x1, y1 = (v * grid[i % 2 == 0] for i, v in enumerate(corners[0, index].tolist()))
            small = (logits[index, :, :high, :wide] > 0).cpu().numpy()
            candidates = [
                Candidate(float(iou), box_agreement(mask, (x0, y0, x1, y1)))
                for iou, mask in zip(ious[index], small, strict=True)
            ]
            chosen = choose_candidate(candidates)
            # One box at a time: at full size the logits of a photograph take 50 MB a box.
            mask = torch.sigmoid(self._at_full_size(logits[index, chosen], image))
            quality = min(max(candidates[chosen].predicted_iou, 0.0), 1.0)
            found.append(TeacherMask(mask.cpu().numpy(), quality))
        return found

    def _at_full_size(self, logits: Tensor, image: _Encoded) -> Tensor:
        """The processor's own way back: padding cut off, logits enlarged, (h, w)."""
        sizes: tuple[Any, ...] = ([image.size],)
        if image.padded:
            # SAM pads on the right and at the bottom; the processor needs to know how much.
            sizes = (*sizes, [image.fed])
        whole: Tensor = self.processor.post_process_masks([logits[None, None]], *sizes, binarize=False)[0]
        return whole[0, 0]


def box_agreement(mask: NDArray[np.bool_], box: tuple[float, float, float, float]) -> float:
    """How well a mask fits the box that asked for it, in [0, 1].

    The share of the mask that lies inside the box, times the IoU of the box with the tight box around that share: an
    annotator draws a box around the whole region, close to it on all four sides.

    Args:
        mask: (h, w).
        box: x0, y0, x1, y1 on the grid of the mask, fractions allowed.
    """
    area = int(mask.sum())
    if area == 0:
        return 0.0
    x0, y0 = (max(0, int(np.floor(v))) for v in box[:2])
    x1, y1 = (int(np.ceil(v)) for v in box[2:])
    inside = mask[y0:y1, x0:x1]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0:
        return 0.0
    tight = (int(rows[-1]) - int(rows[0]) + 1) * (int(columns[-1]) - int(columns[0]) + 1)
    # The tight box lies within the box, so that their IoU is a ratio of areas.
    return float(inside.sum()) / area * min(1.0, tight / max(1.0, float(inside.size)))


def choose_candidate(candidates: Sequence[Candidate]) -> int:
    """Index of the best candidate: by score, by predicted IoU where all scores are 0, the first of equals."""
    return max(range(len(candidates)), key=lambda i: (candidates[i].score, candidates[i].predicted_iou, -i))


def _full(embedding: Any) -> Any:
    """Embeddings (a tensor or a list of tensors) in float32, for the decoder."""
    if isinstance(embedding, Tensor):
        return embedding.float()
    return [part.float() for part in embedding]


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TeacherError(f"device {name!r} is not available ({_first_line(error)}); try --device cpu") from error
    return device


def _load(weights: str) -> tuple[Any, Any]:
    """Model (float32, CPU) and image processor."""
    try:
        from transformers import AutoConfig, AutoModelForMaskGeneration, AutoProcessor
    except ImportError as error:
        raise MissingExtraError("transformers", "teachers") from error
    if _looks_like_folder(weights) and not Path(weights).is_dir():
        raise TeacherError(f"{weights}: no such folder; give a folder with SAM weights or a hub id")
    with _quiet():
        try:
            config = AutoConfig.from_pretrained(weights)
        except ImportError as error:
            raise MissingExtraError(error.name or "timm", "teachers") from error
        except Exception as error:
            raise TeacherError(
                f"{weights}: no weights found there or in the local hub cache ({_first_line(error)}); "
                "give a folder, or load the hub id once while the hub can be reached"
            ) from error
        if config.model_type not in _FAMILIES:
            raise TeacherError(
                f"{weights}: a {config.model_type} model, not of the Segment Anything family ({', '.join(_FAMILIES)})"
            )
        try:
            model = AutoModelForMaskGeneration.from_pretrained(weights, dtype=torch.float32)
            processor = AutoProcessor.from_pretrained(weights).image_processor
        except ImportError as error:
            raise MissingExtraError(error.name or "torchvision", "teachers") from error
        except Exception as error:
            raise TeacherError(f"{weights}: the weights cannot be loaded ({_first_line(error)})") from error
    return model, processor


def _identity(weights: str, model: Any) -> str:
    """What distinguishes these weights from others of the same name: the hub's commit, or a digest of the files."""
    folder = Path(weights)
    if not folder.is_dir():
        return f"{weights}@{getattr(model.config, '_commit_hash', None) or 'unknown'}"
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*config.json")]):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return f"sha256:{digest.hexdigest()[:16]}"


def _looks_like_folder(weights: str) -> bool:
    return weights.startswith((".", "/", "~")) or weights.count("/") > 1 or "\\" in weights


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or notes of transformers while loading: the caller shows its own progress."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
