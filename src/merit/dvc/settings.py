"""DVC's own settings that Git brings: what .dvc/config may say, and what else may lie in .dvc/.

DVC's settings can run commands, send credentials elsewhere and put files anywhere: `bearer_token_command` is run,
a `configpath` can name a `credential_process`, what lies in `core.site_cache_dir` is unpickled. A pull request may say
where the data is and how it is linked; everything else is said in .dvc/config.local, which Git does not bring.
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
"""What Git may track in .dvc/: these files, and templates of plots."""
ALLOWED: dict[str, frozenset[str]] = {
    "core": frozenset({"analytics", "autostage", "check_update", "checksum_jobs", "remote"}),
    "cache": frozenset({"slow_link_warning", "type", "verify"}),
}
REMOTE = frozenset(
    {"account_name", "allow_anonymous_login", "checksum_jobs", "connect_timeout", "endpointurl", "jobs", "port",
     "projectname", "read_timeout", "region", "timeout", "url", "use_ssl", "user", "verify"}
)  # fmt: skip
"""What may be said of a remote: where it is, and how patient one is with it."""


def check(root: Path) -> None:
    """Refuse settings of DVC's that Git brings and that could do more than say where the data is.

    Args:
        root: the folder that has .dvc/ in it.

    Raises:
        MeritError: there are such settings; the line names the first.
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
    """Yield what Git tracks in .dvc/ and may not."""
    listed = git.git("-C", str(root), "ls-files", "-z", "--", str(FOLDER)) or ""
    for name in filter(None, listed.split("\0")):
        if name not in TRACKED and not name.startswith(PLOTS):
            yield name


def _read(file: Path) -> dict[str, Any]:
    """Read a file of settings as DVC does.

    Raises:
        MeritError: it is none.
    """
    from dvc.config import Config, ConfigError

    try:
        return Config.load_file(str(file)) if file.is_file() else {}
    except (ConfigError, SyntaxError) as error:  # the second where a value refers to one that is not there
        raise MeritError(f"{CONFIG}: can't be read; correct it, or restore it from Git") from error


def _keys(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key with its section; a remote's is `remote.NAME`."""
    for section, keys in values.items():
        if not isinstance(keys, dict):
            yield "", section
            continue
        for key, value in keys.items():
            if isinstance(value, dict):
                yield from ((f"{section}.{key}", each) for each in value)
            else:
                yield section, key
