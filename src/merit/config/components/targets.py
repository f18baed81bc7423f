"""Trusted targets: which classes a `_target_` may name, whether one fits its key, and how it is built."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from merit.config.components import class_source, trusted_packages
from merit.config.components.class_source import Signature, list_classes, read_signature
from merit.config.problems import Fault, make_unknown_key_fault, suggest_allowed
from merit.config.schema.base import Component
from merit.errors import MeritError

METRIC_PREFIXES = ("torchmetrics.classification.", "torchmetrics.regression.")
TRUSTED_PREFIXES = ("merit.data.sources.", "merit.models.networks.", "torch.optim.", *METRIC_PREFIXES)
"""The modules that a `_target_` may come from, besides the packages that pyproject.toml trusts: `_target_` is code
execution."""

PREFIXES_BY_KEY = {
    "data.source": ("merit.data.sources.",),
    "model": ("merit.models.networks.",),
    "optimizer": ("torch.optim.",),
    "evaluate.metrics.*": METRIC_PREFIXES,
    "gate.checks.*": (),
}
"""The keys that may hold a component, each with the modules for it besides packages that the project trusts.

A network can't be an optimizer, and a check is always the project's own."""

RUN_ARGUMENTS = {"model": ("cardinalities", "numbers", "shapes", "outputs"), "optimizer": ("params",)}
"""Arguments by key that the run supplies, by name, to a class that takes them; conf/ can't know their values."""

HYDRA_KEYS = {"_args_", "_partial_", "_recursive_", "_convert_"}
"""Keys that Hydra would act on; merit passes arguments on unchanged."""


def find_faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of all targets in a composed configuration; nothing untrusted is imported."""
    found: list[Fault] = []
    for key, content in iterate_mappings(values):
        found += [
            Fault((*key, name), "an instruction to Hydra, which merit doesn't follow; remove it")
            for name in sorted(HYDRA_KEYS & set(content))
        ]
        if "_target_" in content:
            found += _find_component_faults(key, content)
    return found


def iterate_mappings(value: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Yield every mapping in a value and its key, the outermost first."""
    if isinstance(value, Mapping):
        yield key, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, content in inner:
        yield from iterate_mappings(content, (*key, str(name)))


def _find_component_faults(key: tuple[str, ...], component: Mapping[Any, Any]) -> Iterator[Fault]:
    target, key_pattern = component["_target_"], _to_key_pattern(key)
    target_key = (*key, "_target_")
    if not is_trusted(target):
        yield Fault(target_key, f"found {target!r}, which is not trusted; allowed: {_format_allowed(TRUSTED_PREFIXES)}")
    elif key_pattern not in PREFIXES_BY_KEY:
        yield Fault(
            target_key, f"found {target!r}, but no component can stand here; it can at {', '.join(PREFIXES_BY_KEY)}"
        )
    elif not target.startswith((*PREFIXES_BY_KEY[key_pattern], *_list_project_prefixes())):
        yield Fault(target_key, f"found {target!r}; allowed here: {_format_allowed(PREFIXES_BY_KEY[key_pattern])}")
    else:
        try:
            yield from _find_argument_faults(key, component, read_trusted_signature(target))
        except MeritError as error:
            yield Fault(target_key, str(error))


def _to_key_pattern(key: tuple[str, ...]) -> str:
    """Return the key as PLACES has it, with a star for a name that users choose."""
    pattern = ".".join((*key[:-1], "*"))
    return pattern if pattern in PREFIXES_BY_KEY else ".".join(key)


def _find_argument_faults(key: tuple[str, ...], component: Mapping[Any, Any], signature: Signature) -> Iterator[Fault]:
    supplied = set(RUN_ARGUMENTS.get(".".join(key), ()))
    given = {str(name) for name in component} - {"_target_", *HYDRA_KEYS}
    for name in sorted(given & supplied):
        yield Fault((*key, name), "can't be set here: the run supplies it; remove it")
    for name in sorted(given - supplied - set(signature.names) if not signature.takes_any else ()):
        yield make_unknown_key_fault((*key, name), set(signature.names) - supplied)
    for name in sorted(set(signature.required) - given - supplied):
        yield Fault((*key, name), f"missing; '{component['_target_']}' needs it")


def is_trusted(target: Any) -> bool:
    """Return whether a `_target_` is a public name inside the allowed modules."""
    return (
        isinstance(target, str)
        and all(trusted_packages.is_public_name(part) for part in target.split("."))
        and target.startswith((*TRUSTED_PREFIXES, *_list_project_prefixes()))
    )


def _list_project_prefixes() -> tuple[str, ...]:
    return tuple(f"{package}." for package in trusted_packages.list_trusted_packages())


def _format_allowed(prefixes: tuple[str, ...]) -> str:
    return ", ".join(f"{prefix}*" for prefix in (*prefixes, *_list_project_prefixes()))


def read_trusted_signature(target: str) -> Signature:
    """Return the signature of a trusted target.

    Raises:
        MeritError: there is no such class, or its module only imports it from one that isn't trusted.
    """
    module, _, name = target.rpartition(".")
    located = class_source.find_class(module, name)
    if located is None:
        raise MeritError(f"'{module}' has no class '{name}'; {suggest_allowed(name, list_classes(module))}")
    if not f"{located[0]}.".startswith((*TRUSTED_PREFIXES, *_list_project_prefixes())):
        raise MeritError(f"'{module}' only imports '{name}' from '{located[0]}', which is not trusted")
    return read_signature(target) or class_source.NO_ARGUMENTS


def build_component(component: Mapping[str, Any], **supplied: Any) -> Any:
    """Build a component from its arguments in conf/ and those that the run supplies, if the class takes them.

    Raises:
        MeritError: the target isn't trusted, doesn't exist, or refuses its arguments.
        ForeignError: code of one of the project's own packages fails.
    """
    arguments = dict(component)
    target = arguments.pop("_target_")
    cls = _import_class(target)
    with trusted_packages.convert_project_errors():
        try:
            return cls(**_select_accepted(cls, supplied), **arguments)
        except (TypeError, ValueError) as error:
            if trusted_packages.find_project_frame(error):
                raise
            raise MeritError(f"_target_ '{target}' refuses its arguments: {error}") from error


def _import_class(target: Any) -> type:
    """Import the class that a target names, if its source defines it."""
    if not is_trusted(target):
        raise MeritError(f"_target_ {target!r} is not trusted; allowed: {_format_allowed(TRUSTED_PREFIXES)}")
    read_trusted_signature(target)
    module, _, name = target.rpartition(".")
    cls = getattr(trusted_packages.import_module(module), name, None)
    # The module may have replaced the name that its source defines, so check where the object itself was defined.
    if not inspect.isclass(cls) or not _is_original(cls):
        raise MeritError(
            f"_target_ '{target}' is not a class of a trusted module; allowed: {_format_allowed(TRUSTED_PREFIXES)}"
        )
    return cls


def _is_original(cls: type) -> bool:
    """Return whether a class is the one that its own module has under its name, and that module is trusted."""
    home_module = sys.modules.get(cls.__module__)
    is_trusted_home = f"{cls.__module__}.".startswith((*TRUSTED_PREFIXES, *_list_project_prefixes()))
    return is_trusted_home and getattr(home_module, cls.__qualname__, None) is cls


def build_all(components: Mapping[str, Component]) -> dict[str, Any]:
    """Build several components, by name, as `build` does."""
    return {name: build_component(component.model_dump(by_alias=True)) for name, component in components.items()}


def build_metrics(components: Mapping[str, Component]) -> dict[str, Any]:
    """Build the project's own metrics.

    Raises:
        MeritError: a metric has no `higher_is_better` of True or False.
    """
    metrics = build_all(components)
    for name, metric in metrics.items():
        direction = getattr(metric, "higher_is_better", None)
        if not isinstance(direction, bool):
            raise MeritError(f"evaluate.metrics.{name}: higher_is_better is {direction!r}; it must be True or False")
    return metrics


def takes_argument(component: Mapping[str, Any], name: str) -> bool:
    """Return whether a component's class takes an argument, by its source."""
    signature = read_signature(component["_target_"])
    return signature is not None and (signature.takes_any or name in signature.names)


def _select_accepted(target: type, supplied: Mapping[str, Any]) -> dict[str, Any]:
    """Return the supplied arguments that a class takes."""
    parameters = inspect.signature(target).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(supplied)
    return {name: value for name, value in supplied.items() if name in parameters}


def hash_packages(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each of the project's own packages that a target names.

    Raises:
        MeritError: a package has no source.
    """
    used = {str(content.get("_target_", "")).partition(".")[0] for _, content in iterate_mappings(values)}
    return {
        package: trusted_packages.hash_package(package)
        for package in sorted(used & set(trusted_packages.list_trusted_packages()))
    }
