"""Read classes from source without importing them: where they are defined, and which arguments they take."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from merit.config.components import trusted_packages
from merit.errors import MeritError


@dataclass(frozen=True)
class Signature:
    """The arguments of a class: all names, and those without a default."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool


NO_ARGUMENTS = Signature((), (), takes_any=False)
ANY_ARGUMENTS = Signature((), (), takes_any=True)
"""The signature of a class whose source doesn't show its arguments; building it will check them."""


def read_signature(target: str) -> Signature | None:
    """Return the signature of a class; None if there is no such class.

    Raises:
        MeritError: a module that has to be read isn't valid Python.
    """
    module, _, name = target.rpartition(".")
    definition = find_class(module, name)
    return None if definition is None else _read_init_signature(*definition) or NO_ARGUMENTS


def list_classes(module: str) -> list[str]:
    """Return the names of the public classes that a module's source defines."""
    tree = parse_module(module)
    return [] if tree is None else [n.name for n in _iterate_classes(tree) if not n.name.startswith("_")]


def find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """Return the module that defines a class, and its definition, following any `from x import y` on the way.

    Raises:
        MeritError: a module that has to be read isn't valid Python, or the imports are circular.
    """
    for _ in range(20):  # a longer chain of imports is circular
        tree = parse_module(module)
        if tree is None:
            return None
        if definition := next((each for each in _iterate_classes(tree) if each.name == name), None):
            return module, definition
        origin = dict(iterate_imports(module, tree)).get(name)
        if origin is None or "." not in origin:  # the name is an imported module, not a class
            return None
        module, _, name = origin.rpartition(".")
    raise MeritError(f"'{module}.{name}' can't be found: the imports are circular")


def parse_module(module: str) -> ast.Module | None:
    """Return the parsed source of a module; None if it has no Python source.

    Raises:
        MeritError: it isn't valid Python.
    """
    file = trusted_packages.find_source(module)
    return None if file is None else _parse_file(file, file.stat().st_mtime_ns)


@cache
def _parse_file(file: Path, mtime: int) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise MeritError(f"{file}{f':{line}' if line else ''}: not valid Python: {error.args[0]}") from error


def _iterate_classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def iterate_imports(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported name of a module with the dotted name that it stands for."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            origin = _resolve_import(module, node)
            yield from ((alias.asname or alias.name, f"{origin}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2


def _resolve_import(module: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    file = trusted_packages.find_source(module)
    # In __init__.py one dot means the package itself; in a module it means the package that holds the module.
    levels_up = node.level - (file is not None and file.name == "__init__.py")
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - levels_up], *([node.module] if node.module else [])])


def _read_init_signature(module: str, definition: ast.ClassDef) -> Signature | None:
    """Return the signature of `__init__`, its own or the nearest inherited one; None if there is none."""
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return _parse_arguments(node.args)
    if definition.decorator_list:
        return _read_dataclass_signature(module, definition)
    return next((found for base in definition.bases if (found := _read_base_signature(module, definition, base))), None)


def iterate_ancestry(target: str, visited: tuple[str, ...] = ()) -> Iterator[ast.ClassDef | None]:
    """Yield a class and its ancestors, depth first; None for one whose source isn't available.

    Raises:
        MeritError: a module that has to be read isn't valid Python.
    """
    module, _, name = target.rpartition(".")
    located = find_class(module, name) if module and target not in visited else None
    yield None if located is None else located[1]
    if located is None:
        return
    for base in located[1].bases:
        full = _resolve_base(*located, base) or ""
        if full.rpartition(".")[2] not in PYTHON_BASES:
            yield from iterate_ancestry(full, (*visited, target))


PYTHON_BASES = frozenset({"object", "ABC", "Generic", "Protocol"})
"""Base classes of Python's own, which add nothing to a signature."""


def _resolve_base(module: str, definition: ast.ClassDef, base: ast.expr) -> str | None:
    """Return the dotted name of a base class; None if the module's source doesn't define or import it."""
    name = ast.unparse(base).partition("[")[0]
    head, dot, rest = name.partition(".")
    tree = parse_module(module)
    assert tree is not None
    meaning = dict(iterate_imports(module, tree)).get(head)
    if meaning is None and not dot and name != definition.name:
        meaning = f"{module}.{name}"
    full = f"{meaning or head}{dot}{rest}"
    return full if meaning else None


def _read_base_signature(module: str, definition: ast.ClassDef, base: ast.expr) -> Signature | None:
    full = _resolve_base(module, definition, base)
    if full is not None and full.rpartition(".")[2] in {"object", "ABC"}:
        return None
    located = None if full is None else find_class(*full.rpartition(".")[::2])
    return ANY_ARGUMENTS if located is None else _read_init_signature(*located)


def _read_dataclass_signature(module: str, definition: ast.ClassDef) -> Signature:
    """Return the signature of a dataclass; any other decorator may change it in ways the source doesn't show."""
    decorators = [ast.unparse(each).partition("(")[0] for each in definition.decorator_list]
    if not {"dataclass", "dataclasses.dataclass"} & set(decorators):
        return ANY_ARGUMENTS
    inherited = next(
        (found for base in definition.bases if (found := _read_base_signature(module, definition, base))), NO_ARGUMENTS
    )
    fields = [node for node in definition.body if isinstance(node, ast.AnnAssign) and _is_init_field(node)]
    names = [ast.unparse(field.target) for field in fields]
    required = [ast.unparse(field.target) for field in fields if not _has_default(field)]
    return Signature(
        (*inherited.names, *(name for name in names if name not in inherited.names)),
        (*(name for name in inherited.required if name not in names), *required),
        inherited.takes_any,
    )


def _is_init_field(field: ast.AnnAssign) -> bool:
    kind = ast.unparse(field.annotation).strip("'\"").partition("[")[0].rpartition(".")[2]
    return kind not in {"ClassVar", "KW_ONLY"} and _get_field_option(field, "init") != "False"


def _has_default(field: ast.AnnAssign) -> bool:
    if field.value is None:
        return False
    is_call = isinstance(field.value, ast.Call) and ast.unparse(field.value.func) in {"field", "dataclasses.field"}
    return not is_call or any(_get_field_option(field, name) is not None for name in ("default", "default_factory"))


def _get_field_option(field: ast.AnnAssign, name: str) -> str | None:
    keywords = field.value.keywords if isinstance(field.value, ast.Call) else []
    return next((ast.unparse(each.value) for each in keywords if each.arg == name), None)


def _parse_arguments(args: ast.arguments) -> Signature:
    positional = [arg.arg for arg in [*args.posonlyargs, *args.args]][1:]
    keyword = [arg.arg for arg in args.kwonlyargs]
    required = positional[: len(positional) - len(args.defaults)] if len(args.defaults) < len(positional) + 1 else []
    required += [name for name, default in zip(keyword, args.kw_defaults, strict=True) if default is None]
    return Signature((*positional, *keyword), tuple(required), takes_any=args.kwarg is not None)
