import ast
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from merit import cli
from merit.errors import (
    LIBRARIES,
    MAX_SHOWN_PROBLEMS,
    ConfigError,
    MeritError,
    MissingExtraError,
    Problem,
    ProjectCodeError,
    Refused,
    require_modules,
)
from tests.conftest import ROOT


def test_broken_exits_with_2_and_refused_with_1() -> None:
    assert (MeritError("x").exit_code, ConfigError(["x"]).exit_code, Refused("x").exit_code) == (2, 2, 1)


def test_a_config_error_shows_every_problem_on_its_own_line() -> None:
    error = ConfigError(["first", "second"])
    assert str(error) == "first\nsecond"
    assert error.problems == ["first", "second"]


@pytest.mark.parametrize("fault", [str, lambda place: Problem("a.yaml", f"k{place}", "unknown key")])
def test_faults_past_a_bound_are_counted_and_not_shown(fault: Callable[[int], str | Problem]) -> None:
    error = ConfigError([fault(place) for place in range(MAX_SHOWN_PROBLEMS + 1234)])
    *shown, last = str(error).splitlines()
    assert (len(error.problems), last) == (MAX_SHOWN_PROBLEMS + 1234, "and 1,234 more")
    assert len(shown) <= MAX_SHOWN_PROBLEMS + 2


def _fail() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        raise KeyError("no\nkey") from error


def test_an_error_of_another_is_told_with_its_own_frames_alone() -> None:
    with pytest.raises(KeyError) as caught:
        _fail()
    told = ProjectCodeError("mymodels.f", caught.value, lambda file: file.endswith("json/decoder.py"))
    head, *rest = str(told).splitlines()
    assert told.exit_code == 2
    assert head == r"mymodels.f failed: KeyError: 'no\nkey'"
    assert not any(__file__ in line or "json/__init__.py" in line for line in rest)
    assert any("json/decoder.py" in line for line in rest)
    assert rest[-1] == r"KeyError: 'no\nkey'"


def test_a_library_that_an_extra_installs_is_missed_before_any_work_in_a_line_that_installs_it() -> None:
    require_modules("merit gate", "json")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(MissingExtraError) as caught:
        patched.setattr("importlib.util.find_spec", lambda name: None)
        require_modules("merit gate", "evidently", "bentoml")
    assert str(caught.value) == "merit gate needs Evidently: pip install 'merit-ml[gate]'"
    assert caught.value.exit_code == 2


def test_a_module_that_is_missed_in_the_middle_of_a_command_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'model_signing.hashing'", name="model_signing.hashing")

    monkeypatch.setattr("merit.config.current_lock.read_current_lock", fail)
    monkeypatch.setattr(sys, "argv", ["merit", "sign", "v3"])
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: merit sign needs model-signing: pip install 'merit-ml[release]'\n"


def test_each_extra_that_an_error_names_is_one_and_installs_the_library() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for library, extra in LIBRARIES.values():
        assert [each for each in extras[extra] if each.startswith(library.lower())], (library, extra)


PARSED_MESSAGES = {
    "dvc/restore.py": "DVC's general exception",
    "mlflow/store.py": "SQLite's and MLflow's errors about tables of another version",
    "pipeline/run.py": "DVC names a failed stage, its exit code and a damaged file only in its texts",
    "prediction_log/files.py": "Polars quotes the system's number in its text",
    "serving/app/row_errors.py": "msgspec's text is shortened, and no case told apart",
    "serving/server/connection_guard.py": "uvloop's RuntimeError",
    "stream/brokers/interface.py": "a text that a log line quotes already is not repeated",
    "stream/brokers/redis.py": "codes of the Redis server",
    "sweep/trials/process.py": "torch's errors of a lack of memory, and the last line of another process",
}
"""Files that look into the text of an error, which only other programs' errors excuse, with the reason."""
ERROR_NAMES = {"error", "root_error", "fault", "cause", "caught", "problem", "exc"}
READERS = {"startswith", "endswith", "find", "index", "removeprefix", "partition", "search", "match", "fullmatch"}


def _is_message(node: ast.AST) -> bool:
    """Return whether an expression is the text, or the arguments, of what is named as an error."""
    if isinstance(node, ast.Attribute):
        return node.attr == "args" and ast.unparse(node.value) in ERROR_NAMES
    is_text = isinstance(node, ast.Call) and ast.unparse(node.func) in {"str", "repr"}
    return is_text and any(ast.unparse(each) in ERROR_NAMES for each in node.args)


def _parses_message(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return any(map(_is_message, ast.walk(node)))
    is_reader = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS
    return is_reader and any(map(_is_message, ast.walk(node)))


def _find_parsers(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if any(map(_parses_message, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }


def test_no_code_parses_the_message_of_an_error_of_merit() -> None:
    assert _find_parsers(ROOT / "src" / "merit") == PARSED_MESSAGES.keys()


@pytest.mark.parametrize(
    "line",
    ["if 'gone' in str(error): pass", "str(error).partition(';')", "re.search('x', str(fault))", "error.args[0] == 3"],
)
def test_code_that_parses_a_message_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "fine.py").write_text("' '.join(str(error).split())", encoding="utf-8")
    assert _find_parsers(tmp_path) == set()
    (tmp_path / "parser.py").write_text(line, encoding="utf-8")
    assert _find_parsers(tmp_path) == {"parser.py"}
