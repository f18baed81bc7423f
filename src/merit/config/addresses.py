"""Addresses that configuration names: of databases and servers. YAML may say where they are, and no more."""

import os
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, urlsplit

from merit.config import paths

PARAMETERS = frozenset({"application_name", "connect_timeout", "host", "service", "sslmode", "target_session_attrs"})
"""What the URL of a database may set in YAML; the others of libpq and its like name files, credentials and settings."""
REQUIRED, NO_PASSWORD = "PGREQUIREAUTH", "!password,!md5"
"""The variable by which libpq is told how a server may ask for a password, and what it is told where YAML names it."""
ENDINGS = (".db", ".sqlite", ".sqlite3")
"""How the file of a store is called: none of another use is written to, nor a lock of that name beside it."""
HTTP = ("http", "https")
"""Schemes of servers; a user that stands in the URL of one may be a token."""
FILES = ("file", "sqlite")
"""Schemes of what is kept in a file."""


def store_refusal(uri: str) -> str | None:
    """Return why configuration alone may not name a store: a file elsewhere, or parameters; None if it may."""
    scheme, _, rest = uri.partition("://")
    if scheme == "sqlite":
        return _file_refusal(uri, rest)
    if not rest or scheme.startswith(FILES) or (parts := _parts(uri)) is None:
        return f"found '{uri}'; allowed: sqlite:///mlflow.db, http://host:5000, or the url of a database server"
    if parts.password is not None or (scheme in HTTP and parts.username is not None):
        return "holds a password; take it out, and give it in the environment, or by PGPASSWORD or ~/.pgpass"
    return parameter_refusal(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))


def collector_refusal(uri: str) -> str | None:
    """Return why configuration alone may not name where traces are sent; None if it may."""
    parts = _parts(uri)
    if parts is not None and parts.scheme in HTTP and parts.hostname and not {"@", "?"} & set(uri):
        return None
    return "is not an address over HTTP, without a user and parameters; allowed: one such as http://127.0.0.1:4318"


def _parts(uri: str) -> SplitResult | None:
    """Return the parts of a URL; None if it is none."""
    try:
        parts = urlsplit(uri)
        _ = parts.port  # it is read only when it is asked for
    except ValueError:
        return None
    return parts if uri.isprintable() else None


def _file_refusal(uri: str, rest: str) -> str | None:
    path = rest[1:]
    # SQLAlchemy decodes what is encoded, and SQLite's own URIs have parameters.
    is_plain = not path.startswith("file:") and not any(mark in path for mark in "?%#")
    if not rest.startswith("/") or not is_plain or not path.endswith(ENDINGS):
        return f"found '{uri}'; allowed: sqlite:/// and a plain path that ends in {', '.join(ENDINGS)}"
    return paths.refusal(path)


def password_rule() -> dict[str, str]:
    """Return what libpq is told of passwords where YAML names the server: none that it could use again is given.

    Neither in clear nor hashed by MD5; SCRAM proves that one knows it. PGREQUIREAUTH in the environment comes first.
    """
    return {} if REQUIRED in os.environ else {"require_auth": NO_PASSWORD}


def parameter_refusal(names: Iterable[str]) -> str | None:
    """Return which parameter of a URL configuration alone may not set; None if there is none."""
    others = sorted(set(names) - PARAMETERS)
    return f"the url has the parameter '{others[0]}'; allowed: {', '.join(sorted(PARAMETERS))}" if others else None
