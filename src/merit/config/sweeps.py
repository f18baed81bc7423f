"""Read conf/sweep: the chosen file, the files it builds on and the command line's `sweep.…`, checked together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from merit import artifacts
from merit.config import choices, problems
from merit.config.compose import understood
from merit.config.layers import Layer, located, merged
from merit.config.problems import Fault
from merit.config.schema.base import Section
from merit.config.schema.sweep import Sweep
from merit.errors import ConfigError, MeritError, Problem

GROUP = choices.SWEEP
DEFAULT = "default"


class _Whole(Section):
    sweep: Sweep


@dataclass(frozen=True)
class Chosen:
    """A sweep's settings, the file that was chosen, and the location of each key of the space."""

    sweep: Sweep
    file: str
    places: dict[str, str]


def is_about(override: str) -> bool:
    """Return whether an override configures the sweep itself, not the training."""
    return override.lstrip("+~").partition("=")[0].split(".")[0] == GROUP


def read(overrides: Sequence[str], files: choices.Files, conf: Path = artifacts.CONF) -> Chosen:
    """Return the settings of conf/sweep with overrides such as `sweep=tpe` and `sweep.trials=50` applied.

    Raises:
        ConfigError: with every fault found.
    """
    given, found = understood(overrides)
    name = next((each.value for each in reversed(given) if each.key == GROUP), DEFAULT)
    if isinstance(name, str) and name == DEFAULT and f"{GROUP}/{DEFAULT}" not in files:
        layers = []
    else:
        if fault := choices.fault_of(files, GROUP, name, GROUP):
            raise ConfigError([fault.at("command line")])
        layers = _built_on(files, f"{GROUP}/{name}", ())
    chosen = {layer.where for layer in layers}
    found += [problem for file in files.values() if str(file.path) in chosen for problem in file.problems]
    layers += [choices.layer_of(each) for each in given if each.key != GROUP]
    values = {GROUP: {}, **merged(layers)}
    try:
        whole = _Whole.model_validate(values)
    except ValidationError as error:
        faults = problems.from_validation(error, values, _Whole)
        found += [located(layers, each) for fault in faults for each in _by_key(fault)]
    if found:
        raise ConfigError(found)
    places = {key: located(layers, Fault((GROUP, "space", key), "")).where for key in whole.sweep.space}
    return Chosen(whole.sweep, f"{conf}/{GROUP}/{name}.yaml", places)


def _by_key(fault: Fault) -> list[Fault]:
    """Return the fault of rules over several keys of conf/sweep as one fault per line, at the key it begins with."""
    if fault.key != (GROUP,) or fault.allowed:
        return [fault]
    lines = (line.partition(" ") for line in fault.found.splitlines())
    return [Fault((GROUP, *key.split(".")), text) for key, _, text in lines]


def _built_on(files: choices.Files, name: str, above: tuple[str, ...]) -> list[Layer]:
    """Return a file as layers, after those of the files in its defaults list."""
    file = files[name]
    if name in above:
        raise MeritError(f"{file.path}: builds on itself; correct its defaults")
    entries = file.defaults.plain() if isinstance(file.defaults.value, list) else []
    layers: list[Layer] = []
    for entry in [*(entries or []), *([] if "_self_" in entries else ["_self_"])]:
        if entry == "_self_":
            layers.append(Layer.of(file, (GROUP,)))
        elif f"{GROUP}/{entry}" in files:
            layers += _built_on(files, f"{GROUP}/{entry}", (*above, name))
        else:
            allowed = ", ".join(choices.names_in(files, GROUP))
            raise ConfigError([Problem(str(file.path), "defaults", f"no choice {entry!r}", allowed)])
    return layers
