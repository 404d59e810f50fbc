"""The peers: networks of IMDLBenCo (PyPI `imdlbenco`) with random weights. Runs in the environment of `make parity`.

Each is built by IMDLBenCo's own classes at its authors' input size and run by its own forward pass, without the loss
that IMDLBenCo's `forward` computes along with it. Speed does not depend on what the weights are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import IMDLBenCo
import numpy as np
import torch
from IMDLBenCo.datasets.utils import pil_loader
from IMDLBenCo.transforms import get_albu_transforms
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.contestant import Facts, Prepared
from boxpromptiml.student.complexity import count_flops


class SparseViT(nn.Module):
    """Su et al., AAAI 2025."""

    side = 512

    def __init__(self) -> None:
        super().__init__()
        from IMDLBenCo.model_zoo.sparse_vit.sparse_vit import SparseViT as Network

        self.net = Network()

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (n, 1, H, W) of normalised (n, 3, H, W)."""
        values = self.net.lmu(list(self.net.encoder_net(image).values()))
        return F.interpolate(values, size=(self.side, self.side), mode="bilinear", align_corners=False).sigmoid()


class Mesorch(nn.Module):
    """Zhu et al., AAAI 2025."""

    side = 512

    def __init__(self) -> None:
        super().__init__()
        from IMDLBenCo.model_zoo.mesorch.mesorch import Mesorch as Network

        self.net = Network()

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (n, 1, H, W) of normalised (n, 3, H, W)."""
        return self.net.resize(self.net.forward_features(image)).sigmoid()


class TruFor(nn.Module):
    """Guillaro et al., CVPR 2023: localization, confidence and detection."""

    side = 512

    def __init__(self) -> None:
        super().__init__()
        # IMDLBenCo's class around it insists on weight files that PyPI does not bring.
        from IMDLBenCo.model_zoo.trufor.cmx.builder_np_conf import myEncoderDecoder
        from IMDLBenCo.model_zoo.trufor.config import _C, update_config

        package = Path(IMDLBenCo.__file__).parent
        update_config(_C, None, str(package / "statics/model_zoo/configs/trufor.yaml"))
        self.net = myEncoderDecoder(cfg=_C)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, 1, H, W) and scores of normalised (n, 3, H, W)."""
        values, _confidence, detection, _noiseprint = self.net(image)
        return F.softmax(values, dim=1)[:, -1:], detection.sigmoid()


class MVSSNet(nn.Module):
    """Chen et al., ICCV 2021; its loss, less than a thousandth of the work, cannot be left out."""

    side = 512

    def __init__(self) -> None:
        super().__init__()
        from IMDLBenCo.model_zoo.mvss_net import mvssnet

        # It would download ImageNet's ResNet-50, twice.
        mvssnet.model_zoo.load_url = lambda url: {}
        self.net = mvssnet.MVSSNet()
        zeros = torch.zeros(1, 1, self.side, self.side)
        self.register_buffer("mask", zeros, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, 1, H, W) and scores of normalised (n, 3, H, W)."""
        answer = self.net(image, self.mask, self.mask, torch.zeros(1))
        return answer["pred_mask"], answer["pred_label"]


class ImlViT(nn.Module):
    """Ma et al., 2023."""

    side = 1024

    def __init__(self) -> None:
        super().__init__()
        from IMDLBenCo.model_zoo.iml_vit.iml_vit import IML_ViT

        self.net = IML_ViT()

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (n, 1, H, W) of normalised (n, 3, H, W)."""
        values = self.net.forward_features(image)
        return F.interpolate(values, size=(self.side, self.side), mode="bilinear", align_corners=False).sigmoid()


PEERS: dict[str, Callable[[], nn.Module]] = {
    "SparseViT": SparseViT,
    "MVSS-Net": MVSSNet,
    "Mesorch": Mesorch,
    "TruFor": TruFor,
    "IML-ViT": ImlViT,
}
WAYS = ("fp32", "bf16", "onnx")


class PeerContestant:
    """A peer, from a photo to a mask: IMDLBenCo's loader and transforms before it, a mask at the photo's size after.

    Args:
        name: of the peer, a key of `PEERS`.
        way: fp32: PyTorch as it is. bf16: autocast. onnx: exported to ONNX Runtime, fp32.
        threads: of the computation.
    """

    def __init__(self, name: str, way: str, threads: int) -> None:
        network = _network(name)
        self._name, self._network = name, network
        self._way = way
        self.side: int = network.side  # type: ignore[assignment]
        self._session = _exported(network, self.side, threads) if way == "onnx" else None

    def facts(self) -> Facts:
        """Counted on the network, whatever way it runs."""
        return Facts(*_counted(self._name), self.side, self.side, "bf16" if self._way == "bf16" else "fp32")

    def prepare(self, photo: Path) -> Prepared:
        """As IMDLBenCo's datasets do: Pillow, OpenCV's linear resizing, normalisation; IML-ViT pads what is smaller."""
        pixels = np.array(pil_loader(str(photo)))
        height, width = pixels.shape[:2]
        pads = self.side == 1024 and max(height, width) <= self.side
        transform = get_albu_transforms("pad" if pads else "resize", output_size=(self.side, self.side))
        image = transform(image=pixels)["image"].unsqueeze(0)
        shown = (height, width) if pads else (self.side, self.side)
        return Prepared(image, width, height, (self.side, self.side), {"shown": shown})

    def network(self, prepared: Prepared) -> Any:
        """Probabilities and, where the network gives one, the score."""
        image: Tensor = prepared.network_input
        if self._session is not None:
            return [torch.from_numpy(value) for value in self._session.run(None, {"image": image.numpy()})]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self._way == "bf16"):
            answer = self._network(image)
        return list(answer) if isinstance(answer, tuple) else [answer]

    def finish(self, prepared: Prepared, answer: Any) -> tuple[float, NDArray[np.bool_]]:
        """Without a score of the network's own: the highest probability, as IMDLBenCo has it."""
        rows, columns = prepared.extra["shown"]
        values = np.ascontiguousarray(answer[0][0, 0, :rows, :columns].float().numpy())
        full = cv2.resize(values, (prepared.width, prepared.height), interpolation=cv2.INTER_LINEAR)
        score = float(answer[1].float().reshape(-1)[0]) if len(answer) > 1 else float(values.max())
        return score, full > 0.5


@cache
def _network(name: str) -> nn.Module:
    """One for all ways of running it."""
    torch.manual_seed(0)
    return PEERS[name]().eval()


@cache
def _counted(name: str) -> tuple[int, int]:
    """Parameters and, by one pass, multiply-adds."""
    network = _network(name)
    side: int = network.side  # type: ignore[assignment]
    return sum(p.numel() for p in network.parameters()), count_flops(network, side, side)


def _exported(network: nn.Module, side: int, threads: int) -> Any:
    """The network in ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "peer.onnx")
        # Fixed to one size and one image: the most that an optimiser can be told. Built from a trace of the network.
        torch.onnx.export(network, (torch.zeros(1, 3, side, side),), str(path), dynamo=False, input_names=["image"])
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
