"""A picture with one object, and tiny random models of every Segment Anything family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SIDE, WIDTH = 128, 32
FAMILIES = ("sam", "sam_hq", "sam2", "edgetam")


@pytest.fixture
def scene() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A red disc on noisy green, 90 x 150, and its mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :150]
    disc = np.hypot(y - 45, x - 70) < 25
    image = np.where(disc[..., None], [190, 40, 40], [50, 140, 60]) + rng.normal(0, 8, (90, 150, 3))
    return image.clip(0, 255).astype(np.uint8), disc


def _tiny(family: str) -> tuple[Any, Any]:
    import torch
    import transformers as t

    decoder = {"hidden_size": WIDTH, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": WIDTH}
    prompt = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    vit = {
        "hidden_size": WIDTH,
        "output_channels": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 16,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": WIDTH // 2,
        "mlp_dim": 64,
    }
    pyramid = {"fpn_hidden_size": WIDTH, "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2]}
    padding = {
        "size": {"longest_edge": SIDE},
        "pad_size": {"height": SIDE, "width": SIDE},
        "mask_size": {"longest_edge": SIDE // 4},
        "mask_pad_size": {"height": SIDE // 4, "width": SIDE // 4},
    }
    squeezing = {"size": {"height": SIDE, "width": SIDE}, "mask_size": {"height": SIDE // 4, "width": SIDE // 4}}
    model: Any
    processor: Any
    if family == "sam":
        model = t.SamModel(
            t.SamConfig(
                vision_config=t.SamVisionConfig(**vit),
                prompt_encoder_config=t.SamPromptEncoderConfig(**prompt),
                mask_decoder_config=t.SamMaskDecoderConfig(**decoder),
            )
        )
        processor = t.SamProcessor(t.SamImageProcessor(**padding))
    elif family == "sam_hq":
        model = t.SamHQModel(
            t.SamHQConfig(
                vision_config=t.SamHQVisionConfig(**vit),
                prompt_encoder_config=t.SamHQPromptEncoderConfig(**prompt),
                mask_decoder_config=t.SamHQMaskDecoderConfig(**decoder, vit_dim=WIDTH),
            )
        )
        processor = t.SamHQProcessor(t.SamImageProcessor(**padding))
    elif family == "sam2":
        backbone = t.Sam2HieraDetConfig(
            hidden_size=16,
            num_attention_heads=1,
            image_size=[SIDE, SIDE],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[16, 32, 64, 128],
            num_attention_heads_per_stage=[1, 2, 4, 8],
            window_size_per_stage=[8, 4, 4, 4],
            global_attention_blocks=[3],
        )
        model = t.Sam2Model(
            t.Sam2Config(
                vision_config=t.Sam2VisionConfig(
                    backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], **pyramid
                ),
                prompt_encoder_config=t.Sam2PromptEncoderConfig(**prompt),
                mask_decoder_config=t.Sam2MaskDecoderConfig(**decoder),
            )
        )
        processor = t.Sam2Processor(t.Sam2ImageProcessor(**squeezing))
    else:
        options = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
        backbone = t.TimmWrapperConfig(architecture="repvit_m1", model_args=options)
        model = t.EdgeTamModel(
            t.EdgeTamConfig(
                vision_config=t.EdgeTamVisionConfig(backbone_config=backbone, **pyramid),
                prompt_encoder_config=t.EdgeTamPromptEncoderConfig(**prompt),
                mask_decoder_config=t.EdgeTamMaskDecoderConfig(**decoder),
            )
        )
        processor = t.Sam2Processor(t.Sam2ImageProcessor(**squeezing))
    # The libraries' own initialisation is nearly zero: every mask would be 0.5 everywhere.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval(), processor


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder with a tiny random model of a family, made once a session."""
    pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("sam")

    def folder(family: str) -> Path:
        target = root / family
        if not target.exists():
            model, processor = _tiny(family)
            model.save_pretrained(target)
            processor.save_pretrained(target)
        return target

    return folder


@pytest.fixture(params=FAMILIES)
def family_folder(request: pytest.FixtureRequest, sam_folder: Callable[[str], Path]) -> Path:
    """The folder of each family in turn."""
    return sam_folder(request.param)
