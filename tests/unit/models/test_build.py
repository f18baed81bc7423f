from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.models import build
from merit.models.build import Examples, Predictor

FITTED = {
    "cardinalities": [4, 4],
    "numbers": 3,
    "shapes": [],
    "target": {"mean": 10.0, "deviation": 2.0},
}


def _fitted(lock: Lock) -> dict[str, Any]:
    return {**FITTED, "made_for": locks.hash_preprocessing(lock.data, lock.features)}


@pytest.fixture
def fitted(workdir: Path, lock: Lock) -> None:
    """What `features` fitted."""
    artifacts.write_json(artifacts.FEATURES_REPORT, _fitted(lock))


def _keep(weights: dict[str, torch.Tensor]) -> None:
    artifacts.WEIGHTS.parent.mkdir()
    save_file(weights, artifacts.WEIGHTS)


def test_the_trained_network_has_the_weights_that_were_written_and_predicts(fitted: None, lock: Lock) -> None:
    made = build.build_predictor(lock)
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_()
    _keep(made.network.state_dict())
    again = build.load_trained(lock)
    assert not again.training
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in again.state_dict().items())


def test_probabilities_are_the_same_in_batches_of_any_size(
    fitted: None, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build.build_predictor(lock).eval()
    rows = Examples((torch.randint(0, 4, (50, 2)), torch.randn(50, 3)), torch.zeros(50))
    whole = build.predict_rows(made, rows)
    monkeypatch.setattr(build, "BATCH_ROWS", 7)
    np.testing.assert_allclose(build.predict_rows(made, rows), whole, atol=1e-6)
    assert whole.shape == (50,)
    assert ((whole > 0) & (whole < 1)).all()


def test_the_weights_of_another_network_are_refused_in_one_line(
    fitted: None, lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["model"] = {"_target_": "merit.models.networks.MLP", "hidden": [3], "dropout": 0.1}

    _keep(build.build_predictor(make_lock(edit)).network.state_dict())
    with pytest.raises(MeritError) as caught:
        build.load_trained(lock)
    assert str(caught.value).startswith("training/weights.safetensors: not the weights of conf/model's network (")
    assert str(caught.value).endswith("; run 'merit train' again")
    assert "\n" not in str(caught.value)


def test_weights_that_can_not_be_read_are_refused_in_one_line(fitted: None, lock: Lock) -> None:
    artifacts.write_text(artifacts.WEIGHTS, "broken")
    with pytest.raises(MeritError, match=r"^training/weights\.safetensors: not the weights of conf/model's network"):
        build.load_trained(lock)


def test_without_weights_the_command_that_makes_them_is_told(fitted: None, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^training/weights\.safetensors: not found; 'merit train' makes it"):
        build.load_trained(lock)


def test_without_fitted_features_the_command_that_makes_them_is_told(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^data/features/features\.json: not found; 'merit features' makes it"):
        build.build_predictor(lock)


def test_without_arrays_the_command_that_makes_them_is_told(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^data/features/train\.safetensors: not found; 'merit features' makes it"):
        build.read_part("train")


def test_arrays_that_can_not_be_read_are_told_in_one_line(workdir: Path) -> None:
    Path("data/features").mkdir(parents=True)
    Path("data/features/train.safetensors").write_bytes(b"broken")
    with pytest.raises(MeritError, match=r"^data/features/train\.safetensors: can't be read .*'merit features'$"):
        build.read_part("train")


def _fixed(outputs: torch.Tensor, task: str) -> Predictor:
    return Predictor(nn.Identity(), task, mean=10.0, deviation=2.0).eval()


def test_a_probability_is_averaged_over_the_members() -> None:
    outputs = torch.tensor([[[0.0], [2.0]], [[0.0], [-2.0]]])  # [members, rows, outputs]
    found = _fixed(outputs, "binary").to_predictions(outputs)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(
        _fixed(outputs, "binary").to_predictions(outputs[0]), torch.tensor([0.5, 0.8808]), atol=1e-4, rtol=0
    )


def test_the_probabilities_of_classes_sum_to_one() -> None:
    outputs = torch.randn(3, 5, 4)
    found = _fixed(outputs, "multiclass").to_predictions(outputs)
    assert found.shape == (5, 4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(found, outputs.softmax(dim=2).mean(dim=0))


def test_a_number_comes_back_in_the_unit_of_the_target() -> None:
    outputs = torch.tensor([[0.0], [1.5]])
    torch.testing.assert_close(_fixed(outputs, "regression").to_predictions(outputs), torch.tensor([10.0, 13.0]))


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_loss_is_least_where_the_prediction_is_the_truth(task: str, members: int | None) -> None:
    truth = {"binary": [0.0, 1.0, 1.0], "multiclass": [2.0, 0.0, 1.0], "regression": [8.0, 10.0, 15.0]}[task]
    target = torch.tensor(truth)
    right = {
        "binary": (target * 2 - 1)[:, None] * 9,
        "multiclass": torch.eye(16)[target.long()] * 20,
        "regression": ((target - 10) / 2)[:, None],
    }[task]
    wrong = right.roll(1, dims=0)
    if members is not None:
        right, wrong = (each.expand(members, *each.shape) for each in (right, wrong))
    predictor = _fixed(right, task)
    assert predictor.loss(right, target) < 1e-3 < predictor.loss(wrong, target)


def test_a_network_that_takes_no_arrays_is_refused_where_there_are_some(fitted: None, lock: Lock) -> None:
    artifacts.write_json(artifacts.FEATURES_REPORT, {**_fitted(lock), "shapes": [[8, 8]]})
    with pytest.raises(MeritError, match=r"^model: merit\.models\.networks\.Linear takes no arrays, .* model=cnn"):
        build.build_predictor(lock)


def test_what_was_fitted_for_other_columns_is_refused(fitted: None, make_lock: Callable[..., Lock]) -> None:
    other = make_lock(lambda values: values["data"]["columns"].pop("weight"))
    with pytest.raises(
        MeritError, match=r"^data/features/features\.json: made for another data or features than params"
    ):
        build.build_predictor(other)
