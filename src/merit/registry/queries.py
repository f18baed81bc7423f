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


def list_versions(model: str) -> list[dict[str, Any]]:
    """Return every version of a model, latest first, with its date, author, verdict, metrics, image, environments."""
    tip = git.find_main_tip() or git.get_head()
    declarations = environment_history.find_declarations(tip) if tip else {}
    return [_summarize_version(version, declarations) for version in reversed(tags.list_versions(model))]


def _summarize_version(version: Version, declarations: dict[str, list[str]]) -> dict[str, Any]:
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
        "image": _find_image(version),
        "signed": lineage.signature is not None,
        "environments": declarations.get(version.short_name, []),
    }


def _find_image(version: Version) -> str | None:
    release = release_tags.find_release(version)
    return None if release is None else release.image


def show_version(lock: Lock, name: str) -> dict[str, Any]:
    """Return one version with its complete lineage and the result of verifying its signature.

    Raises:
        MeritError: there is no such version.
    """
    version = tags.find_version(tags.complete_name(lock.name, name))
    tip = git.find_main_tip() or git.get_head()
    summary = _summarize_version(version, environment_history.find_declarations(tip) if tip else {})
    return {
        **summary,
        "lineage": version.lineage.model_dump(mode="json"),
        "signature": _describe_signature(lock, version),
    }


def _describe_signature(lock: Lock, version: Version) -> str:
    """Return the signature's status as text: verified, none, not checked, or the reason for refusal."""
    if version.lineage.signature is None:
        return "none"
    settings = lock.release.signing
    if settings.method == "none":
        return "not checked: release.signing.method is none"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / artifacts.PACKAGE.name
        try:
            tags.fetch_package(version, folder)
            signatures.verify_package(folder, version.lineage.signature, settings, is_required=True)
        except MeritError as error:
            return f"refused: {error}".replace(f"{folder}: ", "")
    return f"verified by {settings.public_key if settings.method == 'key' else settings.identity}"


def list_history(model: str, name: str | None) -> list[dict[str, Any]]:
    """Return the periods of one environment, or of all if `name` is None, latest first.

    Raises:
        MeritError: there is no such environment, no commit, or the clone is shallow.
    """
    tip = git.find_main_tip() or git.get_head()
    if tip is None:
        raise MeritError("history: nothing is committed yet")
    if git.is_shallow():
        raise MeritError("history: main's history is cut off here; 'git fetch --unshallow --tags' brings it")
    names = [name] if name is not None else sorted(environment_history.read_environments(tip))
    periods = [(period, each) for each in names for period in environment_history.load_history(each, tip)]
    periods.sort(key=lambda each: each[0].since, reverse=True)
    return [_format_period(model, each, period) for period, each in periods]


def _format_period(model: str, name: str, period: Period) -> dict[str, Any]:
    values = asdict(period)
    return {
        "environment": name,
        **values,
        "version": f"{period.model or model}@{period.version}" if period.version else None,
        "since": period.since.isoformat(),
        "until": period.until.isoformat() if period.until else None,
    }


def compare_metrics(before: Version, after: Version) -> list[dict[str, Any]]:
    """Return the metrics of two versions side by side; each version was measured on its own test rows."""
    old, new = before.lineage.metrics, after.lineage.metrics
    return [{"metric": name, "before": old.get(name), "after": new.get(name)} for name in dict.fromkeys([*new, *old])]


def compare_hashes(before: Version, after: Version) -> dict[str, dict[str, Any]]:
    """Return the hashes of data, parameters, package and commit of two versions, and whether they are equal."""
    keys = ("data", "data_fingerprint", "params", "package", "commit")
    lineages = [version.lineage.model_dump(mode="json") for version in (before, after)]
    return {
        key: {"same": lineages[0][key] == lineages[1][key], "before": lineages[0][key], "after": lineages[1][key]}
        for key in keys
    }
