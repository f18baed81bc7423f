import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from merit.config.compose import compose
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError


def _problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    assert caught.value.exit_code == 2
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def _replace(file: Path, old: str, new: str) -> int:
    """Replace a text in a file; return the line on which it stands."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


@pytest.fixture(autouse=True)
def _in_the_real_conf(conf: Path) -> Iterator[None]:
    yield


def test_the_defaults_compose() -> None:
    lock = compose()
    assert lock.name == "flights"
    assert lock.model.target == "merit.models.networks.EmbeddingMLP"
    assert lock.optimizer.target == "torch.optim.AdamW"
    assert lock.tracking.experiment == "flights"


def test_the_experiment_of_the_default_question_changes_nothing() -> None:
    assert compose(["experiment=flights_late"]) == compose()


def test_composing_twice_gives_the_same() -> None:
    assert compose() == compose()


def test_every_choice_in_conf_composes(conf: Path) -> None:
    choices = [f"{file.parent.name}={file.stem}" for file in conf.glob("*/*.yaml")]
    choices = [choice for choice in choices if not choice.startswith(("environment=", "sweep="))]  # no part of the lock
    assert {"model=linear", "trainer=gpu", "experiment=digits"} <= set(choices)
    # A target of another kind has other gates: those go together, as an experiment.
    together = {"data=digits", "gate=multiclass", "gate=regression"}
    for choice in sorted(set(choices) - together):
        assert compose([choice]).name


def test_a_choice_of_another_file_changes_its_section_alone() -> None:
    usual, other = compose(), compose(["model=linear"])
    assert other.model.target == "merit.models.networks.Linear"
    assert other.model_copy(update={"model": usual.model}) == usual


def test_a_choice_that_builds_on_another_keeps_the_rest_of_it() -> None:
    smoke = compose(["trainer=smoke"]).trainer
    assert (smoke.max_epochs, smoke.batch_size) == (1, 4096)
    assert smoke.monitor == compose().trainer.monitor


def test_a_value_can_be_overridden() -> None:
    assert compose(["trainer.max_epochs=3", "seed=9"]).trainer.max_epochs == 3


def test_an_unknown_choice_is_refused_with_those_there_are() -> None:
    assert _problems("model=transformer") == [
        "command line: model: no choice 'transformer'; allowed: cnn, embedding_mlp, linear, mlp"
    ]


def test_an_unknown_group_is_refused() -> None:
    (problem,) = _problems("modle=linear")
    assert problem.startswith("command line: modle: unknown key; did you mean 'model'? allowed: data, evaluate, ")
    (problem,) = _problems("environment=staging")
    assert problem.startswith("command line: environment: unknown key; allowed: data, evaluate, ")
    (problem,) = _problems("modle/x=linear")
    assert problem.startswith("command line: modle/x: unknown group; did you mean 'model'? allowed: data, ")


def test_a_misspelt_key_is_named_with_its_file_and_line(conf: Path) -> None:
    line = _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patienc: 3")
    problems = _problems()
    assert len(problems) == 2
    assert f"conf/trainer/cpu.yaml:{line}: trainer.patienc: unknown key; did you mean 'patience'? allowed: " in str(
        problems
    )
    assert "conf/trainer/cpu.yaml:1: trainer.patience: missing; add it" in problems


def test_a_misspelt_key_inside_a_column_is_named_with_its_line(conf: Path) -> None:
    line = _replace(
        conf / "data" / "flights.yaml", "carrier: {type: string, feature:", "carrier: {type: string, featur:"
    )
    (problem,) = _problems()
    assert problem.startswith(f"conf/data/flights.yaml:{line}: data.columns.carrier.featur: unknown key; did you mean")
    assert "'feature'" in problem


def test_an_unknown_section_is_named_with_what_is_allowed(conf: Path) -> None:
    line = _replace(conf / "config.yaml", "seed: 7", "seed: 7\nsede: 8") + 1
    (problem,) = _problems()
    assert problem.startswith(
        f"conf/config.yaml:{line}: sede: unknown key; did you mean 'seed'? allowed: data, evaluate"
    )


def test_a_misspelt_key_in_a_file_that_another_builds_on_is_named_where_it_stands(conf: Path) -> None:
    line = _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patience: 3\npatienc: 3") + 1
    (problem,) = _problems("trainer=smoke")
    assert problem.startswith(f"conf/trainer/cpu.yaml:{line}: trainer.patienc: unknown key")


def test_a_misspelt_key_on_the_command_line_is_refused_with_what_was_meant() -> None:
    (problem,) = _problems("trainer.max_epoch=3")
    assert "trainer.max_epoch" in problem
    assert "did you mean" in problem
    assert "max_epochs" in problem.replace("trainer.max_epoch=3", "")


def test_a_key_added_with_a_plus_is_refused_like_one_in_a_file() -> None:
    (problem,) = _problems("+trainer.max_epoch=3")
    assert "trainer.max_epoch: unknown key; did you mean 'max_epochs'? allowed: accelerator, batch_size" in problem
    assert problem.startswith("command line: ")


def test_a_value_of_another_type_is_told_with_what_was_found(conf: Path) -> None:
    line = _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patience: many")
    assert _problems() == [f"conf/trainer/cpu.yaml:{line}: trainer.patience: found 'many'; allowed: a valid integer"]


def test_a_value_out_of_range_is_told_with_what_is_allowed() -> None:
    (problem,) = _problems("trainer.patience=0")
    assert "trainer.patience: found 0; allowed: greater than 0" in problem


def test_a_choice_that_is_none_of_the_allowed_is_told_with_them() -> None:
    assert _problems("trainer.schedule=linear") == [
        "command line: trainer.schedule: found 'linear'; allowed: 'constant' or 'cosine'"
    ]


def test_what_does_not_fit_between_sections_is_told_at_each_key_at_once() -> None:
    found = _problems("trainer.monitor=accuracy", "evaluate.slices=[nowhere]")
    assert [each.partition(";")[0] for each in found] == [
        "command line: trainer.monitor: names 'accuracy', which is no metric of a binary task",
        "command line: evaluate.slices: names 'nowhere', which is no column",
    ]
    first = _problems("gate=regression")[0]
    assert first.startswith(
        "conf/gate/regression.yaml:3: gate.floors: names 'r2', which is no metric of a binary task;"
    )


def test_a_key_that_was_taken_away_is_told_as_missing() -> None:
    (problem,) = _problems("~trainer.max_epochs")
    assert problem.startswith("command line: ")
    assert "trainer.max_epochs: is needed, and was removed; leave out '~trainer.max_epochs'" in problem


def test_a_section_of_rules_that_was_taken_away_is_told_as_needed(conf: Path) -> None:
    (problem,) = _problems("~gate.floors")
    assert problem == "command line: gate.floors: is needed, and was removed; leave out '~gate.floors'"


@pytest.mark.parametrize(("given", "found"), [("gate.data=null", "null"), ("gate.waivers=[parity]", "['parity']")])
def test_what_is_no_section_is_told_in_our_words(conf: Path, given: str, found: str) -> None:
    (problem,) = _problems(given)
    key = given.partition("=")[0]
    assert problem == f"command line: {key}: found {found}; allowed: keys with values"


def test_a_rule_over_several_keys_is_told_at_the_section(conf: Path) -> None:
    line = _replace(conf / "data" / "flights.yaml", "split: #", "split:  #")
    (problem,) = _problems("data.split.train_until=2013-10-30")
    assert problem.startswith(
        f"conf/data/flights.yaml:{line}: data.split: train_until, validation_until and test_until"
    )


def test_several_problems_in_several_files_are_told_at_once(conf: Path) -> None:
    _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patience: many")
    _replace(conf / "serve" / "default.yaml", "port: 3000", "port: 70000")
    _replace(conf / "data" / "flights.yaml", "origin: {type: string", "origin: {type: strng")
    _replace(conf / "model" / "embedding_mlp.yaml", "\ndropout:", "\ndropuot:")
    problems = _problems()
    keys = ["trainer.patience", "serve.port", "data.columns.origin.type", "model.dropuot", "model.dropout"]
    assert [key for key in keys if any(f" {key}: " in problem for problem in problems)] == keys
    assert len(problems) == len(keys), problems


def test_a_fault_of_a_target_does_not_ask_for_what_compose_fills_in_itself() -> None:
    problems = _problems("+optimizer.lrr=1")
    assert not [problem for problem in problems if "fingerprint" in problem]


def test_a_source_file_that_is_not_there_hides_no_other_problem(conf: Path) -> None:
    _replace(
        conf / "data" / "flights.yaml",
        "_target_: reference.flights.Flights",
        "_target_: merit.data.sources.Csv\n  path: nowhere.csv",
    )
    with pytest.raises(MeritError) as caught:
        compose(["trainer.patience=0"])
    assert "trainer.patience" in str(caught.value)
    assert "nowhere.csv" in str(caught.value)


def test_a_value_left_open_is_refused(conf: Path) -> None:
    line = _replace(conf / "config.yaml", "seed: 7", "seed: ???")
    assert _problems("name=???") == [
        "command line: name: found ???, which says that it must be set; set it",
        f"conf/config.yaml:{line}: seed: found ???, which says that it must be set; set it",
    ]


def test_an_interpolation_of_nothing_is_refused(conf: Path) -> None:
    line = _replace(conf / "tracking" / "mlflow.yaml", "experiment: ${name}", "experiment: ${nmae}")
    assert _problems() == [
        f"conf/tracking/mlflow.yaml:{line}: tracking.experiment: '${{nmae}}' names nothing; "
        "did you mean 'name'? allowed: the key of another value"
    ]


def test_an_override_that_can_not_be_parsed_is_refused() -> None:
    assert _problems("trainer.max_epochs=[1") == [
        "command line: trainer.max_epochs=[1: bad syntax: no viable alternative at input '[1'; "
        "allowed: key=value, +key=value, ~key or group=choice"
    ]


def test_a_file_that_is_no_yaml_is_named_with_its_line(conf: Path) -> None:
    line = _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patience: [3")
    assert _problems() == [
        f"conf/trainer/cpu.yaml:{line}: not valid YAML: while parsing a flow sequence expected ',' or ']', but got ':'"
    ]


def test_a_key_given_twice_is_refused_at_any_depth(conf: Path) -> None:
    line = _replace(conf / "trainer" / "cpu.yaml", "patience: 3", "patience: 3\npatience: 4")
    deep = _replace(conf / "evaluate" / "default.yaml", "  max_iter: 400", "  max_iter: 400\n  max_iter: 4")
    assert _problems() == [
        f"conf/evaluate/default.yaml:{deep + 1}: evaluate.baseline.max_iter: duplicate key, set on line {deep} too; "
        "allowed: each key once; remove one",
        f"conf/trainer/cpu.yaml:{line + 1}: trainer.patience: duplicate key, set on line {line} too; "
        "allowed: each key once; remove one",
    ]


def test_a_tab_is_refused(conf: Path) -> None:
    line = _replace(conf / "features" / "default.yaml", "  clip: 6.0", "\tclip: 6.0")
    assert _problems() == [f"conf/features/default.yaml:{line}: a tab; allowed: spaces; indent with spaces"]


def test_a_file_that_is_not_utf_8_is_refused_and_named(conf: Path) -> None:
    file = conf / "trainer" / "cpu.yaml"
    lines = file.read_bytes().count(b"\n")
    file.write_bytes(file.read_bytes() + b"# \xff\n")
    assert _problems() == [
        f"conf/trainer/cpu.yaml:{lines + 1}: a byte that is not UTF-8; allowed: UTF-8; save it as UTF-8"
    ]


def test_an_experiment_that_does_not_fit_the_model_of_the_command_line_is_told_with_how_to_leave_it_out(
    conf: Path,
) -> None:
    (conf / "experiment" / "wide.yaml").write_text("# @package _global_\nmodel:\n  dropout: 0.5\n", encoding="utf-8")
    _replace(conf / "config.yaml", "- experiment: null", "- experiment: wide")
    (told,) = _problems("model=linear")
    assert told.startswith("conf/experiment/wide.yaml:3: model.dropout: unknown key; allowed: none; model=linear has")
    assert told.endswith("leave the experiment out with experiment=null")
    assert compose(["model=linear", "experiment=null"]).model.target.endswith("Linear")


def test_a_group_set_to_nothing_is_refused() -> None:
    assert _problems("trainer=null") == [
        "command line: trainer: found null; allowed: cpu, ddp, gpu, smoke; name one of the group's files"
    ]


def test_an_argument_set_to_nothing_is_in_the_lock_where_the_target_takes_that_and_else_refused() -> None:
    assert compose(["optimizer.fused=null"]).optimizer.arguments["fused"] is None
    assert _problems("model.dropout=null") == ["command line: model.dropout: found null; allowed: float"]


def test_a_folder_without_conf_is_told_where_to_run(conf: Path) -> None:
    shutil.rmtree(conf)
    with pytest.raises(MeritError) as caught:
        compose()
    assert caught.value.exit_code == 2
    assert str(caught.value) == "conf/config.yaml: not found; run merit in the folder that holds conf/"


def test_composing_writes_nothing(workdir: Path) -> None:
    before = sorted(workdir.rglob("*"))
    compose()
    assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max": 1.5}, "has max 1.5, and its answer is a probability; allowed: 0 to 1"),
        ({"min": -0.1}, "has min -0.1, and its answer is a probability; allowed: 0 to 1"),
        ({"value": 15, "tolerance": 1.0}, "has value 15, and its answer is a probability; allowed: 0 to 1"),
    ],
)
def test_an_answer_that_no_probability_can_be_is_refused(
    make_lock: Callable[..., Lock], limits: dict[str, float], told: str
) -> None:
    row = {"shop": "north", "kind": 1, "weight": 0.5}
    with pytest.raises(ValidationError) as caught:
        make_lock(lambda values: values["gate"].update(behaviour={"golden": {"odd": {"row": row, **limits}}}))
    assert f"gate.behaviour.golden.odd {told}" in str(caught.value)
