"""Texts of the code as Markdown."""

import re


def prose(text: str) -> str:
    """Return text as Markdown that shows it as it is; the page of docs/ that it names becomes a link."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _linked(_escaped(part)) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]{}])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _linked(text: str) -> str:
    return re.sub(
        r"docs/([\w/-]+)\.md", lambda page: f"[{page[1].rpartition('/')[2].replace('-', ' ')}](/{page[1]}.md)", text
    )


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return prose(" ".join(text.split())).replace("|", "\\|")
