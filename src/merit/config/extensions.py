"""Finds extensions by name: files of a package that set NAME, of which adding one needs no change elsewhere.

A broker, for example, is a file of `merit.stream.brokers` with the line `NAME = "nats"`. Such lines are read without
importing the file, because the schema needs all names, and the libraries of a broker or tracker may not be installed.
"""

import ast
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

LIBRARY = Path(__file__).resolve().parents[1]


@cache
def read_constants(package: str, constant: str) -> dict[str, Any]:
    """Return the values of a constant that modules of a package and its folders set in one line, by module."""
    folder = LIBRARY.joinpath(*package.split(".")[1:])
    pattern = re.compile(rf"^{constant} = (.+)$", re.MULTILINE)
    values = {}
    for file in sorted(folder.rglob("*.py")):
        if found := pattern.search(file.read_text(encoding="utf-8")):
            module = ".".join((package, *file.relative_to(folder).with_suffix("").parts))
            values[module] = ast.literal_eval(found[1])
    return values


def find_modules(package: str) -> dict[str, str]:
    """Return the module of each extension in a package, by its name."""
    return {name: module for module, name in read_constants(package, "NAME").items()}


def list_names(package: str, first: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the extensions in a package: those of `first` in that order, then all others."""
    names = find_modules(package)
    return (*(name for name in first if name in names), *sorted(names.keys() - set(first)))


def list_names_with(package: str, constant: str, value: Any) -> tuple[str, ...]:
    """Return the names of the extensions whose file sets a constant to a value, sorted."""
    values = read_constants(package, constant)
    return tuple(name for name, module in sorted(find_modules(package).items()) if values.get(module) == value)


def import_extension(package: str, name: str) -> ModuleType:
    """Import the extension of that name, and nothing of the others."""
    return import_module(find_modules(package)[name])
