"""The lock's network in PyTorch: with fresh weights for training, with trained weights for evaluation and packaging.

A shared module: training, evaluation and packaging need the same network. It imports torch, so serving must not
import it.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from merit import artifacts
from merit.config import lock as locks
from merit.config.components import targets
from merit.config.schema import Lock
from merit.errors import MeritError

BATCH_ROWS = 8192
"""Rows per batch when predicting, without gradients."""


class Predictor(nn.Module):
    """Wraps a network to return predictions: converts its outputs for the task, and averages ensemble members.

    Args:
        network: (codes int64 [rows, categories], numbers float32 [rows, numbers], an array float32 [rows, *shape] per
            array column) -> [rows, outputs] or [members, rows, outputs]: logits, or a standardized number.
        task: binary, multiclass or regression.
        mean: the mean of the training rows' target; a regression's network predicts the standardized target.
        deviation: the standard deviation of the training rows' target.
    """

    def __init__(self, network: nn.Module, task: str, *, mean: float, deviation: float) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.mean, self.deviation = mean, deviation

    def forward(self, codes: Tensor, numbers: Tensor, *arrays: Tensor) -> Tensor:
        """Return the probability [rows], the probabilities [rows, classes] or the number [rows]."""
        return self.to_predictions(self.network(codes, numbers, *arrays))

    def to_predictions(self, outputs: Tensor) -> Tensor:
        """Convert the network's outputs to predictions."""
        if self.task == "multiclass":
            result = outputs.softmax(dim=-1)
        else:
            outputs = outputs.squeeze(-1)
            result = outputs.sigmoid() if self.task == "binary" else outputs * self.deviation + self.mean
        has_members = result.dim() == (3 if self.task == "multiclass" else 2)
        return result.mean(dim=0) if has_members else result

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over a batch and all members, each scored on its own outputs.

        The loss is log loss in nats or, for a regression, the squared error of the standardized target.
        """
        if self.task == "multiclass":
            each = target.long().expand(outputs.shape[:-1])
            return functional.cross_entropy(outputs.flatten(0, -2), each.flatten())
        outputs = outputs.squeeze(-1)
        if self.task == "binary":
            return functional.binary_cross_entropy_with_logits(outputs, target.expand_as(outputs))
        return functional.mse_loss(outputs, ((target - self.mean) / self.deviation).expand_as(outputs))


def build_predictor(lock: Lock) -> Predictor:
    """Return the network of conf/model with fresh weights, sized by the fitted features.

    Raises:
        MeritError: its arguments are wrong, it takes no arrays although some features are, or the features were
            fitted for another configuration.
    """
    fitted = artifacts.read_json(artifacts.FEATURES_REPORT, "features")
    if fitted.get("made_for") != locks.hash_preprocessing(lock.data, lock.features):
        raise MeritError(
            f"{artifacts.FEATURES_REPORT}: made for another data or features than {artifacts.LOCK} has; run 'merit run'"
        )
    component = lock.model.model_dump(by_alias=True)
    network: nn.Module = targets.build_component(
        component,
        cardinalities=fitted["cardinalities"],
        numbers=fitted["numbers"],
        shapes=fitted["shapes"],
        outputs=lock.data.target.outputs,
    )
    if fitted["shapes"] and not targets.takes_argument(component, "shapes"):
        raise MeritError(
            f"model: {lock.model.target} takes no arrays, but data.columns has some as features; choose model=cnn, "
            "or give those columns 'feature: none'"
        )
    return Predictor(network, lock.data.target.task, **fitted["target"])


def load_trained(lock: Lock, weights: Path = artifacts.WEIGHTS) -> Predictor:
    """Return the network with the weights written by `train`, or with others, in evaluation mode.

    Raises:
        MeritError: the weights are missing, or don't fit the network.
    """
    predictor = build_predictor(lock)
    path = artifacts.require_path(weights, "train")
    try:
        predictor.network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(
            f"{path}: not the weights of conf/model's network ({reason}); run 'merit train' again"
        ) from error
    return predictor.eval()


class Examples(NamedTuple):
    """Network inputs and the target of some rows.

    Attributes:
        inputs: codes int64 [rows, categories], numbers float32 [rows, numbers], then each array [rows, *shape].
        target: float32 [rows]: 0 or 1, the index of the class, or the number.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor

    @property
    def count(self) -> int:  # type: ignore[override]  # not the method of tuples
        """The number of rows."""
        return len(self.target)

    def select(self, rows: Any) -> "Examples":
        """Return the selected rows; `rows` is anything that can index a tensor's first dimension."""
        return Examples(tuple(each[rows] for each in self.inputs), self.target[rows])


def read_part(name: str) -> Examples:
    """Read the rows of a part, whose format `artifacts.part` defines, with codes as int64 for embedding lookups.

    Raises:
        MeritError: the file is missing or unreadable.
    """
    stored = artifacts.read_arrays(artifacts.part_path(name), "features")
    arrays = {name: torch.from_numpy(values) for name, values in stored.items()}
    array_inputs = (arrays[f"array{index}"] for index in range(len(arrays) - 3))
    return Examples((arrays["codes"].long(), arrays["numbers"], *array_inputs), arrays["target"])


@torch.inference_mode()
def predict_rows(predictor: Predictor, rows: Examples) -> NDArray[Any]:
    """Return the prediction for each row, float32 [rows] or [rows, classes]."""
    starts = range(0, len(rows.target), BATCH_ROWS)
    return torch.cat([predictor(*rows.select(slice(start, start + BATCH_ROWS)).inputs) for start in starts]).numpy()
