"""Commands that only look touch no source: they ask no database and run none of the project's code."""

import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from merit.config import lock as locks
from merit.config.compose import compose
from merit.config.documentation.explain import explain_key

SQL = "_target_: merit.data.sources.Sql\n  url: sqlite:///shop.db\n  query: SELECT id FROM sales"
OWN = "_target_: mymodels.Orders"
CODE = """
from pathlib import Path
import polars as pl
Path("canary").touch()
class Orders:
    def fingerprint(self): return "sha256:" + "1" * 64
    def read(self): return pl.DataFrame()
"""
Call = Callable[..., tuple[int, str, str]]


def _source(conf: Path, text: str) -> None:
    file = conf / "data/flights.yaml"
    file.write_text(re.sub(r"^source:\n(?:  .*\n)+", f"source:\n  {text}\n", file.read_text(), flags=re.MULTILINE))


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mymodels"]:
        del sys.modules[name]


@pytest.fixture(params=[SQL, OWN], ids=["a query", "a class of the project"])
def canary(conf: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A locked project whose source can't be touched without a trace: what the file's name is."""
    with closing(sqlite3.connect("shop.db")) as database, database:
        database.execute("CREATE TABLE sales (id INTEGER)")
        database.execute("INSERT INTO sales VALUES (1)")
    Path("pyproject.toml").write_text("[tool.merit]\ntrusted = ['mymodels', 'reference']\n")
    Path("mymodels").mkdir()
    Path("mymodels/__init__.py").write_text(CODE)
    _source(conf, request.param)
    locks.write_lock(compose())
    _forget()
    Path("canary").unlink(missing_ok=True)

    def trace(*_: object) -> None:
        Path("canary").touch()

    monkeypatch.setattr("merit.database.read_table", trace)
    yield Path("canary")
    _forget()


def test_compose_check_takes_the_fingerprint_of_the_lock_and_says_so(canary: Path, call: Call) -> None:
    code, out, _ = call("compose", "--check")
    assert code == 0
    assert out.startswith("params.yaml is up to date; the rows of its source were not read: 'merit compose' or")
    assert not canary.exists()


def test_a_source_that_is_declared_otherwise_is_stale_though_nobody_asks_it(
    canary: Path, conf: Path, call: Call
) -> None:
    _source(conf, SQL.replace("id FROM", "1 AS other FROM"))
    code, out, _ = call("compose", "--check")
    assert code == 1
    assert "+  fingerprint: not read; 'merit compose' reads the source" in out
    assert locks.UNREAD_FINGERPRINT not in out
    assert not canary.exists()


@pytest.mark.parametrize("command", [("explain",), ("explain", "data.fingerprint"), ("diff", "HEAD"), ("doctor",)])
def test_other_commands_that_look_touch_nothing(
    canary: Path, call: Call, git_repo: Callable[..., str], command: tuple[str, ...]
) -> None:
    git_repo("add", "--all")
    git_repo("commit", "--quiet", "--message", "x")
    call(*command)
    assert not canary.exists()


def test_a_fingerprint_that_nobody_has_read_is_explained_as_such(canary: Path) -> None:
    Path("params.yaml").unlink()
    assert str(explain_key("data.fingerprint")).startswith(
        "data.fingerprint = not read; 'merit compose' reads the source"
    )


def test_compose_check_sees_that_a_file_changed(conf: Path, call: Call) -> None:
    Path("a.csv").write_text("x\n1\n")
    _source(conf, "_target_: merit.data.sources.Csv\n  path: a.csv")
    locks.write_lock(compose())
    assert call("compose", "--check")[:2] == (0, "params.yaml is up to date\n")
    Path("a.csv").write_text("x\n2\n")
    assert call("compose", "--check")[0] == 1


def test_a_source_that_may_not_be_named_is_told_at_its_key_by_compose_check(conf: Path, call: Call) -> None:
    _source(conf, "_target_: merit.data.sources.Csv\n  path: ../../etc/passwd")
    code, _, err = call("compose", "--check")
    assert code == 2
    assert "conf/data/flights.yaml:5: data.source.path: found path '../../etc/passwd'" in err


def test_a_lock_that_expands_without_end_is_compared_all_the_same(canary: Path, call: Call) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    Path("params.yaml").write_text("\n".join([*lines, "data: {source: {_target_: *a11}, fingerprint: x}"]))
    assert locks.read_fingerprint({"_target_": "mymodels.Orders"}) == locks.UNREAD_FINGERPRINT
