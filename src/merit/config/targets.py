"""Trusted targets: what a `_target_` may name, what it takes (read without importing it), and building it."""

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from merit.config.problems import Fault, did_you_mean, unknown_key
from merit.errors import MeritError

TRUSTED = ("merit.data.sources.", "merit.training.networks.", "torch.optim.")
"""Where a `_target_` may come from: `_target_` is code execution, so this is a list of what is allowed."""

PLACES = {"data": ("merit.data.",), "model": ("merit.training.networks.",), "optimizer": ("torch.optim.",)}
"""Where the component of a section comes from: an optimizer is no network."""

SUPPLIED = {"model": ("cardinalities", "numbers", "shapes", "outputs"), "optimizer": ("params",)}
"""Arguments that the run itself supplies by name, per section, to those that take them; conf/ can't know them."""


@dataclass(frozen=True)
class Signature:
    """What a target takes: its arguments by name, and those that have no default."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool


def faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the targets of a composed configuration; nothing untrusted is imported."""
    return [
        fault
        for section, content in values.items()
        for key, component in _components(content, (section,))
        for fault in _faults_of(key, component, SUPPLIED.get(section, ()))
    ]


def _components(value: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield key, value
        for name, inner in value.items():
            yield from _components(inner, (*key, str(name)))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _components(inner, (*key, str(place)))


def _faults_of(key: tuple[str, ...], component: Mapping[str, Any], supplied: tuple[str, ...]) -> Iterator[Fault]:
    target = component["_target_"]
    if not is_trusted(target):
        yield Fault(
            (*key, "_target_"),
            f"found {target!r}, which is not trusted; allowed: {', '.join(f'{t}*' for t in TRUSTED)}",
        )
        return
    places = PLACES.get(key[0], ())
    if not target.startswith(places):
        yield Fault(
            (*key, "_target_"), f"found {target!r}; allowed here: {', '.join(f'{p}*' for p in places) or 'none'}"
        )
        return
    signature = signature_of(target)
    if signature is None:
        module, _, name = target.rpartition(".")
        yield Fault((*key, "_target_"), f"'{module}' has no class '{name}'; {did_you_mean(name, classes_in(module))}")
        return
    given = set(component) - {"_target_"}
    allowed = set(signature.names) - set(supplied)
    for name in sorted(given & set(supplied)):
        yield Fault((*key, name), "can't be set here: the run supplies it; remove it")
    for name in sorted(given - set(signature.names) if not signature.takes_any else ()):
        yield unknown_key((*key, name), allowed)
    for name in sorted(set(signature.required) - given - set(supplied)):
        yield Fault((*key, name), f"missing; '{target}' needs it")


def is_trusted(target: Any) -> bool:
    """Say whether a `_target_` names something inside the list of what is allowed."""
    return (
        isinstance(target, str)
        and target.startswith(TRUSTED)
        and all(part.isidentifier() for part in target.split("."))
    )


def build(component: Mapping[str, Any], **supplied: Any) -> Any:
    """Build what a component names, with the arguments of conf/ and those that the run supplies, if it takes them.

    Raises:
        MeritError: the target isn't trusted, isn't there, or refuses its arguments.
    """
    arguments = dict(component)
    target = arguments.pop("_target_")
    if not is_trusted(target):
        raise MeritError(f"_target_ '{target}' is not trusted; allowed: {', '.join(f'{t}*' for t in TRUSTED)}")
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MeritError(f"_target_ '{target}' can't be found: {error}") from error
    # An alias reaches things through another module: what counts is where the object itself was defined.
    if not inspect.isclass(found) or not f"{found.__module__}.{found.__qualname__}".startswith(TRUSTED):
        raise MeritError(
            f"_target_ '{target}' is not a class of a trusted module; allowed: {', '.join(f'{t}*' for t in TRUSTED)}"
        )
    try:
        return found(**_taken(found, supplied), **arguments)
    except (TypeError, ValueError) as error:
        raise MeritError(f"_target_ '{target}' refuses its arguments: {error}") from error


def takes(component: Mapping[str, Any], name: str) -> bool:
    """Say whether what a component names takes an argument, as its source says."""
    signature = signature_of(component["_target_"])
    return signature is not None and (signature.takes_any or name in signature.names)


def _taken(target: type, supplied: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the supplied arguments that a class takes."""
    parameters = inspect.signature(target).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(supplied)
    return {name: value for name, value in supplied.items() if name in parameters}


def classes_in(module: str) -> list[str]:
    """Return the names of the public classes that a module's source defines."""
    tree = _source(module)
    return (
        []
        if tree is None
        else [n.name for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]
    )


def signature_of(target: str) -> Signature | None:
    """Read the signature of a class from its source, without importing it; None if there is no such class."""
    module, _, name = target.rpartition(".")
    found = _find_class(module, name)
    if found is None:
        return None
    home, definition = found
    init = next((n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _signature(init.args)
    for base in definition.bases:
        if isinstance(base, ast.Name) and base.id != "object" and (inherited := signature_of(f"{home}.{base.id}")):
            return inherited
    return Signature((), (), takes_any=False)


def _signature(args: ast.arguments) -> Signature:
    positional = [arg.arg for arg in [*args.posonlyargs, *args.args]][1:]
    keyword = [arg.arg for arg in args.kwonlyargs]
    needed = positional[: len(positional) - len(args.defaults)] if len(args.defaults) < len(positional) + 1 else []
    needed += [name for name, default in zip(keyword, args.kw_defaults, strict=True) if default is None]
    return Signature((*positional, *keyword), tuple(needed), takes_any=args.kwarg is not None)


def _find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """Find where a class is defined, following `from x import y` through modules of the same package."""
    tree = _source(module)
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.level == 0:
                    return _find_class(node.module, alias.name)
    return None


@cache
def _source(module: str) -> ast.Module | None:
    """Parse a module's source. Only the top package is looked up, for finding a submodule would import its parents."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*rest)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else None
