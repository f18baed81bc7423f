"""Restores outputs as dvc.lock names them: downloads what the cache lacks, checks it, and checks it out."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from merit.dvc import cache, remote
from merit.dvc.repository import LOCK_FILE, check_repository, get_output_path, list_files
from merit.errors import MeritError, Refused

if TYPE_CHECKING:
    from dvc.dependency import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

MAX_DISPLAYED_NAMES = 3
UNSAVED_TEXT = "unsaved files"
"""The text by which DVC's error about files without a cached copy is recognised: its type is DVC's general one."""


def restore_all(repo: "Repo") -> int:
    """Download and check out every output; return the number of outputs.

    Raises:
        Refused: a local change that no cache holds would be lost.
        MeritError: dvc.lock names no outputs, one is neither in the cache nor in the remote, or a check refuses it.
    """
    if not (outs := _list_cached_outputs(repo)):
        raise MeritError(f"{LOCK_FILE}: names no outputs; 'merit run' makes them")
    if missing := _find_missing(repo, outs):
        _fetch_all(repo, missing)
        if missing := _find_missing(repo, missing):
            names = _format_names(missing)
            raise MeritError(f"DVC's remote lacks {names} (named by {LOCK_FILE}); 'dvc push' where it was made")
    _check_out(repo, outs)
    return len(outs)


def _fetch_all(repo: "Repo", missing: "list[Output]") -> None:
    try:
        remote.fetch_objects(repo, _map_paths(missing))
    except remote.RemoteUnreachable as error:
        advice = "'merit run' computes what the pipeline makes"
        raise remote.RemoteUnreachable(f"{_format_names(missing)} (named by {LOCK_FILE}): {error}; {advice}") from error


def restore_current(repo: "Repo", log: Callable[[str], object]) -> None:
    """Restore the missing outputs of up-to-date stages, so that they need not run.

    Outputs that can't be downloaded are reported by `log` and left to be computed.

    Raises:
        MeritError: a check refuses an output.
    """
    outs = _list_cached_outputs(repo)
    if all(out.exists for out in outs) and not _find_missing(repo, outs):
        return
    stages = _find_current_stages(repo)
    current_outs = [out for out in outs if out.stage in stages]
    unavailable = _fetch_available(repo, _find_missing(repo, current_outs), log)
    _check_out(repo, [out for out in current_outs if out not in unavailable and not out.exists])


def _fetch_available(repo: "Repo", missing: "list[Output]", log: Callable[[str], object]) -> "list[Output]":
    """Download outputs that the cache lacks, and report the result; return those that are not available."""
    if not missing:
        return []
    try:
        remote.fetch_objects(repo, _map_paths(missing))
    except remote.RemoteUnreachable as error:
        log(f"note:    {_format_names(missing)} (named by {LOCK_FILE}): {error}; computed here")
        return missing
    if unavailable := _find_missing(repo, missing):
        log(f"note:    DVC's remote lacks {_format_names(unavailable)} (named by {LOCK_FILE}); computed here")
    if fetched := [out for out in missing if out not in unavailable]:
        log(f"pulled:  {_format_names(fetched)} (named by {LOCK_FILE})")
    return unavailable


def _list_cached_outputs(repo: "Repo") -> "list[Output]":
    """Return the outputs with a hash in dvc.lock or a .dvc file, except those with `cache: false`."""
    return [out for out in repo.index.outs if out.use_cache and out.hash_info]


def _check_out(repo: "Repo", outs: "Collection[Output]") -> None:
    from dvc.exceptions import DvcException

    check_repository(repo)  # again, now that the cache has the downloaded listings
    if not outs:
        return  # DVC takes an empty list of targets as all of them
    try:
        repo.checkout(targets=[out.fs_path for out in outs])
    except ImportError as error:  # DVC loads the remote's library even if it needs no remote
        raise MeritError(f"DVC's remote can't be used ({error})") from error
    except DvcException as error:
        if UNSAVED_TEXT not in str(error):
            raise
        names = ", ".join(Path(line).name for line in str(error).splitlines()[1 : MAX_DISPLAYED_NAMES + 1])
        raise Refused(f"{names}: changed here, and in no cache; move or remove it, then run this again") from error


def _find_missing(repo: "Repo", outs: "Collection[Output]") -> "list[Output]":
    """Return the outputs that DVC's cache lacks entirely or in part."""
    cache_folder = Path(repo.cache.local.path)

    def is_cached(out: "Output") -> bool:
        files = [md5 for _, md5 in list_files(out, repo)]
        has_object = cache.locate_object(cache_folder, out.hash_info.value).is_file()
        return has_object and all(cache.locate_object(cache_folder, md5).is_file() for md5 in files)

    return [out for out in outs if not is_cached(out)]


def _map_paths(outs: "Collection[Output]") -> dict[str, str]:
    return {str(out.hash_info.value): get_output_path(out, out.repo) for out in outs}


def _format_names(outs: "Collection[Output]") -> str:
    names = sorted(get_output_path(out, out.repo) for out in outs)
    more = f" and {len(names) - MAX_DISPLAYED_NAMES} more" if len(names) > MAX_DISPLAYED_NAMES else ""
    return f"{', '.join(names[:MAX_DISPLAYED_NAMES])}{more}"


def _find_current_stages(repo: "Repo") -> "list[Stage]":
    """Return the stages that are up to date: commands, parameters and dependencies match dvc.lock."""
    import networkx as nx

    graph, current = repo.index.graph, dict["Stage", bool]()
    for stage in nx.dfs_postorder_nodes(graph):  # each stage after its upstream stages
        upstream_stages = list(graph.successors(stage))
        upstream_outputs = {out.fs_path: out for each in upstream_stages for out in each.outs}
        changed = stage.changed_stage() or any(_is_changed(dep, upstream_outputs) for dep in stage.deps)
        current[stage] = not changed and all(current[each] for each in upstream_stages)
    return [stage for stage, is_current in current.items() if is_current]


def _is_changed(dep: "Dependency", upstream: "dict[str, Output]") -> bool:
    """Return whether a dependency differs from dvc.lock.

    A dependency that is another stage's output is compared by the hashes in dvc.lock, since the file may be missing.
    """
    if (out := upstream.get(dep.fs_path)) is not None:
        return bool(dep.hash_info != out.hash_info)
    if any(dep.fs.isin(dep.fs_path, path) or dep.fs.isin(path, dep.fs_path) for path in upstream):
        return False  # part of an output, or a folder that contains one: decided by the upstream stage
    return bool(dep.workspace_status())
