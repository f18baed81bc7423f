"""Records of applies: one annotated tag per apply on main's commit, such as flights@v3#production#7."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.deploy.environments import Declared
from merit.errors import MeritError

FORM = "%(refname:strip=2)%00%(taggerdate:iso-strict)%00%(taggername)%00%(contents)%01"
TRIES = 3


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
    def when(self) -> datetime:
        """The time of the apply."""
        return datetime.fromisoformat(self.at)


def read(model: str, environment: str) -> list[Record]:
    """Return the records of an environment that this clone has, latest first."""
    text = git.git("for-each-ref", f"--format={FORM}", "refs/tags") or ""
    name = re.compile(rf"{re.escape(model)}(@(v\d+))?#{re.escape(environment)}(!)?#(\d+)")
    found = []
    for entry in text.split("\x01"):
        tag, _, rest = entry.strip("\n").partition("\0")
        if told := name.fullmatch(tag):
            at, by, message = rest.split("\0", 2)
            version = None if told[3] else told[2]
            found.append(Record(tag, int(told[4]), version, at, by, _values(message)))
    return sorted(found, key=lambda each: -each.number)


def _values(message: str) -> dict[str, Any]:
    try:
        values = safe_yaml.load(message.partition("\n\n")[2])
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def is_told(declared: Declared, record: Record | None, package: str | None) -> bool:
    """Return whether the record matches the declared version, image and package."""
    told = declared.environment
    if record is None or replaced(record, told.version, package):
        return False
    return (record.version, record.told.get("image")) == (told.version, told.image)


def replaced(record: Record, version: str | None, package: str | None) -> str | None:
    """Return the recorded package of a version, if the version's tag now names a different one."""
    former = record.told.get("package") if record.version == version else None
    return former if isinstance(former, str) and former != package else None


def write(model: str, declared: Declared, commit: str, done: list[str], package: str | None = None) -> str:
    """Record an apply and push the tag to origin, if there is one; return the tag.

    Args:
        model: the model's name.
        declared: the environment.
        commit: main's commit, whose file was applied.
        done: the actions taken, one line each.
        package: the digest of the version's package.

    Raises:
        MeritError: origin can't be reached, or concurrent applies took the tag's name at every try; nothing is recorded
            then.
    """
    told = declared.environment
    for _ in range(TRIES):
        former = read(model, declared.name)
        number = former[0].number + 1 if former else 1
        version = told.version or (former[0].version if former else None)
        subject = f"{model}@{version}" if version else model
        name = f"{subject}#{declared.name}{'' if told.version else '!'}#{number}"
        values = {
            "commit": commit,
            "image": told.image,
            "package": package,
            "file": "sha256:" + artifacts.sha256(declared.file.path),
            "done": done,
        }
        words = f"{declared.name} serves {model}@{told.version}" if told.version else f"{declared.name} serves nothing"
        message = f"{name}: {words}\n\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"
        if not git.tag(name, message, commit):
            continue
        try:
            if git.push_tag(name):
                return name
        except MeritError:
            git.drop_tag(name)
            raise
        git.drop_tag(name)
        git.fetch_tags()
    raise MeritError("other applies record at the same time")
