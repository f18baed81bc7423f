"""Everything that is wrong is told at once, with its place; what nobody may say in YAML is refused unread."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from merit.config.compose import check_conf, compose, compose_config
from merit.config.composition import interpolation
from merit.config.composition.layers import merge_layers
from merit.errors import ConfigError

HYDRAS = "Hydra's own settings can't be set here: they may run code and look for configuration elsewhere"
RESOLVERS = "resolvers would put what is outside of conf/, such as secrets, into params.yaml"


@pytest.fixture(autouse=True)
def _in_the_real_conf(conf: Path) -> None:
    """Each test works on a copy of the repository's own conf/."""


def _problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    return caught.value.problems


def _all_problems() -> list[str]:
    """Return what is wrong with any file of conf/, chosen or not."""
    with pytest.raises(ConfigError) as caught:
        check_conf()
    return caught.value.problems


def _write(name: str, text: str) -> Path:
    file = Path("conf") / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_a_broken_file_that_nobody_chose_stops_nothing_and_is_found_by_who_checks_all() -> None:
    usual = compose()
    _write("model/linear.yaml", "# None\n_target_: merit.models.networks.Linear\nhiden: [1]\n")
    _write("trainer/gpu.yaml", "defaults: [cpu]\naccelerator: gpu\nbatch_size: many\n")
    assert compose() == usual
    assert compose(["model=mlp"]).model != usual.model
    assert _all_problems() == [
        "conf/model/linear.yaml:3: model.hiden: unknown key; allowed: none",
        "conf/trainer/gpu.yaml:3: trainer.batch_size: found 'many'; allowed: a valid integer",
    ]


@pytest.mark.parametrize("text", ["max_epochs: [1\n", "defaults: [nothing]\n", "defaults: cpu\n", "\tx: 1\n"])
def test_a_file_that_an_experiment_or_the_command_line_replaces_is_not_chosen(text: str) -> None:
    own = Path("conf/trainer/cpu.yaml").read_text().replace("batch_size: 1024", "batch_size: 64")
    _write("trainer/own.yaml", own)
    _write("trainer/cpu.yaml", text)
    _write("experiment/own.yaml", "# @package _global_\ndefaults:\n  - override /trainer: own\n")
    assert compose(["trainer=own"]).trainer.batch_size == compose(["experiment=own"]).trainer.batch_size == 64
    assert any(problem.startswith("conf/trainer/cpu.yaml:1: ") for problem in _problems())


def test_a_file_that_builds_on_another_is_checked_against_the_target_of_that() -> None:
    _write("model/wide.yaml", "defaults:\n  - mlp\n  - _self_\nhiden: [512]\n")
    assert _all_problems() == [
        "conf/model/wide.yaml:4: model.hiden: unknown key; did you mean 'hidden'? allowed: dropout, hidden"
    ]


def test_an_experiment_is_checked_as_the_whole_chosen_or_not() -> None:
    text = "# @package _global_\ndefaults:\n  - override /model: mpl\ntrainer:\n  max_epoch: 3\nsede: 1\n"
    _write("experiment/fast.yaml", text)
    problems = _problems("experiment=fast")
    assert problems == _all_problems()
    assert problems[0] == (
        "conf/experiment/fast.yaml:3: defaults: no choice 'mpl'; "
        "did you mean 'mlp'? allowed: cnn, embedding_mlp, linear, mlp"
    )
    assert problems[1].startswith(
        "conf/experiment/fast.yaml:5: trainer.max_epoch: unknown key; did you mean 'max_epochs'?"
    )
    assert problems[2].startswith("conf/experiment/fast.yaml:6: sede: unknown key; did you mean 'seed'?")
    assert len(problems) == 3


def test_what_a_partial_file_leaves_out_is_not_asked_of_it() -> None:
    text = "# @package _global_\ndata:\n  columns:\n    temp: {min: -50}\n  split: {test_until: 2013-10-30}\n"
    _write("experiment/part.yaml", text)
    assert compose() == compose()
    assert compose(["experiment=part"]).data.columns["temp"].min == -50


def test_faults_of_yaml_of_the_schema_of_targets_and_of_the_command_line_are_told_together() -> None:
    _write("trainer/smoke.yaml", "defaults: [cpu]\nmax_epochs: [1\n")
    _write("serve/default.yaml", "host: 127.0.0.1\nprt: 3000\n")
    _write("optimizer/adamw.yaml", "_target_: torch.optim.AdamW\nlr: fast\nbetas: [0.9]\nfused: 1\n")
    problems = _problems("gate.size_mb=-1", "model=mpl", "seed=[1", "trainer=smoke")
    assert sorted(problem.partition(": ")[0] for problem in problems) == [
        "command line",
        "command line",
        "command line",
        "conf/optimizer/adamw.yaml:2",
        "conf/optimizer/adamw.yaml:3",
        "conf/optimizer/adamw.yaml:4",
        "conf/serve/default.yaml:2",
        "conf/trainer/smoke.yaml:2",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr=fast", "optimizer.lr: found 'fast'; allowed: float | Tensor"),
        ("optimizer.lr=true", "optimizer.lr: found true; allowed: float | Tensor"),
        ("optimizer.betas=0.9", "optimizer.betas: found 0.9; allowed: tuple[float | Tensor, float | Tensor]"),
        ("optimizer.fused=1", "optimizer.fused: found 1; allowed: bool | None"),
        ("model.hidden=128", "model.hidden: found 128; allowed: Sequence[int]"),
        ("model.hidden=[1.5]", "model.hidden: found [1.5]; allowed: Sequence[int]"),
        ("model.members=four", "model.members: found 'four'; allowed: int"),
        ("optimizer.params=1", "optimizer.params: can't be set here: the run supplies it; remove it"),
    ],
)
def test_an_argument_of_another_type_than_its_target_takes_is_refused(override: str, problem: str) -> None:
    assert _problems(override) == [f"command line: {problem}"]


def test_an_argument_that_no_file_sets_needs_no_plus() -> None:
    assert compose(["optimizer.betas=[0.9,0.95]"]).optimizer.arguments["betas"] == [0.9, 0.95]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("hydra.searchpath=[pkg://os]", f"hydra.searchpath: found 'hydra.searchpath=[pkg://os]'; {HYDRAS}"),
        ("hydra/launcher=joblib", f"hydra/launcher: found 'hydra/launcher=joblib'; {HYDRAS}"),
        ("+hydra.callbacks.x._target_=os.system", None),
        ("hydra.job.chdir=true", None),
        ("+model@hydra.launcher=mlp", None),
        (
            "model=../../etc/x",
            "model: found '../../etc/x', which leads out of the group; allowed: names of files and folders below conf/",
        ),
        (
            "model=/etc/x",
            "model: found '/etc/x', which leads out of the group; allowed: names of files and folders below conf/",
        ),
        ("+../x=y", None),
        (
            "name=${oc.env:HOME}",
            f"name: the interpolation '${{oc.env:HOME}}'; allowed: ${{key}} of another key; {RESOLVERS}",
        ),
        ("name=x${oc.env:HOME,a}", None),
        ("name=${oc.decode:'1'}", None),
        ("name=${oc.create:{}}", None),
        ("name=${oc.select:seed}", None),
        ("name=${hydra:runtime.cwd}", None),
        ("name=${hydra.runtime.cwd}", None),
        ("seed=1,2", "seed=1,2: several values; allowed: one value for each key"),
        ("~trainer.nothing", "trainer.nothing: nothing to remove; allowed: a key that is set"),
    ],
)
def test_an_override_that_reaches_beyond_the_lock_is_refused(override: str, problem: str | None) -> None:
    (found,) = _problems(override)
    assert found.startswith("command line: ")
    assert problem is None or found == f"command line: {problem}"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("defaults:\n  - /hydra/launcher: joblib\n", 2, HYDRAS),
        ("defaults:\n  - override hydra/launcher: joblib\n", 2, HYDRAS),
        ("defaults:\n  - /model@hydra.launcher: mlp\n", 2, HYDRAS),
        ("# @package hydra\nsearchpath: [x]\n", 1, HYDRAS),
        ("# @package _global_\nname: x\nhydra:\n  searchpath: [x]\n", 3, HYDRAS),
        ("defaults:\n  - ../../etc/passwd\n", 2, "leads out of the group"),
        ("defaults:\n  - /model: ../../x\n", 2, "leads out of the group"),
        ("defaults:\n  - ../x: y\n", 2, "leads out of conf/"),
        ("defaults:\n  - optional /model: ../../x\n", 2, "leads out of the group"),
        ("defaults:\n  - cpu@hydra.launcher\n", 2, HYDRAS),
        ("defaults:\n  - nothing\n", 2, "no choice 'nothing'"),
        ("# @package _global_\nname: ${oc.env:HOME}\n", 2, RESOLVERS),
        ("defaults: cpu\n", 1, "found 'cpu'; allowed: a list"),
    ],
)
def test_a_file_that_reaches_beyond_conf_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    _write("trainer/odd.yaml", text)
    for problems in (_problems("trainer=odd"), _all_problems()):
        assert any(problem.startswith(f"conf/trainer/odd.yaml:{line}: ") and words in problem for problem in problems)


def test_an_item_of_a_list_can_not_be_set_by_itself() -> None:
    (problem,) = _problems("model.hidden.0=3")
    assert problem.endswith("model.hidden: found {'0': 3}; allowed: Sequence[int]")


def test_files_that_build_on_one_another_in_a_circle_are_refused() -> None:
    _write("trainer/gpu.yaml", "defaults: [smoke]\n")
    _write("trainer/smoke.yaml", "defaults: [gpu]\n")
    assert _problems("trainer=gpu") == [
        "conf: defaults: files that build on one another in a circle; allowed: no circle"
    ]


def test_a_link_that_leads_out_of_conf_is_refused_unread() -> None:
    Path("outside.yaml").write_text("secret: [1")
    Path("conf/trainer/link.yaml").symlink_to(Path("outside.yaml").resolve())
    assert (
        _problems("trainer=link")
        == _all_problems()
        == ["conf/trainer/link.yaml:1: a link that leads out of conf/; allowed: files in conf/; copy what it leads to"]
    )


def test_an_optional_choice_may_lack() -> None:
    _write("experiment/maybe.yaml", "# @package _global_\ndefaults:\n  - optional /model: nothing\nseed: 8\n")
    _write("trainer/own.yaml", "defaults:\n  - optional sub: nothing\n  - cpu\n  - _self_\nthreads: 2\n")
    assert compose(["trainer=own"]).trainer.threads == 2


def test_a_yaml_tag_is_refused_and_runs_nothing() -> None:
    _write("trainer/cpu.yaml", "max_epochs: !!python/object/apply:os.system ['touch planted']\n")
    assert _problems() == [
        "conf/trainer/cpu.yaml:1: trainer.max_epochs: the YAML tag '!!python/object/apply:os.system'; "
        "allowed: plain values; remove it"
    ]
    assert not Path("planted").exists()


@pytest.mark.parametrize("width", [2, 10])
def test_aliases_that_mean_billions_are_refused_at_once(width: int) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, 40)]
    _write("trainer/bomb.yaml", "\n".join(lines) + "\n")
    began = time.perf_counter()
    (problem,) = _problems("trainer=bomb")
    assert time.perf_counter() - began < 2
    assert "more than 100,000 values once aliases are written out; allowed: 100,000 values" in problem
    assert problem.startswith("conf/trainer/bomb.yaml:")


def test_interpolations_that_mean_billions_are_refused_at_once() -> None:
    columns = {f"a{i}": f"${{evaluate.baseline.a{i + 1}}}" * 2 for i in range(40)} | {"a40": "x"}
    given = ",".join(f"{name}:'{value}'" for name, value in columns.items())
    began = time.perf_counter()
    problems = _problems(f"evaluate.baseline={{{given}}}")
    assert time.perf_counter() - began < 5
    assert any("interpolations that lead to more than 20,000 values" in problem for problem in problems)


@pytest.mark.parametrize("text", ["x: " + "[" * 5000, "x: " + "{a: " * 5000, "- " * 5000])
def test_values_nested_without_end_are_refused(text: str) -> None:
    _write("trainer/deep.yaml", text)
    (problem,) = _problems("trainer=deep")
    assert problem == "conf/trainer/deep.yaml:1: values nested too deeply; allowed: 40 levels; write out what is needed"


def test_an_alias_and_a_merge_key_mean_what_yaml_says() -> None:
    _write("features/default.yaml", "category: &c {min_count: 20}\nnumber: {clip: 6.0}\n")
    text = Path("conf/data/flights.yaml").read_text()
    text = text.replace("temp: {type: number, feature: number,", "temp: &t {type: number, feature: number,")
    text = text.replace("  dewp: {", "  extra: {<<: *t, description: as temp}\n  dewp: {")
    _write("data/flights.yaml", text)
    columns = compose().data.columns
    assert columns["extra"].min == columns["temp"].min == -60
    assert columns["extra"].description == "as temp"


@pytest.mark.parametrize("overrides", [(), ("model=linear", "trainer=smoke"), ("experiment=one", "optimizer.lr=0.5")])
def test_what_is_laid_over_one_another_is_what_hydra_composes(overrides: tuple[str, ...]) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    _write("experiment/one.yaml", "# @package _global_\ndefaults:\n  - override /model: mlp\nmodel: {hidden: [8]}\n")
    with initialize_config_dir(config_dir=str(Path("conf").resolve()), version_base="1.3"):
        expected = OmegaConf.to_container(hydra_compose("config", overrides=list(overrides)), resolve=False)
    assert merge_layers(compose_config(overrides).layers) == expected


def test_several_faults_are_a_table_whose_rows_grep_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["trainer.max_epoch=3", "serve.port=70000"])
    lines = str(caught.value).splitlines()
    assert lines[0].split() == ["where", "key", "found", "allowed", "advice"]
    assert all(len(line) <= 120 for line in lines)
    assert [line.split()[:5] for line in lines if "trainer.max_epoch " in line] == [
        ["command", "line", "trainer.max_epoch", "unknown", "key"]
    ]
    assert any("serve.port" in line and "found 70000" in line for line in lines)


def test_a_wrong_configuration_exits_with_2_and_changes_nothing(workdir: Path) -> None:
    code = "from merit.cli import main; main()"
    merit = [sys.executable, "-c", code, "compose"]
    assert subprocess.run(merit, check=False, capture_output=True).returncode == 0
    before = {file: file.read_bytes() for file in workdir.rglob("*") if file.is_file()}
    for arguments in (["trainer.patience=0"], ["--config-dir", "x"], ["hydra.searchpath=[x]"], ["seed=["]):
        done = subprocess.run([*merit, *arguments], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert "Traceback" not in done.stderr
    assert {file: file.read_bytes() for file in workdir.rglob("*") if file.is_file()} == before


def test_composing_imports_no_torch_and_looks_for_no_plugins_of_hydra() -> None:
    heavy = "[name for name in ('torch', 'hydra_plugins') if name in sys.modules]"
    code = f"import sys\nfrom merit.config.compose import compose\ncompose()\nprint({heavy})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("text", ["${x}", r"\${x}", "a${b}c${", "???", r"\???", "plain", "$", r"\\"])
def test_a_text_that_looks_like_an_interpolation_can_be_written(text: str) -> None:
    values = {"key": interpolation.escape_text(text)}
    assert interpolation.resolve_interpolations(values) == ({"key": text}, [], set())
    assert not interpolation.is_unresolved(values["key"])
