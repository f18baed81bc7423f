import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from merit.cli import main
from merit.config.compose import compose_config
from merit.config.documentation.explain import _collect_values, _iterate_paths, explain_composed, explain_key
from merit.config.documentation.keys import describe_field
from merit.config.problems import find_models, get_annotations
from merit.config.schema import Lock
from merit.config.schema.base import Section
from merit.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_the_real_conf(conf: Path) -> None:
    """Each test works on a copy of the repository's own conf/."""


def _line(file: str, start: str) -> str:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return f"{file}:{next(number for number, line in enumerate(lines, 1) if line.startswith(start))}"


def test_a_key_is_told_with_its_value_its_place_and_its_meaning() -> None:
    told = str(explain_key("trainer.patience")).splitlines()
    assert told == [
        "trainer.patience = 3",
        f"  set by:   {_line('conf/trainer/cpu.yaml', 'patience')}",
        "  meaning:  Epochs without an improved validation metric before training stops.",
    ]


def test_an_argument_is_told_in_the_words_of_its_class() -> None:
    assert explain_key("optimizer.lr").meaning.startswith("learning rate (default: 1e-3).")
    assert explain_key("optimizer.fused").meaning.startswith("whether the fused implementation is used.")
    assert explain_key("model.dropout").meaning == "share of hidden units dropped in training."


def test_the_command_line_overrides_a_file_which_overrides_the_one_it_builds_on() -> None:
    told = explain_key("trainer.batch_size", ["trainer=gpu", "trainer.batch_size=7"])
    assert (told.value, told.where) == (7, "command line")
    assert [(each.value, each.where) for each in told.overrode] == [
        (8192, _line("conf/trainer/gpu.yaml", "batch_size")),
        (1024, _line("conf/trainer/cpu.yaml", "batch_size")),
    ]
    assert f"  overrode: 8192 from {_line('conf/trainer/gpu.yaml', 'batch_size')}\n" in str(told)


def test_an_experiment_overrides_the_file_of_the_group() -> None:
    Path("conf/experiment").mkdir(exist_ok=True)
    text = "# @package _global_\ndefaults:\n  - override /trainer: smoke\ntrainer:\n  max_epochs: 9\n"
    Path("conf/experiment/long.yaml").write_text(text)
    told = explain_key("trainer.max_epochs", ["experiment=long"])
    assert (told.value, told.where) == (9, "conf/experiment/long.yaml:5")
    assert [each.value for each in told.overrode] == [1, 4]


def test_what_nobody_sets_is_a_default_and_says_whose() -> None:
    assert explain_key("data.columns.carrier.missing").where == "the default of the schema (Column)"
    told = explain_key("optimizer.betas")
    assert (str(told.value), told.where) == ("(0.9, 0.999)", "the default of torch.optim.AdamW")


def test_an_interpolation_is_told_with_what_it_came_to() -> None:
    assert str(explain_key("tracking.experiment")).startswith("tracking.experiment = flights (${name})\n")


def test_what_compose_fills_in_is_told_as_such() -> None:
    assert explain_key("data.fingerprint").where == "merit compose"


def test_an_item_of_a_list_has_the_line_of_its_own() -> None:
    told = explain_key("gate.champion.1.margin")
    assert told.where == _line("conf/gate/default.yaml", "  - {metric: log_loss")
    assert told.meaning == "How much worse the candidate may be."


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optimizer.lrr", "optimizer.lr"),
        ("optimizer.bettas", "optimizer.betas"),
        ("trainr.patience", "trainer.patience"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain_key(key)
    assert caught.value.problems[0].startswith(f"{key}: unknown key; did you mean '{meant}'? allowed: ")
    assert CliRunner().invoke(main, ["explain", key]).exit_code == 2


def test_every_key_of_the_lock_can_be_explained() -> None:
    composed = compose_config()
    for key in map(".".join, _iterate_paths(_collect_values(composed.lock))):
        told = explain_composed(composed, key)
        assert told.where
        assert told.key == key


def test_the_tree_shows_every_section_and_depth_folds_it() -> None:
    whole = CliRunner().invoke(main, ["explain", "trainer=gpu"]).stdout
    assert f"batch_size: 8192  {_line('conf/trainer/gpu.yaml', 'batch_size')}" in whole
    folded = CliRunner().invoke(main, ["explain", "--depth", "1"]).stdout
    assert "trainer  conf/trainer/cpu.yaml" in folded
    assert "batch_size" not in folded


def test_explaining_imports_no_torch() -> None:
    code = (
        "import sys\nfrom merit.config.documentation.explain import "
        "explain_key\nexplain_key('optimizer.lr')\nprint('torch' in "
        "sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def _sections(model: type) -> set[type]:
    inner = {each for annotation in get_annotations(model).values() for each in find_models(annotation)}
    return {model}.union(*map(_sections, inner))


def test_every_field_of_the_schema_says_what_it_means() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in _sections(Lock)
        if issubclass(model, Section)
        for name, annotation in get_annotations(model).items()
        if not describe_field(model, name) and not any(each.__doc__ for each in find_models(annotation))
    ]
    assert silent == []


@pytest.mark.parametrize("key", ["optimizer.lr", "training.optimizer.lr", "lr"])
def test_a_key_may_be_named_by_more_or_less_than_its_path(key: str) -> None:
    assert explain_key(key).key == "optimizer.lr"


@pytest.mark.parametrize("key", ["confidence", "nowhere.at.all", "optimizer.lrr"])
def test_a_name_that_several_keys_or_none_could_have_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        explain_key(key)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("gate.waivers.champion: roc_auc", "none, for none is set; 'gate.waivers' has no 'champion: roc_auc'"),
        ("gate.floors.nothing_such", "'gate.floors' has no 'nothing_such'; a file of conf/ may set it"),
    ],
)
def test_a_name_that_anybody_may_choose_is_not_set_and_no_other_is_suggested(conf: Path, key: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain_key(key)
    assert caught.value.problems[0].startswith(f"{key}: not set; allowed: ")
    assert line in caught.value.problems[0]
    assert "did you mean" not in caught.value.problems[0]
