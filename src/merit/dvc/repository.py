"""Opens DVC's repository after checking that files from Git can't make DVC write, read or run anything unexpected.

The checks run on DVC's own view of dvc.yaml, dvc.lock and *.dvc, so that no difference in parsing can bypass them.
`cmd` in dvc.yaml is code, and is reviewed as code; these checks also protect users who only pull and run nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as memoize
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from merit import git, safe_yaml
from merit.console import logging
from merit.dvc import cache, dvc_adapter, limits, lockfile, settings
from merit.dvc import paths as dvc_paths
from merit.errors import MeritError

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

LOCK_FILE = "dvc.lock"
TOP_LEVEL_FILES, FILE_PATTERNS = (LOCK_FILE, "dvc.yaml"), ("*.dvc", "*dvc.lock", "*dvc.yaml")
"""The files that DVC reads in the project's folder, and those that it reads in any folder."""
MAX_DVC_FILE_BYTES = 100_000
"""The most bytes that a .dvc file may have."""
DVC_ADD_KEYS = frozenset({"desc", "hash", "labels", "md5", "meta", "nfiles", "path", "size", "type"})
"""The keys that `dvc add` writes for an output in a .dvc file."""


@contextmanager
def open_checked() -> Iterator["Repo"]:
    """Yield DVC's repository after all checks.

    Raises:
        MeritError: a check failed; the message names the output, the listing or the setting.
        DvcException: there is no DVC repository, or DVC can't read it.
    """
    from dvc.repo import Repo

    logging.adopt_dvc_loggers()
    root = Path(Repo.find_root())
    settings.check_settings(root)
    _check_files(root)
    with dvc_adapter.open_repository() as repo:
        check_repository(repo)
        yield repo


def check_repository(repo: "Repo") -> None:
    """Check everything that DVC would check out or remove, given the current content of its cache.

    Raises:
        MeritError: an output, a dependency or a listing is not allowed.
    """
    for stage in repo.index.stages:
        _check_stage(stage, repo)
    outs, is_link = list(repo.index.outs), memoize(os.path.islink)
    if path := dvc_paths.find_clash([get_output_path(out, repo) for out in outs]):
        raise MeritError(f"{path}: is the output of two stages, or lies in one of another; name it in one")
    _check_tracked([get_output_path(out, repo) for out in outs if out.use_cache], repo)
    allowed, sizes, count = limits.read_limits(), dict[str, int](), 0
    for out in outs:
        for path, md5 in [(get_output_path(out, repo), ""), *list_files(out, repo)]:
            if (link := _find_link(path, repo, is_link)) is not None:
                raise MeritError(
                    f"{link}: is a link, and the output {get_output_path(out, repo)} would be written through it"
                )
            if md5:
                sizes[md5] = _get_cached_size(repo, md5)
                count += 1
    allowed.check_files(count, LOCK_FILE)
    allowed.check_bytes(sum(sizes.values()), LOCK_FILE)


def list_files(out: "Output", repo: "Repo") -> Iterator[tuple[str, str]]:
    """Yield the path and the hash of each file of an output, but not of the folder itself.

    A folder yields nothing if the cache lacks its listing.

    Raises:
        MeritError: the cached listing is not allowed.
    """
    path, md5 = get_output_path(out, repo), out.hash_info.value if out.hash_info else None
    if md5 is None or not out.hash_info.isdir:
        yield from [] if md5 is None else [(path, md5)]
        return
    listing = cache.read_listing(Path(repo.cache.local.path), md5, path) or {}
    yield from ((f"{path}/{name}", each) for name, each in listing.items())


def get_output_path(out: "Output", repo: "Repo") -> str:
    """Return the path of an output relative to the project's root."""
    return PurePosixPath(os.path.relpath(out.fs_path, repo.root_dir)).as_posix()


def _get_cached_size(repo: "Repo", md5: str) -> int:
    try:
        return cache.locate_object(Path(repo.cache.local.path), md5).stat().st_size
    except OSError:
        return 0


def _check_files(root: Path) -> None:
    """Check the files that DVC reads, before DVC reads them.

    Raises:
        MeritError: a file is a link or too long, or a .dvc file was not written by `dvc add`.
    """
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FILE_PATTERNS)
    listing = git.run_git("-C", str(root), *arguments)
    candidates = filter(None, listing.split("\0")) if listing else (path.name for path in root.glob("*.dvc"))
    for name in sorted({*TOP_LEVEL_FILES, *candidates} - {".dvc"}):
        file = root / name
        if file.is_symlink():
            raise MeritError(f"{name}: is a link; it must be a plain file")
        max_bytes = MAX_DVC_FILE_BYTES if file.suffix == ".dvc" else lockfile.MAX_LOCK_CHARACTERS
        if file.is_file() and file.stat().st_size > max_bytes:
            raise MeritError(f"{name}: longer than {max_bytes:,} bytes; restore it from Git")
        if file.suffix == ".dvc" and file.is_file():
            _check_dvc_file(file, name)


def _check_dvc_file(file: Path, name: str) -> None:
    """Check that a .dvc file was written by `dvc add`: imports would read from other repositories and servers.

    Raises:
        MeritError: it has other keys, or is malformed.
    """
    try:
        safe_yaml.check_limits(text := file.read_text(encoding="utf-8"))
        values: Any = yaml.load(text, getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
        unknown_keys = chain(
            set(values) - {"outs", "desc", "meta"}, *(set(out) - DVC_ADD_KEYS for out in values["outs"])
        )
        unknown_key = next(iter(unknown_keys), None)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MeritError(f"{name}: no file of 'dvc add'; restore it from Git, or remove it") from error
    if unknown_key is not None:
        raise MeritError(
            f"{name}: has {dvc_paths.escape_path(unknown_key)}, and only what 'dvc add' writes is allowed; an import "
            "reads from elsewhere: bring the file, then 'dvc add' it"
        )


def _check_stage(stage: "Stage", repo: "Repo") -> None:
    """Check a stage's paths: outputs by all rules of `names`, dependencies for lying in the project.

    Raises:
        MeritError: a path is not allowed.
    """
    if Path(stage.wdir) != Path(stage.path).parent:
        raise MeritError(f"{stage.addressing}: has a wdir; leave it away, and write paths from where dvc.yaml is")
    if stage.cmd is None and stage.deps:
        raise MeritError(f"{stage.addressing}: an import; bring the file, then 'dvc add' it")
    for out in stage.outs:
        if reason := _find_fault(out, repo):
            raise MeritError(f"{stage.addressing}: its output {dvc_paths.escape_path(str(out.def_path))} {reason}")
    for dep in stage.deps:
        if dep.protocol != "local" or not dep.is_in_repo or _is_internal_path(get_output_path(dep, repo)):
            raise MeritError(
                f"{stage.addressing}: its dependency {dvc_paths.escape_path(str(dep.def_path))} is not a file of the "
                "project; "
                "data from elsewhere is what data.source in conf/ is for"
            )


def _find_fault(out: "Output", repo: "Repo") -> str:
    """Return the problem with an output or its entry in dvc.lock; empty if there is none."""
    if out.protocol != "local" or not out.is_in_repo:
        return "lies outside of the project"
    if reason := dvc_paths.find_fault(get_output_path(out, repo)):
        return reason
    if out.files is not None:
        return "has its files listed in dvc.lock, which is for versions in a cloud; 'dvc commit' makes one hash of them"
    if not out.hash_info:
        return ""
    if out.hash_name != "md5":
        return "has a hash of DVC 2; 'dvc commit --force' makes one of DVC 3"
    return "" if lockfile.HASH_PATTERN.fullmatch(str(out.hash_info.value)) else "has an invalid hash in dvc.lock"


def _is_internal_path(path: str) -> bool:
    return {".git", ".dvc"} & {part.casefold() for part in path.split("/")} != set()


def _check_tracked(paths: list[str], repo: "Repo") -> None:
    """Refuse outputs that Git tracks too: checking them out would overwrite reviewed files.

    Raises:
        MeritError: Git tracks an output.
    """
    if paths and (tracked := git.run_git("-C", repo.root_dir, "--literal-pathspecs", "ls-files", "-z", "--", *paths)):
        name = tracked.split("\0")[0]
        raise MeritError(f"{name}: Git tracks it, but it is an output of DVC's: 'git rm --cached {name}', or rename it")


def _find_link(path: str, repo: "Repo", is_link: Any) -> str | None:
    """Return the first component of a path that is a symbolic link, None if there is none.

    The file itself may link into DVC's cache: with `cache.type = symlink` DVC checks files out that way.
    """
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        part = os.path.join(repo.root_dir, *parts[:count])  # noqa: PTH118  # called for every file: os.path.join is faster
        if is_link(part) and not (count == len(parts) and _is_cache_link(part, repo)):
            return "/".join(parts[:count])
    return None


def _is_cache_link(link: str, repo: "Repo") -> bool:
    return Path(link).resolve().is_relative_to(Path(repo.cache.local.path).resolve())
