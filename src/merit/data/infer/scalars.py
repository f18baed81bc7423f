"""Renders values as YAML on one line."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import yaml

from merit.config.interpolation import escape_text

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ ='()-]*")


def value(one: Any) -> str:
    """Return a value as one line of YAML that YAML and OmegaConf read back as the same value."""
    if isinstance(one, Mapping):
        return "{" + ", ".join(f"{key(name)}: {value(inner)}" for name, inner in one.items()) + "}"
    if isinstance(one, list | tuple):
        return "[" + ", ".join(map(value, one)) + "]"
    if isinstance(one, str):
        return key(escape_text(one))
    return one.isoformat() if isinstance(one, date) else yaml.safe_dump(one).split("\n")[0]


def key(text: str) -> str:
    """Return a string as YAML, quoted unless it can only be read as this string."""
    if PLAIN.fullmatch(text) and yaml.safe_load(text) == text and text.lower() not in {"y", "n"}:
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9).removesuffix("\n")
