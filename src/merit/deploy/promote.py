"""promote: copies the version and the image of one environment into another's file; all other bytes stay the same."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from merit import artifacts, git, safe_yaml
from merit.config.schema import Lock
from merit.config.schema.environment import Environment
from merit.deploy import environments
from merit.deploy.environments import Declared
from merit.errors import MeritError
from merit.registry import release_tags, tags

NUMBER = re.compile(r"(?:[a-z][a-z0-9_-]*@)?(v[1-9][0-9]*)")


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        declared: the edited environment, as it was before.
        version: the promoted version, such as v3.
        changed: the previous and the new value by key (version, image); empty if nothing changed.
    """

    declared: Declared
    version: str
    changed: dict[str, tuple[Any, Any]]


def promote(source: str, name: str, lock: Lock) -> Promotion:
    """Write the version and image of `source` into the file of the environment `name`.

    Args:
        source: an environment, or a version: v3, flights@v3.
        name: the environment to edit.
        lock: the configuration.

    Raises:
        MeritError: there is no such environment or version, or the source declares no version.
    """
    declared = environments.read(name, is_edited=True)
    version, image = _named(source, lock)
    told, file = declared.environment, environments.path(name)
    pairs = {"version": (told.version, version), "image": (told.image, image)}
    changed = {key: (former, value) for key, (former, value) in pairs.items() if former != value}
    if changed:
        text = file.read_bytes().decode()  # read_text() would convert the line endings
        for key, (_, value) in changed.items():
            text = _with(text, key, value)
        wanted = told.model_copy(update={"version": version, "image": image})
        if Environment.model_validate(safe_yaml.load(text)) != wanted:
            raise MeritError(f"{file}: its version and image can't be edited in their place; write 'key: value' lines")
        artifacts.write_text(file, text)
    return Promotion(declared, version, changed)


def _named(source: str, lock: Lock) -> tuple[str, str | None]:
    """Return the version and the image of a source."""
    if told := NUMBER.fullmatch(source):
        tags.own_name(lock.name, source)
        return told[1], _image(lock, told[1])
    found = environments.read(source)
    if found.environment.version is None:
        raise MeritError(f"{found.file.path}: version: null, so there is nothing to promote; give it a version first")
    return found.environment.version, found.environment.image or _image(lock, found.environment.version)


def _image(lock: Lock, number: str) -> str | None:
    """Return the image of a version, or None if it has none; environments that run no images record it too.

    Raises:
        MeritError: there is no such version.
    """
    release = release_tags.find(tags.find(f"{lock.name}@{number}"))
    return None if release is None else release.image


def _with(text: str, key: str, value: str | None) -> str:
    """Return the YAML text with the value of a top-level key replaced or added; all other bytes stay the same."""
    written = "null" if value is None else value
    root = safe_yaml.compose(text)
    for name, node in _pairs(root):
        if name == key:
            start, end = node.start_mark.index, node.end_mark.index
            gap = " " if start == end else ""
            return f"{text[:start].rstrip(' ') if gap else text[:start]}{gap}{written}{text[end:]}"
    first = root.start_mark.index if root is not None else len(text)
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:first]}{key}: {written}{end}{text[first:]}"


def _pairs(root: Any) -> Iterator[tuple[str, Any]]:
    for name, node in root.value if isinstance(root, yaml.MappingNode) else []:
        yield name.value, node


def following(made: Promotion) -> list[str]:
    """Return the next commands: those that push a branch for a pull request or, without an origin, apply locally."""
    name, file = made.declared.name, made.declared.file.path
    branch, commit = f"{name}-{made.version}", f"git commit --message '{name}: {made.version}' {file}"
    if git.has_origin():
        then = [f"git switch --create {branch} && {commit}", f"git push --set-upstream origin {branch}"]
        return [f"merit plan {name}", *then]
    here = git.git("branch", "--show-current")
    merge = [] if here == "main" else [f"git switch main && git merge {here}"]
    return [f"merit plan {name}", commit, *merge, f"merit apply {name}"]
