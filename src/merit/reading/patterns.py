"""Regular expressions that match alike in Python and Polars."""

import re


def escape_pattern(text: str) -> str:
    """Return a pattern that matches a text literally."""
    return re.sub(r"([\\.^$|?*+()\[\]{}\-])", r"\\\1", text)
