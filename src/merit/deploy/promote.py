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
from merit.deploy.environments import DeclaredEnvironment
from merit.errors import MeritError
from merit.registry import release_tags, tags

VERSION_PATTERN = re.compile(r"(?:[a-z][a-z0-9_-]*@)?(v[1-9][0-9]*)")


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion.

    Attributes:
        declared: the edited environment, as it was before.
        version: the promoted version, such as v3.
        changed: the previous and the new value by key (version, image); empty if nothing changed.
    """

    declared: DeclaredEnvironment
    version: str
    changes: dict[str, tuple[Any, Any]]


def promote(source: str, name: str, lock: Lock) -> Promotion:
    """Write the version and image of `source` into the file of the environment `name`.

    Args:
        source: an environment, or a version: v3, flights@v3.
        name: the environment to edit.
        lock: the configuration.

    Raises:
        MeritError: there is no such environment or version, or the source declares no version.
    """
    declared = environments.read_environment(name, is_edited=True)
    version, image = _resolve_source(source, lock)
    environment, file = declared.environment, environments.get_path(name)
    new_values = {"version": (environment.version, version), "image": (environment.image, image)}
    changes = {key: (previous, value) for key, (previous, value) in new_values.items() if previous != value}
    if changes:
        text = file.read_bytes().decode()  # read_text() would convert the line endings
        for key, (_, value) in changes.items():
            text = _replace_value(text, key, value)
        expected = environment.model_copy(update={"version": version, "image": image})
        if Environment.model_validate(safe_yaml.load(text)) != expected:
            raise MeritError(f"{file}: its version and image can't be edited in their place; write 'key: value' lines")
        artifacts.write_text(file, text)
    return Promotion(declared, version, changes)


def _resolve_source(source: str, lock: Lock) -> tuple[str, str | None]:
    """Return the version and the image of a source."""
    if match := VERSION_PATTERN.fullmatch(source):
        tags.require_own_name(lock.name, source)
        return match[1], _find_image(lock, match[1])
    declared = environments.read_environment(source)
    if declared.environment.version is None:
        raise MeritError(
            f"{declared.file.path}: version: null, so there is nothing to promote; give it a version first"
        )
    return declared.environment.version, declared.environment.image or _find_image(lock, declared.environment.version)


def _find_image(lock: Lock, number: str) -> str | None:
    """Return the image of a version, or None if it has none; environments that run no images record it too.

    Raises:
        MeritError: there is no such version.
    """
    release = release_tags.find_release(tags.find_version(f"{lock.name}@{number}"))
    return None if release is None else release.image


def _replace_value(text: str, key: str, value: str | None) -> str:
    """Return the YAML text with the value of a top-level key replaced or added; all other bytes stay the same."""
    value_text = "null" if value is None else value
    root = safe_yaml.compose(text)
    for name, node in _iter_pairs(root):
        if name == key:
            start, end = node.start_mark.index, node.end_mark.index
            separator = " " if start == end else ""
            return f"{text[:start].rstrip(' ') if separator else text[:start]}{separator}{value_text}{text[end:]}"
    insert_position = root.start_mark.index if root is not None else len(text)
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:insert_position]}{key}: {value_text}{end}{text[insert_position:]}"


def _iter_pairs(root: Any) -> Iterator[tuple[str, Any]]:
    for name, node in root.value if isinstance(root, yaml.MappingNode) else []:
        yield name.value, node


def list_next_commands(promotion: Promotion) -> list[str]:
    """Return the next commands: those that push a branch for a pull request or, without an origin, apply locally."""
    name, file = promotion.declared.name, promotion.declared.file.path
    branch, commit = f"{name}-{promotion.version}", f"git commit --message '{name}: {promotion.version}' {file}"
    if git.has_origin():
        push_commands = [f"git switch --create {branch} && {commit}", f"git push --set-upstream origin {branch}"]
        return [f"merit plan {name}", *push_commands]
    current_branch = git.run_git("branch", "--show-current")
    merge_commands = [] if current_branch == "main" else [f"git switch main && git merge {current_branch}"]
    return [f"merit plan {name}", commit, *merge_commands, f"merit apply {name}"]
