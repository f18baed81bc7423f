"""No module of merit imports itself by way of others: also not for types, and not inside a function."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import merit

Graph = dict[str, set[str]]


def _name_module(file: Path, root: Path) -> str:
    return ".".join(("merit", *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def _list_imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield each imported module, and the name that is imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports of merit are absolute"
            yield from ((str(node.module), each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names)


def build_graph(sources: Mapping[str, str]) -> Graph:
    """Return the modules that each module imports; its package's own __init__ counts only where it is named."""
    graph: Graph = {}
    for name, text in sources.items():
        imports = _list_imports(ast.parse(text))
        found = {f"{module}.{each}" if f"{module}.{each}" in sources else module for module, each in imports}
        graph[name] = {each for each in found if each in sources and each not in {name, "merit"}}
    return graph


def find_circle(graph: Graph) -> list[str]:
    """Return the modules of one circle, each imported by the next; none if there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    root = Path(merit.__file__).parent
    sources = {_name_module(file, root): file.read_text(encoding="utf-8") for file in root.rglob("*.py")}
    circle = find_circle(build_graph(sources))
    assert not circle, f"modules import one another in a circle: {' <- '.join(circle)}; move what they share below them"


def test_a_circle_for_types_or_inside_a_function_is_found_and_named() -> None:
    sources = {
        "merit.a": "if TYPE_CHECKING:\n    from merit.b import B\n",
        "merit.b": "def f():\n    from merit import c\n",
        "merit.c": "import merit.a\n",
        "merit.d": "from merit import a, b, c\n",
    }
    assert set(find_circle(build_graph(sources))) == {"merit.a", "merit.b", "merit.c"}
    assert find_circle(build_graph({**sources, "merit.c": ""})) == []
