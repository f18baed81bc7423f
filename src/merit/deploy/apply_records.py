"""Records of applies: one annotated tag per apply on main's commit, such as flights@v3#production#7."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.deploy.environments import DeclaredEnvironment
from merit.errors import MeritError

TAG_FORMAT = "%(refname:strip=2)%00%(taggerdate:iso-strict)%00%(taggername)%00%(contents)%01"
MAX_TRIES = 3


@dataclass(frozen=True)
class Record:
    """The record of one apply.

    Attributes:
        name: the tag.
        number: the sequence number within the environment, from 1.
        version: the applied version, such as v3; None if the environment was taken down.
        at: the time of the apply, ISO 8601.
        by: the name of the tagger.
        told: the tag message's values: commit, image, package, SHA-256 of the environment's file, actions taken.
    """

    name: str
    number: int
    version: str | None
    at: str
    by: str
    told: dict[str, Any]

    @property
    def applied_at(self) -> datetime:
        """The time of the apply."""
        return datetime.fromisoformat(self.at)


def read_records(model: str, environment: str) -> list[Record]:
    """Return the records of an environment that this clone has, latest first."""
    text = git.run_git("for-each-ref", f"--format={TAG_FORMAT}", "refs/tags") or ""
    tag_pattern = re.compile(rf"{re.escape(model)}(@(v\d+))?#{re.escape(environment)}(!)?#(\d+)")
    records = []
    for entry in text.split("\x01"):
        tag, _, details = entry.strip("\n").partition("\0")
        match = tag_pattern.fullmatch(tag)
        if match and (match[2] or match[3]):  # GTO assigns a stage by flights#production#7, which is no record
            at, by, message = details.split("\0", 2)
            version = None if match[3] else match[2]
            records.append(Record(tag, int(match[4]), version, at, by, _parse_values(message)))
    return sorted(records, key=lambda each: -each.number)


def _parse_values(message: str) -> dict[str, Any]:
    try:
        values = safe_yaml.load(message.partition("\n\n")[2])
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def is_recorded(declared: DeclaredEnvironment, record: Record | None, package: str | None) -> bool:
    """Return whether the record matches the declared version, image and package."""
    environment = declared.environment
    if record is None or find_replaced_package(record, environment.version, package):
        return False
    return (record.version, record.told.get("image")) == (environment.version, environment.image)


def find_replaced_package(record: Record, version: str | None, package: str | None) -> str | None:
    """Return the recorded package of a version, if the version's tag now names a different one."""
    previous = record.told.get("package") if record.version == version else None
    return previous if isinstance(previous, str) and previous != package else None


def write_record(
    model: str, declared: DeclaredEnvironment, commit: str, actions: list[str], package: str | None = None
) -> str:
    """Record an apply and push the tag to origin, if there is one; return the tag.

    Args:
        model: the model's name.
        declared: the environment.
        commit: main's commit, whose file was applied.
        actions: the actions taken, one line each.
        package: the digest of the version's package.

    Raises:
        MeritError: origin can't be reached, or concurrent applies took the tag's name at every try; nothing is recorded
            then.
    """
    environment = declared.environment
    for _ in range(MAX_TRIES):
        history = read_records(model, declared.name)
        number = history[0].number + 1 if history else 1
        version = environment.version or (history[0].version if history else None)
        subject = f"{model}@{version}" if version else model
        name = f"{subject}#{declared.name}{'' if environment.version else '!'}#{number}"
        values = {
            "commit": commit,
            "image": environment.image,
            "package": package,
            "file": "sha256:" + artifacts.hash_file(declared.file.path),
            "done": actions,
        }
        description = (
            f"{declared.name} serves {model}@{environment.version}"
            if environment.version
            else f"{declared.name} serves nothing"
        )
        message = f"{name}: {description}\n\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"
        if not git.create_tag(name, message, commit):
            continue
        try:
            if git.push_tag(name):
                return name
        except MeritError:
            git.delete_tag(name)
            raise
        git.delete_tag(name)
        git.fetch_tags()
    raise MeritError("other applies record at the same time")
