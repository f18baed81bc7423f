import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import merit

HOME = Path(merit.__file__).parent
PRINTERS = {
    "data/contract.py": "the report of validate",
    "data/infer/show.py": "what infer found",
    "errors.py": "a table of problems, rendered to a text",
    "gate/report/terminal.py": "the gate's report",
    "registry/display.py": "tables of versions",
    "release/inventory.py": "a program in an image, which answers on standard output",
    "sweep/report/terminal.py": "the table of a sweep",
    "sweep/trials/process.py": "the traceback of a trial, in the trial's own log",
    "tracking/run_logger.py": "a child's answer to its parent",
    "tracking/sweep_logger.py": "a child's answer to its parent",
}
"""The modules that print a result, beside cli/ and console/; everything else is logged."""


def _list_prints(tree: ast.Module) -> Iterator[str]:
    """Yield each call that prints: print(), click.echo(), a console's print(), a write to a standard stream."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            name = function.rpartition(".")[2]
            is_stream = name == "write" and function.split(".")[:1] == ["sys"]
            if name in {"echo", "secho", "print_exc"} or is_stream or name == "print":
                yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


@pytest.mark.parametrize(
    ("code", "count"),
    [("print(1)", 1), ("click.echo(1)", 1), ("console.print(1)", 1), ("sys.stderr.write('')", 1), ("file.write(1)", 0)],
)
def test_a_call_that_prints_is_recognised(code: str, count: int) -> None:
    assert len(list(_list_prints(ast.parse(code)))) == count


def test_results_are_printed_by_the_modules_that_are_listed_and_everything_else_is_logged() -> None:
    printing = {}
    for path in HOME.rglob("*.py"):
        name = path.relative_to(HOME).as_posix()
        if not name.startswith(("cli/", "console/")) and (calls := list(_list_prints(ast.parse(path.read_text())))):
            printing[name] = calls
    assert {name: calls for name, calls in printing.items() if name not in PRINTERS} == {}
    assert set(PRINTERS) == set(printing)  # none is listed in vain
