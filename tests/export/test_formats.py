"""Every format and precision says what PyTorch says, on pictures of many sizes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from boxpromptiml.errors import ModelError
from boxpromptiml.export import export_model
from boxpromptiml.export.deployed import DeployedStudent, at_precision
from boxpromptiml.images import open_image
from boxpromptiml.preprocessing import PreprocessingSpec, resize_map
from boxpromptiml.runtime import Localizer
from boxpromptiml.student import load_checkpoint

pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("convert_once")

STRETCH = PreprocessingSpec(height=64, width=96)
NATIVE = PreprocessingSpec(height=128, width=128, fit="native", max_side=256)
KINDS: dict[str, tuple[PreprocessingSpec, dict[str, Any]]] = {
    "stretch": (STRETCH, {}),
    "native": (NATIVE, {}),
    "native with evidence": (
        NATIVE,
        {"backbone": "test_resnet", "evidence": ("input", "residual", "dct"), "evidence_width": 8},
    ),
}
# Largest and mean difference of probabilities that are allowed.
BOUNDS = {"fp32": (1e-4, 1e-5), "fp16": (0.05, 0.002), "bf16": (0.3, 0.02)}
FILES = [
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("openvino", "fp32"),
    ("openvino", "fp16"),
    ("openvino", "bf16"),
    ("torch", "fp32"),
    ("torch", "fp16"),
    ("torch", "bf16"),
]


# Full precision, one file of halves, and bf16 by OpenVINO, which refuses it with fixed filters.
_FULL = {("onnx", "fp32"), ("openvino", "fp32"), ("torch", "fp32"), ("openvino", "bf16")}
_OFTEN = {"stretch": _FULL, "native with evidence": _FULL | {("onnx", "fp16")}}
CASES = [
    pytest.param(kind, *file, marks=() if file in _OFTEN.get(kind, ()) else pytest.mark.torture)
    for kind in KINDS
    for file in FILES
]


@pytest.fixture(scope="module")
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_student: Callable[..., Path]
) -> Path:
    spec, config = KINDS[request.param]
    return write_student(tmp_path_factory.mktemp("model"), spec, **config)


@pytest.fixture(scope="module")
def expected(model: Path, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    return expected_maps(model, pictures)


def expected_maps(folder: Path, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
    """What PyTorch says, with normalisation, sigmoid and padding written out here."""
    student, config = load_checkpoint(folder)
    spec = config.preprocessing
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    maps = []
    for fed in map(spec.feed, pictures):
        with torch.no_grad():
            values = torch.sigmoid(student((torch.from_numpy(fed.pixels)[None] / 255 - mean) / std))
        maps.append(values[0, 0, : fed.rows, : fed.columns].numpy())
    return maps


@pytest.mark.slow
@pytest.mark.parametrize(("model", "form", "precision"), CASES, indirect=["model"], scope="module")
def test_runtimes_say_what_pytorch_says(
    model: Path, pictures: list[NDArray[np.uint8]], expected: list[NDArray[np.float32]], form: str, precision: str
) -> None:
    rounded_filters = (form, precision) == ("openvino", "bf16") and load_checkpoint(model)[1].student.evidence
    if rounded_filters:
        with pytest.raises(ModelError, match=r"rounds the fixed filters .* --validate DATASET"):
            export_model(model, form, precision)  # type: ignore[arg-type]
        return
    export_model(model, form, precision)  # type: ignore[arg-type]
    localizer = Localizer.load(model, runtime=form, precision=precision, threads=1)
    found = localizer.maps([localizer.config.preprocessing.feed(picture) for picture in pictures])
    largest, mean = BOUNDS[precision]
    for values, right in zip(found, expected, strict=True):
        assert values.shape == right.shape
        assert np.abs(values - right).max() <= largest
        assert np.abs(values - right).mean() <= mean
        assert right.std() > 0.01
    # One at a time or together is the same.
    fed = localizer.config.preprocessing.feed(pictures[0])
    alone, twice = localizer.maps([fed])[0], localizer.maps([fed, fed])[1]
    np.testing.assert_allclose(twice, alone, atol=1e-5 if precision == "fp32" else largest)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fixed_filters_are_not_rounded(write_student: Callable[..., Path], tmp_path: Path, precision: str) -> None:
    write_student(tmp_path, *KINDS["native with evidence"][:1], **KINDS["native with evidence"][1])
    student, config = load_checkpoint(tmp_path)
    model = DeployedStudent(student, config.preprocessing).eval()
    half = at_precision(model, precision)  # type: ignore[arg-type]
    exact, rounded = (dict(m.student.evidence.named_buffers()) for m in (model, half))
    learnt = model.student.evidence.state_dict()
    for name, buffer in exact.items():
        if name not in learnt:
            assert torch.equal(rounded[name], buffer), name
            assert rounded[name].dtype == torch.float32
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    assert half.student.fusion.base.out.weight.dtype == dtype
    # What the filters say of 8-bit pixels does not depend on the precision of what follows.
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()
    assert torch.equal(*(m.student.evidence.high_pass(pixels) for m in (model, half)))
    assert torch.equal(*(m.student.evidence.dct.filtered(pixels) for m in (model, half)))
    assert model.student.fusion.base.out.weight.dtype == torch.float32  # the original is as it was


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_upsampling_inside_the_graph(
    make_model: Callable[..., Path], pictures: list[NDArray[np.uint8]], tmp_path: Path, form: str
) -> None:
    folder = make_model()
    made = export_model(folder, form, upsample=True)  # type: ignore[arg-type]
    localizer = Localizer.load(folder, runtime=form, threads=1)
    spec = localizer.config.preprocessing
    for picture, expected in zip(pictures, expected_maps(folder, pictures), strict=True):
        (values,) = localizer.maps([spec.feed(picture)])  # the runtime asks for the network's own size
        np.testing.assert_allclose(values, expected, atol=1e-4)
        size = np.array(picture.shape[:2], dtype=np.int64)
        given = {"image": spec.batch([picture]), "size": size}
        found = _ask(made.path, form, given)
        assert found.shape == (1, 1, *picture.shape[:2])
        # ONNX Runtime's own antialiasing is a little off where a side shrinks.
        shrinks = form == "onnx" and (picture.shape[0] < spec.height or picture.shape[1] < spec.width)
        atol = 0.02 if shrinks else 1e-4
        np.testing.assert_allclose(found[0, 0], resize_map(expected, *picture.shape[:2]), atol=atol)


def _ask(path: Path, form: str, given: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["probability"], given)[0])
    from boxpromptiml.runtime.openvino_session import openvino_core

    compiled = openvino_core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(given)["probability"])


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory: pytest.TempPathFactory, write_student: Callable[..., Path]) -> Path:
    """A model with a file of every format."""
    folder = write_student(tmp_path_factory.mktemp("all-formats"), PreprocessingSpec(height=32, width=32))
    for form in ("onnx", "openvino", "torch"):
        export_model(folder, form)  # type: ignore[arg-type]
    return folder


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino", "torch"])
def test_photographs(shared_data: Path, all_formats: Path, form: str) -> None:
    photographs = [open_image(path) for path in sorted((shared_data / "casia1" / "test").rglob("*.jpg"))[::40]]
    assert len({photograph.shape for photograph in photographs}) > 1
    localizer = Localizer.load(all_formats, runtime=form, threads=1)
    found = localizer.maps([localizer.config.preprocessing.feed(photograph) for photograph in photographs])
    for values, expected in zip(found, expected_maps(all_formats, photographs), strict=True):
        assert expected.std() > 0.01
        np.testing.assert_allclose(values, expected, atol=1e-4)


_TWO_LOCALIZERS = """
import signal, sys
from boxpromptiml.runtime import Localizer
first, second = [Localizer.load(sys.argv[1], runtime="openvino", threads=1) for _ in range(2)]
del first
del second
signal.signal(signal.SIGINT, lambda *_: print("Ctrl-C"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_two_localizers_is_handled(all_formats: Path) -> None:
    """Two of OpenVINO's cores that end in the order in which they began leave a stack for signals that is gone."""
    command = [sys.executable, "-c", _TWO_LOCALIZERS, str(all_formats)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "Ctrl-C\n")


Damage = Callable[[Path], object]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        ("openvino", lambda m: (m / "model.bin").unlink(), "no model.bin beside it"),
        ("openvino", lambda m: _flip(m / "model.bin"), "model.bin beside it is of another export, or damaged"),
        ("openvino", lambda m: (m / "model.xml").write_text("<net>"), "cannot be loaded"),
        ("openvino", lambda m: (m / "model.xml").rename(m / "model-fp16.xml"), "no model.bin|no model-fp16.bin"),
        ("torch", lambda m: (m / "model.pt2").write_bytes(b"PK no"), "cannot be loaded"),
        (
            "torch",
            lambda m: (m / "model.pt2").rename(m / "model-bf16.pt2"),
            "is fp32 inside, not bf16",
        ),
        ("onnx", lambda m: (m / "model.onnx").rename(m / "model-int8.onnx"), "is fp32 inside, not int8"),
        *[
            (form, lambda m: (m / "model.safetensors").write_bytes(b"new"), "exported from other weights")
            for form in ("openvino", "torch")
        ],
    ],
)
def test_files_that_do_not_hold_together(
    all_formats: Path, tmp_path: Path, form: str, damage: Damage, message: str
) -> None:
    folder = Path(shutil.copytree(all_formats, tmp_path / "model"))
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        Localizer.load(folder, runtime=form)
    assert "\n" not in str(caught.value)
    assert "boxpromptiml export" in str(caught.value)


@pytest.mark.slow
def test_a_file_itself_may_be_named_and_auto_takes_what_is_there(all_formats: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(all_formats, tmp_path / "model", ignore=shutil.ignore_patterns("*.onnx", "*.pt2")))
    assert Localizer.load(folder).choice.runtime == "openvino"
    export_model(folder, "onnx", "fp16")
    assert Localizer.load(folder).choice.runtime == "openvino"  # fp32 comes first, whatever reads it
    assert Localizer.load(folder, precision="fp16").choice.runtime == "onnx"
    assert Localizer.load(folder / "model-fp16.onnx").choice.precision == "fp16"
    shutil.copy(all_formats / "model.onnx", folder)
    assert (Localizer.load(folder).choice.runtime, Localizer.load(folder).choice.precision) == ("onnx", "fp32")
    ids = [Localizer.load(folder, runtime=name).model_id for name in ("onnx", "openvino")]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "torch", "precision": "int8"}, "int8 is for onnx and openvino"),
        ({"form": "onnx", "precision": "bf16"}, "does not compute in bf16"),
        ({"form": "torch", "upsample": True}, "--upsample is for onnx and openvino"),
        ({"precision": "int8"}, "--calibrate DATASET"),
        ({"output": "model.pt2"}, r"must end in \.onnx"),
    ],
)
def test_what_cannot_be_exported(make_model: Callable[..., Path], options: dict[str, Any], message: str) -> None:
    folder = make_model(32, 32)
    with pytest.raises(ModelError, match=message):
        export_model(folder, **options)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_the_program_needs_no_model_code(all_formats: Path, tmp_path: Path) -> None:
    """timm and the student are not imported to run a .pt2 file."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    code = (
        "import sys; from boxpromptiml import Localizer; "
        "Localizer.load(sys.argv[1], runtime='torch', threads=1).localize(sys.argv[2]); "
        "assert not {'timm', 'boxpromptiml.student', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, all_formats, tmp_path / "a.png"], check=True)


@pytest.mark.slow  # 40 seconds of g++ where nothing is cached
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_is_the_same(all_formats: Path, pictures: list[NDArray[np.uint8]]) -> None:
    localizer = Localizer.load(all_formats, runtime="torch-compile", threads=1)
    found = localizer.maps([localizer.config.preprocessing.feed(picture) for picture in pictures[:2]])
    for values, expected in zip(found, expected_maps(all_formats, pictures[:2]), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-4)
