"""Check a metric's interface from its source before training: how it is called, and which direction is better."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from merit.config.components import class_source, targets
from merit.config.problems import Fault
from merit.errors import MeritError

CALL_SIGNATURE = "__call__(self, target, prediction, weights), or update and compute as metrics of torchmetrics have"
TASK_BY_PREFIX = {"Binary": "binary", "Multiclass": "multiclass", "Multilabel": "multilabel"}
"""Prefixes of torchmetrics' classification metrics, and their tasks."""

Definition = ast.FunctionDef | ast.expr | None
"""What a class defines for a name: a method, a value, or None where the source doesn't show it."""


def find_faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for each metric that can't be called as one, or doesn't say which direction is better."""
    evaluate, task = values.get("evaluate"), _get_task(values)
    metrics = evaluate.get("metrics") if isinstance(evaluate, Mapping) else None
    problems: list[Fault] = []
    for name, metric in metrics.items() if isinstance(metrics, Mapping) else ():
        target = metric.get("_target_") if isinstance(metric, Mapping) else None
        if isinstance(target, str) and targets.is_trusted(target):
            key = ("evaluate", "metrics", str(name), "_target_")
            problems += [
                Fault(key, f"found {target!r}, {text}") for text in (*_check_class(target), *_check_task(target, task))
            ]
    return problems


def _get_task(values: Mapping[str, Any]) -> Any:
    data = values.get("data")
    target = data.get("target") if isinstance(data, Mapping) else None
    return target.get("task", "binary") if isinstance(target, Mapping) else None


def _check_task(target: str, task: Any) -> Iterator[str]:
    """Yield the fault of a torchmetrics metric for another task."""
    package, name = target.rpartition(".")[::2]
    prefix_task = next((each for start, each in TASK_BY_PREFIX.items() if name.startswith(start)), None)
    metric_task = {"torchmetrics.classification": prefix_task, "torchmetrics.regression": "regression"}.get(package)
    if task is not None and metric_task is not None and metric_task != task:
        yield f"which is for a {metric_task} task; data.target.task is {task}"


def _check_class(target: str) -> Iterator[str]:
    """Yield the faults of a class as a metric; none where its source doesn't show enough."""
    try:
        lineage = list(class_source.iterate_ancestry(target))
    except MeritError:
        return  # reported where the target is looked up
    definitions = [each for each in lineage if each is not None]
    if not definitions or any(
        "__new__" in _read_definitions(each) for each in definitions
    ):  # __new__ may return an instance of another class
        return
    is_complete = len(definitions) == len(lineage)
    yield from _check_call(definitions, is_complete=is_complete)
    yield from _check_direction(definitions, is_complete=is_complete)


def _check_call(definitions: list[ast.ClassDef], *, is_complete: bool) -> Iterator[str]:
    if all(any(name in _read_definitions(each) for each in definitions) for name in ("update", "compute")):
        return
    call = next(
        (_read_definitions(each)["__call__"] for each in definitions if "__call__" in _read_definitions(each)), None
    )
    if isinstance(call, ast.FunctionDef):
        if not _takes_metric_arguments(call.args):
            yield f"which is called with ({', '.join(_list_arguments(call.args))}); a metric needs {CALL_SIGNATURE}"
    elif call is None and is_complete:
        yield f"which can't be called; a metric needs {CALL_SIGNATURE}"


def _list_arguments(args: ast.arguments) -> list[str]:
    return [each.arg for each in [*args.posonlyargs, *args.args, *args.kwonlyargs]]


def _takes_metric_arguments(args: ast.arguments) -> bool:
    """Return whether a method takes target, prediction and weights besides `self`, and requires nothing else."""
    max_positional = len(args.posonlyargs) + len(args.args)
    needs_more = any(default is None for default in args.kw_defaults) or max_positional - len(args.defaults) > 4
    return (max_positional >= 4 or args.vararg is not None) and not needs_more


def _check_direction(definitions: list[ast.ClassDef], *, is_complete: bool) -> Iterator[str]:
    advice = "set it to True or False in a class of your own, which may inherit from this one"
    for each in definitions:
        names = _read_definitions(each)
        if "higher_is_better" in names:
            value = names["higher_is_better"]
            if isinstance(value, ast.Constant) and not isinstance(value.value, bool):
                yield f"whose higher_is_better is {value.value!r}; {advice}"
            return
        if any("higher_is_better" in ast.unparse(node) for node in each.body if isinstance(node, ast.FunctionDef)):
            return  # set by a method, such as __init__
    if is_complete:
        yield f"which has no higher_is_better; {advice}"


def _read_definitions(definition: ast.ClassDef) -> dict[str, Definition]:
    """Return the names that a class itself defines, and their definitions."""
    names: dict[str, Definition] = {}
    for node in definition.body:
        if isinstance(node, ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            names[ast.unparse(node.target)] = node.value
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target): node.value for target in node.targets}
    return names
