"""Renders values as YAML on one line."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import yaml

from merit.config.composition.interpolation import escape_text

PLAIN_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ ='()-]*")


def render_value(content: Any) -> str:
    """Return a value as one line of YAML that YAML and OmegaConf read back as the same value."""
    if isinstance(content, Mapping):
        return "{" + ", ".join(f"{render_key(name)}: {render_value(inner)}" for name, inner in content.items()) + "}"
    if isinstance(content, list | tuple):
        return "[" + ", ".join(map(render_value, content)) + "]"
    if isinstance(content, str):
        return render_key(escape_text(content))
    return content.isoformat() if isinstance(content, date) else yaml.safe_dump(content).split("\n")[0]


def render_key(text: str) -> str:
    """Return a string as YAML, quoted unless it can only be read as this string."""
    if PLAIN_PATTERN.fullmatch(text) and yaml.safe_load(text) == text and text.lower() not in {"y", "n"}:
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9).removesuffix("\n")
