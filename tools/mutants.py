"""Mutation testing: change one thing in a module, run the tests that execute the line, and list what no test noticed.

python tools/mutants.py src/merit/metrics/bootstrap.py            all mutants of a file
python tools/mutants.py src/merit/gate --sample 20                at most 20 of each file, drawn by a fixed seed
python tools/mutants.py FILE --tests tests/config/test_schema.py  besides those of the file's folder under tests/unit

Each mutant is a forked process whose import of that module gets the changed source; nothing is written. A test that
starts `merit` as a process of its own runs the unchanged code, and does not count.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = ("merit", "tests", "reference", "conftest")
"""What each mutant imports itself; all other modules that the tests use are imported once, before the fork."""
OPTIONS = ["-x", "--no-header", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=no", "--show-capture=no",
           "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
MAX_SECONDS = 120
"""A mutant that runs longer than this, and than 10 times its tests, counts as noticed: it hangs."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}


def mutate(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield each change of one syntax node: what it is, and the node that replaces it."""
    new: Any = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            new.ops[0] = COMPARISONS[type(op)]()
            yield "comparison", new
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            new.op = ARITHMETIC[type(op)]()
            yield "arithmetic", new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and/or", new
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", new.operand
        case ast.IfExp() | ast.If() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            new.test = ast.UnaryOp(ast.Not(), new.test)
            yield "condition negated", new
        case ast.Constant(value=bool(value)):
            yield "boolean", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "number", ast.Constant(value + 1)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None", ast.Return(ast.Constant(None))
        case ast.Expr(value=ast.Call()) | ast.Raise():
            yield "statement removed", ast.Pass()
        case ast.Name(id=name, ctx=ast.Load()) if name in OPPOSITES:
            yield "opposite", ast.Name(OPPOSITES[name], ast.Load())
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in OPPOSITES:
            new.attr = OPPOSITES[name]
            yield "opposite", new


def walk_code(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through what runs: not through annotations, which change nothing."""
    for field, value in ast.iter_fields(node):
        if field not in {"annotation", "returns", "type_comment"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield child
                    yield from walk_code(child)


class Replacement(ast.NodeTransformer):
    """Replaces one node by another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the new node for the old one."""
        if node is self.old:
            return ast.copy_location(self.new, node)
        self.generic_visit(node)
        return node


def list_mutants(file: Path) -> Iterator[tuple[int, str, str, CodeType]]:
    """Yield the mutants of a file: line, kind, the changed code as text, and compiled."""
    source = file.read_text(encoding="utf-8")
    for index, original in enumerate(walk_code(ast.parse(source))):
        for kind, new in mutate(original):
            tree = ast.parse(source)
            old = next(node for at, node in enumerate(walk_code(tree)) if at == index)
            changed = ast.fix_missing_locations(Replacement(old, new).visit(tree))
            text = f"{ast.unparse(old).splitlines()[0]}  ->  {ast.unparse(new).splitlines()[0]}"
            yield getattr(original, "lineno", 1), kind, text, compile(changed, str(file), "exec")


class MutantImporter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with changed code, and leaves all others to Python."""

    def __init__(self, file: Path, code: CodeType) -> None:
        name = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
        self.name, self.file, self.code = name.removesuffix(".__init__"), file, code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return this importer for its module."""
        package = [str(self.file.parent)] if self.file.name == "__init__.py" else None
        return (
            spec_from_file_location(name, self.file, loader=self, submodule_search_locations=package)
            if name == self.name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code."""
        exec(self.code, module.__dict__)  # noqa: S102


class LineRecorder:
    """A pytest plugin that records the tests that execute each line of some files, and how long each takes."""

    def __init__(self, files: list[Path]) -> None:
        self.files = {str(file) for file in files}
        self.test, self.lines, self.seconds = "", {name: {} for name in self.files}, {}  # type: ignore[var-annotated]

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Record a line, as `sys.settrace` calls it."""
        name = frame.f_code.co_filename
        if name not in self.files:
            return None
        self.lines[name].setdefault(frame.f_lineno, {})[self.test] = None
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Record what one test executes."""
        self.test, started = item.nodeid, time.monotonic()
        sys.settrace(self.trace)
        threading.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid], self.test = time.monotonic() - started, ""


def run_forked(
    tests: list[str],
    seconds: float,
    *,
    importer: MutantImporter | None = None,
    recorder: LineRecorder | None = None,
    answer: Path | None = None,
) -> int:
    """Run tests in a forked process; return pytest's exit code, or -1 where they took too long."""
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    if (child := os.fork()) == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        if importer:
            sys.meta_path.insert(0, importer)
        code = 2
        try:
            code = int(
                pytest.main([*OPTIONS, f"--basetemp={folder}/t", *tests], plugins=[recorder] if recorder else [])
            )
            if recorder and answer:
                modules = [name for name in sys.modules if name.partition(".")[0] not in OWN]
                answer.write_text(json.dumps([recorder.lines, recorder.seconds, modules]))
        finally:
            os._exit(code)  # without the exit handlers of libraries, which wait for threads that a fork doesn't have
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    if not done:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    return os.waitstatus_to_exitcode(status) if done else -1


def find_tests(file: Path) -> Path:
    """Return the folder of tests/unit that mirrors a file's own, or the nearest above it."""
    folder = ROOT / "tests/unit" / file.parent.relative_to(ROOT / "src/merit")
    while not folder.is_dir():
        folder = folder.parent
    return folder


def record_lines(files: list[Path], tests: list[str]) -> tuple[dict[str, dict[str, dict[str, None]]], dict[str, float]]:
    """Run the tests once; return those that execute each line of each file, and the seconds that each takes."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "lines.json")
        if run_forked(tests, 3600, recorder=LineRecorder(files), answer=answer):
            sys.exit(f"error: the tests fail without a mutant: {' '.join(tests)}")
        lines, seconds, modules = json.loads(answer.read_text())
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return lines, seconds


def find_covering(tree: ast.Module, line: int, lines: dict[str, dict[str, None]]) -> set[str] | None:
    """Return the tests that execute a line, or its function if Python reports no such line; None for all."""
    if covering := lines.get(str(line)):
        return None if "" in covering else set(covering)
    bodies = [
        range(node.body[0].lineno, (node.end_lineno or line) + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inner = min((body for body in bodies if line in body), key=len, default=None)
    return None if inner is None else {test for each in inner for test in lines.get(str(each), {})}


def judge_file(
    file: Path, lines: dict[str, dict[str, None]], seconds: dict[str, float], sample: int, show: bool
) -> tuple[int, int]:
    """Print the mutants of a file that no test noticed; return how many there were and how many were noticed.

    Args:
        file: the module.
        lines: the tests that execute each of its lines.
        seconds: the seconds that each test takes.
        sample: at most this many mutants; 0 for all.
        show: print what was noticed too.
    """
    mutants = list(list_mutants(file))
    if sample and len(mutants) > sample:
        mutants = sorted(random.Random(0).sample(mutants, sample), key=lambda mutant: mutant[0])  # noqa: S311
    tree, killed = ast.parse(file.read_text(encoding="utf-8")), 0
    for line, kind, text, code in mutants:
        covering = find_covering(tree, line, lines)
        chosen = sorted(seconds if covering is None else covering, key=seconds.__getitem__)
        limit = max(MAX_SECONDS, 10 * sum(seconds[name] for name in chosen))
        survived = not chosen or run_forked(chosen, limit, importer=MutantImporter(file, code)) == 0
        killed += not survived
        if survived or show:
            print(
                f"{'survived' if survived else 'killed'}  {file.relative_to(ROOT)}:{line}  {kind}: {text}", flush=True
            )
    print(f"{file.relative_to(ROOT)}: {killed} of {len(mutants)} noticed", flush=True)
    return len(mutants), killed


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--tests", nargs="*", default=[], help="more files or folders of tests")
    parser.add_argument("--only", nargs="*", default=[], help="the tests to run, instead of the folder's")
    parser.add_argument("--sample", type=int, default=0, help="at most this many mutants of each file")
    parser.add_argument("--verbose", action="store_true", help="print what was noticed too")
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that spin beside other processes take minutes for a second
    sys.path.insert(0, str(ROOT))
    files = [
        file.resolve() for path in options.paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    results = []
    for folder, group in itertools.groupby(files, find_tests):  # the tests run once for all files that they guard
        members = list(group)
        tests = options.only or [str(folder), *options.tests]
        lines, seconds = record_lines(members, tests)
        results += [judge_file(file, lines[str(file)], seconds, options.sample, options.verbose) for file in members]
    total, killed = (sum(column) for column in zip(*results, strict=True))
    print(f"{killed} of {total} mutants noticed ({killed / max(total, 1):.0%})")


if __name__ == "__main__":
    main()
