"""Compose conf/ with Hydra and check the result: every problem at once, each with its file and line."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from merit import artifacts
from merit.config import check, choices, interpolation, library, problems, shapes, signatures, targets, trust, yamlfiles
from merit.config import lock as locks
from merit.config.choices import Override
from merit.config.layers import COMMAND_LINE, REMOVED, Layer, idle_removals, located, merged
from merit.config.problems import Fault
from merit.config.schema import FORM, Lock
from merit.errors import ConfigError, MeritError, Problem
from merit.git import lfs

Touch = Literal["source", "files", "nothing"]
"""What a composition reads of the data: the source, including queries and the project's own code; only files of merit's
own classes; or nothing. A source that isn't read gets the fingerprint that the lock has for it."""

SYNTAX = "key=value, +key=value, ~key or group=choice"


@dataclass(frozen=True)
class Composed:
    """A composed configuration: the checked lock, and the layers that set its keys."""

    lock: Lock
    layers: list[Layer]


def compose(overrides: Sequence[str] = (), conf: Path = artifacts.CONF, *, touch: Touch = "source") -> Lock:
    """Return the checked configuration that conf/ and Hydra's overrides describe.

    Raises:
        ConfigError: with every fault found: unknown keys, wrong types, values out of range, targets that are not
            trusted or don't take their arguments.
    """
    return composition(overrides, conf, touch=touch).lock


def composition(overrides: Sequence[str] = (), conf: Path = artifacts.CONF, *, touch: Touch = "source") -> Composed:
    """Return the checked configuration together with the layers that set its keys.

    Raises:
        ConfigError: with every fault found.
    """
    return Composer(conf, touch=touch).composition(overrides)


def check_all(conf: Path = artifacts.CONF) -> int:
    """Check every file of conf/, chosen or not; return the number of files.

    Raises:
        ConfigError: with every fault found.
    """
    files = yamlfiles.read_all(conf)
    if faults := check.of_files(files, files):
        raise ConfigError(faults)
    return len(files)


class Composer:
    """Composes conf/ repeatedly: files are read once, and Hydra resolves each set of choices once.

    Only chosen files are checked: a fault in another file changes nothing here.

    Args:
        conf: the folder, which must not change meanwhile.
        touch: what to read of the data for its fingerprint.

    Raises:
        MeritError: the folder has no config.yaml.
        ConfigError: it has another format version.
    """

    def __init__(self, conf: Path = artifacts.CONF, *, touch: Touch = "source") -> None:
        if not (conf / "config.yaml").is_file():
            raise MeritError(f"{conf}/config.yaml: not found; run merit in the folder that holds conf/")
        self.files = yamlfiles.read_all(conf)
        _require_form(self.files["config"])
        self._groups = choices.groups(self.files)
        self._conf, self._touch = conf, touch
        self._chosen: dict[tuple[str, ...], _Chosen] = {}
        self._fingerprints: dict[str, str] = {}
        self._merit: dict[str, str] | None = None

    def composition(self, overrides: Sequence[str] = ()) -> Composed:
        """Return the checked configuration together with the layers that set its keys.

        Raises:
            ConfigError: with every fault found.
        """
        given, found = understood(overrides)
        known = [each for each in given if choices.of_override(self.files, each) is None]
        chosen = self._choose([each for each in known if each.key in self._groups])
        found = [*chosen.problems, *found, *check.of_overrides(self.files, given)]
        layers: list[Layer] = []
        lock = None
        if chosen.is_whole:
            layers = [*chosen.layers, *(choices.layer_of(each) for each in known if each.key not in self._groups)]
            lock, late = self._checked(merged(layers))
            found += [*idle_removals(layers), *(located(layers, _unremovable(layers, fault)) for fault in late)]
        found = [self._advised(problem, given) for problem in found]
        if lock is None or found:
            raise ConfigError(_once(found))
        return Composed(lock, layers)

    def _advised(self, problem: Problem, given: Sequence[Override]) -> Problem:
        """Add a hint where an experiment sets a key that a choice on the command line doesn't have."""
        section = problem.key.partition(".")[0]
        chosen = next((each.text for each in given if each.key == section and each.key in self._groups), None)
        is_experiments = problem.where.startswith(f"{self._conf / choices.EXPERIMENT}/")
        if chosen is None or not is_experiments or problem.found != problems.UNKNOWN:
            return problem
        return replace(problem, hint=f"{chosen} has no such key: leave the experiment out with experiment=null")

    def _choose(self, given: list[Override]) -> "_Chosen":
        asked = tuple(choices.text_of(each) for each in given)
        if asked not in self._chosen:
            self._chosen[asked] = _choose(self.files, asked)
        return self._chosen[asked]

    def _checked(self, composed: dict[str, Any]) -> tuple[Lock | None, list[Fault]]:
        """Return the lock of composed values, and their faults."""
        values, unresolved, opened = interpolation.resolve(composed)
        found = [
            *targets.faults(values),
            *signatures.faults(values),
            *shapes.faults(values),
            *_filled_in_by_hand(values),
        ]
        values, unread = self._with_fingerprint(values, trusted=not unresolved and not found)
        values = {**values, "code": {} if found or unresolved else targets.code(values)}
        if not library.is_source(self._conf.parent):
            self._merit = self._merit or library.code_by_stage()
            values["merit"] = self._merit
        lock = None
        try:
            lock = Lock.model_validate(values)
        except ValidationError as error:
            found += problems.from_validation(error, values)
        # An unresolved key has no value yet, so other faults of it would mislead.
        return lock, [*unresolved, *(fault for fault in found if fault.key not in opened), *unread]

    def _with_fingerprint(self, values: dict[str, Any], *, trusted: bool) -> tuple[dict[str, Any], list[Fault]]:
        """Add the source's hash, so that the lock says which data it was made for."""
        data = values.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("source"), dict):
            return values, []
        made, faults = locks.UNREAD, []
        if trusted:
            source = repr(data["source"])
            try:
                made = self._fingerprints[source] = self._fingerprints.get(source) or self._hashed(data["source"])
            except MeritError as error:
                faults = [_of_source(str(error))]
        return {**values, "data": {**data, "fingerprint": made}}, faults

    def _hashed(self, source: dict[str, Any]) -> str:
        """Return the fingerprint of a source, or the one in the lock if the source must not be read."""
        if self._touch == "source" or (self._touch == "files" and reads_files(source)):
            return fingerprint(source)
        return locks.fingerprint_of(source, self._conf.parent / artifacts.LOCK)


def reads_files(source: dict[str, Any]) -> bool:
    """Return whether a source is merit's own and only reads files: hashing it runs no query and no project code."""
    if not str(source.get("_target_")).startswith("merit."):
        return False
    return callable(getattr(targets.build(source), "files", None))


def _of_source(message: str) -> Fault:
    """Return the fault of a source, at the key that the message names."""
    key, _, text = message.partition(": ")
    if key.startswith("data.source"):
        return Fault(tuple(key.split(".")), text)
    return Fault(("data", "source"), message)


def _unremovable(layers: Sequence[Layer], fault: Fault) -> Fault:
    """Return the fault of a missing key with a hint, if the command line removed the key."""
    for layer in layers:
        if (
            layer.root.value is REMOVED
            and fault.found == "missing"
            and fault.key[: len(layer.package)] == layer.package
        ):
            taken = ".".join(layer.package)
            return replace(fault, found="is needed, and was removed", hint=f"leave out '~{taken}'")
    return fault


def _once(found: Iterable[Problem]) -> list[Problem]:
    """Return each problem once: the fault of a file is found again in the composed whole."""
    kept: dict[tuple[str, str], Problem] = {}
    for problem in found:
        kept.setdefault((problem.where, problem.key), problem)
    return list(kept.values())


def understood(overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Return the overrides that can be parsed, and the problems of the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    given: list[Override] = []
    found: list[Problem] = []
    for text in overrides:
        try:
            (override,) = parser.parse_overrides([text])
            if override.is_sweep_override():
                found.append(Problem(COMMAND_LINE, text, "several values", "one value for each key"))
                continue
            value = None if override.is_delete() else override.value()
        except (HydraException, ValueError) as error:
            why = " ".join(str(error).splitlines()[0].split()) if str(error) else "unreadable"
            found.append(Problem(COMMAND_LINE, text, f"bad syntax: {why}", SYNTAX))
            continue
        given.append(Override(text, override.key_or_group, override.package, value, override.is_delete()))
    return given, found


@dataclass(frozen=True)
class _Chosen:
    """The chosen files as layers, and their problems.

    Attributes:
        layers: in merge order.
        problems: of each file by itself.
        is_whole: whether all files could be read, and everything that they choose exists.
    """

    layers: list[Layer]
    problems: list[Problem]
    is_whole: bool


def _choose(files: choices.Files, asked: Sequence[str]) -> _Chosen:
    """Resolve the chosen files with Hydra and check them; if Hydra fails, check all files.

    Raises:
        ConfigError: Hydra fails, although no file has a fault by itself.
    """
    from merit.config import order

    try:
        defaults = order.of(choices.without_faults(files), asked)
    except Exception as error:  # Hydra raises many unrelated types for mistakes in conf/
        if problems := check.of_files(files, files):
            return _Chosen([], problems, is_whole=False)
        raise ConfigError([_from_hydra(error)]) from error
    laid = [(each.config_path, each.package or "") for each in defaults if each.config_path in files]
    names = {name for name, _ in laid if name}
    layers = [Layer.of(files[name or ""], tuple(filter(None, package.split(".")))) for name, package in laid]
    return _Chosen(layers, check.of_files(files, names), check.are_whole(files, names))


def _from_hydra(error: Exception) -> Problem:
    """Return the message of Hydra or OmegaConf as one line."""
    if isinstance(error, RecursionError):
        return Problem("conf", "defaults", "files that build on one another in a circle", "no circle")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    dull = ("full_key:", "object_type=", "Config search path", "provider=")
    return Problem("conf", "", " ".join(line for line in lines if not line.startswith(dull)))


def _require_form(file: yamlfiles.YamlFile) -> None:
    """Refuse conf/ of another format version, whose other faults would only confuse."""
    if file.problems or not isinstance(file.root.value, dict):
        return
    node = file.root.value.get("form")
    form, line = (1, 1) if node is None else (node.value, node.line)
    place = Problem(f"{file.path}:{line}", "form", f"found {form!r}")
    if type(form) is not int or form < 1:
        raise ConfigError([replace(place, allowed=str(FORM), hint="correct it")])
    if form < FORM:
        raise ConfigError(
            [replace(place, found=f"{place.found}, an older format version than {FORM}", hint="run 'merit upgrade'")]
        )
    if form > FORM:
        raise ConfigError(
            [replace(place, found=f"{place.found}, a newer format version than {FORM}", hint="install a newer merit")]
        )


def _filled_in_by_hand(values: dict[str, Any]) -> list[Fault]:
    return [
        Fault((name,), "can't be set: 'merit compose' fills it in; remove it")
        for name in sorted(problems.FILLED_IN & set(values))
    ]


def fingerprint(source: dict[str, Any]) -> str:
    """Return one hash of the contents of a source's files, or of its rows if it reads no files.

    Raises:
        MeritError: it isn't a source, a file doesn't exist, or a database can't be read.
    """
    return sealed(source)[1]


def sealed(source: dict[str, Any]) -> tuple[Any, str]:
    """Build a source; return it with its fingerprint. A source that hashes its rows caches them for `read`.

    Raises:
        MeritError: as for `fingerprint`.
    """
    made = targets.build(source)
    if callable(getattr(made, "fingerprint", None)) and callable(getattr(made, "read", None)):
        with trust.theirs():
            return made, str(made.fingerprint())
    total = hashlib.sha256()
    if lacking := [name for name in ("files", "read") if not callable(getattr(made, name, None))]:
        raise MeritError(f"data.source: '{source['_target_']}' has no method {lacking[0]}(); a source has both")
    with trust.theirs():
        paths = [Path(path) for path in made.files()]
    for path in paths:
        if not path.is_file():
            raise MeritError(f"data.source: the file '{path}' is not there; correct the path in conf/data")
        lfs.refuse_pointer(path, f"data.source: '{path}'")
        total.update(bytes.fromhex(artifacts.sha256(path)))
    return made, f"sha256:{total.hexdigest()}"
