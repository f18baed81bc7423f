"""Read conf/sweep: the chosen file, the files it builds on and the command line's `sweep.…`, checked together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from merit import artifacts
from merit.config import problems
from merit.config.compose import parse_overrides
from merit.config.composition import group_choices
from merit.config.composition.layers import Layer, locate_fault, merge_layers
from merit.config.problems import Fault
from merit.config.schema.base import Section
from merit.config.schema.sweep import Sweep
from merit.errors import ConfigError, MeritError, Problem

SWEEP_GROUP = group_choices.SWEEP_GROUP
DEFAULT_CHOICE = "default"


class _SweepRoot(Section):
    sweep: Sweep


@dataclass(frozen=True)
class ChosenSweep:
    """A sweep's settings, the file that was chosen, and the location of each key of the space."""

    sweep: Sweep
    file: str
    sources: dict[str, str]


def is_sweep_override(override: str) -> bool:
    """Return whether an override configures the sweep itself, not the training."""
    return override.lstrip("+~").partition("=")[0].split(".")[0] == SWEEP_GROUP


def read_sweep(overrides: Sequence[str], files: group_choices.ConfigFiles, conf: Path = artifacts.CONF) -> ChosenSweep:
    """Return the settings of conf/sweep with overrides such as `sweep=tpe` and `sweep.trials=50` applied.

    Raises:
        ConfigError: with every fault found.
    """
    parsed, issues = parse_overrides(overrides)
    name = next((each.value for each in reversed(parsed) if each.key == SWEEP_GROUP), DEFAULT_CHOICE)
    if isinstance(name, str) and name == DEFAULT_CHOICE and f"{SWEEP_GROUP}/{DEFAULT_CHOICE}" not in files:
        layers = []
    else:
        if fault := group_choices.find_choice_fault(files, SWEEP_GROUP, name, SWEEP_GROUP):
            raise ConfigError([fault.to_problem("command line")])
        layers = _collect_layers(files, f"{SWEEP_GROUP}/{name}", ())
    chosen_paths = {layer.where for layer in layers}
    issues += [problem for file in files.values() if str(file.path) in chosen_paths for problem in file.problems]
    layers += [group_choices.to_layer(each) for each in parsed if each.key != SWEEP_GROUP]
    values = {SWEEP_GROUP: {}, **merge_layers(layers)}
    try:
        root = _SweepRoot.model_validate(values)
    except ValidationError as error:
        faults = problems.convert_validation_error(error, values, _SweepRoot)
        issues += [locate_fault(layers, each) for fault in faults for each in _split_by_key(fault)]
    if issues:
        raise ConfigError(issues)
    sources = {key: locate_fault(layers, Fault((SWEEP_GROUP, "space", key), "")).where for key in root.sweep.space}
    return ChosenSweep(root.sweep, f"{conf}/{SWEEP_GROUP}/{name}.yaml", sources)


def _split_by_key(fault: Fault) -> list[Fault]:
    """Return the fault of rules over several keys of conf/sweep as one fault per line, at the key it begins with."""
    if fault.key != (SWEEP_GROUP,) or fault.allowed:
        return [fault]
    lines = (line.partition(" ") for line in fault.found.splitlines())
    return [Fault((SWEEP_GROUP, *key.split(".")), text) for key, _, text in lines]


def _collect_layers(files: group_choices.ConfigFiles, name: str, parents: tuple[str, ...]) -> list[Layer]:
    """Return a file as layers, after those of the files in its defaults list."""
    file = files[name]
    if name in parents:
        raise MeritError(f"{file.path}: builds on itself; correct its defaults")
    entries = file.defaults.to_plain() if isinstance(file.defaults.value, list) else []
    layers: list[Layer] = []
    for entry in [*(entries or []), *([] if "_self_" in entries else ["_self_"])]:
        if entry == "_self_":
            layers.append(Layer.from_file(file, (SWEEP_GROUP,)))
        elif f"{SWEEP_GROUP}/{entry}" in files:
            layers += _collect_layers(files, f"{SWEEP_GROUP}/{entry}", (*parents, name))
        else:
            allowed = ", ".join(group_choices.list_choices(files, SWEEP_GROUP))
            raise ConfigError([Problem(str(file.path), "defaults", f"no choice {entry!r}", allowed)])
    return layers
