"""Python of the project's own, as docs/how-to/own-python.md and docs/explanation/what-yaml-may-do.md say it works."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import cli
from merit.config import lock as locks
from merit.config.components import targets, trusted_packages
from merit.config.compose import compose
from merit.errors import ConfigError, MeritError, ProjectCodeError

DOCS = Path(__file__).parents[2] / "docs"
NET = {"_target_": "mymodels.networks.Net"}


@pytest.fixture
def mymodels(conf: Path) -> Iterator[Path]:
    """A trusted package beside conf/, forgotten after the test."""
    package = Path("mymodels")
    package.mkdir()
    (package / "__init__.py").touch()
    Path("pyproject.toml").write_text('[tool.merit]\ntrusted = ["mymodels", "reference"]\n')
    yield package
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mymodels"]:
        del sys.modules[name]


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def documented(mymodels: Path) -> Path:
    """The files of docs/how-to/own-python.md, as they stand there, and two years of orders."""
    networks, sources, *_ = _blocks("how-to/own-python.md", "python")
    model, data, *_ = _blocks("how-to/own-python.md", "yaml")
    (trusted,) = _blocks("how-to/own-python.md", "toml")
    (mymodels / "networks.py").write_text(networks)
    (mymodels / "sources.py").write_text(sources)
    Path("conf/model/wide.yaml").write_text(model)
    Path("conf/data/orders.yaml").write_text(data)
    Path("pyproject.toml").write_text(trusted.replace('["mymodels"]', '["mymodels", "reference"]'))
    Path("orders").mkdir()
    for year in (2023, 2024):
        days = [f"{year}-{month:02}-0{day}" for month in range(1, 13) for day in (1, 2)]
        rows = [f"{day}T10:00:00,{'web' if i % 2 else 'shop'},{i}.5,{'returned' if i % 3 else 'kept'}"
                for i, day in enumerate(days)]  # fmt: skip
        Path(f"orders/{year}.csv").write_text("\n".join(["ordered,channel,amount,status", *rows, ""]))
    return mymodels


ORDERS = ("data=orders", "model=wide", "name=orders", "gate=default", "evaluate.slices=[channel]")


def test_the_source_of_the_docs_is_ingested(documented: Path) -> None:
    from merit.data.ingest import ingest

    lock = compose(ORDERS)
    assert lock.data.source.target == "mymodels.sources.Orders"
    assert "mymodels.networks" not in sys.modules
    table = ingest(lock.data)
    assert table.height == 48
    assert table.columns == ["ordered", "channel", "amount", "returned"]


def test_the_network_of_the_docs_is_built_learns_and_predicts(documented: Path) -> None:
    import torch

    model = compose(ORDERS).model.model_dump(by_alias=True)
    supplied = {"cardinalities": [3, 4], "numbers": 2, "shapes": [], "outputs": 1}
    network = targets.build_component(model, **supplied)
    assert type(network).__module__ == "mymodels.networks"
    outputs = network(torch.zeros(5, 2, dtype=torch.int64), torch.ones(5, 2))
    assert outputs.shape == (5, 1)
    outputs.sum().backward()
    optimizer = targets.build_component({"_target_": "torch.optim.SGD", "lr": 0.1}, params=network.parameters())
    optimizer.step()


def test_the_same_lines_trust_a_package_in_both_pages() -> None:
    assert set(_blocks("how-to/own-python.md", "toml")) <= set(_blocks("explanation/what-yaml-may-do.md", "toml"))


def test_the_page_of_what_is_trusted_names_every_place() -> None:
    page = (DOCS / "explanation/what-yaml-may-do.md").read_text(encoding="utf-8")
    for place, prefixes in targets.PREFIXES_BY_KEY.items():
        merits = (
            f"a class of {' or '.join(f'`{prefix[:-1]}`' for prefix in prefixes)}" if prefixes else "nothing of merit's"
        )
        assert f"| `{place}` | {merits} |" in page
    for instruction in targets.HYDRA_KEYS:
        assert f"`{instruction}`" in page


def test_what_is_not_trusted_is_refused_and_not_imported(documented: Path) -> None:
    Path("pyproject.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        compose(["model=wide"])
    said = "model._target_: found 'mymodels.networks.Wide', which is not trusted; allowed: "
    assert any(said in problem for problem in caught.value.problems)
    assert "mymodels" not in sys.modules


def test_a_misspelt_argument_of_ones_own_class_is_told_without_importing_it(documented: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["model=wide", "+model.embeding=3", "~model.width", "+model.outputs=1"])
    assert [problem.partition("model.")[2] for problem in caught.value.problems] == [
        "outputs: can't be set here: the run supplies it; remove it",
        "embeding: unknown key; did you mean 'embedding'? allowed: embedding, width",
        "width: missing; 'mymodels.networks.Wide' needs it",
    ]
    assert "mymodels" not in sys.modules


def test_own_components_may_stand_wherever_a_component_can(mymodels: Path) -> None:
    (mymodels / "__init__.py").write_text("class Any:\n  def __init__(self, **rest): ...\n")
    component = {"_target_": "mymodels.Any"}
    assert targets.find_faults({"model": component, "optimizer": component, "data": {"source": component}}) == []
    assert len(targets.find_faults({"trainer": component})) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.merit]\ntrusted = 'mymodels'", "tool.merit.trusted: found 'mymodels'; it must be a list"),
        ("[tool.merit]\ntrusted = [1]", "tool.merit.trusted: found 1; name packages"),
        ("[tool.merit]\ntrusted = ['my.models']", "tool.merit.trusted: found 'my.models'; name packages"),
        ("[tool.merit]\ntrusted = ['']", "tool.merit.trusted: found ''; name packages"),
        ("[tool.merit]\ntrusted = ['_models']", "found '_models'; name packages"),
        ("[tool.merit]\ntrusted = ['*']", r"found '\*'; name packages"),
        ("[tool.merit]\ntrusted = ['os']", "'os' can't be trusted as a whole; remove it"),
        ("[tool.merit]\ntrusted = ['builtins']", "'builtins' can't be trusted as a whole"),
        ("[tool.merit]\ntrusted = ['merit']", "'merit' can't be trusted as a whole"),
        ("[tool.merit]\ntrusted = ['hydra']", "'hydra' can't be trusted as a whole"),
        ("[tool.merit]\ntrust = ['mymodels']", "tool.merit.trust: unknown key; allowed: trusted"),
        ("[tool]\nmerit = 3", "tool.merit: found 3; it must be a table"),
        ("tool = 3", "can't be read"),
        ("[tool.merit", "can't be read"),
    ],
)
def test_a_pyproject_that_can_not_be_followed_is_told_in_one_line(workdir: Path, text: str, said: str) -> None:
    Path("pyproject.toml").write_text(text)
    with pytest.raises(MeritError, match=rf"^pyproject\.toml: .*{said}") as caught:
        trusted_packages.list_trusted_packages()
    assert "\n" not in str(caught.value)


def test_without_pyproject_nothing_of_ones_own_is_trusted(workdir: Path) -> None:
    assert trusted_packages.list_trusted_packages() == ()
    Path("pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert trusted_packages.list_trusted_packages() == ()


def test_a_trusted_package_that_is_not_there_is_told(workdir: Path) -> None:
    Path("pyproject.toml").write_text("[tool.merit]\ntrusted = ['mymodels', 'reference']\n")
    (fault,) = targets.find_faults({"model": NET})
    assert fault.text == "pyproject.toml trusts 'mymodels', but no such package is here; make mymodels/__init__.py"


@pytest.mark.parametrize("folder", ["mymodels", "mymodels/networks"])
def test_a_folder_without_init_is_no_package(mymodels: Path, folder: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    Path(folder, "__init__.py").unlink(missing_ok=True)
    Path(folder, "deep.py").write_text("class Net: ...")
    (fault,) = targets.find_faults({"model": NET})
    assert fault.text == f"'{folder.replace('/', '.')}' is a folder without __init__.py; add an empty one"


def test_a_trusted_package_with_the_name_of_an_installed_one_is_refused(workdir: Path) -> None:
    Path("yaml").mkdir()
    Path("yaml/__init__.py").write_text("class Net: ...")
    Path("pyproject.toml").write_text("[tool.merit]\ntrusted = ['yaml']\n")
    (fault,) = targets.find_faults({"model": {"_target_": "yaml.Net"}})
    assert fault.text == "'yaml/__init__.py' has the name of the installed package 'yaml'; rename it"


def test_an_installed_package_can_be_trusted(workdir: Path, tmp_path_factory: pytest.TempPathFactory,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    site = tmp_path_factory.mktemp("site")
    (site / "mymodels").mkdir()
    (site / "mymodels" / "__init__.py").write_text("class Net: ...")
    monkeypatch.syspath_prepend(str(site))
    Path("pyproject.toml").write_text("[tool.merit]\ntrusted = ['mymodels', 'reference']\n")
    assert type(targets.build_component({"_target_": "mymodels.Net"})).__name__ == "Net"
    _forget()


def test_a_single_file_can_be_trusted(workdir: Path) -> None:
    Path("pyproject.toml").write_text("[tool.merit]\ntrusted = ['mymodels', 'reference']\n")
    Path("mymodels.py").write_text("class Net: ...")
    assert targets.find_faults({"model": {"_target_": "mymodels.Net"}}) == []
    assert type(targets.build_component({"_target_": "mymodels.Net"})).__name__ == "Net"
    assert len(targets.find_faults({"model": {"_target_": "mymodels.inner.Net"}})) == 1
    assert targets.hash_packages({"model": {"_target_": "mymodels.Net"}}) == {
        "mymodels": trusted_packages.hash_package("mymodels")
    }
    _forget()


def test_the_folder_is_on_the_path_for_a_trusted_package_alone(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("import beside\nclass Net: ...")
    Path("beside.py").write_text("import sys\npath = list(sys.path)\n")
    Path("json.py").write_text("raise SystemExit('shadowed')")
    before = list(sys.path)
    targets.build_component(NET)
    assert sys.modules["beside"].path[-1] == str(Path.cwd())
    assert sys.path == before
    del sys.modules["beside"]


def test_what_ones_own_package_borrows_is_not_built(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("from subprocess import Popen as Net\nfrom os import system\nimport os\n")
    (fault,) = targets.find_faults({"model": NET})
    assert fault.text == "'mymodels.networks' only imports 'Net' from 'subprocess', which is not trusted"
    for name in ("system", "os", "os.system"):
        (fault,) = targets.find_faults({"model": {"_target_": f"mymodels.networks.{name}"}})
        assert "has no class" in fault.text
    assert "mymodels" not in sys.modules


def test_a_class_that_code_replaces_while_it_is_imported_is_not_built(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("class Net: ...\nfrom subprocess import Popen\nglobals()['Net'] = Popen\n")
    assert targets.find_faults({"model": NET}) == []
    with pytest.raises(MeritError, match="is not a class of a trusted module"):
        targets.build_component(NET)


@pytest.mark.parametrize(
    ("code", "name", "reason"),
    [
        ("class Net:\n  def __init__(self):\n    {}['lost']\n", "mymodels.networks.Net.__init__", "KeyError: 'lost'"),
        ("class Net:\n  def __init__(self):\n    int('x')\n", "mymodels.networks.Net.__init__", "ValueError: invalid"),
        ("class Net:\n  def __init__(self):\n    exit(0)\n", "mymodels.networks.Net.__init__", "SystemExit: 0"),
        ("class Net: ...\n1 / 0\n", "mymodels.networks", "ZeroDivisionError: division by zero"),
        ("class Net: ...\nimport nowhere\n", "mymodels.networks", "ModuleNotFoundError: No module named 'nowhere'"),
        ("class Net: ...\nimport mymodels.odd\n", "mymodels.networks", "SyntaxError: "),
        ("import sys\nclass Net: ...\nsys.exit(0)\n", "mymodels.networks", "SystemExit: 0"),
    ],
)
def test_an_error_of_their_code_is_told_with_their_traceback(mymodels: Path, code: str, name: str, reason: str) -> None:
    (mymodels / "networks.py").write_text(code)
    (mymodels / "odd.py").write_text("def (:\n")
    with pytest.raises(ProjectCodeError) as caught:
        targets.build_component(NET)
    assert caught.value.exit_code == 2
    head, *rest = str(caught.value).splitlines()
    assert head.startswith(f"{name} failed: {reason}")
    assert any("mymodels/networks.py" in line for line in rest)
    assert not any("merit/config" in line or "importlib" in line for line in rest)


def test_what_led_to_an_error_is_shown_too_without_merits_frames(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text(
        "from merit.models.networks import build_perceptron\n"
        "class Net:\n  def __init__(self):\n    try:\n      build_perceptron('a', [1], 0.0)\n"
        "    except TypeError as error:\n      raise RuntimeError('no net') from error\n"
    )
    with pytest.raises(ProjectCodeError) as caught:
        targets.build_component(NET)
    said = str(caught.value)
    assert said.startswith("mymodels.networks.Net.__init__ failed: RuntimeError: no net\n")
    assert "TypeError" in said
    assert "The above exception was the direct cause" in said
    assert "merit/models/networks.py" not in said


def test_arguments_that_their_class_refuses_need_no_traceback(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("class Net:\n  def __init__(self, a): ...")
    with pytest.raises(MeritError, match=r"'mymodels\.networks\.Net' refuses its arguments: .*'a'") as caught:
        targets.build_component(NET)
    assert "\n" not in str(caught.value)


def test_their_source_that_is_no_python_is_told_with_its_line(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("x = 1\nclass Net(:\n")
    with pytest.raises(ConfigError, match=r"model\._target_: .*mymodels/networks\.py:2: not valid Python: "):
        compose(["model._target_=mymodels.networks.Net"])


def _source(mymodels: Path, code: str) -> None:
    (mymodels / "sources.py").write_text(code)
    file = Path("conf/data/flights.yaml")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("reference.flights.Flights", "mymodels.sources.Own"), encoding="utf-8")


def test_a_class_that_is_no_source_is_told(mymodels: Path) -> None:
    _source(mymodels, "class Own:\n  def files(self): return []\n")
    with pytest.raises(ConfigError, match=r"data\.source: 'mymodels\.sources\.Own' has no method read\(\)"):
        compose()


def test_a_source_that_fails_is_told_at_its_line_with_its_traceback(
    mymodels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _source(mymodels, "class Own:\n  def files(self): raise OSError('far away')\n  def read(self): ...\n")
    monkeypatch.setattr(sys, "argv", ["merit", "compose"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    head = r"conf/data/flights\.yaml:\d: data\.source: mymodels\.sources\.Own\.files failed: OSError: far away\n"
    assert re.search(head, said)
    assert 'mymodels/sources.py", line 2, in files' in said
    assert "merit/config" not in said
    assert not Path("params.yaml").exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('odd')", "mymodels.sources.Own.read failed: ValueError: odd"),
        ("return 3", "data.source: mymodels.sources.Own gives int, not a polars.DataFrame"),
    ],
)
def test_a_source_that_can_not_be_read_is_told(mymodels: Path, body: str, said: str) -> None:
    from merit.data.ingest import ingest

    _source(mymodels, f"class Own:\n  def files(self): return []\n  def read(self): {body}\n")
    with pytest.raises(MeritError) as caught:
        ingest(compose().data)
    assert str(caught.value).splitlines()[0] == said


@pytest.mark.parametrize("error", ["OSError('x')", "SystemExit(0)", "KeyError('x')"])
def test_what_fails_far_inside_a_command_is_told_as_theirs(
    mymodels: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    (mymodels / "networks.py").write_text(f"class Net:\n  def forward(self):\n    raise {error}\n")
    made = targets.build_component(NET)
    monkeypatch.setattr(locks, "read_lock", made.forward)
    monkeypatch.setattr(sys, "argv", ["merit", "validate"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error:\nmymodels.networks.Net.forward failed: ")
    assert "a fault in merit itself" not in said
    assert "merit/cli/" not in said


def test_the_lock_holds_a_hash_of_the_packages_in_use(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("class Net:\n  def __init__(self, **rest): ...\n")
    assert list(compose().code) == ["reference"]
    first = compose(["model._target_=mymodels.networks.Net"]).code
    assert sorted(first) == ["mymodels", "reference"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", first["mymodels"])
    (mymodels / "deep").mkdir()
    (mymodels / "deep" / "notes.txt").write_text("no code")
    assert trusted_packages.hash_package("mymodels") == first["mymodels"]
    (mymodels / "deep" / "more.py").write_text("x = 1")
    second = trusted_packages.hash_package("mymodels")
    (mymodels / "deep" / "more.py").rename(mymodels / "deep" / "other.py")
    assert len({first["mymodels"], second, trusted_packages.hash_package("mymodels")}) == 3


def test_a_stage_refuses_code_that_the_lock_was_not_made_for(mymodels: Path) -> None:
    (mymodels / "networks.py").write_text("class Net: ...")
    made_for = {"mymodels": trusted_packages.hash_package("mymodels")}
    trusted_packages.check_code(made_for)
    (mymodels / "networks.py").write_text("class Net: x = 1")
    with pytest.raises(
        MeritError, match=r"'mymodels' changed since params\.yaml was made; 'merit compose' takes it in"
    ):
        trusted_packages.check_code(made_for)
    Path("pyproject.toml").unlink()
    with pytest.raises(MeritError, match="'mymodels' is not trusted"):
        trusted_packages.check_code(made_for)


@pytest.mark.parametrize("command", ["ingest", "train", "evaluate", "package"])
def test_every_stage_that_builds_what_conf_names_checks_its_code(
    mymodels: Path, command: str, make_lock: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    locks.write_lock(make_lock(lambda values: values.update(code={"mymodels": "sha256:0"})))
    monkeypatch.setattr(sys, "argv", ["merit", command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "'mymodels' changed since params.yaml was made" in capsys.readouterr().err


def test_dvc_runs_what_builds_components_again_when_their_code_changes() -> None:
    stages = yaml.safe_load((DOCS.parent / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {name for name, stage in stages.items() if "code" in stage["params"]} == {
        "ingest", "train", "seeds", "evaluate", "package",
    }  # fmt: skip


def test_the_command_uses_ones_own_python(documented: Path) -> None:
    code = "from merit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "compose", *ORDERS], env=dict(os.environ), capture_output=True,
                          text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "_target_: mymodels.sources.Orders" in Path("params.yaml").read_text()
