"""The Segment Anything family as a frozen teacher: SAM, SAM-HQ, SAM 2 and EdgeTAM through transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxpromptiml.errors import TeacherError
from boxpromptiml.regions import Box
from boxpromptiml.teachers.base import TeacherMask, check_image
from boxpromptiml.teachers.prompts import Point, check_prompts, grid_size, points_by_box
from boxpromptiml.teachers.sam_choice import Candidate, box_agreement, choose_candidate, point_agreement
from boxpromptiml.teachers.sam_loading import first_line, identity_of, load_model, pick_device

DEFAULT_WEIGHTS = "facebook/sam-vit-huge"
DType = Literal["auto", "float32", "float16", "bfloat16"]

_ALGORITHM = 1
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Boxes a decoder call: an image seldom has more, and a decoder call grows with its boxes.
_BOXES = 64


@dataclass(frozen=True, eq=False)
class SamEncoding:
    """An image behind the encoder; it does not hold the image itself.

    Attributes:
        embeddings: keyword arguments of the decoder call, on the model's device.
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

    @property
    def nbytes(self) -> int:
        """Memory of the embeddings."""
        return sum(tensor.nbytes for value in self.embeddings.values() for tensor in _tensors(value))


class SamTeacher:
    """A frozen Segment Anything model, prompted with boxes and points.

    The image encoder runs once an image, all boxes of the image share one decoder call. Of the masks that the decoder
    offers for a box, the one with the largest *predicted IoU x agreement with the box* is taken (see
    `sam_choice`); its predicted IoU, clipped to [0, 1], is the quality.

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
    points = True
    drafts = False

    def __init__(self, weights: str = DEFAULT_WEIGHTS, device: str = "auto", dtype: DType = "auto") -> None:
        self.device = pick_device(device)
        if dtype not in ("auto", *_DTYPES):
            raise TeacherError(f"dtype {dtype!r} is not one of auto, {', '.join(_DTYPES)}")
        self.dtype = (
            _DTYPES["bfloat16" if self.device.type == "cuda" else "float32"] if dtype == "auto" else _DTYPES[dtype]
        )
        self.model, self.processor = load_model(weights)
        self.family: str = self.model.config.model_type
        self.model = self.model.to(self.device).eval().requires_grad_(False)
        identity = identity_of(weights, self.model)
        folder = Path(weights)
        self.name = f"sam:{folder.resolve().name if folder.is_dir() else weights}"
        self.settings: dict[str, Any] = {
            "algorithm": _ALGORITHM,
            "family": self.family,
            "weights": identity,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> SamEncoding:
        """The image's embeddings: all of the time, where boxes are few. See `Teacher.encode`."""
        check_image(image)
        with self._translated():
            return self._encode(image)

    @torch.inference_mode()
    def decode(
        self,
        encoding: SamEncoding,
        boxes: Sequence[Box],
        points: Sequence[Point] = (),
        *,
        side: int | None = None,
        draft: bool = False,
    ) -> list[TeacherMask]:
        """One soft mask a box (sigmoid of the decoder's logits); see `Teacher.decode`.

        Points are prompts of the decoder beside their box; of its candidates those that honour them are preferred.
        """
        check_prompts(encoding.size, boxes, points)
        grid = grid_size(encoding.size, side)
        groups = points_by_box(points, len(boxes))
        found: dict[int, TeacherMask] = {}
        with self._translated():
            # Padding would be seen by the decoder: only boxes with equally many points share a call.
            for number in sorted({len(group) for group in groups}):
                members = [index for index, group in enumerate(groups) if len(group) == number]
                for start in range(0, len(members), _BOXES):
                    chunk = members[start : start + _BOXES]
                    masks = self._decode(encoding, [boxes[i] for i in chunk], [groups[i] for i in chunk], grid)
                    found.update(zip(chunk, masks, strict=True))
        return [found[index] for index in range(len(boxes))]

    def masks(self, image: NDArray[np.uint8], boxes: Sequence[Box], points: Sequence[Point] = ()) -> list[TeacherMask]:
        """One soft mask a box at the image's own size; see `Teacher.masks`."""
        check_image(image)
        check_prompts((image.shape[0], image.shape[1]), boxes, points)
        return self.decode(self.encode(image), boxes, points) if boxes else []

    def _encode(self, image: NDArray[np.uint8]) -> SamEncoding:
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
        return SamEncoding(embeddings, size, fed, side, reshaped is not None)

    def _decode(
        self, image: SamEncoding, boxes: Sequence[Box], points: Sequence[Sequence[Point]], grid: tuple[int, int]
    ) -> list[TeacherMask]:
        """One decoder call; every box has the same number of points."""
        scale = (image.fed[1] / image.size[1], image.fed[0] / image.size[0])
        corners = torch.tensor(boxes, dtype=torch.float32, device=self.device)[None] * torch.tensor(
            scale * 2, dtype=torch.float32, device=self.device
        )
        prompts: dict[str, Tensor] = {"input_boxes": corners}
        if points[0]:
            places = torch.tensor([[p[:2] for p in group] for group in points], dtype=torch.float32)
            labels = torch.tensor([[int(p.positive) for p in group] for group in points])
            prompts["input_points"] = (places[None] * torch.tensor(scale)).to(self.device)
            prompts["input_labels"] = labels[None].to(self.device)
        output = self.model(**image.embeddings, **prompts, multimask_output=True)
        logits: Tensor = output.pred_masks[0].float()  # (boxes, candidates, h, w)
        ious: Tensor = output.iou_scores[0].float()
        cell = (logits.shape[-2] / image.side, logits.shape[-1] / image.side)
        high, wide = round(image.fed[0] * cell[0]), round(image.fed[1] * cell[1])
        found = []
        for index in range(len(boxes)):
            x0, y0, x1, y1 = (v * cell[i % 2 == 0] for i, v in enumerate(corners[0, index].tolist()))
            clicks = [
                ((p.x + 0.5) * scale[0] * cell[1], (p.y + 0.5) * scale[1] * cell[0], p.positive) for p in points[index]
            ]
            small = (logits[index, :, :high, :wide] > 0).cpu().numpy()
            candidates = [
                Candidate(float(iou), box_agreement(mask, (x0, y0, x1, y1)), point_agreement(mask, clicks))
                for iou, mask in zip(ious[index], small, strict=True)
            ]
            chosen = choose_candidate(candidates)
            # One box at a time: at full size the logits of a photograph take 50 MB a box.
            mask = torch.sigmoid(self._enlarged(logits[index, chosen], image, grid))
            quality = min(max(candidates[chosen].predicted_iou, 0.0), 1.0)
            found.append(TeacherMask(mask.cpu().numpy(), quality))
        return found

    def _enlarged(self, logits: Tensor, image: SamEncoding, grid: tuple[int, int]) -> Tensor:
        """The processor's own way back: padding cut off, logits enlarged to the grid, (h, w)."""
        sizes: tuple[Any, ...] = ([grid],)
        if image.padded:
            # SAM pads on the right and at the bottom; the processor needs to know how much.
            sizes = (*sizes, [image.fed])
        whole: Tensor = self.processor.post_process_masks([logits[None, None]], *sizes, binarize=False)[0]
        return whole[0, 0]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures of the model as errors of one line."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise TeacherError(f"{self.name}: the memory of {self.device} is full; take smaller weights") from error
        except RuntimeError as error:
            raise TeacherError(f"{self.name}: the model failed ({first_line(error)})") from error


def _full(embedding: Any) -> Any:
    """Embeddings (a tensor or a list of tensors) in float32, for the decoder."""
    if isinstance(embedding, Tensor):
        return embedding.float()
    return [part.float() for part in embedding]


def _tensors(embedding: Any) -> Sequence[Tensor]:
    return (embedding,) if isinstance(embedding, Tensor) else tuple(embedding)
