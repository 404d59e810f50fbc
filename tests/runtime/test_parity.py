"""The runtime's answer is the student's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from boxpromptiml.export import export_onnx
from boxpromptiml.model_config import ModelConfig, StudentConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime import Localizer
from boxpromptiml.student import Student, save_checkpoint


@pytest.mark.slow
def test_localizer_equals_torch(tmp_path: Path) -> None:
    """A whole student with random weights, exported as `boxpromptiml export` does, on images of several sizes."""
    torch.manual_seed(0)
    spec = PreprocessingSpec(height=96, width=128)
    config = ModelConfig(student=StudentConfig(width=16, memory_size=8), preprocessing=spec)
    student = Student(config.student)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if it had been trained
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_checkpoint(tmp_path, student.eval(), config)
    export_onnx(tmp_path)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((96, 128), (300, 200), (37, 500))]
    batch = spec.batch(images)
    pixels = torch.from_numpy(batch).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.no_grad():
        expected = torch.sigmoid(student((pixels - mean) / std))[:, 0].numpy()

    localizer = Localizer.load(tmp_path, threads=1)

    assert expected.std() > 1e-3  # not one flat value
    np.testing.assert_allclose(localizer.probabilities(batch), expected, atol=1e-4)
    for image, values in zip(images, expected, strict=True):
        np.testing.assert_allclose(localizer.localize(image).map, values, atol=1e-4)
