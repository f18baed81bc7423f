"""Text from data, YAML or a stranger's report, made harmless in a comment on GitHub: it shows, and does nothing."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

MOST = 200
"""Characters of one text that a reader is shown, unless more is asked for."""

ELLIPSIS = "…"
REPLACED = "\ufffd"
"""What is shown for a character that can't be seen."""

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of controls, of marks that turn the direction of text, of halves and of no characters."""

MOST_MARKS = 2
"""Accents that one letter may carry; more of them climb over the lines above."""

# What Markdown, GitHub's mathematics or HTML may give a meaning to, some of it only where a line starts.
# As a reference a character has none, in a table, a heading or a summary alike.
_ACTIVE = re.compile(r"^[-+=]|^\d(?=\d{0,8}[.)](?:\s|$))|[&<>`*_~\\|\[\]#@$]")
# GitHub looks for these in what a comment shows, not in its source: only something between keeps it from acting.
_MENTION, _LINK = r"(?<=[@#])(?=\w)|(?<=\bgh)(?=-\d)", r"(?<=:)(?=//)|(?<=\bwww)(?=\.)"
_EMOJI = r"(?<=:)(?=[a-z+][\w+-]*:)"
_BREAKS = re.compile(f"{_MENTION}|{_LINK}|{_EMOJI}", re.IGNORECASE)
_BREAK = "\u200b"
_SPACES = re.compile(r"\s+")


@lru_cache(maxsize=20_000)
def escape(text: object, most: int = MOST) -> str:
    """Return a text that shows as it is and does nothing, in GitHub's Markdown and between HTML's tags.

    It stays on one line and in its cell of a table, makes no mark-up, tag, link, mention, reference or emoji, hides no
    character and turns no text around.

    Args:
        text: anything; `str` is taken of it.
        most: characters to show; an ellipsis stands for the rest.
    """
    seen = _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", _BREAKS.sub(_BREAK, plain(text, most)))
    return seen.replace(_BREAK, "&#8203;")


def plain(text: object, most: int = MOST) -> str:
    """Return a text on one line, cut to a length, each character of which can be seen; HTML is not escaped in it."""
    # What is cut away anyway is not looked at: a text may be millions of characters long.
    line = _SPACES.sub(" ", str(text)[: 4 * most + 4]).strip()
    if not (line.isascii() and line.isprintable()):
        line = "".join(_seen(unicodedata.normalize("NFC", line)))
    return line if len(line) <= most else line[: most - 1] + ELLIPSIS


def _seen(line: str) -> Iterator[str]:
    marks = 0
    for each in line:
        category = unicodedata.category(each)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks <= MOST_MARKS:
            yield REPLACED if category in UNSEEN else each
