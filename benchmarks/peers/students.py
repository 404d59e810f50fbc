"""Our side: students in the runtimes that the package has, and the naive program that they are compared with."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.contestant import Facts, Prepared
from boxpromptiml.bench import RUNTIMES
from boxpromptiml.errors import ModelError
from boxpromptiml.images import decode_photo, read_image_file
from boxpromptiml.model_config import DecisionRule, ModelConfig, StudentConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer

# The paper's, and one for full-size evidence as `train` makes it with these options, at images of at most 384 pixels.
STUDENTS: dict[str, ModelConfig] = {
    "TinyViT-5M 224": ModelConfig(),
    "MobileNetV2 384": ModelConfig(
        student=StudentConfig(
            backbone="mobilenetv2_gluon_100", width=48, evidence=("residual", "dct"), evidence_width=32
        ),
        preprocessing=PreprocessingSpec(fit="native", height=256, width=256, max_side=384),
    ),
}
# What `boxpromptiml train --set input.draft_margin=2` makes: large JPEGs are decoded at a part of their size.
DRAFT = "TinyViT-5M 224, draft"
NAIVE = "naive PyTorch"


def make_students(folder: Path, photo: Path, runtimes: Sequence[str]) -> dict[str, tuple[Path, list[str]]]:
    """All of them with random weights: model folder and the runtimes that it can be run in, by name."""
    made = {
        name: make_student(folder / f"student{number}", config, photo, runtimes)
        for number, (name, config) in enumerate(STUDENTS.items())
    }
    drafted = ModelConfig(preprocessing=PreprocessingSpec(draft_margin=2))
    return made | {DRAFT: make_student(folder / "drafted", drafted, photo, ["onnx"])}


def make_student(folder: Path, config: ModelConfig, photo: Path, runtimes: Sequence[str]) -> tuple[Path, list[str]]:
    """A model folder with random weights, and the runtimes whose files it holds.

    The threshold is one that 5 % of the photo's map are above, so that there is a mask to make and regions to find.
    """
    import torch

    from boxpromptiml.export import export_model, export_onnx
    from boxpromptiml.runtime.card import parse_name
    from boxpromptiml.student import build_student, save_checkpoint

    torch.manual_seed(0)
    spec = config.preprocessing
    student = build_student(config.student, False, (spec.height, spec.width))
    # As after training, the normalisation knows its statistics: otherwise values grow from layer to layer.
    with torch.no_grad():
        for _ in range(10):
            student.train()(torch.randn(2, 3, spec.height, spec.width))
    student.eval()
    save_checkpoint(folder, student, config)
    export_onnx(folder)
    values = Localizer.load(folder, threads=1).localize(photo).map
    rule = DecisionRule(threshold=float(np.quantile(values, 0.95)))
    save_checkpoint(folder, student, config.model_copy(update={"decision": rule}))
    usable = []
    for name in runtimes:
        parsed = parse_name(RUNTIMES[name].file)
        try:
            if parsed is not None and not (folder / RUNTIMES[name].file).is_file():
                export_model(folder, *parsed)
        except ModelError as error:  # OpenVINO's bf16 would round the fixed filters of evidence
            print(f"{name}: {error}", file=sys.stderr)
        else:
            usable.append(name)
    return folder, usable


class StudentContestant:
    """A student as `boxpromptiml localize` runs it."""

    def __init__(self, folder: Path, runtime: str, threads: int) -> None:
        self._localizer = RUNTIMES[runtime].open(folder, threads, "cpu")
        self._precision = RUNTIMES[runtime].precision

    def facts(self) -> Facts:
        """As counted when it was saved."""
        config = self._localizer.config
        spec = config.preprocessing
        return Facts(config.params, config.flops, spec.height, spec.width, self._precision)

    def prepare(self, photo: Path) -> Prepared:
        """Reading, hashing, decoding, resizing."""
        spec = self._localizer.config.preprocessing
        data = read_image_file(photo)
        digest = hashlib.sha256(data).hexdigest()
        decoded = decode_photo(data, photo, enough=spec.enough)
        fed = self._localizer.feed(decoded)
        return Prepared(fed, decoded.width, decoded.height, fed.pixels.shape[1:], {"digest": digest})

    def network(self, prepared: Prepared) -> NDArray[np.float32]:
        """The map."""
        return self._localizer.maps([prepared.network_input])[0]

    def finish(self, prepared: Prepared, answer: NDArray[np.float32]) -> tuple[float, NDArray[np.bool_]]:
        """Score, mask and regions."""
        size, digest = (prepared.width, prepared.height), prepared.extra["digest"]
        result = self._localizer.result(answer, *size, sha256=digest, copies=prepared.network_input.copies)
        return result.score, result.mask


class NaiveContestant:
    """The student as one writes it down first: Pillow, torchvision's resizing, PyTorch as it is."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        from boxpromptiml.student import load_checkpoint

        torch.set_num_threads(threads)
        student, self._config = load_checkpoint(folder)
        self._torch, self._student = torch, student.eval()

    def facts(self) -> Facts:
        """As counted when it was saved."""
        spec = self._config.preprocessing
        return Facts(self._config.params, self._config.flops, spec.height, spec.width)

    def prepare(self, photo: Path) -> Prepared:
        """All pixels decoded; resized and normalised as floats."""
        from torchvision.transforms.v2 import functional as transform

        with Image.open(photo) as file:
            image = transform.to_dtype(transform.pil_to_tensor(file.convert("RGB")), self._torch.float32, scale=True)
        spec = self._config.preprocessing
        height, width = image.shape[1:]
        rows, columns = spec.grid(width, height)
        if spec.fit == "native":  # whole cells; what our own program pads
            rows, columns = (max(64, 32 * round(side / 32)) for side in (rows, columns))
        image = transform.resize(image, [rows, columns], antialias=True)
        image = transform.normalize(image, list(spec.mean), list(spec.std))
        return Prepared(image.unsqueeze(0), width, height, (rows, columns))

    def network(self, prepared: Prepared) -> Any:
        """Probabilities (1, 1, H, W)."""
        with self._torch.no_grad():
            return self._student(prepared.network_input).sigmoid()

    def finish(self, prepared: Prepared, answer: Any) -> tuple[float, NDArray[np.bool_]]:
        """The map at the photo's size, above the threshold; the highest probability."""
        size = (prepared.height, prepared.width)
        full = self._torch.nn.functional.interpolate(answer, size=size, mode="bilinear", align_corners=False)
        mask: NDArray[np.bool_] = (full[0, 0] > self._config.decision.threshold).numpy()
        return float(answer.max()), mask
