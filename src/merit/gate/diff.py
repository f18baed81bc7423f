"""Computes and prints the effective difference from a commit: configuration, data, metrics and package.

Only Git and DVC's cache are read; nothing is downloaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from merit import artifacts, dvc, git
from merit.errors import MeritError
from merit.gate import change, output_diff
from merit.gate.output_diff import Versions
from merit.gate.report.escape import plain

SAME, NOT_HERE = "the same", "not in DVC's cache here; 'merit pull' where it is checked out brings it"


def diff(ref: str | None = None) -> dict[str, Any]:
    """Compare the locked state of the working tree with a commit.

    Args:
        ref: a branch, a tag or a commit; None for the merge base with main.

    Raises:
        MeritError: there is no such commit, or a lock can't be read.
    """
    commit, now = _commit(ref), _now()
    before = change.at(commit)
    old, new = dvc.at(commit) or {}, dvc.here() or {}
    found: dict[str, Any] = {
        "against": commit,
        "stale": _stale(),
        "config": None if before is None else change.differences(before, now),
        "rules": [] if before is None else change.rules(before, now),
        "locations": [] if before is None else change.locations(before, now),
        "data": output_diff.data(_versions(old, new, artifacts.RAW)),
        "metrics": output_diff.metrics(_versions(old, new, artifacts.METRICS)),
        "package": output_diff.package(_versions(old, new, artifacts.PACKAGE)),
    }
    parts = (found["data"], found["metrics"], found["package"])
    return found | {"differs": found["config"] != [] or any(not part["same"] for part in parts)}


def _commit(ref: str | None) -> str:
    commit = git.target_commit() if ref is None else git.resolve(ref)
    if commit is None and git.head() is None:
        raise MeritError("diff: nothing is committed yet, so there is nothing to compare with; commit first")
    if commit is None:
        raise MeritError(
            f"diff: '{ref}': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
        )
    return commit


def _now() -> dict[str, Any]:
    text = _text(artifacts.LOCK)
    if text is None:
        raise MeritError(f"{artifacts.LOCK}: not found; 'merit compose' writes it")
    return change.parsed(text, str(artifacts.LOCK), "run 'merit compose'")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise MeritError(f"{path}: not UTF-8; restore it from Git") from error


def _stale() -> str | None:
    """Return a note if params.yaml is stale; the comparison uses the locked values nevertheless."""
    from merit.config import lock
    from merit.config.compose import compose

    try:
        return f"{artifacts.LOCK} is stale; run 'merit compose'" if lock.difference(compose(touch="nothing")) else None
    except MeritError as error:
        return f"conf/ can't be composed ({plain(error, 120)}); 'merit compose' says more"


def _versions(old: Mapping[str, str], new: Mapping[str, str], path: Path) -> Versions:
    return old.get(path.as_posix()), new.get(path.as_posix())


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the difference as lines for the terminal.

    Args:
        found: the result of `diff`.
    """
    told = [f"against: {found['against'][:7]}"]
    if found["stale"]:
        told.append(f"note:    {found['stale']}")
    told += [*_config_lines(found), *_data_lines(found["data"])]
    return [*told, *_metric_lines(found["metrics"]), *_package_lines(found["package"])]


def _config_lines(found: Mapping[str, Any]) -> Iterator[str]:
    config = found["config"]
    if config is None:
        yield f"config:  no {artifacts.LOCK} there"
        return
    yield f"config:  {_keys(len(config)) if config else SAME}"
    weaker = {rule["key"] for rule in found["rules"] if rule["weaker"]}
    located = {each["key"] for each in found["locations"]}
    for each in config:
        before, after = (plain(each[side] or what) for side, what in (("before", "(not there)"), ("after", "(gone)")))
        mark = "  (weaker: the gate lets more through)" if each["key"] in weaker else ""
        mark = "  (location: check where it points)" if each["key"] in located else mark
        yield f"  {plain(each['key'])}: {before} → {after}{mark}"


def _keys(count: int) -> str:
    return "1 key differs" if count == 1 else f"{count} keys differ"


def _data_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"data:    {_sides(found, '{rows:,} rows, {columns} columns')}"
    for what, names in (found["columns"] or {}).items():
        for each in names:
            name = each if isinstance(each, str) else f"{each['column']} from {each['before']} to {each['after']}"
            yield f"  {what}: {plain(name)}"


def _metric_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"metrics: {_sides(found, '')}"
    if found["same"]:
        return
    for each in found["values"]:
        before, after = each["before"], each["after"]
        moved = f"  {after - before:+.4f}" if before is not None and after is not None else ""
        shown = " → ".join("none" if value is None else f"{value:.4f}" for value in (before, after))
        yield f"  {plain(each['metric'])}: {shown}{moved}"


def _package_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"package: {_sides(found, '{digest:.19}, {bytes:,} bytes')}"
    for what, names in (found["files"] or {}).items():
        if names:
            yield f"  {what}: {plain(', '.join(names))}"


def _sides(found: Mapping[str, Any], form: str) -> str:
    """Format both sides of a section with a format string, or say why they can't be shown."""
    before, after = found["before"], found["after"]
    if found["same"]:
        return SAME if after else "none yet, as before"
    sides = [_side(side, form, where) for side, where in ((before, "none there"), (after, "none here"))]
    if form == "" and all(side and side["here"] for side in (before, after)):
        return "of the test rows of each, not paired; 'merit gate' compares them on the same rows"
    return " → ".join(sides)


def _side(side: Mapping[str, Any] | None, form: str, where: str) -> str:
    if side is None:
        return where
    if not side["here"]:
        return f"{side['hash'][:7]} ({NOT_HERE})"
    return form.format(**side) if form else side["hash"][:7]
