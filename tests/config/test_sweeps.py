from pathlib import Path

import pytest

from merit.config.compose import compose
from merit.config.composition import yaml_files
from merit.config.sweep import search_space, sweep_config
from merit.config.sweep.search_space import Choice, Interval, Range, parse_search_space
from merit.errors import ConfigError


def _asked(*overrides: str, **given: object) -> search_space.SearchSpace:
    return parse_search_space(overrides, given, yaml_files.read_all_files(Path("conf")), "conf/sweep/here.yaml")


def test_hydras_grammar_gives_the_values_that_hydra_would_try(conf: Path) -> None:
    found = _asked(
        "model=linear,mlp",
        "optimizer.lr=choice(1e-3, 3e-3)",
        "seed=range(1, 4)",
        "model.dropout=range(0, 1, 0.5)",
        "model.hidden=[64],[128,64]",
        "trainer=glob(*, exclude=gpu)",
        "trainer.patience=2",
    )
    assert found.dimensions == {
        "model": Choice(("linear", "mlp")),
        "optimizer.lr": Choice(("0.001", "0.003")),
        "seed": Range((1, 2, 3), ("1", "2", "3")),
        "model.dropout": Range((0.0, 0.5), ("0.0", "0.5")),
        "model.hidden": Choice(("[64]", "[128,64]")),
        "trainer": Choice(("cpu", "ddp", "smoke")),
    }
    assert found.fixed_overrides == ("trainer.patience=2",)


def test_intervals_are_linear_logarithmic_or_of_whole_numbers(conf: Path) -> None:
    found = _asked("a=interval(0, 1)", "b=tag(log, interval(1e-4, 1e-2))", "c=int(interval(8, 64))").dimensions
    assert found == {
        "a": Interval(0.0, 1.0, is_log=False, is_integer=False),
        "b": Interval(1e-4, 1e-2, is_log=True, is_integer=False),
        "c": Interval(8, 64, is_log=False, is_integer=True),
    }
    assert found["c"].values == ("8", "64")


def test_the_command_line_comes_before_the_space_of_the_file(conf: Path) -> None:
    found = _asked("seed=1,2", "model=mlp", **{"seed": "range(1, 9)", "model": ["linear", "mlp"], "x": [True, None]})
    assert found.dimensions == {"seed": Choice(("1", "2")), "x": Choice(("True", "null"))}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lr=1,,2", "command line: optimizer.lr=1,,2: bad syntax"),
        ("seed=range(1, 1)", "seed: found 'range(1, 1)', which holds no values"),
        ("seed=range(1, 5, 0)", "bad syntax"),
        ("a=interval(2, 1)", "a: found 'interval(2, 1)', which holds no values"),
        ("a=tag(log, interval(0, 1))", "allowed: an interval above 0 where the scale is log"),
        ("model=glob(nothing*)", "holds no values"),
    ],
)
def test_what_holds_no_values_is_refused_with_what_was_written(conf: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _asked(override)
    assert told in str(caught.value)


def test_a_space_that_sweeps_nothing_is_refused_with_its_file(conf: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"conf/sweep/here.yaml: sweep.space.seed: found '7'; allowed: several values"
    ):
        _asked(**{"seed": "7"})


def test_every_file_of_conf_sweep_is_right(conf: Path) -> None:
    files = yaml_files.read_all_files(conf)
    found = {
        file.stem: sweep_config.read_sweep([f"sweep={file.stem}"], files).sweep
        for file in (conf / "sweep").glob("*.yaml")
    }
    assert found["embedding_mlp"].sampler == found["tpe"].sampler == "tpe"
    assert found["embedding_mlp"].trials == 20
    assert found["small_and_good"].pruner.kind == "none"


def test_the_sweep_is_no_part_of_the_lock(conf: Path) -> None:
    assert sweep_config.is_sweep_override("sweep.trials=3")
    assert not sweep_config.is_sweep_override("sweeps=3")
    with pytest.raises(ConfigError, match="sweep: unknown key"):
        compose(["sweep=tpe"])


def test_without_conf_sweep_the_defaults_hold(conf: Path) -> None:
    assert sweep_config.read_sweep([], {}).sweep.sampler == "grid"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["sweep=nix"], "sweep: no choice 'nix'; allowed: cmaes, default"),
        (["sweep.trails=3"], "command line: sweep.trails: unknown key; did you mean 'trials'?"),
        (["sweep.trials=0"], "command line: sweep.trials: found 0; allowed: greater than 0"),
        (["sweep.name=../x"], "sweep.name: found '../x'"),
        (["sweep=tpe", "sweep.objectives={brier: minimize, parameters: minimize}"], "sweep.pruner.kind: must be none"),
        (
            ["sweep=cmaes", "sweep.objectives={brier: minimize, parameters: minimize}"],
            "sweep.sampler: is cmaes, which supports",
        ),
        (
            ["sweep.objectives={brier: minimize}", "sweep.metric=brier"],
            "command line: sweep.objectives: says what is searched for; leave out metric and direction",
        ),
        (
            ["sweep=tpe", "sweep.metric=train_seconds"],
            "sweep.pruner.kind: must be none where the metric is train_seconds",
        ),
        (["sweep.storage='postgresql://u:secret@h/d'"], "command line: sweep.storage: holds a password"),
        (
            ["sweep.storage='postgresql://u@h/d?password=secret'"],
            "command line: sweep.storage: the url has the parameter 'password'",
        ),
        (["sweep.storage=redis://h"], "sweep.storage: found 'redis://h'"),
        (["sweep.storage=sqlite:////etc/x.db"], "sweep.storage: found path '/etc/x.db'"),
        (["sweep.storage='postgresql://u@h/d?sslkey=/etc/x'"], "sweep.storage: the url has the parameter 'sslkey'"),
    ],
)
def test_what_a_sweep_can_not_be_is_told_in_a_line(conf: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep_config.read_sweep(overrides, yaml_files.read_all_files(conf))
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_conf_sweep_may_not_build_on_what_is_not_there(conf: Path) -> None:
    (conf / "sweep" / "mine.yaml").write_text("defaults: [tpf, _self_]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"conf/sweep/mine.yaml: defaults: no choice 'tpf'; allowed: cmaes"):
        sweep_config.read_sweep(["sweep=mine"], yaml_files.read_all_files(conf))
    (conf / "sweep" / "mine.yaml").write_text("trails: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"conf/sweep/mine.yaml:1: sweep.trails: unknown key"):
        sweep_config.read_sweep(["sweep=mine"], yaml_files.read_all_files(conf))
