from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from merit import artifacts, network
from merit.config.schema import Lock
from merit.errors import MeritError


@pytest.fixture
def fitted(workdir: Path) -> None:
    """What `features` fitted."""
    artifacts.write_json(artifacts.FEATURES_REPORT, {"cardinalities": [4, 4], "numbers": 3})


def _keep(weights: dict[str, torch.Tensor]) -> None:
    artifacts.WEIGHTS.parent.mkdir()
    save_file(weights, artifacts.WEIGHTS)


def test_the_trained_network_has_the_weights_that_were_written_and_predicts(fitted: None, lock: Lock) -> None:
    made = network.build(lock)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_()
    _keep(made.state_dict())
    again = network.trained(lock)
    assert not again.training
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in again.state_dict().items())


def test_probabilities_are_the_same_in_batches_of_any_size(
    fitted: None, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network.build(lock).eval()
    arrays = {"codes": torch.randint(0, 4, (50, 2)), "numbers": torch.randn(50, 3)}
    whole = network.probabilities(made, arrays)
    monkeypatch.setattr(network, "ROWS", 7)
    np.testing.assert_allclose(network.probabilities(made, arrays), whole, atol=1e-6)
    assert whole.shape == (50,)
    assert ((whole > 0) & (whole < 1)).all()


def test_the_weights_of_another_network_are_refused_in_one_line(
    fitted: None, lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["model"] = {"_target_": "merit.training.networks.MLP", "hidden": [3], "dropout": 0.1}

    _keep(network.build(make_lock(edit)).state_dict())
    with pytest.raises(MeritError) as caught:
        network.trained(lock)
    assert str(caught.value).startswith("training/weights.safetensors: not the weights of conf/model's network (")
    assert str(caught.value).endswith("; run 'merit train' again")
    assert "\n" not in str(caught.value)


def test_weights_that_can_not_be_read_are_refused_in_one_line(fitted: None, lock: Lock) -> None:
    artifacts.write_text(artifacts.WEIGHTS, "broken")
    with pytest.raises(MeritError, match=r"^training/weights\.safetensors: not the weights of conf/model's network"):
        network.trained(lock)


def test_without_weights_the_command_that_makes_them_is_told(fitted: None, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^training/weights\.safetensors: not found; 'merit train' makes it"):
        network.trained(lock)


def test_without_fitted_features_the_command_that_makes_them_is_told(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^data/features/features\.json: not found; 'merit features' makes it"):
        network.build(lock)
