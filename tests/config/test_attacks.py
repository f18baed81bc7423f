"""What YAML and the command line can't do: each attack is refused by `merit compose`, with exit code 2 and no effect.

Those marked `live` are run as a plain `import and call` too, to know that they would have had one.
"""

import json
import os
import pickle
import pkgutil
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import cli, errors
from merit.config.compose import compose
from merit.database import parse_url
from merit.errors import ConfigError, Problem
from tests.conftest import ROOT, trust_reference

CANARY = "touch canary"
CODE = "open('canary', 'w').close()\n"
PLANTED = ("planted.py", "hubconf.py", "torch.py", "torchvision/__init__.py", "merit_evil/__init__.py",
           "merit_evil/networks.py", "lightning/__init__.py", "space/inner.py", "tom.py")  # fmt: skip
"""Files beside conf/ that make the canary as soon as anything imports them."""


@dataclass(frozen=True)
class Attack:
    """A component that must not be built.

    Attributes:
        target: what it names.
        arguments: what it would be called with.
        live: whether calling it would have the effect that the fixture watches for.
    """

    target: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    live: bool = False

    def __str__(self) -> str:
        return str(self.target)


def _args(*values: Any) -> dict[str, Any]:
    return {"_args_": list(values)}


SQL = "merit.data.sources.Sql"
NESTED = {"_target_": "os.system", "command": CANARY}
ATTACKS = [
    Attack("os.system", {"command": CANARY}, live=True),
    Attack("posix.system", {"command": CANARY}, live=True),
    Attack("logging.os.system", {"command": CANARY}, live=True),
    Attack("os.popen", {"cmd": CANARY}),
    Attack("os.execlp", _args("touch", "touch", "canary")),
    Attack("os.remove", {"path": "victim.txt"}, live=True),
    Attack("builtins.eval", _args(CODE), live=True),
    Attack("builtins.exec", _args(CODE), live=True),
    Attack("builtins.__import__", {"name": "planted"}, live=True),
    Attack("builtins.compile", {"source": "1", "filename": "x", "mode": "eval"}),
    Attack("builtins.getattr", _args("a", "upper")),
    Attack("builtins.open", {"file": "canary", "mode": "w"}, live=True),
    Attack("io.open", {"file": "canary", "mode": "w"}, live=True),
    Attack("pathlib.Path.touch", _args("canary")),
    Attack("pathlib.Path", _args("canary")),
    Attack("subprocess.Popen", {"args": ["touch", "canary"]}),
    Attack("subprocess.run", {"args": ["touch", "canary"]}, live=True),
    Attack("subprocess.check_output", _args(["touch", "canary"]), live=True),
    Attack("asyncio.subprocess.subprocess.run", {"args": ["touch", "canary"]}, live=True),
    Attack("pty.spawn", {"argv": ["touch", "canary"]}),
    Attack("multiprocessing.Process", {"target": {"_target_": "os.system", "_partial_": True}}),
    Attack("threading.Timer", {"interval": 0, "function": NESTED}),
    Attack("atexit.register", {"func": NESTED}),
    Attack("sys.exit", _args(0)),
    Attack("pickle.loads", {"data": "x"}),
    Attack("pickle.Unpickler", {"file": "planted.pkl"}),
    Attack("torch.load", {"f": "planted.pkl", "weights_only": False}),
    Attack("torch.hub.load", {"repo_or_dir": ".", "model": "m", "source": "local"}),
    Attack("torch.jit.load", {"f": "planted.pkl"}),
    Attack("torch.utils.cpp_extension.load", {"name": "planted", "sources": ["planted.cpp"]}),
    Attack("torch.package.PackageImporter", {"file_or_buffer": "planted.pkl"}),
    Attack("torch.nn.Linear", {"in_features": 1, "out_features": 1}),
    Attack("pandas.read_pickle", {"filepath_or_buffer": "planted.pkl"}, live=True),
    Attack("numpy.load", {"file": "planted.pkl", "allow_pickle": True}, live=True),
    Attack("joblib.load", {"filename": "planted.pkl"}, live=True),
    Attack("shelve.open", {"filename": "canary"}),
    Attack("yaml.unsafe_load", {"stream": f"!!python/object/apply:os.system [{CANARY}]"}, live=True),
    Attack("shutil.copy", {"src": "victim.txt", "dst": "canary"}, live=True),
    Attack("shutil.rmtree", {"path": "folder"}, live=True),
    Attack("urllib.request.urlretrieve", {"url": "http://127.0.0.1:9/", "filename": "canary"}),
    Attack("importlib.import_module", {"name": "planted"}, live=True),
    Attack("runpy.run_path", {"path_name": "planted.py"}, live=True),
    Attack("runpy.run_module", {"mod_name": "planted"}, live=True),
    Attack("pkgutil.resolve_name", {"name": "os.system"}),
    Attack("ctypes.CDLL", {"name": "planted.so"}),
    Attack("operator.attrgetter", _args("system")),
    Attack("operator.methodcaller", _args("system", CANARY)),
    Attack("functools.partial", _args(NESTED)),
    Attack("functools.reduce", _args(NESTED, [CANARY])),
    Attack("hydra.utils.get_class", {"path": "subprocess.Popen"}),
    Attack("hydra.utils.get_method", {"path": "os.system"}),
    Attack("hydra.utils.get_object", {"path": "os.system"}),
    Attack("hydra.utils.instantiate", {"config": NESTED}),
    Attack("hydra.utils.call", {"config": NESTED}),
    Attack("hydra._internal.utils._locate", {"path": "os.system"}),
    Attack("omegaconf.OmegaConf.load", {"file_": "victim.txt"}),
    Attack("lightning.pytorch.cli.LightningCLI"),
    Attack("torchmetrics.classification.accuracy.os.system", {"command": CANARY}),
    # through modules that are trusted, or look as if they were
    Attack("torch.optim.optimizer.os.system", {"command": CANARY}),
    Attack("torch.optim.lr_scheduler.warnings.sys.modules"),
    Attack("torch.optim.lr_scheduler.partial", _args(NESTED)),
    Attack("torch.optim.lr_scheduler.Counter"),
    Attack("torch.optim.swap_in_optimizer_params_and_state"),
    Attack("torch.nn.modules.module.__builtins__"),
    Attack("torch.optim.optimizer.__builtins__.eval", _args(CODE)),
    Attack("torch.optim.AdamW.__init__.__globals__"),
    Attack("torch.optim.AdamW.load_state_dict"),
    Attack("torch.optim._functional.adam"),
    Attack("merit.config.components.targets.importlib.os.system", {"command": CANARY}),
    Attack("merit.config.components.targets.build_component", {"component": NESTED}),
    Attack("merit.data.sources.importlib.import_module", {"name": "planted"}),
    Attack("merit.data.sources.importlib", {}),
    Attack("merit.models.networks.nn.Linear", {"in_features": 1, "out_features": 1}),
    Attack("merit.models.networks.Sequence"),
    Attack("merit.models.networks.build_perceptron", {"width": 1, "hidden": [], "dropout": 0}),
    # packages beside conf/ that nobody trusts
    Attack("planted.Thing", {}, live=True),
    Attack("merit_evil.networks.Net", {}, live=True),
    Attack("torchvision.models.ResNet", {}, live=True),
    Attack("space.inner.Thing", {}, live=True),
    Attack("tom.Thing", {}, live=True),
    # spellings
    Attack("torch.optim.AdamW "),
    Attack(" torch.optim.AdamW"),
    Attack("torch.optim.AdamW."),
    Attack("torch.optim..AdamW"),
    Attack(".torch.optim.AdamW"),
    Attack("..os.system", {"command": CANARY}),
    Attack("torch/optim/AdamW"),
    Attack("torch.optim:AdamW"),
    Attack("torch.optim.\N{CYRILLIC CAPITAL LETTER A}damW"),
    Attack("\N{FULLWIDTH LATIN SMALL LETTER T}orch.optim.AdamW"),
    Attack("torch.optim.AdamW\N{ZERO WIDTH SPACE}"),
    Attack(""),
    Attack(7),
    Attack(None),
    Attack(["os.system"]),
    Attack({"_target_": "os.system"}),
]


class _Reduced:
    """Unpickled, it makes the canary."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (CANARY,)


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what composing itself needs, so that what is loaded later was loaded by an attack."""
    folder = tmp_path_factory.mktemp("warm")
    shutil.copytree(ROOT / "conf", folder / "conf")
    trust_reference(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        compose()
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project to copy: conf/ without much that makes composing long, and files that an attack would use."""
    folder = tmp_path_factory.mktemp("short") / "project"
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns(".schema"))
    trust_reference(folder)
    _shorten(folder / "conf")
    for name in PLANTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE + "class Thing: ...\nclass Net: ...\n")
    (folder / "planted.pkl").write_bytes(pickle.dumps(_Reduced()))
    (folder / "victim.txt").write_text("a: 1\n")
    (folder / "folder").mkdir()
    (folder / "folder/file").touch()
    (folder / "params.yaml").write_text("# as it was\n")
    return folder


@pytest.fixture
def project(short: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that project, its folder first among those that Python imports from."""
    shutil.copytree(short, workdir, dirs_exist_ok=True)
    for module in [name for name in sys.modules if f"{name.partition('.')[0]}.py" in PLANTED and name != "torch"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    loaded = set(sys.modules)
    yield Path.cwd()
    for name in set(sys.modules) - loaded:
        if name.partition(".")[0] in {"planted", "merit_evil", "torchvision", "space", "tom"}:
            del sys.modules[name]


def _shorten(conf: Path) -> None:
    """Leave the data few columns and conf/ few files: what is composed hundreds of times should be short."""
    for idle in ("experiment/*", "gate/regression*", "gate/multiclass*", "gate/flights*", "data/digits*", "model/cnn*"):
        for file in conf.glob(idle):
            file.unlink()
    data, evaluate = conf / "data/flights.yaml", conf / "evaluate/default.yaml"
    values = yaml.safe_load(data.read_text(encoding="utf-8"))
    names = [*values["contract"]["unique"], "distance"]
    values["columns"] = {name: values["columns"][name] for name in names}
    data.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    config = conf / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("gate: flights", "gate: default"), encoding="utf-8")
    values = yaml.safe_load(evaluate.read_text(encoding="utf-8")) | {"slices": ["carrier"]}
    evaluate.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def _files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.fixture
def refused(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `merit compose`; it must exit with 2, write nothing and load nothing. Return what it said."""

    def run(*overrides: str) -> str:
        str(ConfigError([Problem("", "", "loads what prints a table, 全 too")] * 2))
        files, modules = _files(), set(sys.modules)
        monkeypatch.setattr(sys, "argv", ["merit", "compose", *overrides])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert said.startswith("error:")
        assert "Traceback" not in said
        assert _files() == files
        own = ("merit.", "hydra", "omegaconf", "antlr4.")
        assert {name for name in set(sys.modules) - modules if not name.startswith(own)} == set()
        return said

    return run


def _spelt(value: Any) -> str:
    """Return a value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spelt(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spelt(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.live], ids=str)
def test_the_attack_would_have_had_an_effect(project: Path, attack: Attack) -> None:
    arguments = dict(attack.arguments)
    positional = arguments.pop("_args_", [])
    before = _files()
    try:
        made = pkgutil.resolve_name(attack.target)(*positional, **arguments)
        getattr(made, "close", lambda: None)()
    except (ImportError, AttributeError, TypeError):
        assert Path("canary").exists()  # importing was enough
    assert _files() != before


@pytest.mark.parametrize("attack", ATTACKS[::12], ids=str)
def test_a_target_in_the_file_that_is_chosen_is_refused(refused: Callable[..., str], attack: Attack) -> None:
    content = {"_target_": attack.target, **attack.arguments}
    Path("conf/optimizer/adamw.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    said = refused()
    assert "conf/optimizer/adamw.yaml" in said
    assert "optimizer._target_" in said


def test_a_target_in_any_file_is_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for number, attack in enumerate(ATTACKS):
        content = yaml.safe_dump({"_target_": attack.target, **attack.arguments}, allow_unicode=True)
        Path(f"conf/optimizer/attack{number}.yaml").write_text(content, encoding="utf-8")
    monkeypatch.setattr(errors, "MAX_SHOWN_PROBLEMS", 10 * len(ATTACKS))
    said = refused("--check")
    for number, attack in enumerate(ATTACKS):
        row = rf"conf/optimizer/attack{number}\.yaml:\d+(\nkey: | .*)optimizer\._target_"
        assert re.search(row, said), attack


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_target_on_the_command_line_is_refused(refused: Callable[..., str], attack: Attack) -> None:
    arguments = [f"++optimizer.{name}={_spelt(value)}" for name, value in attack.arguments.items()]
    assert "optimizer._target_" in refused(f"++optimizer._target_={_spelt(attack.target)}", *arguments)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.source", NESTED),
        ("data.columns.carrier", NESTED),
        ("data", NESTED),
        ("model", NESTED),
        ("model.inner", NESTED),
        ("model.hidden", [NESTED]),
        ("model.hidden", [{"deep": [[NESTED]]}]),
        ("optimizer.lr", NESTED),
        ("optimizer.lr", {"_target_": "torch.optim.SGD", "lr": 0.1}),
        ("trainer", NESTED),
        ("trainer.callbacks", [NESTED]),
        ("evaluate.baseline", NESTED),
        ("evaluate.baseline.learning_rate", NESTED),
        ("evaluate.slices", [NESTED]),
        ("gate.floors", NESTED),
        ("tracking", NESTED),
        ("serve", NESTED),
        ("name", NESTED),
        ("nowhere", NESTED),
        ("optimizer._args_", [1]),
        ("optimizer._partial_", True),
        ("optimizer._recursive_", True),
        ("optimizer._convert_", "all"),
        ("model._partial_", True),
        ("data.source._args_", ["victim.txt"]),
        ("evaluate.baseline._partial_", 1),
        ("code", {"os": "sha256:0"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": "/etc/passwd"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": "../../../../../../../../etc/passwd"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": "folder/../../victim.csv"}),
        ("data.source", {"_target_": "merit.data.sources.Parquet", "path": "/etc/passwd"}),
        ("data.source", {"_target_": "merit.data.sources.Parquet", "path": "~/x.parquet"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": "link.csv"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": "linked/passwd"}),
        ("data.source", {"_target_": "merit.data.sources.Csv", "path": ".env"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///shop.db", "query": "VACUUM INTO 'canary.pth'"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///shop.db", "query": "ATTACH 'canary.db' AS x"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///shop.db", "query": "PRAGMA journal_mode = WAL"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///shop.db", "query": "SELECT load_extension('planted')"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///shop.db", "query": "DELETE FROM sales RETURNING id"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///file:/tmp/x.db?uri=true&mode=rwc", "query": "SELECT 1"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:///linked/x.db", "query": "SELECT 1"}),
        ("data.source", {"_target_": SQL, "url": "sqlite:////etc/x.db", "query": "SELECT 1"}),
        ("data.source", {"_target_": SQL, "url": "postgresql://h/d?passfile=/etc/passwd", "query": "SELECT 1"}),
        ("data.filter", "distance IN (SELECT x FROM read_csv('http://127.0.0.1:9/x.csv'))"),
        ("data.filter", "distance > 0 OR read_csv('victim.txt') IS NULL"),
        ("data.filter", "distance IN (SELECT * FROM scan_parquet('victim.txt'))"),
        ("data.filter", " OR ".join(["distance = 1"] * 20_000)),
        ("data.filter", "(" * 5_000 + "distance" + ")" * 5_000 + " > 1"),
        ("data.filter", "distance > 1; DROP TABLE sales"),
        ("data.target.sql", "(SELECT 1 FROM read_ndjson('victim.txt')) = 1"),
        ("data.target.sql", "SUM(arr_delay) OVER () > 1"),
        ("serve.log.folder", "/var/canary"),
        ("serve.log.folder", "linked"),
        ("serve.auth", {"method": "keys", "keys": "/etc/shadow"}),
        ("tracking.uri", "sqlite:///../canary.db"),
        ("tracking.uri", "sqlite:///file:canary.db?uri=true&mode=rwc"),
        ("tracking.uri", "file:///tmp/canary"),
        ("release.signing", {"method": "key", "public_key": "/etc/passwd"}),
    ],
)
@pytest.mark.parametrize("way", ["file", "override"])
def test_what_has_no_place_there_is_refused(refused: Callable[..., str], way: str, key: str, value: Any) -> None:
    Path("link.csv").symlink_to("/etc/passwd")
    Path("linked").symlink_to("/etc")
    Path(".env").write_text("secret=1\n")
    with closing(sqlite3.connect("shop.db")) as database, database:
        database.execute("CREATE TABLE sales AS SELECT 1 AS id")
    parse_url("sqlite:///shop.db")  # what reads a url is loaded once
    section, _, inner = key.partition(".")
    overrides = []
    if way == "override" and isinstance(value, dict):
        overrides = [f"++{key}.{name}={_spelt(deep)}" for name, deep in value.items()]
    elif way == "override":
        overrides = [f"++{key}={_spelt(value)}"]
    else:
        _edit(section, inner, value)
    said = refused(*overrides)
    assert section in said


def _edit(section: str, inner: str, value: Any) -> None:
    folder = Path("conf", section)
    file = next((f for f in sorted(folder.glob("*.yaml")) if f.stem in Path("conf/config.yaml").read_text()), None)
    if section == "model":
        file = folder / "embedding_mlp.yaml"
    file = file or Path("conf/config.yaml")
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    place = content
    path = inner.split(".") if inner else []
    if file.name == "config.yaml":
        path = [section, *path]
    for part in path[:-1]:
        place = place[part]
    if path:
        place[path[-1]] = value
    else:
        content = {**content, **value}
    file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "x: !!python/object/apply:os.system [touch canary]\n",
        "x: !!python/object/new:subprocess.Popen [[touch, canary]]\n",
        "x: !!python/name:os.system\n",
        "x: !!python/module:planted\n",
        "!!python/object/apply:os.system [touch canary]: 1\n",
        "x: !planted 1\n",
        "x: &a {_target_: os.system, command: touch canary}\ny: *a\n",
        "x: {<<: {_target_: os.system, command: touch canary}}\n",
        "x: &a [*a]\n",
        "x: ${oc.create:{_target_:os.system,command:touch canary}}\n",
        "x: ${oc.env:PATH}\n",
        "x: ${eval:1}\n",
    ],
)
def test_what_yaml_could_do_besides_is_refused(refused: Callable[..., str], text: str) -> None:
    with Path("conf/optimizer/adamw.yaml").open("a") as handle:
        handle.write(text)
    assert refused()


@pytest.mark.parametrize(
    "override",
    [
        "model=../../outside/evil",
        "model=../evil",
        "model=/outside/evil",
        "+../model=evil",
        "+x@../model=evil",
        "hydra.searchpath=[file://outside]",
        "hydra/launcher=basic",
        "hydra.job.chdir=true",
        "hydra.callbacks={x:{_target_:os.system}}",
        "+hydra.callbacks.x._target_=os.system",
        "optimizer.lr=${oc.env:PATH}",
        "optimizer.lr=${oc.decode:1}",
        "optimizer.lr=${hydra:runtime.cwd}",
        "optimizer.lr=!!python/name:os.system",
    ],
)
def test_an_override_that_reaches_outside_is_refused(refused: Callable[..., str], override: str) -> None:
    for place in ("outside", "conf"):
        Path(place).mkdir(exist_ok=True)
        Path(place, "evil.yaml").write_text("_target_: merit.models.networks.Linear\n")
    assert refused(override)


@pytest.mark.parametrize(
    "entry", ["model: ../../outside/evil", "model: ../evil", "../outside@model: evil", "hydra/launcher: basic"]
)
def test_a_list_of_defaults_that_reaches_outside_is_refused(refused: Callable[..., str], entry: str) -> None:
    for place in ("outside", "conf"):
        Path(place).mkdir(exist_ok=True)
        Path(place, "evil.yaml").write_text("_target_: merit.models.networks.Linear\n")
    config = Path("conf/config.yaml")
    text = config.read_text(encoding="utf-8")
    assert "  - model: embedding_mlp\n" in text
    config.write_text(text.replace("  - model: embedding_mlp\n", f"  - {entry}\n"), encoding="utf-8")
    assert refused()


def _compose_in_a_process(*overrides: str, megabytes: int = 4096) -> subprocess.CompletedProcess[str]:
    """Run `merit compose` as a shell would, with the project's folder first among those that Python imports from."""
    code = "import sys; from merit.cli import main; sys.argv[0] = 'merit'; main()"
    limit = megabytes * 2**20
    return subprocess.run(
        [sys.executable, "-c", code, "compose", *overrides],
        env={**os.environ, "HOME": str(Path.cwd())},
        capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "target", ["os.system", "planted.Thing", "torchvision.models.ResNet", "torch.optim.optimizer.os"]
)
def test_a_process_of_its_own_refuses_too(project: Path, target: str) -> None:
    before = _files()
    done = _compose_in_a_process(f"optimizer._target_={target}", f"+optimizer.command='{CANARY}'")
    assert done.returncode == 2, done.stderr
    assert "optimizer._target_" in done.stderr
    assert _files() == before


def test_a_file_with_the_name_of_a_library_does_not_take_its_place(project: Path) -> None:
    done = _compose_in_a_process()
    assert done.returncode == 0, done.stderr
    assert not Path("canary").exists()
    assert "_target_: torch.optim.AdamW" in Path("params.yaml").read_text()


def test_a_folder_named_merit_does_not_take_its_place(project: Path) -> None:
    for file in ("merit/__init__.py", "merit/cli/__init__.py", "merit/data/sources.py"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(CODE)
    command = shutil.which("merit", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run([command, "compose"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not Path("canary").exists()


def test_a_billion_laughs_are_refused_at_once(project: Path) -> None:
    lines = ["laugh0: &laugh0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"laugh{i}: &laugh{i} [{', '.join([f'*laugh{i - 1}'] * 10)}]" for i in range(1, 10)]
    with Path("conf/serve/default.yaml").open("a") as handle:
        handle.write("\n".join(lines) + "\n")
    before, started = _files(), time.monotonic()
    done = _compose_in_a_process()
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert time.monotonic() - started < 20
    assert _files() == before
