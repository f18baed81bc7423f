"""Computes and prints the effective difference from a commit: configuration, data, metrics and package.

Only Git and DVC's cache are read; nothing is downloaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from merit import artifacts, dvc, git
from merit.errors import MeritError
from merit.gate import config_change, output_diff, rule_change
from merit.gate.output_diff import HashPair
from merit.gate.report.escape import sanitize_line

SAME, NOT_CACHED = "the same", "not in DVC's cache here; 'merit pull' where it is checked out brings it"


def diff(ref: str | None = None) -> dict[str, Any]:
    """Compare the locked state of the working tree with a commit.

    Args:
        ref: a branch, a tag or a commit; None for the merge base with main.

    Raises:
        MeritError: there is no such commit, or a lock can't be read.
    """
    commit, after = _resolve_commit(ref), _read_params()
    before = config_change.read_params_at(commit)
    old_outputs, new_outputs = dvc.read_outputs_at(commit) or {}, dvc.read_outputs() or {}
    difference: dict[str, Any] = {
        "against": commit,
        "stale": _describe_staleness(),
        "config": None if before is None else config_change.list_changed_keys(before, after),
        "rules": [] if before is None else rule_change.list_changed_rules(before, after),
        "locations": [] if before is None else config_change.list_changed_locations(before, after),
        "data": output_diff.compare_data(_pair_versions(old_outputs, new_outputs, artifacts.RAW)),
        "metrics": output_diff.compare_metrics(_pair_versions(old_outputs, new_outputs, artifacts.METRICS)),
        "package": output_diff.compare_packages(_pair_versions(old_outputs, new_outputs, artifacts.PACKAGE)),
    }
    sections = (difference["data"], difference["metrics"], difference["package"])
    return difference | {"differs": difference["config"] != [] or any(not section["same"] for section in sections)}


def _resolve_commit(ref: str | None) -> str:
    commit = git.find_target_commit() if ref is None else git.resolve_commit(ref)
    if commit is None and git.get_head() is None:
        raise MeritError("diff: nothing is committed yet, so there is nothing to compare with; commit first")
    if commit is None:
        raise MeritError(
            f"diff: '{ref}': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
        )
    return commit


def _read_params() -> dict[str, Any]:
    text = _read_text(artifacts.LOCK)
    if text is None:
        raise MeritError(f"{artifacts.LOCK}: not found; 'merit compose' writes it")
    return config_change.parse_params(text, str(artifacts.LOCK), "run 'merit compose'")


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise MeritError(f"{path}: not UTF-8; restore it from Git") from error


def _describe_staleness() -> str | None:
    """Return a note if params.yaml is stale; the comparison uses the locked values nevertheless."""
    from merit.config import lock
    from merit.config.compose import compose

    try:
        return (
            f"{artifacts.LOCK} is stale; run 'merit compose'"
            if lock.diff_lock(compose(data_access="nothing"))
            else None
        )
    except MeritError as error:
        return f"conf/ can't be composed ({sanitize_line(error, 120)}); 'merit compose' says more"


def _pair_versions(old: Mapping[str, str], new: Mapping[str, str], path: Path) -> HashPair:
    return old.get(path.as_posix()), new.get(path.as_posix())


def render_lines(difference: Mapping[str, Any]) -> list[str]:
    """Return the difference as lines for the terminal.

    Args:
        difference: the result of `diff`.
    """
    rendered = [f"against: {difference['against'][:7]}"]
    if difference["stale"]:
        rendered.append(f"note:    {difference['stale']}")
    rendered += [*_render_config(difference), *_render_data(difference["data"])]
    return [*rendered, *_render_metrics(difference["metrics"]), *_render_package(difference["package"])]


def _render_config(difference: Mapping[str, Any]) -> Iterator[str]:
    config = difference["config"]
    if config is None:
        yield f"config:  no {artifacts.LOCK} there"
        return
    yield f"config:  {_format_key_count(len(config)) if config else SAME}"
    weaker_keys = {rule["key"] for rule in difference["rules"] if rule["weaker"]}
    location_keys = {changed_key["key"] for changed_key in difference["locations"]}
    for each in config:
        before, after = (
            sanitize_line(each[side] or placeholder)
            for side, placeholder in (("before", "(not there)"), ("after", "(gone)"))
        )
        note = "  (weaker: the gate lets more through)" if each["key"] in weaker_keys else ""
        note = "  (location: check where it points)" if each["key"] in location_keys else note
        yield f"  {sanitize_line(each['key'])}: {before} → {after}{note}"


def _format_key_count(count: int) -> str:
    return "1 key differs" if count == 1 else f"{count} keys differ"


def _render_data(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"data:    {_format_sides(section, '{rows:,} rows, {columns} columns')}"
    for label, columns in (section["columns"] or {}).items():
        for column in columns:
            name = (
                column
                if isinstance(column, str)
                else f"{column['column']} from {column['before']} to {column['after']}"
            )
            yield f"  {label}: {sanitize_line(name)}"


def _render_metrics(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"metrics: {_format_sides(section, '')}"
    if section["same"]:
        return
    for metric in section["values"]:
        before, after = metric["before"], metric["after"]
        delta = f"  {after - before:+.4f}" if before is not None and after is not None else ""
        values_text = " → ".join("none" if value is None else f"{value:.4f}" for value in (before, after))
        yield f"  {sanitize_line(metric['metric'])}: {values_text}{delta}"


def _render_package(section: Mapping[str, Any]) -> Iterator[str]:
    yield f"package: {_format_sides(section, '{digest:.19}, {bytes:,} bytes')}"
    for label, names in (section["files"] or {}).items():
        if names:
            yield f"  {label}: {sanitize_line(', '.join(names))}"


def _format_sides(section: Mapping[str, Any], template: str) -> str:
    """Format both sides of a section with a format string, or say why they can't be shown."""
    before, after = section["before"], section["after"]
    if section["same"]:
        return SAME if after else "none yet, as before"
    sides = [
        _format_side(side, template, missing_text)
        for side, missing_text in ((before, "none there"), (after, "none here"))
    ]
    if template == "" and all(side and side["here"] for side in (before, after)):
        return "of the test rows of each, not paired; 'merit gate' compares them on the same rows"
    return " → ".join(sides)


def _format_side(side: Mapping[str, Any] | None, template: str, missing_text: str) -> str:
    if side is None:
        return missing_text
    if not side["here"]:
        return f"{side['hash'][:7]} ({NOT_CACHED})"
    return template.format(**side) if template else side["hash"][:7]
