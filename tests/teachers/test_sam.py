"""The Segment Anything teacher, on tiny random models of all four families, loaded from disk by the real code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from boxpromptiml.errors import TeacherError  # noqa: E402
from boxpromptiml.regions import Box  # noqa: E402
from boxpromptiml.teachers import load_teacher  # noqa: E402
from boxpromptiml.teachers.sam import SamTeacher  # noqa: E402
from boxpromptiml.teachers.sam_choice import Candidate, box_agreement, choose_candidate  # noqa: E402

BOXES = [Box(10, 10, 60, 50), Box(30, 5, 140, 80), Box(0, 0, 150, 90)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_soft_masks_at_image_size(family_folder: Path) -> None:
    teacher = load_teacher("sam", weights=str(family_folder), device="cpu")
    masks = teacher.masks(picture(90, 150), BOXES)
    assert len(masks) == 3
    for mask in masks:
        assert mask.probability.shape == (90, 150)
        assert mask.probability.dtype == np.float32
        assert 0.0 <= mask.probability.min() < mask.probability.max() <= 1.0
        assert mask.quality is not None
        assert 0.0 <= mask.quality <= 1.0


def test_frozen_and_without_gradients(family_folder: Path) -> None:
    teacher = SamTeacher(str(family_folder), device="cpu")
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert teacher.masks(picture(60, 60), []) == []


def test_encoder_runs_once_an_image_and_decoder_once_for_all_boxes(family_folder: Path) -> None:
    teacher = SamTeacher(str(family_folder), device="cpu")
    calls = {"encoder": 0, "decoder": 0}

    def count(part: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[part] += 1

        return hook

    teacher.model.vision_encoder.register_forward_hook(count("encoder"))
    teacher.model.mask_decoder.register_forward_hook(count("decoder"))
    teacher.masks(picture(90, 150), BOXES)
    assert calls == {"encoder": 1, "decoder": 1}


def test_boxes_together_equal_boxes_one_by_one(family_folder: Path) -> None:
    teacher = load_teacher("sam", weights=str(family_folder), device="cpu")
    image = picture(90, 150)
    for box, together in zip(BOXES, teacher.masks(image, BOXES), strict=True):
        (alone,) = teacher.masks(image, [box])
        np.testing.assert_allclose(together.probability, alone.probability, atol=1e-5)
        assert together.quality == pytest.approx(alone.quality, abs=1e-5)


@pytest.mark.parametrize("size", [(90, 150), (150, 90), (128, 128), (257, 31)])
def test_equal_to_the_processors_own_path(family_folder: Path, size: tuple[int, int]) -> None:
    """Same masks, in image coordinates, as processor -> full model call -> post-processing."""
    from transformers import AutoModelForMaskGeneration, AutoProcessor

    height, width = size
    image = picture(height, width, seed=1)
    boxes = [Box(2, 3, width - 4, height - 9), Box(width // 4, height // 4, width // 2, height // 2)]
    teacher = load_teacher("sam", weights=str(family_folder), device="cpu")
    masks = teacher.masks(image, boxes)

    model = AutoModelForMaskGeneration.from_pretrained(family_folder).eval()
    processor = AutoProcessor.from_pretrained(family_folder)
    inputs = processor(images=image, input_boxes=[[[float(v) for v in box] for box in boxes]], return_tensors="pt")
    with torch.inference_mode():
        output = model(
            pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=True
        )
    sizes = [inputs["original_sizes"], *([inputs["reshaped_input_sizes"]] if "reshaped_input_sizes" in inputs else [])]
    reference = processor.post_process_masks(output.pred_masks, *sizes, binarize=False)[0].sigmoid().numpy()
    for index, mask in enumerate(masks):
        # The teacher's mask is one of the candidates.
        errors = [np.abs(mask.probability - candidate).max() for candidate in reference[index]]
        chosen = int(np.argmin(errors))
        assert errors[chosen] < 1e-4
        assert mask.quality == pytest.approx(float(output.iou_scores[0, index, chosen].clamp(0, 1)), abs=1e-4)


def test_sam_hq_needs_its_second_embedding(sam_folder: Callable[[str], Path]) -> None:
    """Without the intermediate embeddings SAM-HQ runs as well, and gives other masks: they must arrive."""
    teacher = SamTeacher(str(sam_folder("sam_hq")), device="cpu")
    encoded = teacher._encode(picture(90, 150))
    assert set(encoded.embeddings) == {"image_embeddings", "intermediate_embeddings"}


def test_half_precision_keeps_the_boxes(family_folder: Path) -> None:
    """bfloat16 changes the image features a little; the prompt stays exact, the masks stay where they were."""
    image = picture(90, 150)
    exact = load_teacher("sam", weights=str(family_folder), device="cpu", dtype="float32").masks(image, BOXES)
    teacher = SamTeacher(str(family_folder), device="cpu", dtype="bfloat16")
    seen: list[torch.Tensor] = []
    teacher.model.prompt_encoder.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_boxes"]), with_kwargs=True
    )
    half = teacher.masks(image, BOXES)
    assert seen[0].dtype == torch.float32
    assert teacher.settings["dtype"] == "bfloat16"
    for a, b in zip(exact, half, strict=True):
        assert b.probability.dtype == np.float32
        assert np.abs(a.probability - b.probability).mean() < 0.05


def test_settings_tell_weights_apart(sam_folder: Callable[[str], Path]) -> None:
    one, other = (SamTeacher(str(sam_folder(family)), device="cpu") for family in ("sam", "sam2"))
    assert (one.name, other.name) == ("sam:sam", "sam:sam2")
    assert one.settings["weights"] != other.settings["weights"]
    assert one.settings == SamTeacher(str(sam_folder("sam")), device="cpu").settings


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("somebody/no-such-model", "somebody/no-such-model: no weights found there or in the local hub cache"),
        ("/nowhere/at/all", "/nowhere/at/all: no such folder"),
    ],
)
def test_missing_weights_are_one_line(weights: str, message: str) -> None:
    with pytest.raises(TeacherError, match=message) as caught:
        SamTeacher(weights, device="cpu")
    assert "\n" not in str(caught.value)


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(TeacherError, match="a vit model, not of the Segment Anything family"):
        SamTeacher(str(tmp_path), device="cpu")


def test_broken_weights_are_one_line(tmp_path: Path, sam_folder: Callable[[str], Path]) -> None:
    (tmp_path / "config.json").write_bytes((sam_folder("sam") / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(TeacherError, match="the weights cannot be loaded") as caught:
        SamTeacher(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "message"), [({"device": "warp:0"}, "device"), ({"dtype": "int4"}, "dtype")])
def test_bad_options(sam_folder: Callable[[str], Path], options: dict[str, str], message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        load_teacher("sam", weights=str(sam_folder("sam")), **options)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((2, 8), (2, 8), 1.0),  # fills the box
        ((2, 8), (2, 5), 0.5),  # half of it
        ((0, 10), (0, 10), 0.36),  # everything: 36 of 100 pixels are inside
        ((0, 2), (0, 2), 0.0),  # beside the box
        ((0, 0), (0, 0), 0.0),  # nothing
    ],
)
def test_box_agreement(rows: tuple[int, int], columns: tuple[int, int], expected: float) -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[slice(*rows), slice(*columns)] = True
    assert box_agreement(mask, (2, 2, 8, 8)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([Candidate(0.9, 0.2), Candidate(0.8, 0.9), Candidate(0.7, 1.0)], 1),  # a part of the object loses
        ([Candidate(1.4, 0.5), Candidate(1.0, 0.6)], 1),  # predictions above 1 count as 1
        ([Candidate(0.3, 0.0), Candidate(0.6, 0.0)], 1),  # none fits: by predicted IoU
        ([Candidate(0.5, 0.5), Candidate(0.5, 0.5)], 0),
    ],
)
def test_choose_candidate(candidates: list[Candidate], expected: int) -> None:
    assert choose_candidate(candidates) == expected
