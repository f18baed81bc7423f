"""Compose conf/ with Hydra and check the result: every problem at once, each with its file and line."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from merit import artifacts
from merit.config import lock as locks
from merit.config import merit_code, problems
from merit.config.components import metric_interface, signatures, targets, trusted_packages
from merit.config.composition import group_choices, interpolation, layer_checks, yaml_files
from merit.config.composition.group_choices import Override
from merit.config.composition.layers import COMMAND_LINE, REMOVED, Layer, find_idle_removals, locate_fault, merge_layers
from merit.config.problems import Fault
from merit.config.schema import FORMAT_VERSION, Lock
from merit.errors import ConfigError, MeritError, Problem
from merit.git import lfs

DataAccess = Literal["source", "files", "nothing"]
"""What a composition reads of the data: the source, including queries and the project's own code; only files of merit's
own classes; or nothing. A source that isn't read gets the fingerprint that the lock has for it."""

OVERRIDE_SYNTAX = "key=value, +key=value, ~key or group=choice"


@dataclass(frozen=True)
class ComposedConfig:
    """A composed configuration: the checked lock, and the layers that set its keys."""

    lock: Lock
    layers: list[Layer]


def compose(overrides: Sequence[str] = (), conf: Path = artifacts.CONF, *, data_access: DataAccess = "source") -> Lock:
    """Return the checked configuration that conf/ and Hydra's overrides describe.

    Raises:
        ConfigError: with every fault found: unknown keys, wrong types, values out of range, targets that are not
            trusted or don't take their arguments.
    """
    return compose_config(overrides, conf, data_access=data_access).lock


def compose_config(
    overrides: Sequence[str] = (), conf: Path = artifacts.CONF, *, data_access: DataAccess = "source"
) -> ComposedConfig:
    """Return the checked configuration together with the layers that set its keys.

    Raises:
        ConfigError: with every fault found.
    """
    return Composer(conf, data_access=data_access).compose(overrides)


def check_conf(conf: Path = artifacts.CONF) -> int:
    """Check every file of conf/, chosen or not; return the number of files.

    Raises:
        ConfigError: with every fault found.
    """
    files = yaml_files.read_all_files(conf)
    if faults := layer_checks.check_files(files, files):
        raise ConfigError(faults)
    return len(files)


class Composer:
    """Composes conf/ repeatedly: files are read once, and Hydra resolves each set of choices once.

    Only chosen files are checked: a fault in another file changes nothing here.

    Args:
        conf: the folder, which must not change meanwhile.
        data_access: what to read of the data for its fingerprint.

    Raises:
        MeritError: the folder has no config.yaml.
        ConfigError: it has another format version.
    """

    def __init__(self, conf: Path = artifacts.CONF, *, data_access: DataAccess = "source") -> None:
        if not (conf / "config.yaml").is_file():
            raise MeritError(f"{conf}/config.yaml: not found; run merit in the folder that holds conf/")
        self.files = yaml_files.read_all_files(conf)
        _check_format_version(self.files["config"])
        self._groups = group_choices.list_groups(self.files)
        self._conf, self._data_access = conf, data_access
        self._selections: dict[tuple[str, ...], _Selection] = {}
        self._fingerprints: dict[str, str] = {}
        self._merit_hashes: dict[str, str] | None = None

    def compose(self, overrides: Sequence[str] = ()) -> ComposedConfig:
        """Return the checked configuration together with the layers that set its keys.

        Raises:
            ConfigError: with every fault found.
        """
        parsed, issues = parse_overrides(overrides)
        valid = [each for each in parsed if group_choices.find_override_fault(self.files, each) is None]
        selection = self._select_files([each for each in valid if each.key in self._groups])
        issues = [*selection.problems, *issues, *layer_checks.check_overrides(self.files, parsed)]
        layers: list[Layer] = []
        lock = None
        if selection.is_complete:
            layers = [
                *selection.layers,
                *(group_choices.to_layer(each) for each in valid if each.key not in self._groups),
            ]
            lock, faults = self._validate(merge_layers(layers))
            issues += [
                *find_idle_removals(layers),
                *(locate_fault(layers, _explain_removal(layers, fault)) for fault in faults),
            ]
        issues = [self._add_advice(problem, parsed) for problem in issues]
        if lock is None or issues:
            raise ConfigError(_drop_duplicates(issues))
        return ComposedConfig(lock, layers)

    def _add_advice(self, problem: Problem, overrides: Sequence[Override]) -> Problem:
        """Add a hint where an experiment sets a key that a choice on the command line doesn't have."""
        section = problem.key.partition(".")[0]
        choice = next((each.text for each in overrides if each.key == section and each.key in self._groups), None)
        is_experiments = problem.where.startswith(f"{self._conf / group_choices.EXPERIMENT_GROUP}/")
        if choice is None or not is_experiments or problem.found != problems.UNKNOWN_KEY:
            return problem
        return replace(problem, hint=f"{choice} has no such key: leave the experiment out with experiment=null")

    def _select_files(self, overrides: list[Override]) -> "_Selection":
        group_overrides = tuple(group_choices.to_hydra_text(each) for each in overrides)
        if group_overrides not in self._selections:
            self._selections[group_overrides] = _select_files(self.files, group_overrides)
        return self._selections[group_overrides]

    def _validate(self, composed: dict[str, Any]) -> tuple[Lock | None, list[Fault]]:
        """Return the lock of composed values, and their faults."""
        values, unresolved, unresolved_keys = interpolation.resolve_interpolations(composed)
        faults = [
            *targets.find_faults(values),
            *signatures.find_faults(values),
            *metric_interface.find_faults(values),
            *_find_manual_values(values),
        ]
        values, source_faults = self._add_fingerprint(values, is_valid=not unresolved and not faults)
        values = {**values, "code": {} if faults or unresolved else targets.hash_packages(values)}
        if not merit_code.is_source_checkout(self._conf.parent):
            self._merit_hashes = self._merit_hashes or merit_code.hash_code_by_stage()
            values["merit"] = self._merit_hashes
        lock = None
        try:
            lock = Lock.model_validate(values)
        except ValidationError as error:
            faults += problems.convert_validation_error(error, values)
        # An unresolved key has no value yet, so other faults of it would mislead.
        return lock, [*unresolved, *(fault for fault in faults if fault.key not in unresolved_keys), *source_faults]

    def _add_fingerprint(self, values: dict[str, Any], *, is_valid: bool) -> tuple[dict[str, Any], list[Fault]]:
        """Add the source's hash, so that the lock says which data it was made for."""
        data = values.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("source"), dict):
            return values, []
        fingerprint_text, faults = locks.UNREAD_FINGERPRINT, []
        if is_valid:
            source = repr(data["source"])
            try:
                fingerprint_text = self._fingerprints[source] = self._fingerprints.get(source) or self._get_fingerprint(
                    data["source"]
                )
            except MeritError as error:
                faults = [_make_source_fault(str(error))]
        return {**values, "data": {**data, "fingerprint": fingerprint_text}}, faults

    def _get_fingerprint(self, source: dict[str, Any]) -> str:
        """Return the fingerprint of a source, or the one in the lock if the source must not be read."""
        if self._data_access == "source" or (self._data_access == "files" and reads_files(source)):
            return hash_source(source)
        return locks.read_fingerprint(source, self._conf.parent / artifacts.LOCK)


def reads_files(source: dict[str, Any]) -> bool:
    """Return whether a source is merit's own and only reads files: hashing it runs no query and no project code."""
    if not str(source.get("_target_")).startswith("merit."):
        return False
    return callable(getattr(targets.build_component(source), "files", None))


def _make_source_fault(message: str) -> Fault:
    """Return the fault of a source, at the key that the message names."""
    key, _, text = message.partition(": ")
    if key.startswith("data.source"):
        return Fault(tuple(key.split(".")), text)
    return Fault(("data", "source"), message)


def _explain_removal(layers: Sequence[Layer], fault: Fault) -> Fault:
    """Return the fault of a missing key with a hint, if the command line removed the key."""
    for layer in layers:
        if (
            layer.root.value is REMOVED
            and fault.found == "missing"
            and fault.key[: len(layer.package)] == layer.package
        ):
            removed_key = ".".join(layer.package)
            return replace(fault, found="is needed, and was removed", hint=f"leave out '~{removed_key}'")
    return fault


def _drop_duplicates(issues: Iterable[Problem]) -> list[Problem]:
    """Return each problem once: the fault of a file is found again in the composed whole."""
    unique: dict[tuple[str, str], Problem] = {}
    for problem in issues:
        unique.setdefault((problem.where, problem.key), problem)
    return list(unique.values())


def parse_overrides(overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Return the overrides that can be parsed, and the problems of the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    parsed: list[Override] = []
    issues: list[Problem] = []
    for text in overrides:
        try:
            (override,) = parser.parse_overrides([text])
            if override.is_sweep_override():
                issues.append(Problem(COMMAND_LINE, text, "several values", "one value for each key"))
                continue
            value = None if override.is_delete() else override.value()
        except (HydraException, ValueError) as error:
            reason = " ".join(str(error).splitlines()[0].split()) if str(error) else "unreadable"
            issues.append(Problem(COMMAND_LINE, text, f"bad syntax: {reason}", OVERRIDE_SYNTAX))
            continue
        parsed.append(Override(text, override.key_or_group, override.package, value, override.is_delete()))
    return parsed, issues


@dataclass(frozen=True)
class _Selection:
    """The chosen files as layers, and their problems.

    Attributes:
        layers: in merge order.
        problems: of each file by itself.
        is_whole: whether all files could be read, and everything that they choose exists.
    """

    layers: list[Layer]
    problems: list[Problem]
    is_complete: bool


def _select_files(files: group_choices.ConfigFiles, group_overrides: Sequence[str]) -> _Selection:
    """Resolve the chosen files with Hydra and check them; if Hydra fails, check all files.

    Raises:
        ConfigError: Hydra fails, although no file has a fault by itself.
    """
    from merit.config.composition import defaults_order

    try:
        defaults = defaults_order.resolve_defaults(group_choices.drop_faulty_defaults(files), group_overrides)
    except Exception as error:  # Hydra raises many unrelated types for mistakes in conf/
        if problems := layer_checks.check_files(files, files):
            return _Selection([], problems, is_complete=False)
        raise ConfigError([_convert_hydra_error(error)]) from error
    packages = [(each.config_path, each.package or "") for each in defaults if each.config_path in files]
    names = {name for name, _ in packages if name}
    layers = [Layer.from_file(files[name or ""], tuple(filter(None, package.split(".")))) for name, package in packages]
    return _Selection(layers, layer_checks.check_files(files, names), layer_checks.are_complete(files, names))


def _convert_hydra_error(error: Exception) -> Problem:
    """Return the message of Hydra or OmegaConf as one line."""
    if isinstance(error, RecursionError):
        return Problem("conf", "defaults", "files that build on one another in a circle", "no circle")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ignored_prefixes = ("full_key:", "object_type=", "Config search path", "provider=")
    return Problem("conf", "", " ".join(line for line in lines if not line.startswith(ignored_prefixes)))


def _check_format_version(file: yaml_files.YamlFile) -> None:
    """Refuse conf/ of another format version, whose other faults would only confuse."""
    if file.problems or not isinstance(file.root.value, dict):
        return
    node = file.root.value.get("form")
    version, line = (1, 1) if node is None else (node.value, node.line)
    problem = Problem(f"{file.path}:{line}", "form", f"found {version!r}")
    if type(version) is not int or version < 1:
        raise ConfigError([replace(problem, allowed=str(FORMAT_VERSION), hint="correct it")])
    if version < FORMAT_VERSION:
        raise ConfigError(
            [
                replace(
                    problem,
                    found=f"{problem.found}, an older format version than {FORMAT_VERSION}",
                    hint="run 'merit upgrade'",
                )
            ]
        )
    if version > FORMAT_VERSION:
        raise ConfigError(
            [
                replace(
                    problem,
                    found=f"{problem.found}, a newer format version than {FORMAT_VERSION}",
                    hint="install a newer merit",
                )
            ]
        )


def _find_manual_values(values: dict[str, Any]) -> list[Fault]:
    return [
        Fault((name,), "can't be set: 'merit compose' fills it in; remove it")
        for name in sorted(problems.COMPOSED_KEYS & set(values))
    ]


def hash_source(source: dict[str, Any]) -> str:
    """Return one hash of the contents of a source's files, or of its rows if it reads no files.

    Raises:
        MeritError: it isn't a source, a file doesn't exist, or a database can't be read.
    """
    return sealed(source)[1]


def sealed(component: dict[str, Any]) -> tuple[Any, str]:
    """Build a source; return it with its fingerprint. A source that hashes its rows caches them for `read`.

    Raises:
        MeritError: as for `fingerprint`.
    """
    source_object = targets.build_component(component)
    if callable(getattr(source_object, "fingerprint", None)) and callable(getattr(source_object, "read", None)):
        with trusted_packages.convert_project_errors():
            return source_object, str(source_object.fingerprint())
    digest = hashlib.sha256()
    if missing := [name for name in ("files", "read") if not callable(getattr(source_object, name, None))]:
        raise MeritError(f"data.source: '{component['_target_']}' has no method {missing[0]}(); a source has both")
    with trusted_packages.convert_project_errors():
        paths = [Path(path) for path in source_object.files()]
    for path in paths:
        if not path.is_file():
            raise MeritError(f"data.source: the file '{path}' is not there; correct the path in conf/data")
        lfs.refuse_pointer(path, f"data.source: '{path}'")
        digest.update(bytes.fromhex(artifacts.hash_file(path)))
    return source_object, f"sha256:{digest.hexdigest()}"
