"""ONNX Runtime: the default; needs nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from boxpromptiml.errors import ModelError
from boxpromptiml.files import sha256_of
from boxpromptiml.model_config import WEIGHTS_NAME, ModelConfig
from boxpromptiml.preprocessing import PreprocessingSpec
from boxpromptiml.runtime.card import INPUT_NAME, OUTPUT_NAME, SIZE_NAME, Card
from boxpromptiml.runtime.sessions import Choice


class OnnxSession:
    """A network in ONNX Runtime on the CPU.

    Args:
        path: the ``.onnx`` file.
        config: of its folder.
        choice: threads and precision.
        remedy: what to do about a file that cannot be used.

    Raises:
        ModelError: damaged, or at odds with its folder.
    """

    def __init__(self, path: Path, config: ModelConfig, choice: Choice, remedy: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = choice.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only; they are raised as well
        # Idle threads that spin would take the cores from decoding and encoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class that it promises
            weights = path.parent / WEIGHTS_NAME
            if WEIGHTS_NAME in str(error) and not weights.is_file():
                raise ModelError(f"{weights}: missing; {path.name} takes its weights from it: restore it") from error
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: cannot be loaded ({reason}); {remedy}") from error
        self.card = Card.read(self._session.get_modelmeta().custom_metadata_map, path, remedy)
        self.card.check(path, config, choice.precision, remedy)
        self._check_inputs(path, remedy)
        self.digest = sha256_of(path)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, 1, H, W), of uint8 (n, 3, H, W)."""
        given: dict[str, NDArray[np.uint8] | NDArray[np.int64]] = {INPUT_NAME: batch}
        if self.card.upsample:
            given[SIZE_NAME] = np.array(batch.shape[2:], dtype=np.int64)
        (values,) = self._session.run([OUTPUT_NAME], given)
        return np.asarray(values, dtype=np.float32)

    def device_memory(self) -> None:
        """None: it runs on the CPU."""
        return

    def _check_inputs(self, path: Path, remedy: str) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        spec = self.card.preprocessing
        names = [INPUT_NAME, SIZE_NAME] if self.card.upsample else [INPUT_NAME]
        if (
            [node.name for node in inputs] != names
            or OUTPUT_NAME not in [node.name for node in outputs]
            or inputs[0].type != "tensor(uint8)"
            or not _shape_fits(inputs[0].shape, spec)
        ):
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in inputs)
            wanted = f"{INPUT_NAME} tensor(uint8) [batch, 3, H, W], H x W {spec.input_text},"
            raise ModelError(f"{path}: takes {found} where {wanted} is expected; {remedy}")


def _shape_fits(shape: list[int | str], spec: PreprocessingSpec) -> bool:
    """Whether the file's input has the sides of the spec; sides that vary have a name instead of a number."""
    if len(shape) != 4 or shape[1] != 3:
        return False
    if spec.fit == "native":
        return all(isinstance(side, str) for side in shape[2:])
    return shape[2:] == [spec.height, spec.width]
