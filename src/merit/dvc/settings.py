"""Checks DVC's settings in Git: which keys .dvc/config may have, and which files .dvc/ may contain.

DVC's settings can run commands, send credentials to other servers and write files anywhere: `bearer_token_command` is
executed, a `configpath` can name a `credential_process`, files in `core.site_cache_dir` are unpickled. A pull request
may set where the data is and how it is linked; all other settings belong in .dvc/config.local, which Git doesn't track.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from merit import git
from merit.errors import MeritError

FOLDER = Path(".dvc")
CONFIG = FOLDER / "config"
TRACKED = frozenset({CONFIG.as_posix(), f"{FOLDER}/.gitignore"})
PLOTS = f"{FOLDER}/plots/"
"""Git may track these two files and plot templates in .dvc/, and nothing else."""
ALLOWED: dict[str, frozenset[str]] = {
    "core": frozenset({"analytics", "autostage", "check_update", "checksum_jobs", "remote"}),
    "cache": frozenset({"slow_link_warning", "type", "verify"}),
}
REMOTE = frozenset(
    {"account_name", "allow_anonymous_login", "checksum_jobs", "connect_timeout", "endpointurl", "jobs", "port",
     "projectname", "read_timeout", "region", "timeout", "url", "use_ssl", "user", "verify"}
)  # fmt: skip
"""The allowed settings of a remote: its location, account name, timeouts and numbers of connections."""


def check(root: Path) -> None:
    """Refuse DVC settings in Git that could do more than name the location of the data.

    Args:
        root: the folder that contains .dvc/.

    Raises:
        MeritError: there are such settings; the message names the first.
    """
    for path in (FOLDER, CONFIG):
        if (root / path).is_symlink():
            raise MeritError(
                f"{path}: is a link; it must be a plain {'folder' if path == FOLDER else 'file'} of its own"
            )
    if other := next(_tracked(root), None):
        raise MeritError(f"{other}: Git tracks it, but it is for this machine alone: 'git rm --cached {other}'")
    for section, key in _keys(_read(root / CONFIG)):
        allowed = REMOTE if section.startswith("remote.") else ALLOWED.get(section, frozenset())
        if key not in allowed:
            raise MeritError(
                f"{CONFIG}: {section}.{key}: not allowed in a file that Git brings; move it to {CONFIG}.local: "
                "'dvc config --local' and 'dvc remote modify --local' write there"
            )


def _tracked(root: Path) -> Iterator[str]:
    """Yield the files in .dvc/ that Git tracks but may not."""
    listed = git.git("-C", str(root), "ls-files", "-z", "--", str(FOLDER)) or ""
    for name in filter(None, listed.split("\0")):
        if name not in TRACKED and not name.startswith(PLOTS):
            yield name


def _read(file: Path) -> dict[str, Any]:
    """Read a settings file as DVC does; empty if there is none.

    Raises:
        MeritError: it is malformed.
    """
    from dvc.config import Config, ConfigError

    try:
        return Config.load_file(str(file)) if file.is_file() else {}
    except (ConfigError, SyntaxError) as error:  # SyntaxError: a value refers to a key that doesn't exist
        raise MeritError(f"{CONFIG}: can't be read; correct it, or restore it from Git") from error


def _keys(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each section and key; the section of a remote is `remote.NAME`."""
    for section, keys in values.items():
        if not isinstance(keys, dict):
            yield "", section
            continue
        for key, value in keys.items():
            if isinstance(value, dict):
                yield from ((f"{section}.{key}", each) for each in value)
            else:
                yield section, key
