"""Escapes untrusted text from data, YAML or a foreign report for GitHub comments and terminals."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

DEFAULT_MAX_CHARS = 200
"""Default maximum of characters shown of one text."""

ELLIPSIS = "…"
REPLACEMENT = "\ufffd"
"""The replacement for an invisible character."""

INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of invisible characters: controls, direction marks, surrogates, private use and unassigned."""

MAX_COMBINING_MARKS = 2
"""Maximum combining marks per letter; more would overlap the lines above."""

# Characters with a meaning in Markdown, GitHub's mathematics or HTML, some of them only at the start of a line.
# Written as a numeric character reference, they have no meaning anywhere: in a table, a heading or a summary.
_MARKUP_CHARACTERS = re.compile(r"^[-+=]|^\d(?=\d{0,8}[.)](?:\s|$))|[&<>`*_~\\|\[\]#@$]")
# GitHub finds these in the rendered text, where a character reference is no protection: only a separator helps.
_MENTION, _LINK = r"(?<=[@#])(?=\w)|(?<=\bgh)(?=-\d)", r"(?<=:)(?=//)|(?<=\bwww)(?=\.)"
_EMOJI = r"(?<=:)(?=[a-z+][\w+-]*:)"
_SEPARATOR_POSITIONS = re.compile(f"{_MENTION}|{_LINK}|{_EMOJI}", re.IGNORECASE)
_SEPARATOR = "\u200b"
_SPACES = re.compile(r"\s+")


@lru_cache(maxsize=20_000)
def escape_markdown(text: object, max_chars: int = DEFAULT_MAX_CHARS) -> str:
    """Escape a text so that GitHub's Markdown and HTML element content show it literally.

    The result stays on one line and in its table cell, creates no mark-up, tag, link, mention, reference or emoji,
    hides no character and does not change the direction of text.

    Args:
        text: any object; it is converted with `str`.
        max_chars: maximum characters to show; an ellipsis replaces the rest.

    Example:
        >>> escape_markdown("@everyone | <b>")
        '&#64;&#8203;everyone &#124; &#60;b&#62;'
    """
    escaped = _MARKUP_CHARACTERS.sub(
        lambda found: f"&#{ord(found[0])};", _SEPARATOR_POSITIONS.sub(_SEPARATOR, sanitize_line(text, max_chars))
    )
    return escaped.replace(_SEPARATOR, "&#8203;")


def sanitize_code(line: str, max_chars: int = DEFAULT_MAX_CHARS) -> str:
    """Return a line of code as visible characters with its spaces, cut to a maximum length; HTML is not escaped."""
    spaced = line[: max_chars + 1].expandtabs(4)
    shown = "".join(_replace_invisible(unicodedata.normalize("NFC", spaced)))
    return shown if len(line) <= max_chars and len(shown) <= max_chars else shown[: max_chars - 1] + ELLIPSIS


def escape_code(line: str, max_chars: int = DEFAULT_MAX_CHARS) -> str:
    """Escape a line of code for a `<pre>` of GitHub's Markdown: as `escape_markdown`, with its spaces."""
    escaped = _MARKUP_CHARACTERS.sub(
        lambda found: f"&#{ord(found[0])};", _SEPARATOR_POSITIONS.sub(_SEPARATOR, sanitize_code(line, max_chars))
    )
    return escaped.replace(_SEPARATOR, "&#8203;")


def sanitize_line(text: object, max_chars: int = DEFAULT_MAX_CHARS) -> str:
    """Return a text as one line of visible characters, cut to a maximum length; HTML is not escaped."""
    # Cut early, since a text may have millions of characters; the factor leaves room for spaces that collapse below.
    line = _SPACES.sub(" ", str(text)[: 4 * max_chars + 4]).strip()
    if not (line.isascii() and line.isprintable()):
        line = "".join(_replace_invisible(unicodedata.normalize("NFC", line)))
    return line if len(line) <= max_chars else line[: max_chars - 1] + ELLIPSIS


def _replace_invisible(line: str) -> Iterator[str]:
    marks = 0
    for character in line:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks <= MAX_COMBINING_MARKS:
            yield REPLACEMENT if category in INVISIBLE_CATEGORIES else character
