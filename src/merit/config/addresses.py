"""Check addresses of databases and servers in configuration: YAML may name a location, and nothing more."""

import os
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, urlsplit

from merit.config import trusted_paths

ALLOWED_PARAMETERS = frozenset(
    {"application_name", "connect_timeout", "host", "service", "sslmode", "target_session_attrs"}
)
"""The parameters that YAML may set in a database URL; others of libpq and similar name files, credentials and
settings."""
AUTH_VARIABLE, AUTH_WITHOUT_PASSWORD = "PGREQUIREAUTH", "!password,!md5"
"""libpq's variable for the authentication methods a server may use, and its value where YAML names the server."""
DATABASE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
"""Suffixes of database files, so that no other file is written to, and no lock file is put beside one."""
HTTP_SCHEMES = ("http", "https")
"""Schemes of HTTP servers; the user in such a URL may be a token."""
FILE_SCHEMES = ("file", "sqlite")
"""Schemes of stores in files."""


def find_store_error(uri: str) -> str | None:
    """Return why configuration may not name a store: a file elsewhere, or parameters; None if it may."""
    scheme, _, rest = uri.partition("://")
    if scheme == "sqlite":
        return _find_file_error(uri, rest)
    if not rest or scheme.startswith(FILE_SCHEMES) or (parts := _split_url(uri)) is None:
        return f"found '{uri}'; allowed: sqlite:///mlflow.db, http://host:5000, or the url of a database server"
    if parts.password is not None or (scheme in HTTP_SCHEMES and parts.username is not None):
        return "holds a password; take it out, and give it in the environment, or by PGPASSWORD or ~/.pgpass"
    return find_parameter_error(name for name, _ in parse_qsl(parts.query, keep_blank_values=True))


def find_collector_error(uri: str) -> str | None:
    """Return why configuration may not name a trace collector; None if it may."""
    parts = _split_url(uri)
    if parts is not None and parts.scheme in HTTP_SCHEMES and parts.hostname and not {"@", "?"} & set(uri):
        return None
    return "is not an address over HTTP, without a user and parameters; allowed: one such as http://127.0.0.1:4318"


def _split_url(uri: str) -> SplitResult | None:
    """Return the parts of a URL; None if it is invalid."""
    try:
        parts = urlsplit(uri)
        _ = parts.port  # urlsplit checks the port only on access
    except ValueError:
        return None
    return parts if uri.isprintable() else None


def _find_file_error(uri: str, rest: str) -> str | None:
    path = rest[1:]
    # SQLAlchemy decodes percent escapes, and SQLite's own URIs have parameters.
    is_plain = not path.startswith("file:") and not any(mark in path for mark in "?%#")
    if not rest.startswith("/") or not is_plain or not path.endswith(DATABASE_SUFFIXES):
        return f"found '{uri}'; allowed: sqlite:/// and a plain path that ends in {', '.join(DATABASE_SUFFIXES)}"
    return trusted_paths.find_path_error(path)


def get_password_rule() -> dict[str, str]:
    """Return libpq's setting that refuses to send a password to a server named in YAML in a form it could reuse.

    That is neither in clear nor hashed by MD5; SCRAM only proves knowledge of it. PGREQUIREAUTH in the environment
    takes precedence.
    """
    return {} if AUTH_VARIABLE in os.environ else {"require_auth": AUTH_WITHOUT_PASSWORD}


def find_parameter_error(names: Iterable[str]) -> str | None:
    """Return why a URL's parameters may not be set by configuration; None if they may."""
    others = sorted(set(names) - ALLOWED_PARAMETERS)
    return (
        f"the url has the parameter '{others[0]}'; allowed: {', '.join(sorted(ALLOWED_PARAMETERS))}" if others else None
    )
