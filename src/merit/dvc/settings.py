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

DVC_FOLDER = Path(".dvc")
CONFIG_FILE = DVC_FOLDER / "config"
ALLOWED_FILES = frozenset({CONFIG_FILE.as_posix(), f"{DVC_FOLDER}/.gitignore"})
PLOTS_PREFIX = f"{DVC_FOLDER}/plots/"
"""Git may track these two files and plot templates in .dvc/, and nothing else."""
ALLOWED_KEYS: dict[str, frozenset[str]] = {
    "core": frozenset({"analytics", "autostage", "check_update", "checksum_jobs", "remote"}),
    "cache": frozenset({"slow_link_warning", "type", "verify"}),
}
ALLOWED_REMOTE_KEYS = frozenset(
    {"account_name", "allow_anonymous_login", "checksum_jobs", "connect_timeout", "endpointurl", "jobs", "port",
     "projectname", "read_timeout", "region", "timeout", "url", "use_ssl", "user", "verify"}
)  # fmt: skip
"""The allowed settings of a remote: its location, account name, timeouts and numbers of connections."""


def check_settings(root: Path) -> None:
    """Refuse DVC settings in Git that could do more than name the location of the data.

    Args:
        root: the folder that contains .dvc/.

    Raises:
        MeritError: there are such settings; the message names the first.
    """
    for path in (DVC_FOLDER, CONFIG_FILE):
        if (root / path).is_symlink():
            raise MeritError(
                f"{path}: is a link; it must be a plain {'folder' if path == DVC_FOLDER else 'file'} of its own"
            )
    if forbidden := next(_find_forbidden_files(root), None):
        raise MeritError(f"{forbidden}: Git tracks it, but it is for this machine alone: 'git rm --cached {forbidden}'")
    for section, key in _iterate_keys(_load_config(root / CONFIG_FILE)):
        allowed = ALLOWED_REMOTE_KEYS if section.startswith("remote.") else ALLOWED_KEYS.get(section, frozenset())
        if key not in allowed:
            raise MeritError(
                f"{CONFIG_FILE}: {section}.{key}: not allowed in a file that Git brings; move it to "
                f"{CONFIG_FILE}.local: "
                "'dvc config --local' and 'dvc remote modify --local' write there"
            )


def _find_forbidden_files(root: Path) -> Iterator[str]:
    """Yield the files in .dvc/ that Git tracks but may not."""
    listing = git.run_git("-C", str(root), "ls-files", "-z", "--", str(DVC_FOLDER)) or ""
    for name in filter(None, listing.split("\0")):
        if name not in ALLOWED_FILES and not name.startswith(PLOTS_PREFIX):
            yield name


def _load_config(file: Path) -> dict[str, Any]:
    """Read a settings file as DVC does; empty if there is none.

    Raises:
        MeritError: it is malformed.
    """
    from dvc.config import Config, ConfigError

    try:
        return Config.load_file(str(file)) if file.is_file() else {}
    except (ConfigError, SyntaxError) as error:  # SyntaxError: a value refers to a key that doesn't exist
        raise MeritError(f"{CONFIG_FILE}: can't be read; correct it, or restore it from Git") from error


def _iterate_keys(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
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
