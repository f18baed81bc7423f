from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.config import lock as locks
from merit.config.compose import compose
from merit.errors import ConfigError, MeritError
from merit.sweep import plan, record


@pytest.fixture(autouse=True)
def _locked(conf: Path) -> None:
    locks.write_lock(compose())


def test_a_grid_is_every_combination_in_hydras_order(conf: Path) -> None:
    made = plan.make_plan(["model=linear,mlp", "optimizer.lr=1e-3,3e-3", "trainer=smoke"])
    assert made.list_points() == [
        {"model": "linear", "optimizer.lr": "0.001"},
        {"model": "linear", "optimizer.lr": "0.003"},
        {"model": "mlp", "optimizer.lr": "0.001"},
        {"model": "mlp", "optimizer.lr": "0.003"},
    ]
    assert (made.planned_trials, made.objectives, made.fixed_overrides) == (
        4,
        {"log_loss": "minimize"},
        ("trainer=smoke",),
    )
    lock = made.compose_lock(made.list_points()[3])
    assert lock == compose(["trainer=smoke", "model=mlp", "optimizer.lr=0.003"])


@pytest.mark.parametrize(("trials", "planned"), [(3, 3), (9, 4)])
def test_a_grid_is_cut_after_as_many_trials_as_are_asked_for(conf: Path, trials: int, planned: int) -> None:
    made = plan.make_plan(["seed=1,2", "optimizer.lr=1e-3,3e-3", f"sweep.trials={trials}"])
    points = [(each["seed"], each["optimizer.lr"]) for each in made.list_points()]
    assert made.planned_trials == planned
    assert points == [("1", "0.001"), ("1", "0.003"), ("2", "0.001"), ("2", "0.003")][:planned]


def test_a_metric_goes_where_it_is_better_unless_told(conf: Path) -> None:
    assert plan.make_plan(["seed=1,2", "sweep.metric=roc_auc"]).objectives == {"roc_auc": "maximize"}
    assert plan.make_plan(["seed=1,2", "sweep.metric=roc_auc", "sweep.direction=minimize"]).objectives == {
        "roc_auc": "minimize"
    }
    assert plan.make_plan(["sweep=small_and_good"]).objectives == {"log_loss": "minimize", "parameters": "minimize"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "train -m: nothing is swept; give a key several values"),
        (["model=mlp"], "train -m: nothing is swept"),
        (
            ["data=flights,digits"],
            "data: can't be swept, for all trials share one set of features; allowed: model, opt",
        ),
        (["features.number.clip=1,2"], "features.number.clip: can't be swept"),
        (["gate.calibration=0.1,0.2"], "gate.calibration: can't be swept"),
        (["evaluate.resamples=100,200"], "evaluate.resamples: can't be swept"),
        (["experiment=flights_late,flights_delay"], "experiment=flights_delay: changes the section name, which"),
        (["seed=1,2", "evaluate.resamples=100"], "evaluate.resamples=100: a sweep leaves params.yaml as it is"),
        (["model=linear,nix"], "a trial with model=nix can't be composed: command line: model: no choice 'nix'"),
        (
            ["optimizer.rate=1,2"],
            "a trial with optimizer.rate=1 can't be composed: command line: optimizer.rate: unknown",
        ),
        (
            ["modle=linear,mlp"],
            "a trial with modle=linear can't be composed: command line: modle: unknown key; did you",
        ),
        (["optimizer.lr=interval(0, 1)"], "optimizer.lr: a grid can't try all of an interval"),
        (["seed=1,2", "sweep.sampler=tpe"], "sweep.trials: missing; say how many trials tpe may take"),
        (["model=linear,mlp", "sweep=cmaes"], "sweep.sampler: cmaes searches numbers alone, and model is a choice"),
        (
            ["seed=range(1, 1000)", "optimizer.lr=range(1, 1000)"],
            "a grid of 998,001 trials; allowed: up to 100,000; give",
        ),
        (["seed=range(0, 1000000000)"], "a range of 1,000,000,000 values; allowed: up to 100,000; take an interval"),
        (["sweep.space={optimizer.lr: []}"], "command line: sweep.space.optimizer.lr: found [], which holds no values"),
        (
            ["seed=1,2", "trainer.devices=3"],
            "command line: trainer.devices: found 3, which can't share batches of 1024",
        ),
        (
            ["optimizer.lr=-1,0.001"],
            "a trial with optimizer.lr=-1 can't be composed: command line: optimizer.lr: found -1; allowed: 0 or more",
        ),
        (
            ["model=mlp", "model.dropout=0.1,1"],
            "command line: model.dropout: found 1; allowed: a share from 0 to less than 1",
        ),
        (["seed=1,2", "optimizer.weight_decay=-0.5"], "optimizer.weight_decay: found -0.5; allowed: 0 or more"),
        (["seed=1,2", "sweep.resume=nix"], "sweeps/nix: no such sweep"),
    ],
)
def test_what_can_not_be_swept_is_refused_before_anything_starts(conf: Path, arguments: list[str], told: str) -> None:
    with pytest.raises(MeritError) as caught:
        plan.make_plan(arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not record.SWEEPS.exists()


@pytest.mark.parametrize("key", ["sweep.metric=acc", "sweep.objectives={acc: maximize}"])
def test_a_metric_that_no_run_reports_is_refused_with_those_that_are(conf: Path, key: str) -> None:
    with pytest.raises(
        ConfigError, match=r"found 'acc', which no run reports; allowed: roc_auc, .*, train_seconds, param"
    ):
        plan.make_plan(["seed=1,2", key])


def test_a_stale_lock_is_refused(conf: Path) -> None:
    text = (conf / "features" / "default.yaml").read_text(encoding="utf-8")
    (conf / "features" / "default.yaml").write_text(text.replace("clip: 6.0", "clip: 5.0"), encoding="utf-8")
    with pytest.raises(MeritError, match=r"params\.yaml: its section features is not what conf/ says"):
        plan.make_plan(["seed=1,2"])


def test_a_sweep_is_resumed_as_what_it_was(conf: Path) -> None:
    made = plan.make_plan(["seed=1,2", "trainer=smoke", "sweep=random", "sweep.name=one", "sweep.trials=4"])
    artifacts.write_json(record.SWEEPS / "one" / record.SWEEP_JSON, plan.build_sweep_json(made, "sha256:0", {}))
    again = plan.make_plan(["sweep.resume=one", "sweep.workers=1"])
    assert again.build_definition() == made.build_definition()
    assert (again.name, again.planned_trials, again.settings.workers) == ("one", 4, 1)
    plan.refuse_other_definition(made.build_definition(), again)
    other = plan.make_plan(["sweep.resume=one", "seed=1,2,3"])
    with pytest.raises(
        MeritError,
        match=r"sweep one: not the one that is there: space was seed=1,2, is seed=1,2,3; fixed was trainer=smoke, is",
    ):
        plan.refuse_other_definition(made.build_definition(), other)
    with pytest.raises(MeritError, match=r"there: sampler was tpe, is random; resume it"):
        plan.refuse_other_definition(made.build_definition() | {"sampler": "tpe"}, again)


def test_a_sweep_records_the_commit_that_it_ran_at(conf: Path, git_repo: Callable[..., str]) -> None:
    made = plan.make_plan(["seed=1,2"])
    assert plan.build_sweep_json(made, "sha256:0", {})["commit"] == ""
    git_repo("commit", "--quiet", "--allow-empty", "--message", "x")
    assert plan.build_sweep_json(made, "sha256:0", {})["commit"] == git_repo("rev-parse", "HEAD")


def test_what_launched_the_trials_is_kept_and_is_no_part_of_what_is_trained(conf: Path) -> None:
    made = plan.make_plan(["hydra/launcher=local", "seed=1,2"])
    assert (made.launcher_overrides, made.overrides) == (("hydra/launcher=local",), ("seed=1,2",))
    assert plan.build_sweep_json(made, "sha256:0", {})["launcher"] == ["hydra/launcher=local"]
    assert made.build_definition() == plan.make_plan(["seed=1,2"]).build_definition()


def test_a_resume_may_keep_its_runs_elsewhere(conf: Path) -> None:
    made = plan.make_plan(["seed=1,2", "trainer=smoke", "tracking.uri=http://nowhere", "sweep.name=one"])
    artifacts.write_json(record.SWEEPS / "one" / record.SWEEP_JSON, plan.build_sweep_json(made, "sha256:0", {}))
    again = plan.make_plan(["sweep.resume=one", "tracking=csv"])
    assert again.overrides == ("seed=1,2", "trainer=smoke", "tracking=csv")
    assert again.base_lock.tracking.to == "csv"
    plan.refuse_other_definition(
        {**made.build_definition(), "fixed": ["tracking.uri=http://nowhere", "trainer=smoke"]}, again
    )


def test_overrides_may_say_the_same_in_another_order(conf: Path) -> None:
    one = plan.make_plan(["seed=1,2", "trainer=smoke", "model=mlp"])
    other: Any = plan.make_plan(["model=mlp", "trainer=smoke", "seed=1,2"])
    plan.refuse_other_definition(one.build_definition(), other)
    assert one.planned_trials == other.planned_trials == 2


def test_a_fixed_value_that_needs_a_swept_one_is_composed_with_the_first(conf: Path) -> None:
    config = (conf / "config.yaml").read_text(encoding="utf-8")
    (conf / "config.yaml").write_text(config.replace("- model: embedding_mlp", "- model: linear"), encoding="utf-8")
    made = plan.make_plan(["model=mlp,embedding_mlp", "model.dropout=0.25"])
    assert made.base_lock == compose(["model=mlp", "model.dropout=0.25"])


def test_a_space_that_names_an_unknown_key_is_told(conf: Path) -> None:
    text = "sampler: random\ntrials: 3\nspace: {seed: 'range(1, 9)', model.nix: [1, 2]}\n"
    (conf / "sweep" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(MeritError, match=r"can't be composed: command line: model\.nix: unknown key"):
        plan.make_plan(["sweep=mine"])


def test_a_sweep_may_be_resumed_with_its_runs_kept_elsewhere(conf: Path) -> None:
    made = plan.make_plan(["seed=1,2", "trainer=smoke", "tracking.uri=http://127.0.0.1:9", "sweep.name=one"])
    record.artifacts.write_json(record.SWEEPS / "one" / record.SWEEP_JSON, plan.build_sweep_json(made, "sha256:0", {}))
    for elsewhere in (["tracking.uri=sqlite:///mlflow.db"], ["tracking=csv"]):
        again = plan.make_plan(["sweep.resume=one", *elsewhere])
        assert list(again.fixed_overrides) == ["trainer=smoke", *elsewhere]
        assert again.space == made.space
        plan.refuse_other_definition(
            {**made.build_definition(), "fixed": sorted(made.fixed_overrides)}, again
        )  # as older sweeps noted it
