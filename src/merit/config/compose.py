"""Compose conf/ with Hydra and check the result: every problem at once, each with its file and line."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from merit import artifacts
from merit.config import problems, targets, trust
from merit.config.problems import Fault
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError

UNREAD = f"sha256:{'0' * 64}"
"""Stands for the fingerprint while faults keep the files from being read; no lock is ever written with it."""


@dataclass(frozen=True)
class Composed:
    """What conf/ and the overrides say: plain values, and the choice made in each group."""

    values: dict[str, Any]
    choices: dict[str, str]


def compose(overrides: Sequence[str] = (), conf: Path = artifacts.CONF) -> Lock:
    """Return the checked configuration that conf/ and Hydra's overrides describe.

    Raises:
        ConfigError: with every fault found: unknown keys, wrong types, values out of range, targets that are
            not trusted or don't take their arguments.
    """
    composed = _compose(overrides, conf)
    found = targets.faults(composed.values)
    values, unread = _with_fingerprint(composed.values, trusted=not found)
    values = {**values, "code": {} if found else targets.code(values)}
    try:
        lock = Lock.model_validate(values)
    except ValidationError as error:
        found += problems.from_validation(error)
    if found + unread:
        places = problems.Places(conf, composed.choices, overrides)
        raise ConfigError([places.located(fault) for fault in found + unread])
    return lock


def _compose(overrides: Sequence[str], conf: Path) -> Composed:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    if not (conf / "config.yaml").is_file():
        raise MeritError(f"{conf}/config.yaml: not found; run merit in the folder that holds conf/")
    try:
        with initialize_config_dir(config_dir=str(conf.resolve()), version_base="1.3"):
            config = hydra_compose("config", overrides=list(overrides), return_hydra_config=True)
        choices = {group: str(choice) for group, choice in config.hydra.runtime.choices.items()}
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except Exception as error:  # Hydra raises many unrelated types for what a person wrote
        raise ConfigError([problems.from_hydra(error)]) from error
    return Composed(values, choices)  # type: ignore[arg-type]  # the root of conf/config.yaml is a mapping


def _with_fingerprint(values: dict[str, Any], *, trusted: bool) -> tuple[dict[str, Any], list[Fault]]:
    """Add the hash of the files that the source reads: the lock then says which data it was made for."""
    data = values.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("source"), dict):
        return values, []
    made, faults = UNREAD, []
    if trusted:
        try:
            made = fingerprint(data["source"])
        except MeritError as error:
            faults = [Fault(("data", "source"), str(error).removeprefix("data.source: "))]
    return {**values, "data": {**data, "fingerprint": made}}, faults


def fingerprint(source: dict[str, Any]) -> str:
    """Return one hash over the contents of the files that a source reads, or over its rows if it reads no files.

    Raises:
        MeritError: it isn't a source, a file isn't there, or a database can't be read.
    """
    made = targets.build(source)
    if callable(getattr(made, "fingerprint", None)) and callable(getattr(made, "read", None)):
        with trust.theirs():
            return str(made.fingerprint())
    total = hashlib.sha256()
    if lacking := [name for name in ("files", "read") if not callable(getattr(made, name, None))]:
        raise MeritError(f"data.source: '{source['_target_']}' has no method {lacking[0]}(); a source has both")
    with trust.theirs():
        paths = [Path(path) for path in made.files()]
    for path in paths:
        if not path.is_file():
            raise MeritError(f"data.source: the file '{path}' is not there; correct the path in conf/data")
        total.update(bytes.fromhex(artifacts.sha256(path)))
    return f"sha256:{total.hexdigest()}"
