"""The training recipe: every setting of a run, with its default, its range and what it does. Torch-free.

What the paper publishes is the default: binary cross-entropy on the teacher's soft masks, 20 epochs, 224 x 224 pixels.
Optimiser, learning rate, schedule, batch size and augmentation are not published; those defaults are ours.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from boxpromptiml.model_config import StudentConfig
from boxpromptiml.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PreprocessingSpec
from boxpromptiml.synthesis.config import SynthesisConfig
from boxpromptiml.training.objective import DistillationConfig, LossConfig, RefinementConfig

Supervision = Literal["pseudo", "mask", "box", "label"]
SUPERVISIONS: tuple[Supervision, ...] = ("pseudo", "mask", "box", "label")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which images are trained on and how they reach the network."""

    batch_size: int = Field(16, ge=1, le=4096, description="Images per batch and process.")
    authentic_per_tampered: float | None = Field(
        None,
        ge=0,
        description="At most so many authentic images per tampered one, drawn by the seed; null: all of them, "
        "0: tampered images only (the published protocols of the field).",
    )
    skip_suspicious: bool = Field(
        False, description="Leave out images whose pseudo mask carries a flag (empty, fills the box, low quality ...)."
    )
    workers: int | None = Field(
        None, ge=0, le=128, description="Processes that load images; null: 1 on CPU, up to 8 per GPU. 0: none."
    )
    cache: bool = Field(
        True,
        description="Keep decoded and resized images in RUN/state, so that they are decoded once, not every epoch; "
        "removed when the run is complete. Without effect on results. Training images are not kept where "
        "augmentation.crop or input.fit native need the full image.",
    )
    cache_limit_mb: int = Field(
        8192, ge=0, description="Largest size of that cache on disk; images that do not fit are decoded every epoch."
    )
    shuffle_mb: int = Field(
        2048,
        ge=1,
        description="From shards, images are mixed within so many megabytes, and the order of the shards is mixed. "
        "Training images that are no more than that are mixed as those of a folder are.",
    )
    shard_cache: str | None = Field(
        None,
        description="Folder, on each machine's own disk, for copies of the shards behind URLs; it is kept. null: one "
        "below the system's folder for temporary files, removed when the run is complete.",
    )
    shard_cache_mb: int = Field(
        32768,
        ge=0,
        description="Largest size of it; those not used for longest make room. 0: no copies, images are asked for one "
        "by one. Without effect on results.",
    )


class ValidationConfig(_Section):
    """The images that choose the epoch. Test images are never touched."""

    fraction: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training images held out, by source group, where the dataset has no `val` split. "
        "0: no validation, the last epoch is kept.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="Whose weights are kept. best: those of the epoch with the best validation figures; last: those of "
        "the last epoch, for goals that validation does not see, or where few images would choose by chance.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="The run ends after so many epochs in a row without better validation figures; null: it takes all "
        "of its epochs. Needs keep best, and validation images.",
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images per validation batch and process.")
    samples: int = Field(8, ge=0, le=64, description="Validation images drawn in samples.png; the same every time.")


class OptimizerConfig(_Section):
    """AdamW with linear warm-up and cosine decay by step (ours; unpublished)."""

    lr: float = Field(5e-4, gt=0, le=10, description="Peak learning rate.")
    backbone_lr_factor: float = Field(
        1.0, ge=0, le=10, description="The backbone learns at this factor of lr; below 1 for pretrained weights."
    )
    frozen_stages: int = Field(
        0,
        ge=0,
        le=4,
        description="The backbone's first stages keep the weights and statistics that they start with: less to "
        "forget, and faster, as the finest maps cost most. For pretrained weights; with student.evidence input, for a "
        "model folder.",
    )
    weight_decay: float = Field(
        0.05, ge=0, le=10, description="Decoupled weight decay; not on biases, norms and other vectors."
    )
    betas: tuple[float, float] = Field((0.9, 0.999), description="Decay rates of AdamW's moments.")
    warmup_epochs: float = Field(1.0, ge=0, description="The learning rate rises linearly over so many epochs.")
    final_lr_factor: float = Field(0.01, ge=0, le=1, description="The cosine ends at this factor of lr.")
    clip_norm: float = Field(1.0, ge=0, description="Gradients are clipped to this norm; 0: not at all.")
    accumulate: int = Field(1, ge=1, le=1024, description="Batches per optimiser step (gradient accumulation).")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Keep an exponential moving average of the weights, validate and save it; 0: off, 0.999 is usual.",
    )

    @model_validator(mode="after")
    def _betas_below_one(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        return self


class AugmentationConfig(_Section):
    """Random changes of training images, drawn from (seed, epoch, image), the same for image and mask."""

    horizontal_flip: float = Field(0.5, ge=0, le=1, description="Probability of mirroring left to right.")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="Probability of mirroring top to bottom.")
    rotate90: float = Field(
        0.0, ge=0, le=1, description="Probability of a turn by 90, 180 or 270 degrees; square input only."
    )
    crop: float = Field(
        0.0, ge=0, le=1, description="Probability of training on a random part of the full image instead of all of it."
    )
    crop_scale: tuple[float, float] = Field((0.5, 1.0), description="Area of that part as a share of the image.")
    crop_ratio: tuple[float, float] = Field(
        (0.75, 1.3333), description="Its aspect ratio as a factor of the image's own."
    )
    window_hits: float = Field(
        0.9,
        ge=0,
        le=1,
        description="With input.fit native: how often the window of a tampered image is placed over tampered pixels; "
        "otherwise anywhere. A window without any counts as authentic.",
    )
    zoom: float = Field(
        0.0,
        ge=0,
        le=1,
        description="With input.fit native: probability of resizing the image before the window is cut.",
    )
    zoom_range: tuple[float, float] = Field((0.7, 1.4), description="Smallest and largest factor of that, log-uniform.")
    colour: float = Field(0.0, ge=0, le=1, description="Probability of colour jitter.")
    brightness: float = Field(0.2, ge=0, le=1, description="Largest relative change of brightness, either way.")
    contrast: float = Field(0.2, ge=0, le=1, description="Largest relative change of contrast, either way.")
    saturation: float = Field(0.2, ge=0, le=1, description="Largest relative change of saturation, either way.")
    hue: float = Field(0.02, ge=0, le=0.5, description="Largest turn of the hue, as a share of the colour circle.")
    jpeg: float = Field(0.0, ge=0, le=1, description="Probability of JPEG compression at the input size.")
    jpeg_quality: tuple[int, int] = Field((60, 100), description="Lowest and highest quality of it.")
    blur: float = Field(0.0, ge=0, le=1, description="Probability of Gaussian blur at the input size.")
    blur_sigma: tuple[float, float] = Field((0.3, 1.2), description="Smallest and largest sigma, pixels.")

    @model_validator(mode="after")
    def _ranges_in_order(self) -> Self:
        limits = {
            "crop_scale": (1e-3, 1),
            "crop_ratio": (0.1, 10),
            "zoom_range": (0.1, 10),
            "jpeg_quality": (1, 100),
            "blur_sigma": (1e-3, 20),
        }
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be a rising pair within {least:g} .. {most:g}, got [{low}, {high}]")
        return self


class OnTheFlyConfig(_Section):
    """Tampered images made during training, with exact masks, new ones every epoch."""

    fraction: float = Field(
        0.0, ge=0, le=0.95, description="Share of an epoch's images that are synthesised, on top of the dataset's."
    )
    authentic: float = Field(
        0.25, ge=0, le=1, description="Share of these that stay untampered, with the same post-processing."
    )
    photos: list[str] = Field(
        default_factory=list,
        description="Photo files or folders to make them from; empty: the authentic training images. Never give "
        "photographs that test images were made from.",
    )
    training_photos: bool = Field(
        False, description="Make them from the authentic training images too, where photos are given."
    )
    objects: list[str] = Field(
        default_factory=list, description="Folders of object cut-outs to paste (images/ and instances/)."
    )
    max_side: int | None = Field(
        768, ge=64, description="Photos are scaled down to this long side first; smaller is faster."
    )
    config: SynthesisConfig = Field(
        default_factory=SynthesisConfig, description="What is made, how often and how it looks (see docs/synthesis.md)."
    )


class ComputeConfig(_Section):
    """Where the run happens."""

    accelerator: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a CUDA GPU if there is one.")
    devices: int = Field(1, ge=1, le=1024, description="Processes, one per GPU (or CPU process) on this machine.")
    nodes: int = Field(1, ge=1, le=1024, description="Machines; start each with torchrun or a cluster's launcher.")
    strategy: Literal["auto", "ddp", "ddp_fork", "ddp_spawn"] = Field(
        "auto", description="How several processes start; auto: ddp, which runs the same command once per process."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on CPU; on GPU bf16 where the hardware has it, otherwise fp16."
    )
    channels_last: bool = Field(True, description="Memory layout of the convolutions; true is faster, CPU or GPU.")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of the network per process; null: all cores, shared by processes."
    )
    deterministic: bool = Field(
        False, description="Only deterministic GPU kernels: slower, equal to the last bit. CPU runs always are."
    )


class StateConfig(_Section):
    """States from which --resume goes on; one is also written at the end of every epoch and on Ctrl-C."""

    every_seconds: float = Field(300.0, ge=0, description="Seconds between states within an epoch; 0: none by time.")
    every_steps: int = Field(0, ge=0, description="Optimiser steps between states within an epoch; 0: none by steps.")
    keep: int = Field(2, ge=1, le=100, description="States kept; a damaged one is skipped for the one before.")


class Recipe(_Section):
    """A training recipe. The default is the paper's; what the paper leaves open is ours and says so."""

    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of weights, order, augmentation and synthesis.")
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training images; 20 is the paper's.")
    pretrained: bool | str = Field(
        False,
        description="Start of the backbone. false: random; true: timm's ImageNet weights (downloaded once); or the "
        "path of a timm weights file (.safetensors or .pt). A model folder of the same architecture: the whole "
        "student starts from it.",
    )
    student: StudentConfig = Field(default_factory=StudentConfig, description="Architecture.")
    input: PreprocessingSpec = Field(default_factory=PreprocessingSpec, description="How pixels become network input.")
    data: DataConfig = Field(default_factory=DataConfig, description="Images and loading.")
    validation: ValidationConfig = Field(default_factory=ValidationConfig, description="Choice of the epoch.")
    loss: LossConfig = Field(default_factory=LossConfig, description="What is minimised.")
    refinement: RefinementConfig = Field(
        default_factory=RefinementConfig, description="Correction of the teacher by the student."
    )
    distillation: DistillationConfig = Field(
        default_factory=DistillationConfig, description="A model that the student learns from as well."
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="Optimiser and schedule.")
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig, description="Random changes.")
    synthesis: OnTheFlyConfig = Field(default_factory=OnTheFlyConfig, description="Synthesis on the fly.")
    compute: ComputeConfig = Field(default_factory=ComputeConfig, description="Machine, precision, processes.")
    state: StateConfig = Field(default_factory=StateConfig, description="States for --resume.")

    @model_validator(mode="after")
    def _fits_input(self) -> Self:
        if self.input.fit == "native" and self.augmentation.crop > 0:
            raise ValueError("augmentation.crop is for input.fit stretch; with native, use augmentation.zoom")
        if self.student.evidence and (self.input.mean, self.input.std) != (IMAGENET_MEAN, IMAGENET_STD):
            raise ValueError(
                "student.evidence needs the default input.mean and input.std: its filters count grey levels"
            )
        if self.validation.patience and self.validation.keep != "best":
            raise ValueError("validation.patience waits for a better epoch, and keep last keeps any; set keep to best")
        if self.augmentation.rotate90 > 0 and self.input.height != self.input.width:
            size = f"{self.input.height} x {self.input.width}"
            raise ValueError(f"augmentation.rotate90 needs a square input, not {size}; set it to 0")
        return self
