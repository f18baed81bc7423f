"""The network of the lock in PyTorch: built for training, or with its trained weights for evaluation and parity.

On the shared floor: three rooms need the very same network. Imports torch, so nothing that serves imports this.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from merit import artifacts
from merit.config import targets
from merit.config.schema import Lock
from merit.errors import MeritError

ROWS = 8192
"""Rows in a batch without gradients."""


def build(lock: Lock) -> nn.Module:
    """Return the network of conf/model, sized by what `features` fitted, with fresh weights.

    Raises:
        MeritError: it can't be built from its arguments.
    """
    fitted = artifacts.read_json(artifacts.FEATURES_REPORT, "features")
    made: nn.Module = targets.build(
        lock.model.model_dump(by_alias=True),
        cardinalities=fitted["cardinalities"],
        numbers=fitted["numbers"],
        shapes=fitted["shapes"],
        outputs=lock.data.target.outputs,
    )
    return made


def trained(lock: Lock) -> nn.Module:
    """Return the network with the weights that `train` wrote, ready to predict.

    Raises:
        MeritError: the weights are not there, or are another network's.
    """
    network = build(lock)
    path = artifacts.require(artifacts.WEIGHTS, "train")
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(
            f"{path}: not the weights of conf/model's network ({reason}); run 'merit train' again"
        ) from error
    return network.eval()


def read_part(name: str) -> dict[str, Tensor]:
    """Return the arrays of a part, in the form that `artifacts.part` tells, the codes as int64 for lookups.

    Raises:
        MeritError: they are not there, or can't be read.
    """
    path = artifacts.require(artifacts.part(name), "features")
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise MeritError(f"{path}: can't be read ({error}); make it again with 'merit features'") from error
    return {**arrays, "codes": arrays["codes"].long()}


@torch.inference_mode()
def probabilities(network: nn.Module, arrays: dict[str, Tensor]) -> NDArray[Any]:
    """Return the probability of each row, float32 [rows]."""
    pairs = zip(torch.split(arrays["codes"], ROWS), torch.split(arrays["numbers"], ROWS), strict=True)
    return torch.cat([network(codes, numbers).sigmoid() for codes, numbers in pairs]).numpy()
