"""The job of `merit run` as one script that a competent person would write by hand: the yardstick of `pipeline.py`.

It reads the same files, makes the same split and preprocessing, trains by the same rule of early stopping, measures
the network and the same gradient boosting on the test rows, and exports the network to ONNX. It does nothing else:
no contract, no intervals, no slices, no tracking, no gate. What a project writes anyway, the columns and the network,
it takes from merit, with torch's own dropout: both print the same metrics, but for what dropout draws.

Usage, in the root of the repository: python benchmarks/plain.py FOLDER
"""

import json
import math
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from merit.config.components import targets
from merit.models import networks

Params = dict[str, Any]
Part = tuple[Tensor, Tensor, Tensor]
"""Codes int64 [rows, categories], numbers float32 [rows, numbers], target float32 [rows]."""

EVALUATION_BATCH = 8192


def main(folder: Path) -> None:
    """Do the whole job; leave `model.onnx` and `metrics.json` in the folder."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    torch.set_num_threads(params["trainer"]["threads"])
    parts, cardinalities = preprocess(split(read(params["data"]), params["data"]["split"]), params)
    torch.manual_seed(params["seed"])
    network = build(params["model"], cardinalities, parts["train"][1].shape[1])
    epochs = train(network, parts, params)
    target = parts["test"][2].numpy()
    report = {
        "epochs": epochs,
        "network": measure(target, predict(network, parts["test"])),
        "boosting": measure(target, boost(parts, params)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    export(network, parts["test"], folder / "model.onnx")
    (folder / "metrics.json").write_text(json.dumps(report, indent=2), encoding="utf-8")


def read(data: Params) -> pl.DataFrame:
    """Return the flights of the window with a known delay, in a fixed order."""
    first, last = (pl.lit(data["window"][name]).str.to_date() for name in ("start", "end"))
    return (
        targets.build_component(data["source"])
        .read()
        .filter(pl.col("departure").dt.date().is_between(first, last), pl.col("arr_delay").is_not_null())
        .with_columns(target=(pl.col("arr_delay") >= 15).cast(pl.Float32))
        .sort("departure", "origin", "carrier", "flight")
    )


def split(rows: pl.DataFrame, ends: Params) -> dict[str, pl.DataFrame]:
    """Return the parts, each later than the one before."""
    day = pl.col("departure").dt.date()
    train, validation, test = (date.fromisoformat(ends[f"{part}_until"]) for part in ("train", "validation", "test"))
    return {
        "train": rows.filter(day <= train),
        "validation": rows.filter(day > train, day <= validation),
        "test": rows.filter(day > validation, day <= test),
    }


def preprocess(parts: dict[str, pl.DataFrame], params: Params) -> tuple[dict[str, Part], list[int]]:
    """Return the arrays of each part, by what was fitted on the training rows, and the codes of each category."""
    columns = params["data"]["columns"]
    least, clip = params["features"]["category"]["min_count"], params["features"]["number"]["clip"]
    codes, numbers, cardinalities = [], [], []
    for name, column in columns.items():
        known = parts["train"][name].drop_nulls()
        if column.get("feature") == "category":
            counts = known.value_counts()
            values = counts.filter(pl.col("count") >= least)[name].sort()
            codes.append(pl.col(name).replace_strict(values, range(1, len(values) + 1), default=0).cast(pl.Int64))
            cardinalities.append(len(values) + 1)
        elif column.get("feature") == "number":
            scaled = (pl.col(name) - known.mean()) / known.std(ddof=0)
            numbers.append(scaled.clip(-clip, clip).fill_null(0).cast(pl.Float32))
            if column["missing"] > 0:
                numbers.append(pl.col(name).is_null().cast(pl.Float32).alias(f"{name}_missing"))
    return {name: tensors(rows, codes, numbers) for name, rows in parts.items()}, cardinalities


def tensors(rows: pl.DataFrame, codes: list[pl.Expr], numbers: list[pl.Expr]) -> Part:
    """Return the arrays of some rows."""
    return (
        torch.tensor(rows.select(codes).to_numpy(order="c")),
        torch.tensor(rows.select(numbers).to_numpy(order="c")),
        torch.tensor(rows["target"].to_numpy()),
    )


def build(model: Params, cardinalities: list[int], numbers: int) -> nn.Module:
    """Return merit's network with fresh weights."""
    arguments = {name: value for name, value in model.items() if name != "_target_"}
    made: nn.Module = getattr(networks, model["_target_"].rpartition(".")[2])(cardinalities, numbers, **arguments)
    return as_torch_has_it(made)


def as_torch_has_it(network: nn.Module) -> nn.Module:
    """Put torch's own dropout in place of merit's, for that is what one writes by hand."""
    for name, part in network.named_children():
        setattr(network, name, nn.Dropout(part.share) if isinstance(part, networks.Dropout) else as_torch_has_it(part))
    return network


def train(network: nn.Module, parts: dict[str, Part], params: Params) -> int:
    """Train until the validation rows say stop, leave the best epoch's weights in the network; return the epochs."""
    how = params["trainer"]
    optimizer = optimize(network, params["optimizer"])
    generator = torch.Generator().manual_seed(params["seed"])
    best, weights, waited = -math.inf, network.state_dict(), 0
    for epoch in range(how["max_epochs"]):
        batches = list(
            zip(*(each.split(how["batch_size"]) for each in shuffled(parts["train"], generator)), strict=True)
        )
        train_epoch(network, optimizer, batches, rates(params, len(batches), epoch))
        score = validate(network, parts["validation"], how["monitor"])
        print(f"epoch {epoch}: {how['monitor']} {abs(score):.4f}", flush=True)
        waited = 0 if score > best else waited + 1
        if score > best:
            best, weights = score, {name: value.clone() for name, value in network.state_dict().items()}
        if waited == how["patience"]:
            break
    network.load_state_dict(weights)
    return epoch + 1


def optimize(network: nn.Module, optimizer: Params) -> torch.optim.Optimizer:
    """Return the optimizer of the network's parameters."""
    arguments = {name: value for name, value in optimizer.items() if name != "_target_"}
    made: torch.optim.Optimizer = getattr(torch.optim, optimizer["_target_"].rpartition(".")[2])(
        network.parameters(), **arguments
    )
    return made


def rates(params: Params, batches: int, epoch: int) -> list[float]:
    """Return the learning rate of each batch of an epoch."""
    rate, epochs = params["optimizer"]["lr"], params["trainer"]["max_epochs"]
    if params["trainer"]["schedule"] != "cosine":
        return [rate] * batches
    done = ((epoch * batches + batch) / (epochs * batches) for batch in range(batches))
    return [rate * (1 + math.cos(math.pi * share)) / 2 for share in done]


def shuffled(part: Part, generator: torch.Generator) -> Part:
    """Return the rows in a new order: one pass over memory here spares gathering rows for every batch."""
    order = torch.randperm(len(part[2]), generator=generator)
    return part[0][order], part[1][order], part[2][order]


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Part], rates: list[float]) -> None:
    """Take a step per batch."""
    network.train()
    for (codes, numbers, target), rate in zip(batches, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        logits = network(codes, numbers).squeeze(-1)
        functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits)).backward()
        optimizer.step()


def validate(network: nn.Module, part: Part, monitor: str) -> float:
    """Return the metric that stops training, higher being better."""
    target, probability = part[2].numpy(), predict(network, part)
    return float(roc_auc_score(target, probability) if monitor == "roc_auc" else -log_loss(target, probability))


def probability(logits: Tensor) -> Tensor:
    """Return the mean probability of the network's members, [rows]."""
    made = logits.squeeze(-1).sigmoid()
    return made.mean(dim=0) if made.dim() == 2 else made


@torch.inference_mode()
def predict(network: nn.Module, part: Part) -> NDArray[np.float32]:
    """Return the probability of each row."""
    network.eval()
    pairs = zip(part[0].split(EVALUATION_BATCH), part[1].split(EVALUATION_BATCH), strict=True)
    return torch.cat([probability(network(codes, numbers)) for codes, numbers in pairs]).numpy()


def boost(parts: dict[str, Part], params: Params) -> NDArray[np.float64]:
    """Return gradient boosting's probability of each test row."""
    rows = {name: np.hstack([codes.numpy(), numbers.numpy()]) for name, (codes, numbers, _) in parts.items()}
    categories = parts["train"][0].shape[1]
    model = HistGradientBoostingClassifier(
        categorical_features=list(range(categories)),
        early_stopping=True,
        random_state=params["seed"],
        **params["evaluate"]["baseline"],
    )
    train_target, validation_target = parts["train"][2].numpy(), parts["validation"][2].numpy()
    model.fit(rows["train"], train_target, X_val=rows["validation"], y_val=validation_target)
    made: NDArray[np.float64] = model.predict_proba(rows["test"])[:, 1]
    return made


def measure(target: NDArray[np.float32], probability: NDArray[Any]) -> dict[str, float]:
    """Return the metrics of some rows."""
    return {
        "roc_auc": float(roc_auc_score(target, probability)),
        "average_precision": float(average_precision_score(target, probability)),
        "log_loss": float(log_loss(target, probability)),
        "brier": float(brier_score_loss(target, probability)),
    }


class Probability(nn.Module):
    """The network with its sigmoid, as it is exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the probabilities, [rows]."""
        return probability(self.network(codes, numbers))


def export(network: nn.Module, part: Part, path: Path) -> None:
    """Write the network as an ONNX graph for any number of rows."""
    rows = Dim("rows")
    torch.onnx.export(
        Probability(network).eval(),
        (part[0][:2], part[1][:2]),
        path,
        input_names=["codes", "numbers"],
        output_names=["probability"],
        dynamic_shapes=({0: rows}, {0: rows}),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
