"""Patterns that Python and Polars match alike: what one reads, the other reads."""

import re


def escaped(text: str) -> str:
    """Return the pattern of a text as it stands."""
    return re.sub(r"([\\.^$|?*+()\[\]{}\-])", r"\\\1", text)
