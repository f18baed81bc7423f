"""Data behind `merit registry list`, `show`, `history` and `diff`: versions in Git as plain values, printed by cli."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from merit import artifacts, git
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import environment_history, release_tags, tags
from merit.registry.environment_history import Period
from merit.registry.tags import Version
from merit.signing import signatures


def listed(model: str) -> list[dict[str, Any]]:
    """Return every version of a model, latest first, with its date, author, verdict, metrics, image, environments."""
    tip = git.main() or git.head()
    roles = environment_history.roles(tip) if tip else {}
    return [_line(version, roles) for version in reversed(tags.versions(model))]


def _line(version: Version, roles: dict[str, list[str]]) -> dict[str, Any]:
    lineage = version.lineage
    return {
        "version": version.name,
        "tagged_at": version.tagged_at.isoformat(),
        "by": version.tagger,
        "commit": version.commit,
        "verdict": lineage.verdict,
        "checks": lineage.checks,
        "waived": lineage.waived,
        "metrics": lineage.metrics,
        "image": _image(version),
        "signed": lineage.signature is not None,
        "environments": roles.get(version.short_name, []),
    }


def _image(version: Version) -> str | None:
    found = release_tags.find(version)
    return None if found is None else found.image


def shown(lock: Lock, name: str) -> dict[str, Any]:
    """Return one version with its complete lineage and the result of verifying its signature.

    Raises:
        MeritError: there is no such version.
    """
    version = tags.find(tags.whole_name(lock.name, name))
    tip = git.main() or git.head()
    line = _line(version, environment_history.roles(tip) if tip else {})
    return {**line, "lineage": version.lineage.model_dump(mode="json"), "signature": _verified(lock, version)}


def _verified(lock: Lock, version: Version) -> str:
    """Return the signature's status as text: verified, none, not checked, or the reason for refusal."""
    if version.lineage.signature is None:
        return "none"
    how = lock.release.signing
    if how.method == "none":
        return "not checked: release.signing.method is none"
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / artifacts.PACKAGE.name
        try:
            tags.fetch_package(version, folder)
            signatures.verify(folder, version.lineage.signature, how, demanded=True)
        except MeritError as error:
            return f"refused: {error}".replace(f"{folder}: ", "")
    return f"verified by {how.public_key if how.method == 'key' else how.identity}"


def history(model: str, name: str | None) -> list[dict[str, Any]]:
    """Return the periods of one environment, or of all if `name` is None, latest first.

    Raises:
        MeritError: there is no such environment, no commit, or the clone is shallow.
    """
    tip = git.main() or git.head()
    if tip is None:
        raise MeritError("history: nothing is committed yet")
    if git.is_shallow():
        raise MeritError("history: main's history is cut off here; 'git fetch --unshallow --tags' brings it")
    names = [name] if name is not None else sorted(environment_history.declared(tip))
    found = [(period, each) for each in names for period in environment_history.history(each, tip)]
    found.sort(key=lambda each: each[0].since, reverse=True)
    return [_period(model, each, period) for period, each in found]


def _period(model: str, name: str, period: Period) -> dict[str, Any]:
    values = asdict(period)
    return {
        "environment": name,
        **values,
        "version": f"{period.model or model}@{period.version}" if period.version else None,
        "since": period.since.isoformat(),
        "until": period.until.isoformat() if period.until else None,
    }


def metrics(before: Version, after: Version) -> list[dict[str, Any]]:
    """Return the metrics of two versions side by side; each version was measured on its own test rows."""
    old, new = before.lineage.metrics, after.lineage.metrics
    return [{"metric": name, "before": old.get(name), "after": new.get(name)} for name in dict.fromkeys([*new, *old])]


def hashes(before: Version, after: Version) -> dict[str, dict[str, Any]]:
    """Return the hashes of data, parameters, package and commit of two versions, and whether they are equal."""
    keys = ("data", "data_fingerprint", "params", "package", "commit")
    sides = [version.lineage.model_dump(mode="json") for version in (before, after)]
    return {
        key: {"same": sides[0][key] == sides[1][key], "before": sides[0][key], "after": sides[1][key]} for key in keys
    }
