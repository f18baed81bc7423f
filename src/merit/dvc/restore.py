"""Restores outputs as dvc.lock names them: downloads what the cache lacks, checks it, and checks it out."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from merit.dvc import cache, remote
from merit.dvc.repo import LOCK, check, named, path_of
from merit.errors import MeritError, Refused

if TYPE_CHECKING:
    from dvc.dependency import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

SHOWN = 3
UNSAVED = "unsaved files"
"""The text by which DVC's error about files without a cached copy is recognised."""


def everything(repo: "Repo") -> int:
    """Download and check out every output; return the number of outputs.

    Raises:
        Refused: a local change that no cache holds would be lost.
        MeritError: dvc.lock names no outputs, one is neither in the cache nor in the remote, or a check refuses it.
    """
    if not (outs := _cached(repo)):
        raise MeritError(f"{LOCK}: names no outputs; 'merit run' makes them")
    if missing := _missing(repo, outs):
        _bring_all(repo, missing)
        if missing := _missing(repo, missing):
            names = _names(missing)
            raise MeritError(f"DVC's remote lacks {names} (named by {LOCK}); 'dvc push' where it was made")
    _check_out(repo, outs)
    return len(outs)


def _bring_all(repo: "Repo", missing: "list[Output]") -> None:
    try:
        remote.bring(repo, _wanted(missing))
    except remote.Unreachable as error:
        advice = "'merit run' computes what the pipeline makes"
        raise remote.Unreachable(f"{_names(missing)} (named by {LOCK}): {error}; {advice}") from error


def current(repo: "Repo", tell: Callable[[str], object]) -> None:
    """Restore the missing outputs of up-to-date stages, so that they need not run.

    Outputs that can't be downloaded are reported by `tell` and left to be computed.

    Raises:
        MeritError: a check refuses an output.
    """
    outs = _cached(repo)
    if all(out.exists for out in outs) and not _missing(repo, outs):
        return
    stages = _current(repo)
    wanted = [out for out in outs if out.stage in stages]
    absent = _bring(repo, _missing(repo, wanted), tell)
    _check_out(repo, [out for out in wanted if out not in absent and not out.exists])


def _bring(repo: "Repo", missing: "list[Output]", tell: Callable[[str], object]) -> "list[Output]":
    """Download outputs that the cache lacks, and report the result; return those that are not available."""
    if not missing:
        return []
    try:
        remote.bring(repo, _wanted(missing))
    except remote.Unreachable as error:
        tell(f"note:    {_names(missing)} (named by {LOCK}): {error}; computed here")
        return missing
    if absent := _missing(repo, missing):
        tell(f"note:    DVC's remote lacks {_names(absent)} (named by {LOCK}); computed here")
    if brought := [out for out in missing if out not in absent]:
        tell(f"pulled:  {_names(brought)} (named by {LOCK})")
    return absent


def _cached(repo: "Repo") -> "list[Output]":
    """Return the outputs with a hash in dvc.lock or a .dvc file, except those with `cache: false`."""
    return [out for out in repo.index.outs if out.use_cache and out.hash_info]


def _check_out(repo: "Repo", outs: "Collection[Output]") -> None:
    from dvc.exceptions import DvcException

    check(repo)  # again, now that the cache has the downloaded listings
    if not outs:
        return  # DVC takes an empty list of targets as all of them
    try:
        repo.checkout(targets=[out.fs_path for out in outs])
    except ImportError as error:  # DVC loads the remote's library even if it needs no remote
        raise MeritError(f"DVC's remote can't be used ({error})") from error
    except DvcException as error:
        if UNSAVED not in str(error):
            raise
        names = ", ".join(Path(line).name for line in str(error).splitlines()[1 : SHOWN + 1])
        raise Refused(f"{names}: changed here, and in no cache; move or remove it, then run this again") from error


def _missing(repo: "Repo", outs: "Collection[Output]") -> "list[Output]":
    """Return the outputs that DVC's cache lacks entirely or in part."""
    store = Path(repo.cache.local.path)

    def is_there(out: "Output") -> bool:
        files = [md5 for _, md5 in named(out, repo)]
        whole = cache.path_in(store, out.hash_info.value).is_file()
        return whole and all(cache.path_in(store, md5).is_file() for md5 in files)

    return [out for out in outs if not is_there(out)]


def _wanted(outs: "Collection[Output]") -> dict[str, str]:
    return {str(out.hash_info.value): path_of(out, out.repo) for out in outs}


def _names(outs: "Collection[Output]") -> str:
    names = sorted(path_of(out, out.repo) for out in outs)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _current(repo: "Repo") -> "list[Stage]":
    """Return the stages that are up to date: commands, parameters and dependencies match dvc.lock."""
    import networkx as nx

    graph, current = repo.index.graph, dict["Stage", bool]()
    for stage in nx.dfs_postorder_nodes(graph):  # each stage after its upstream stages
        before = list(graph.successors(stage))
        upstream = {out.fs_path: out for each in before for out in each.outs}
        changed = stage.changed_stage() or any(_is_changed(dep, upstream) for dep in stage.deps)
        current[stage] = not changed and all(current[each] for each in before)
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
