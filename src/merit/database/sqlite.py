"""A query on a file of SQLite, which can do nothing but select."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

from merit.database.rows import DatabaseError, Rows, check_names, plain

T = TypeVar("T")
SECONDS = 10.0
"""How long a writer is waited for."""
STEPS = 100_000
"""Steps of SQLite between two looks whether a signal has come: some milliseconds."""
MOST_STEPS = 20_000_000_000
"""Steps that a query may take, some minutes of them: a recursion without an end has one."""
LONGEST = 3600.0
"""Seconds that SQLite may take for the next rows: a step may be long, such as one that seeks a text in another."""
MOST_HEAP = 4 * 2**30
"""Memory that SQLite may take in this process, for what it sorts and remembers; it puts none of that into files."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 16 * 2**20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
BESIDE = ("-wal", "-shm", "-journal")
"""The ends of the names of files that SQLite keeps beside a database."""
SETTINGS = ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "temp_store = MEMORY")
"""SQLite's own advice for files of strangers (sqlite.org/security.html), and no temporary files."""
ACTIONS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
CALCULATING = """
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh count
    cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor format
    glob group_concat hex ifnull iif instr json json_array json_array_length json_extract json_group_array
    json_group_object json_object json_quote json_type json_valid julianday lag last_value lead length like likelihood
    likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank pi pow power
    printf quote radians random rank replace round row_number rtrim sign sin sinh sqrt strftime string_agg substr
    substring sum tan tanh time timediff total trim trunc typeof unicode unixepoch unlikely upper
"""
FUNCTIONS = frozenset(CALCULATING.split())
"""The functions that calculate and do no more. Not so load_extension, fts3_tokenizer, which takes addresses, and
sqlite_log."""
REFUSED = (
    "ALTER_TABLE ANALYZE ATTACH CREATE_INDEX CREATE_TABLE CREATE_TEMP_TABLE CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE "
    "DELETE DETACH DROP_INDEX DROP_TABLE DROP_VIEW INSERT PRAGMA REINDEX SAVEPOINT TRANSACTION UPDATE"
)
ACTION_NAMES = {getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ") for name in REFUSED.split()}
"""What is refused, as a message names it."""


@contextmanager
def opened(path: str, sql: str) -> Iterator[Rows]:
    """Run a query on a file; give its rows.

    Raises:
        DatabaseError: there is no such file, it is none of SQLite, or the query does more than select.
        KeyboardInterrupt: a signal has ended it.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise DatabaseError(f"the file '{path}' is not there")
    _check_beside(file)
    guard = _Guard()
    with _unchanged(file) as flags, closing(guard.run(_connected, file, flags, guard)) as connection:
        cursor = guard.run(connection.execute, sql)
        if cursor.description is None:
            raise DatabaseError("it gives no rows; give a SELECT")
        names = [str(each[0]) for each in cursor.description]
        check_names(names)
        yield Rows(names, lambda size: guard.run(cursor.fetchmany, size))


def _check_beside(file: Path) -> None:
    """Check what lies beside a database under the names that SQLite opens.

    Raises:
        DatabaseError: something there is no plain file.
    """
    for beside in (Path(f"{file}{end}") for end in BESIDE):
        if beside.is_symlink():
            raise DatabaseError(f"'{beside.name}' beside it is a link, which SQLite could write through; remove it")
        if beside.exists() and not beside.is_file():
            raise DatabaseError(f"'{beside.name}' beside it is no plain file; remove it")


def _connected(file: Path, flags: str, guard: "_Guard") -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.as_uri()}?{flags}", uri=True, timeout=SECONDS)
    for limit, most in LIMITS.items():
        connection.setlimit(limit, most)
    for setting in SETTINGS:
        connection.execute(f"PRAGMA {setting}")
    connection.execute(f"PRAGMA hard_heap_limit = {MOST_HEAP}")
    guard.interrupt = connection.interrupt
    connection.set_authorizer(guard.decide)
    connection.set_progress_handler(guard.count, STEPS)
    return connection


@contextmanager
def _unchanged(file: Path) -> Iterator[str]:
    """Yield how a file is opened so that nothing is written beside it.

    One with a write-ahead log would get files beside it from its first reader. If nobody has it open it is read as one
    that doesn't change, and that it didn't is checked afterwards.

    Raises:
        DatabaseError: it did.
    """
    with file.open("rb") as handle:
        has_log = handle.read(20)[18:20] == b"\x02\x02"
    if not has_log or Path(f"{file}-wal").exists():
        yield "mode=ro"
        return
    before = file.stat()
    yield "mode=ro&immutable=1"
    after = file.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise DatabaseError(f"'{file.name}' was written to while it was read; try again")


def _reason(error: Exception) -> str:
    """Return what SQLite says, without the value that it can't decode."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
        return "a write to it was cut off; open it once with sqlite3, which takes that back"
    return plain(re.sub(r" with text '.*", " (a value is no UTF-8)", str(error), flags=re.DOTALL))


class _Guard:
    """Answers SQLite, which asks before it does anything, and counts its steps."""

    def __init__(self) -> None:
        self.interrupt: Callable[[], object] = lambda: None
        self.reason = ""
        self.is_over = False
        self._steps = 0

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what a call of SQLite's gives.

        Raises:
            DatabaseError: it fails; it isn't raised where SQLite's own error is handled, whose message may hold values.
            KeyboardInterrupt: a signal has ended it.
        """
        clock = Timer(LONGEST, self._end, [f"the query takes more than {LONGEST:,g} seconds for the next rows"])
        clock.daemon = True
        clock.start()
        try:
            return call(*arguments)
        except MemoryError:
            reason = f"the query takes more than {MOST_HEAP / 2**30:g} GiB of memory; select less"
        except (sqlite3.Error, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT and not self.is_over:
                raise KeyboardInterrupt from error  # nobody but a signal interrupts it otherwise
            reason = self.reason or _reason(error)
        finally:
            clock.cancel()
        raise DatabaseError(reason)

    def _end(self, reason: str) -> None:
        """End what SQLite does; this is called in another thread."""
        self.is_over, self.reason = True, f"{reason}; select less"
        self.interrupt()

    def decide(self, action: int, table: str | None, name: str | None, *_: str | None) -> int:
        """Allow to select, to read, and to call functions that only calculate."""
        if action in ACTIONS or (action == sqlite3.SQLITE_FUNCTION and str(name).lower() in FUNCTIONS):
            return sqlite3.SQLITE_OK
        what = f"the function {name}" if action == sqlite3.SQLITE_FUNCTION else ACTION_NAMES.get(action, "more")
        if action == sqlite3.SQLITE_UPDATE and str(table).startswith("sqlite_"):
            what = "a virtual table"  # which SQLite would declare in its schema
        self.reason = self.reason or f"only one SELECT is allowed; not authorized: {plain(what)}"
        return sqlite3.SQLITE_DENY

    def count(self) -> int:
        """Let SQLite go on until it has done its steps; Python hears signals where its own code runs, as here."""
        self._steps += STEPS
        if self._steps > MOST_STEPS:
            self._end(f"the query takes more than {MOST_STEPS:,} steps")
        return int(self.is_over)
