"""What is asked of a metric before anything is trained: how it is called, which way is better, and for which task."""

from pathlib import Path

import pytest

from merit.config.components import metric_interface
from merit.config.compose import compose
from merit.errors import ConfigError


@pytest.fixture
def metrics(workdir: Path) -> Path:
    """The file of a trusted package that a test puts its metric into."""
    Path("pyproject.toml").write_text('[tool.merit]\ntrusted = ["mymodels", "reference"]\n')
    Path("mymodels").mkdir()
    Path("mymodels/__init__.py").touch()
    return Path("mymodels/metrics.py")


def _found(target: str, task: str = "binary") -> list[str]:
    values = {"evaluate": {"metrics": {"mine": {"_target_": target}}}, "data": {"target": {"task": task}}}
    return [fault.found.removeprefix(f"found {target!r}, ") for fault in metric_interface.find_faults(values)]


CALL = "def __call__(self, target, prediction, weights): ..."


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (f"higher_is_better = True; x = 1\n  {CALL}", None),
        (f"higher_is_better: bool = False\n  {CALL}", None),
        ("higher_is_better = True\n  def __call__(self, *given): ...", None),
        ("higher_is_better = True\n  def __call__(self, a, b, c, d=1, *, e=2): ...", None),
        (f"def __init__(self): self.higher_is_better = True\n  {CALL}", None),
        (f"@property\n  def higher_is_better(self): return True\n  {CALL}", None),
        ("higher_is_better = True\n  def update(self, a, b): ...\n  def compute(self): ...", None),
        (
            "higher_is_better = True\n  def __call__(self, preds, target): ...",
            "which is called with (self, preds, target)",
        ),
        ("higher_is_better = True\n  def __call__(self, a, b, c, d): ...", "which is called with (self, a, b, c, d)"),
        (
            "higher_is_better = True\n  def __call__(self, a, b, c, *, d): ...",
            "which is called with (self, a, b, c, d)",
        ),
        (
            "higher_is_better = True\n  def update(self, a, b): ...",
            "which can't be called; a metric needs __call__(self,",
        ),
        (f"higher_is_better = None\n  {CALL}", "whose higher_is_better is None; set it to True or False"),
        (CALL, "which has no higher_is_better; set it to True or False"),
    ],
)
def test_a_metric_of_ones_own_is_called_with_three_and_says_which_way_is_better(
    metrics: Path, body: str, found: str | None
) -> None:
    metrics.write_text(f"class Mine:\n  {body}\n")
    told = _found("mymodels.metrics.Mine")
    assert len(told) == (found is not None)
    assert all(each.startswith(found or "") for each in told)


def test_what_a_class_inherits_counts_and_a_parent_whose_source_is_away_is_believed(metrics: Path) -> None:
    metrics.write_text(
        f"from away import Far\nclass A:\n  higher_is_better = None\n  {CALL}\nclass B(A):\n  higher_is_better = True\n"
        "class C(Far): ...\nclass D(D): ...\nclass E:\n  def __new__(cls): ...\n"
    )
    assert len(_found("mymodels.metrics.A")) == 1
    assert [_found(f"mymodels.metrics.{name}") for name in "BCDE"] == [[], [], [], []]


@pytest.mark.parametrize(
    ("target", "task", "found"),
    [
        ("classification.BinaryF1Score", "binary", None),
        ("classification.F1Score", "binary", None),
        ("classification.MulticlassAccuracy", "multiclass", None),
        ("regression.MeanAbsoluteError", "regression", None),
        ("regression.SpearmanCorrCoef", "regression", None),
        ("classification.BinaryF1Score", "multiclass", "which is for a binary task; data.target.task is multiclass"),
        ("classification.MultilabelAUROC", "binary", "which is for a multilabel task; data.target.task is binary"),
        ("regression.R2Score", "binary", "which is for a regression task; data.target.task is binary"),
        ("classification.BinarySpecificity", "binary", "whose higher_is_better is None; set it to True or False"),
    ],
)
def test_a_metric_of_torchmetrics_is_for_the_task_and_says_which_way_is_better(
    workdir: Path, target: str, task: str, found: str | None
) -> None:
    told = _found(f"torchmetrics.{target}", task)
    assert len(told) == (found is not None)
    assert all(each.startswith(found or "") for each in told)


def test_a_metric_that_can_not_be_called_as_one_is_refused_by_compose_with_its_line(conf: Path) -> None:
    Path("conf/experiment/odd.yaml").write_text(
        "# @package _global_\nevaluate:\n  metrics:\n    f1:\n      _target_: torchmetrics.regression.R2Score\n"
    )
    with pytest.raises(ConfigError) as caught:
        compose(["experiment=odd"])
    assert caught.value.problems == [
        "conf/experiment/odd.yaml:5: evaluate.metrics.f1._target_: found 'torchmetrics.regression.R2Score', "
        "which is for a regression task; data.target.task is binary"
    ]


@pytest.mark.parametrize("target", ["text.BLEUScore", "image.fid.FrechetInceptionDistance", "wrappers.MinMaxMetric"])
def test_other_parts_of_torchmetrics_are_not_trusted(conf: Path, target: str) -> None:
    with pytest.raises(ConfigError, match="which is not trusted"):
        compose([f"+evaluate.metrics.x._target_=torchmetrics.{target}"])
