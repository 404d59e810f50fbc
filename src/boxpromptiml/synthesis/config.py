"""Every setting of the synthesis and its default: how often which manipulation happens, and how it looks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Kind = Literal["splice", "copy-move", "removal", "retouch"]
KINDS: tuple[Kind, ...] = ("splice", "copy-move", "removal", "retouch")

Probability = Annotated[float, Field(ge=0, le=1)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the lower end comes first, got {pair[0]} .. {pair[1]}")
    return pair


def _positive(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] <= 0:
        raise ValueError(f"must be above 0, got {pair[0]}")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[float, float], AfterValidator(_ordered), AfterValidator(_positive)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Weights(_Section):
    """Relative frequencies: each at least 0, not all 0; they need not sum to 1."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        values = [getattr(self, name) for name in type(self).model_fields]
        if min(values) < 0 or sum(values) <= 0:
            raise ValueError("weights must not be negative and one must be above 0")
        return self


class KindWeights(_Weights):
    """How often each kind of manipulation is made."""

    splice: float = Field(0.4, description="Something from another photo is pasted in.")
    copy_move: float = Field(0.25, description="Something of the same photo is pasted elsewhere.")
    removal: float = Field(0.2, description="Something is painted over with its surroundings.")
    retouch: float = Field(0.15, description="A region is blurred, sharpened, made noisy or given other colours.")


class ShapeWeights(_Weights):
    """Outlines of irregular regions."""

    segment: float = Field(0.4, description="Follows the photo's own edges (watershed), like a cut-out by hand.")
    blob: float = Field(0.2, description="Smooth random outline.")
    freehand: float = Field(0.15, description="Wobbly outline, like a lasso drawn by hand.")
    polygon: float = Field(0.1, description="3 to 8 straight sides.")
    ellipse: float = Field(0.08, description="Rotated ellipse.")
    rectangle: float = Field(0.07, description="Upright or slightly rotated rectangle.")


class TransformConfig(_Section):
    """Geometry of what is pasted."""

    scale_probability: Probability = Field(0.5, description="How often a copy-moved region is scaled.")
    scale: PositiveRange = Field((0.7, 1.4), description="Scale factor of a copy-moved region, log-uniform.")
    rotate_probability: Probability = Field(0.4, description="How often it is rotated.")
    rotation: float = Field(20.0, ge=0, le=180, description="Largest rotation, degrees; uniform in both directions.")
    flip_probability: Probability = Field(0.3, description="How often it is mirrored left to right.")
    max_upscale: float = Field(1.6, gt=0, description="A splice is never enlarged beyond this factor of its source.")


class EdgeConfig(_Section):
    """The seam between old and new pixels."""

    feather_probability: Probability = Field(0.65, description="How often the edge is feathered; else it is hard.")
    feather: PositiveRange = Field((0.5, 2.0), description="Sigma of the feathering, pixels per 384 of the long side.")


class SpliceConfig(_Section):
    """Splicing."""

    objects: Probability = Field(0.7, description="Share of object cut-outs among splices, where objects are given.")
    colour_match_probability: Probability = Field(
        0.5, description="How often its colours are moved towards the host's (Reinhard, in Lab)."
    )
    colour_match_strength: Range = Field((0.3, 0.8), description="1 = the host's mean and deviation, 0 = unchanged.")
    seamless_probability: Probability = Field(
        0.08, description="How often the paste is blended by Poisson editing (OpenCV seamlessClone)."
    )


class RemovalWeights(_Weights):
    """How a removed region is filled."""

    patch: float = Field(0.55, description="The best fitting place of the same photo, blended in (clone stamp).")
    telea: float = Field(0.25, description="cv2.inpaint, Telea's fast marching.")
    navier_stokes: float = Field(0.2, description="cv2.inpaint, Navier-Stokes.")


class RemovalConfig(_Section):
    """Removal."""

    methods: RemovalWeights = Field(default_factory=RemovalWeights, description="How the hole is filled.")
    max_area: float = Field(0.12, gt=0, lt=1, description="Largest removed share of the image.")
    max_inpaint_area: float = Field(
        0.05, gt=0, lt=1, description="Share above which a hole is filled by a patch: cv2.inpaint would only smear it."
    )
    grain_probability: Probability = Field(0.5, description="How often an inpainted fill gets the photo's grain back.")


class RetouchWeights(_Weights):
    """What a local retouch does."""

    blur: float = Field(1.0, description="Gaussian or median blur.")
    noise: float = Field(0.8, description="Gaussian noise, grey or coloured.")
    sharpen: float = Field(0.8, description="Unsharp mask.")
    colour: float = Field(1.0, description="Hue turned, or a colour cast.")
    brightness: float = Field(1.0, description="Gamma and gain.")
    saturation: float = Field(0.8, description="More or less colour.")


class RetouchConfig(_Section):
    """Local retouch."""

    methods: RetouchWeights = Field(default_factory=RetouchWeights, description="What is done.")
    strength: Range = Field((0.3, 1.0), description="From 0, hardly visible, to 1, the strongest of each method.")


class CompressionConfig(_Section):
    """One JPEG compression."""

    probability: Probability = Field(description="How often it happens.")
    quality: tuple[int, int, int] = Field(description="Lowest, most frequent and highest quality (triangular).")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, mode, high = self.quality
        if not 1 <= low <= mode <= high <= 100:
            raise ValueError(f"quality must rise within 1 .. 100, got {low}, {mode}, {high}")
        return self


class SubsamplingWeights(_Weights):
    """Chroma subsampling of every JPEG compression."""

    s420: float = Field(0.65, description="4:2:0, cameras' and platforms' usual one.")
    s444: float = Field(0.2, description="4:4:4, none: high-quality exports.")
    s422: float = Field(0.12, description="4:2:2.")
    s440: float = Field(0.03, description="4:4:0, a rotated 4:2:2.")


class PostprocessingConfig(_Section):
    """The images' lives before and after the manipulation; the same for tampered and authentic ones."""

    host_jpeg: CompressionConfig = Field(
        CompressionConfig(probability=0.6, quality=(60, 90, 98)), description="Of the host, before the manipulation."
    )
    donor_jpeg: CompressionConfig = Field(
        CompressionConfig(probability=0.6, quality=(60, 90, 98)), description="Of a splice's donor, before the paste."
    )
    final_jpeg: CompressionConfig = Field(
        CompressionConfig(probability=0.85, quality=(65, 90, 98)),
        description="After the manipulation. Images without it are written as PNG.",
    )
    share_jpeg: CompressionConfig = Field(
        CompressionConfig(probability=0.15, quality=(70, 80, 90)),
        description="Once more, as by a platform, before the final one.",
    )
    subsampling: SubsamplingWeights = Field(
        default_factory=SubsamplingWeights, description="Chroma subsampling, drawn per compression."
    )
    misalign_probability: Probability = Field(
        0.6, description="How often 1 to 7 rows and columns are cut off after a compression, so that 8x8 grids differ."
    )
    resize_probability: Probability = Field(0.25, description="How often the tampered image is resized.")
    resize: PositiveRange = Field((0.6, 1.15), description="Factor of that resize, log-uniform.")
    blur_probability: Probability = Field(0.1, description="How often the whole image is slightly blurred.")
    blur: PositiveRange = Field((0.3, 0.8), description="Sigma of that blur, pixels.")


class SynthesisConfig(_Section):
    """Distributions that the synthesis draws from. Ranges are inclusive; areas are shares of the image."""

    kinds: KindWeights = Field(default_factory=KindWeights, description="Relative frequency of each manipulation.")
    area: PositiveRange = Field(
        (0.01, 0.3), description="Smallest and largest tampered share of the image; log-uniform target, strict limits."
    )
    shapes: ShapeWeights = Field(default_factory=ShapeWeights, description="Outlines of irregular regions.")
    transform: TransformConfig = Field(default_factory=TransformConfig, description="Geometry of what is pasted.")
    edge: EdgeConfig = Field(default_factory=EdgeConfig, description="The seam.")
    splice: SpliceConfig = Field(default_factory=SpliceConfig, description="Splicing.")
    removal: RemovalConfig = Field(default_factory=RemovalConfig, description="Removal.")
    retouch: RetouchConfig = Field(default_factory=RetouchConfig, description="Local retouch.")
    object_hosts: Probability = Field(
        0.25,
        description="How often copy-move, removal and retouch act on an object in its own photo, where there are any.",
    )
    second_region: Probability = Field(0.12, description="How often the same kind is applied twice to one image.")
    crop: PositiveRange = Field(
        (0.7, 1.0), description="With a given size: the crop's share of the largest one that fits the photo."
    )
    min_change: float = Field(
        2.5,
        ge=0,
        description="Mean absolute difference (0-255) in the region below which a manipulation counts as invisible.",
    )
    postprocessing: PostprocessingConfig = Field(
        default_factory=PostprocessingConfig, description="JPEG, resize and blur before and after."
    )
    max_attempts: int = Field(40, ge=1, le=1000, description="Draws after which an image is given up with an error.")

    @model_validator(mode="after")
    def _area_below_one(self) -> Self:
        if self.area[1] > 0.9:
            raise ValueError(f"area must stay below 0.9 of the image, got {self.area[1]}")
        if self.removal.max_area < self.area[0]:
            raise ValueError(f"removal.max_area {self.removal.max_area} is below the smallest area {self.area[0]}")
        return self
