"""promote: the version and the image of one environment into the file of another; nothing else is touched."""

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
    """What was written: the version and the image, before and after, by key; none if nothing was."""

    declared: Declared
    version: str
    changed: dict[str, tuple[Any, Any]]


def promote(source: str, name: str, lock: Lock) -> Promotion:
    """Write what `source` names into the file of the environment `name`.

    Args:
        source: an environment, or a version: v3, flights@v3.
        name: the environment that is edited.
        lock: the configuration.

    Raises:
        MeritError: there is no such environment or version, or the source declares none.
    """
    declared = environments.read(name, is_edited=True)
    version, image = _named(source, lock)
    told, file = declared.environment, environments.path(name)
    pairs = {"version": (told.version, version), "image": (told.image, image)}
    changed = {key: (former, value) for key, (former, value) in pairs.items() if former != value}
    if changed:
        text = file.read_bytes().decode()  # its line ends as they are
        for key, (_, value) in changed.items():
            text = _with(text, key, value)
        wanted = told.model_copy(update={"version": version, "image": image})
        if Environment.model_validate(safe_yaml.load(text)) != wanted:
            raise MeritError(f"{file}: its version and image can't be edited in their place; write 'key: value' lines")
        artifacts.write_text(file, text)
    return Promotion(declared, version, changed)


def _named(source: str, lock: Lock) -> tuple[str, str | None]:
    """Return the version and the image that a source names."""
    if told := NUMBER.fullmatch(source):
        tags.own_name(lock.name, source)
        return told[1], _image(lock, told[1])
    found = environments.read(source)
    if found.environment.version is None:
        raise MeritError(f"{found.file.path}: version: null, so there is nothing to promote; give it a version first")
    return found.environment.version, found.environment.image or _image(lock, found.environment.version)


def _image(lock: Lock, number: str) -> str | None:
    """Return the image of a version, where it has one: whoever runs no images is told it all the same.

    Raises:
        MeritError: there is no such version.
    """
    release = release_tags.find(tags.find(f"{lock.name}@{number}"))
    return None if release is None else release.image


def _with(text: str, key: str, value: str | None) -> str:
    """Return the text of a mapping with another value of a key; every other byte is as it was."""
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
    """Return the commands that turn a promotion into a pull request; without an origin, those that apply it here."""
    name, file = made.declared.name, made.declared.file.path
    branch, commit = f"{name}-{made.version}", f"git commit --message '{name}: {made.version}' {file}"
    if git.has_origin():
        then = [f"git switch --create {branch} && {commit}", f"git push --set-upstream origin {branch}"]
        return [f"merit plan {name}", *then]
    here = git.git("branch", "--show-current")
    merge = [] if here == "main" else [f"git switch main && git merge {here}"]
    return [f"merit plan {name}", commit, *merge, f"merit apply {name}"]
