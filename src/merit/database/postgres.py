"""Runs a query on PostgreSQL that can only select: a cursor in a read-only transaction that is rolled back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from merit.database.rows import DatabaseError, QueryResult, check_column_names, clean_text

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL

T = TypeVar("T")
CONNECT_TIMEOUT_S = 10
"""Connection timeout in seconds."""
SESSION_SETTINGS = {"statement_timeout": "1h", "lock_timeout": "1min", "idle_in_transaction_session_timeout": "1h"}
CURSOR_NAME = "merit"
PRIVILEGED_ROLES = ("pg_read_server_files", "pg_write_server_files", "pg_execute_server_program", "pg_signal_backend")
"""Predefined roles whose members can reach files, programs or other sessions of the server."""
PRIVILEGED_FUNCTIONS = (
    "dblink",
    "dblink_connect",
    "dblink_connect_u",
    "dblink_exec",
    "dblink_send_query",
    "lo_export",
    "lo_import",
    "pg_file_read",
    "pg_file_write",
    "pg_ls_dir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_stat_file",
)
"""Functions that read or write files of the server, or connect to other servers."""
ROLES_QUERY = """
    SELECT r.rolname, r.rolsuper, r.rolreplication FROM pg_catalog.pg_roles AS r
    WHERE pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
      AND (r.rolsuper OR r.rolreplication OR r.rolname = ANY(%s))
    ORDER BY r.rolsuper DESC, r.rolname = session_user DESC, r.rolname
"""
FUNCTIONS_QUERY = """
    SELECT DISTINCT p.proname FROM pg_catalog.pg_proc AS p, pg_catalog.pg_roles AS r
    WHERE p.proname = ANY(%s) AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
      AND pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE')
    ORDER BY p.proname
"""
"""Roles that the session may take by SET ROLE count too, because set_config does the same inside a SELECT."""
SAFE_ERROR_CLASSES = ("08", "0A", "25", "26", "28", "3D", "3F", "42", "53", "54", "55", "57")
"""SQLSTATE classes whose messages name parts of the query or the catalog, but no value of a row."""
ROLE_ADVICE = "ask as one that may only read: CREATE ROLE reader LOGIN; GRANT SELECT ON ... TO reader"


@contextmanager
def open_query(url: "URL", sql: str) -> Iterator[QueryResult]:
    """Run a query; yield its rows, which are fetched as the server sends them.

    Raises:
        DatabaseError: the server can't be reached, the role has too many rights, or the query is not one SELECT.
    """
    try:
        import psycopg
    except ImportError as error:
        raise DatabaseError(
            "the driver 'psycopg' is not installed; PostgreSQL's comes with 'pip install merit-ml[postgres]'"
        ) from error
    connection = _call_driver(psycopg.connect, _create_conninfo(url))
    try:
        connection.read_only = True
        for name, value in SESSION_SETTINGS.items():
            _call_driver(connection.execute, "SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        _check_role(connection)
        yield _declare_cursor(connection, sql)
    finally:
        connection.close()  # without a commit the server rolls back


def _call_driver(call: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """Return the result of a call to the driver.

    Raises:
        DatabaseError: the call fails. It is raised outside the handler, so that its traceback does not chain the error
            of the driver, whose message may hold values.
    """
    import psycopg

    try:
        return call(*arguments, **keywords)
    except (psycopg.Error, UnicodeError, ValueError, OverflowError) as error:
        reason = _get_reason(error)
    raise DatabaseError(reason)


def _create_conninfo(url: "URL") -> str:
    from psycopg.conninfo import make_conninfo

    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    url_parts = {"user": url.username, "password": url.password, "host": url.host, "port": url.port,
             "dbname": url.database}  # fmt: skip
    explicit = {name: str(value) for name, value in url_parts.items() if value is not None}
    defaults = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": "merit"}
    return str(_call_driver(make_conninfo, "", **{**defaults, **explicit, **query}))


def _check_role(connection: "psycopg.Connection[Any]") -> None:
    """Refuse a role with rights beyond tables, because a SELECT can call every function that the role may call."""
    for name, is_super, replicates in _call_driver(
        connection.execute, ROLES_QUERY, (list(PRIVILEGED_ROLES),)
    ).fetchall():
        privilege = "a superuser" if is_super else "a role for replication" if replicates else f"of {name}"
        via = "" if name == connection.info.user or privilege.startswith("of") else f" by way of '{name}'"
        raise DatabaseError(
            f"the role '{clean_text(connection.info.user)}' is {clean_text(privilege + via)}; {ROLE_ADVICE}"
        )
    if functions := [
        name for (name,) in _call_driver(connection.execute, FUNCTIONS_QUERY, (list(PRIVILEGED_FUNCTIONS),)).fetchall()
    ]:
        raise DatabaseError(
            f"the role '{clean_text(connection.info.user)}' may call {clean_text(', '.join(functions))}; "
            "REVOKE EXECUTE ON these functions FROM PUBLIC and from it"
        )


def _declare_cursor(connection: "psycopg.Connection[Any]", sql: str) -> QueryResult:
    """Declare a cursor for a query.

    DECLARE CURSOR takes only a SELECT, and the extended protocol only one statement.
    """
    statement = f"DECLARE {CURSOR_NAME} NO SCROLL CURSOR FOR {sql}".encode()
    _call_driver(connection.execute, statement, binary=True)  # `binary` selects the extended protocol
    cursor = _call_driver(connection.execute, f"FETCH FORWARD 0 FROM {CURSOR_NAME}")
    names = [column.name for column in cursor.description or ()]
    check_column_names(names)

    def fetch_rows(row_count: int) -> list[tuple[Any, ...]]:
        return list(
            _call_driver(_call_driver(cursor.execute, f"FETCH FORWARD {row_count} FROM {CURSOR_NAME}").fetchall)
        )

    return QueryResult(names, fetch_rows)


def _get_reason(error: Exception) -> str:
    """Return the message of an error without values of rows; for an error in the data only its type."""
    import psycopg

    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None and isinstance(error, psycopg.OperationalError | psycopg.ProgrammingError):
        return clean_text(str(error))  # no row was read yet, so the message is about the connection
    if sqlstate is None:
        return f"{type(error).__name__}: a value has no counterpart in Python; CAST it in the query"
    if sqlstate.startswith(SAFE_ERROR_CLASSES):
        message = clean_text(error.diag.message_primary or type(error).__name__)  # type: ignore[attr-defined]
        return f"{message}; only one SELECT is allowed" if sqlstate in {"42601", "0A000", "25006"} else message
    return f"{type(error).__name__} ({sqlstate}): a value doesn't fit what the query asks of it"
