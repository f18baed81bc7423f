from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from merit.config import targets

NETWORKS: dict[str, dict[str, Any]] = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted(Path(__file__).resolve().parents[3].glob("conf/model/*.yaml"))
}


def test_there_are_networks_to_choose_from() -> None:
    assert {"linear", "mlp", "embedding_mlp"} <= set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("cardinalities", "numbers"), [([3, 2], 4), ([], 4), ([3], 0)])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_network_gives_a_logit_per_row(name: str, cardinalities: list[int], numbers: int) -> None:
    network = targets.build(NETWORKS[name], cardinalities, numbers).eval()
    codes = torch.zeros(7, len(cardinalities), dtype=torch.int64)
    if cardinalities:
        codes[-1] = torch.tensor(cardinalities) - 1  # the largest code there is
    logits = network(codes, torch.randn(7, numbers))
    assert logits.shape == (7,)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_categories_share_no_weights(name: str) -> None:
    torch.manual_seed(0)
    network = targets.build(NETWORKS[name], [3, 3], 1).eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_()
    codes = torch.tensor([[first, second] for first in range(3) for second in range(3)])
    logits = network(codes, torch.zeros(9, 1))
    # Codes of two categories that are swapped are another row: with shared weights a sum could not tell them apart.
    assert logits[1] != logits[3]
