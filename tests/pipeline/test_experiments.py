"""The shipped experiments, each a task of its own, small where the whole would take long."""

import json

import pytest
from tests.support.endpoint import serving

JANUARY = (
    "data.window={start: 2013-01-01, end: 2013-01-31}",
    "data.split={by: time, train_until: 2013-01-20, validation_until: 2013-01-25, test_until: 2013-01-31}",
    "data.contract.rows={min: 20000, max: 40000}",
    "trainer.max_epochs=2",
    "evaluate.resamples=100",
    "evaluate.slice_resamples=100",
    "evaluate.slices=[origin]",
    "evaluate.baseline.max_iter=10",
    "gate.resamples=200",
)
LOOSE = ("gate.floors={r2: -1.0}", "gate.baseline.margin=1.0")


@pytest.fixture
def plain(fresh):
    """A fresh project as the repository is: the small one's own group would stand against the experiments."""
    config = fresh.folder / "conf/config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("  - size: small\n", ""), encoding="utf-8")
    return fresh


def _quoted(overrides):
    return [f"'{override}'" for override in overrides]


def _verdicts(report):
    return {check["name"]: check["verdict"] for check in report["checks"]}


def test_delays_are_judged_by_the_metrics_of_a_regression(plain):
    done = plain.merit("run", "experiment=flights_delay", *_quoted((*JANUARY, *LOOSE)))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(plain.read("reports/gate.json"))
    assert report["task"] == "regression"
    assert "rmse" in report["metrics"]["candidate"]
    assert _verdicts(report)["parity"] == "pass"
    signature = json.loads(plain.read("model/signature.json"))
    assert [(output["name"], output["task"]) for output in signature["outputs"]] == [("prediction", "regression")]


def test_digits_are_told_apart_by_a_network_that_ships_and_serves(plain):
    done = plain.merit("run", "experiment=digits")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(plain.read("reports/gate.json"))
    assert report["task"] == "multiclass"
    assert report["metrics"]["candidate"]["accuracy"]["value"] >= 0.97
    assert set(_verdicts(report).values()) == {"pass", "not applicable"}  # there is no champion
    assert "Confusion" in plain.read("reports/gate.html")

    example = json.loads(plain.read("model/signature.json"))["example"]
    with serving(plain, "merit", "serve") as endpoint:
        status, content = endpoint.predict([example, example])
    assert status == 200
    assert content["classes"] == list(range(10))
    assert content["predictions"][0] in content["classes"]
    assert sum(content["probabilities"][0]) == pytest.approx(1, abs=1e-5)
