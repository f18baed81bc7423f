"""Trusted targets: which classes a `_target_` may name, whether one fits its key, and how it is built."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from merit.config import classes, trust
from merit.config.classes import Signature, classes_in, signature_of
from merit.config.problems import Fault, did_you_mean, unknown_key
from merit.config.schema.base import Component
from merit.errors import MeritError

METRICS = ("torchmetrics.classification.", "torchmetrics.regression.")
TRUSTED = ("merit.data.sources.", "merit.models.networks.", "torch.optim.", *METRICS)
"""The modules that a `_target_` may come from, besides the packages that pyproject.toml trusts: `_target_` is code
execution."""

PLACES = {
    "data.source": ("merit.data.sources.",),
    "model": ("merit.models.networks.",),
    "optimizer": ("torch.optim.",),
    "evaluate.metrics.*": METRICS,
    "gate.checks.*": (),
}
"""The keys that may hold a component, each with the modules for it besides packages that the project trusts.

A network can't be an optimizer, and a check is always the project's own."""

SUPPLIED = {"model": ("cardinalities", "numbers", "shapes", "outputs"), "optimizer": ("params",)}
"""Arguments by key that the run supplies, by name, to a class that takes them; conf/ can't know their values."""

HYDRAS = {"_args_", "_partial_", "_recursive_", "_convert_"}
"""Keys that Hydra would act on; merit passes arguments on unchanged."""


def faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return the faults of all targets in a composed configuration; nothing untrusted is imported."""
    found: list[Fault] = []
    for key, content in mappings(values):
        found += [
            Fault((*key, name), "an instruction to Hydra, which merit doesn't follow; remove it")
            for name in sorted(HYDRAS & set(content))
        ]
        if "_target_" in content:
            found += _faults_of(key, content)
    return found


def mappings(value: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Yield every mapping in a value and its key, the outermost first."""
    if isinstance(value, Mapping):
        yield key, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, content in inner:
        yield from mappings(content, (*key, str(name)))


def _faults_of(key: tuple[str, ...], component: Mapping[Any, Any]) -> Iterator[Fault]:
    target, place = component["_target_"], _place(key)
    here = (*key, "_target_")
    if not is_trusted(target):
        yield Fault(here, f"found {target!r}, which is not trusted; allowed: {_allowed(TRUSTED)}")
    elif place not in PLACES:
        yield Fault(here, f"found {target!r}, but no component can stand here; it can at {', '.join(PLACES)}")
    elif not target.startswith((*PLACES[place], *_own())):
        yield Fault(here, f"found {target!r}; allowed here: {_allowed(PLACES[place])}")
    else:
        try:
            yield from _faults_of_arguments(key, component, _signature_of(target))
        except MeritError as error:
            yield Fault(here, str(error))


def _place(key: tuple[str, ...]) -> str:
    """Return the key as PLACES has it, with a star for a name that users choose."""
    named = ".".join((*key[:-1], "*"))
    return named if named in PLACES else ".".join(key)


def _faults_of_arguments(key: tuple[str, ...], component: Mapping[Any, Any], signature: Signature) -> Iterator[Fault]:
    supplied = set(SUPPLIED.get(".".join(key), ()))
    given = {str(name) for name in component} - {"_target_", *HYDRAS}
    for name in sorted(given & supplied):
        yield Fault((*key, name), "can't be set here: the run supplies it; remove it")
    for name in sorted(given - supplied - set(signature.names) if not signature.takes_any else ()):
        yield unknown_key((*key, name), set(signature.names) - supplied)
    for name in sorted(set(signature.required) - given - supplied):
        yield Fault((*key, name), f"missing; '{component['_target_']}' needs it")


def is_trusted(target: Any) -> bool:
    """Return whether a `_target_` is a public name inside the allowed modules."""
    return (
        isinstance(target, str)
        and all(trust.is_plain(part) for part in target.split("."))
        and target.startswith((*TRUSTED, *_own()))
    )


def _own() -> tuple[str, ...]:
    return tuple(f"{package}." for package in trust.packages())


def _allowed(prefixes: tuple[str, ...]) -> str:
    return ", ".join(f"{prefix}*" for prefix in (*prefixes, *_own()))


def _signature_of(target: str) -> Signature:
    """Return the signature of a trusted target.

    Raises:
        MeritError: there is no such class, or its module only imports it from one that isn't trusted.
    """
    module, _, name = target.rpartition(".")
    found = classes.find(module, name)
    if found is None:
        raise MeritError(f"'{module}' has no class '{name}'; {did_you_mean(name, classes_in(module))}")
    if not f"{found[0]}.".startswith((*TRUSTED, *_own())):
        raise MeritError(f"'{module}' only imports '{name}' from '{found[0]}', which is not trusted")
    return signature_of(target) or classes.NOTHING


def build(component: Mapping[str, Any], **supplied: Any) -> Any:
    """Build a component from its arguments in conf/ and those that the run supplies, if the class takes them.

    Raises:
        MeritError: the target isn't trusted, doesn't exist, or refuses its arguments.
        ForeignError: code of one of the project's own packages fails.
    """
    arguments = dict(component)
    target = arguments.pop("_target_")
    found = _class(target)
    with trust.theirs():
        try:
            return found(**_taken(found, supplied), **arguments)
        except (TypeError, ValueError) as error:
            if trust.frame_of_theirs(error):
                raise
            raise MeritError(f"_target_ '{target}' refuses its arguments: {error}") from error


def _class(target: Any) -> type:
    """Import the class that a target names, if its source defines it."""
    if not is_trusted(target):
        raise MeritError(f"_target_ {target!r} is not trusted; allowed: {_allowed(TRUSTED)}")
    _signature_of(target)
    module, _, name = target.rpartition(".")
    found = getattr(trust.imported(module), name, None)
    # The module may have replaced the name that its source defines, so check where the object itself was defined.
    if not inspect.isclass(found) or not _is_its_own(found):
        raise MeritError(f"_target_ '{target}' is not a class of a trusted module; allowed: {_allowed(TRUSTED)}")
    return found


def _is_its_own(found: type) -> bool:
    """Return whether a class is the one that its own module has under its name, and that module is trusted."""
    home = sys.modules.get(found.__module__)
    is_trusted_home = f"{found.__module__}.".startswith((*TRUSTED, *_own()))
    return is_trusted_home and getattr(home, found.__qualname__, None) is found


def build_all(components: Mapping[str, Component]) -> dict[str, Any]:
    """Build several components, by name, as `build` does."""
    return {name: build(component.model_dump(by_alias=True)) for name, component in components.items()}


def build_metrics(components: Mapping[str, Component]) -> dict[str, Any]:
    """Build the project's own metrics.

    Raises:
        MeritError: a metric has no `higher_is_better` of True or False.
    """
    made = build_all(components)
    for name, metric in made.items():
        found = getattr(metric, "higher_is_better", None)
        if not isinstance(found, bool):
            raise MeritError(f"evaluate.metrics.{name}: higher_is_better is {found!r}; it must be True or False")
    return made


def takes(component: Mapping[str, Any], name: str) -> bool:
    """Return whether a component's class takes an argument, by its source."""
    signature = signature_of(component["_target_"])
    return signature is not None and (signature.takes_any or name in signature.names)


def _taken(target: type, supplied: Mapping[str, Any]) -> dict[str, Any]:
    """Return the supplied arguments that a class takes."""
    parameters = inspect.signature(target).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(supplied)
    return {name: value for name, value in supplied.items() if name in parameters}


def code(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each of the project's own packages that a target names.

    Raises:
        MeritError: a package has no source.
    """
    used = {str(content.get("_target_", "")).partition(".")[0] for _, content in mappings(values)}
    return {package: trust.fingerprint(package) for package in sorted(used & set(trust.packages()))}
