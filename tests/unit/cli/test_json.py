"""--json: which commands have it, and what it prints."""

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import polars as pl
import pytest

from merit import cli, reproduce
from merit.reproduce.compare import StageDifference
from merit.reproduce.report import ReproductionResult

UNIT_TESTS = Path(__file__).parents[1]
PARSED_IN = {
    "diff": "gate/test_diff.py",
    "doctor": "doctor/test_doctor.py",
    "explain": "cli/test_cli.py",
    "gate": "cli/test_cli.py",
    "infer": "cli/test_json.py",
    "keys list": "cli/test_keys.py",
    "plan": "deploy/test_commands.py",
    "register": "registry/test_commands.py",
    "registry check": "registry/test_commands.py",
    "registry diff": "registry/test_commands.py",
    "registry history": "registry/test_commands.py",
    "registry list": "registry/test_commands.py",
    "registry show": "registry/test_commands.py",
    "reproduce": "cli/test_json.py",
    "run": "cli/test_cli.py",
    "status": "deploy/test_commands.py",
    "sweep list": "cli/test_sweep.py",
    "sweep show": "cli/test_sweep.py",
    "validate": "cli/test_cli.py",
}
"""The tests that parse what a command prints with --json."""
TABLE_PRINTERS = ("_print_statuses", "build_tree", "display.print", "print_report", "show.print_result", "print_sweep",
                  "render_lines", "rjust", "ljust")  # fmt: skip
"""What the functions of commands that print a table call."""


def _list_commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _list_commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


COMMANDS = dict(_list_commands(cli.main))


def test_each_command_with_json_has_a_test_that_parses_it() -> None:
    with_json = {name for name, command in COMMANDS.items() if any(p.name == "as_json" for p in command.params)}
    assert with_json == set(PARSED_IN)
    for name, file in PARSED_IN.items():
        text = (UNIT_TESTS / file).read_text(encoding="utf-8")
        assert '"--json"' in text, name
        assert all(f'"{word}"' in text for word in name.split()) or "/test_d" in file, name


def test_each_command_that_prints_a_table_has_json() -> None:
    printing = {
        name for name, command in COMMANDS.items()
        if any(printer in inspect.getsource(inspect.unwrap(command.callback)) for printer in TABLE_PRINTERS)
        if command.callback is not None
    }  # fmt: skip
    assert {"explain", "gate", "infer", "keys list", "plan", "registry list", "status", "sweep show"} <= printing
    assert printing <= set(PARSED_IN)


def test_infer_as_json_has_what_was_found(call: Callable[..., tuple[int, str, str]], conf: Path) -> None:
    rows = range(300)
    pl.DataFrame({"size": [each * 7 % 100 / 3 for each in rows], "late": [each % 3 == 0 for each in rows]}).write_csv(
        "orders.csv"
    )
    code, out, err = call("infer", "orders.csv", "--target", "late", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == ["name", "task", "target", "rows", "features", "left_out", "notes", "warnings", "files"]
    assert (found["name"], found["task"], found["target"]) == ("orders", "binary", "late")
    assert (found["rows"], found["features"], found["left_out"]) == (300, ["size"], {})
    assert all(Path(file).is_file() for file in found["files"])


@pytest.mark.parametrize(("changed", "code"), [([], 0), (["model"], 1)])
def test_a_reproduction_as_json_names_each_stage(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, changed: list[str], code: int
) -> None:
    result = ReproductionResult("c" * 40, [StageDifference("package", [], [], changed)])
    monkeypatch.setattr(reproduce, "reproduce", lambda *_, **__: print("a stage speaks") or result)
    ended, out, err = call("reproduce", "--json")
    found = json.loads(out)
    assert (ended, found["identical"], found["stages"][0]["changed_outputs"]) == (code, not changed, changed)
    assert err == "a stage speaks\n"
