"""Runs a query on a SQLite file that can only select."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, TypeVar

from merit.database.rows import DatabaseError, QueryResult, check_column_names, clean_text

T = TypeVar("T")
LOCK_TIMEOUT_S = 10.0
"""Seconds to wait for the lock of a writer."""
STEPS_PER_CHECK = 100_000
"""Virtual machine steps of SQLite between two calls of the progress handler: some milliseconds."""
MAX_STEPS = 20_000_000_000
"""Step limit of a query, some minutes; it ends infinite recursion."""
FETCH_TIMEOUT_S = 3600.0
"""Time limit in seconds for the next rows. Steps may be slow, such as a search for one text in another."""
MAX_HEAP_BYTES = 4 * 2**30
"""Heap limit of SQLite in bytes; sorting and temporary tables stay in memory."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 16 * 2**20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
JOURNAL_SUFFIXES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""
PRAGMAS = ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "temp_store = MEMORY")
"""PRAGMAs that SQLite recommends for untrusted files (sqlite.org/security.html), and no temporary files."""
ALLOWED_ACTIONS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
PURE_FUNCTIONS = """
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh count
    cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor format
    glob group_concat hex ifnull iif instr json json_array json_array_length json_extract json_group_array
    json_group_object json_object json_quote json_type json_valid julianday lag last_value lead length like likelihood
    likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif octet_length percent_rank pi pow power
    printf quote radians random rank replace round row_number rtrim sign sin sinh sqrt strftime string_agg substr
    substring sum tan tanh time timediff total trim trunc typeof unicode unixepoch unlikely upper
"""
ALLOWED_FUNCTIONS = frozenset(PURE_FUNCTIONS.split())
"""Functions without side effects. Excluded are load_extension, fts3_tokenizer, which takes memory addresses, and
sqlite_log."""
REFUSED_ACTIONS = (
    "ALTER_TABLE ANALYZE ATTACH CREATE_INDEX CREATE_TABLE CREATE_TEMP_TABLE CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE "
    "DELETE DETACH DROP_INDEX DROP_TABLE DROP_VIEW INSERT PRAGMA REINDEX SAVEPOINT TRANSACTION UPDATE"
)
ACTION_NAMES = {getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ") for name in REFUSED_ACTIONS.split()}
"""Names of refused actions, for messages."""


@contextmanager
def open_query(path: str, sql: str) -> Iterator[QueryResult]:
    """Run a query on a file; yield its rows.

    Raises:
        DatabaseError: the file is missing or no SQLite database, or the query does more than select.
        KeyboardInterrupt: a signal interrupted the query.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise DatabaseError(f"the file '{path}' is not there")
    _check_journals(file)
    guard = _QueryGuard()
    with _ensure_unchanged(file) as flags, closing(guard.run_call(_connect, file, flags, guard)) as connection:
        cursor = guard.run_call(connection.execute, sql)
        if cursor.description is None:
            raise DatabaseError("it gives no rows; give a SELECT")
        names = [str(each[0]) for each in cursor.description]
        check_column_names(names)
        yield QueryResult(names, lambda size: guard.run_call(cursor.fetchmany, size))


def _check_journals(file: Path) -> None:
    """Check the journal files beside a database, which SQLite opens too.

    Raises:
        DatabaseError: one is a link or no regular file.
    """
    for journal in (Path(f"{file}{suffix}") for suffix in JOURNAL_SUFFIXES):
        if journal.is_symlink():
            raise DatabaseError(f"'{journal.name}' beside it is a link, which SQLite could write through; remove it")
        if journal.exists() and not journal.is_file():
            raise DatabaseError(f"'{journal.name}' beside it is no plain file; remove it")


def _connect(file: Path, flags: str, guard: "_QueryGuard") -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.as_uri()}?{flags}", uri=True, timeout=LOCK_TIMEOUT_S)
    for limit, max_value in LIMITS.items():
        connection.setlimit(limit, max_value)
    for setting in PRAGMAS:
        connection.execute(f"PRAGMA {setting}")
    connection.execute(f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}")
    guard.interrupt = connection.interrupt
    connection.set_authorizer(guard.authorize)
    connection.set_progress_handler(guard.check_steps, STEPS_PER_CHECK)
    return connection


@contextmanager
def _ensure_unchanged(file: Path) -> Iterator[str]:
    """Yield the URI parameters that open a file without creating files beside it.

    The first reader of a database in write-ahead-log mode creates files beside it. If no other process has the database
    open, it is opened as immutable, and checked for changes afterwards.

    Raises:
        DatabaseError: the file changed meanwhile.
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


def _get_reason(error: Exception) -> str:
    """Return the message of an error, without the value that can't be decoded."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
        return "a write to it was cut off; open it once with sqlite3, which takes that back"
    return clean_text(re.sub(r" with text '.*", " (a value is no UTF-8)", str(error), flags=re.DOTALL))


class _QueryGuard:
    """Authorizes the actions of SQLite, and limits its steps and time.

    Attributes:
        interrupt: interrupts the query; set once the connection is open.
        reason: why the query was refused or stopped.
        is_exceeded: whether a limit was exceeded.
    """

    def __init__(self) -> None:
        self.interrupt: Callable[[], object] = lambda: None
        self.reason = ""
        self.is_exceeded = False
        self._steps = 0

    def run_call(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return the result of a call to SQLite.

        Raises:
            DatabaseError: the call fails. It is raised outside the handler, so that its traceback does not chain the
                error of SQLite, whose message may hold values.
            KeyboardInterrupt: a signal interrupted the call.
        """
        timer = Timer(
            FETCH_TIMEOUT_S,
            self._interrupt_query,
            [f"the query takes more than {FETCH_TIMEOUT_S:,g} seconds for the next rows"],
        )
        timer.daemon = True
        timer.start()
        try:
            return call(*arguments)
        except MemoryError:
            reason = f"the query takes more than {MAX_HEAP_BYTES / 2**30:g} GiB of memory; select less"
        except (sqlite3.Error, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT and not self.is_exceeded:
                raise KeyboardInterrupt from error  # without an exceeded limit only a signal interrupts
            reason = self.reason or _get_reason(error)
        finally:
            timer.cancel()
        raise DatabaseError(reason)

    def _interrupt_query(self, reason: str) -> None:
        """Interrupt the query; also called from the timer's thread."""
        self.is_exceeded, self.reason = True, f"{reason}; select less"
        self.interrupt()

    def authorize(self, action: int, table: str | None, name: str | None, *_: str | None) -> int:
        """Authorizer callback: allow SELECT, reads, and functions without side effects."""
        if action in ALLOWED_ACTIONS or (action == sqlite3.SQLITE_FUNCTION and str(name).lower() in ALLOWED_FUNCTIONS):
            return sqlite3.SQLITE_OK
        denied = f"the function {name}" if action == sqlite3.SQLITE_FUNCTION else ACTION_NAMES.get(action, "more")
        if action == sqlite3.SQLITE_UPDATE and str(table).startswith("sqlite_"):
            denied = "a virtual table"  # creating one updates the schema table
        self.reason = self.reason or f"only one SELECT is allowed; not authorized: {clean_text(denied)}"
        return sqlite3.SQLITE_DENY

    def check_steps(self) -> int:
        """Progress handler: return 0 to continue, 1 to stop at a limit.

        Python handles signals only while its own code runs, so this callback also makes Ctrl-C work.
        """
        self._steps += STEPS_PER_CHECK
        if self._steps > MAX_STEPS:
            self._interrupt_query(f"the query takes more than {MAX_STEPS:,} steps")
        return int(self.is_exceeded)
