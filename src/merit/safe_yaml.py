"""Parses untrusted YAML within limits on its length, depth, and number of values after alias expansion.

PyYAML's safe loader only refuses to build Python objects. Deeply nested brackets crash its C version, a long `1:1:1` is
a base 60 number that takes unbounded time, and a few nested aliases expand to millions of values. Numbers that YAML 1.1
reads differently from how they look are refused, here and in conf/.
"""

import re
from typing import Any

import yaml

SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's safe loader, the C version if available."""
MAX_CHARACTERS, MAX_DEPTH, MAX_VALUES, MAX_NUMBER_CHARACTERS = 8_000_000, 64, 500_000, 64
"""The most characters of a text, levels of nesting, values after alias expansion, and characters of a number."""
OCTAL_PATTERN = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]*")


class YamlRefused(yaml.YAMLError):
    """Raised for YAML that exceeds a limit or holds an impossible value."""


def load(text: str) -> Any:
    """Return the value of a YAML text with one document; None for an empty text.

    Raises:
        yaml.YAMLError: the text is not valid YAML, exceeds a limit, or holds an impossible value, such as month 13.
    """
    check_limits(text)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe one
    except (ValueError, OverflowError) as error:
        raise YamlRefused(f"an invalid value ({error})") from error
    except (TypeError, AttributeError, LookupError) as error:  # PyYAML's constructors don't check a tag's content
        raise YamlRefused("an invalid value (its tag does not fit)") from error


def compose(text: str) -> Any:
    """Return the document's node tree, with line and column of each node; None for an empty text.

    Raises:
        yaml.YAMLError: the text is not valid YAML, or exceeds a limit.
    """
    check_limits(text)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def explain_odd_number(number: str) -> str:
    """Return why a number as written is ambiguous or too long; empty if it is neither.

    >>> explain_odd_number("0644")
    '0644, which YAML reads as a number in base 8'
    """
    if ":" in number:
        return f"{number[:20]}, which YAML reads as a number in base 60"
    if OCTAL_PATTERN.fullmatch(number):
        return f"{number[:20]}, which YAML reads as a number in base 8"
    return f"a number of {len(number)} characters" if len(number) > MAX_NUMBER_CHARACTERS else ""


def check_limits(text: str) -> None:
    """Check a text against the limits by its parser events, before any value is built.

    Raises:
        yaml.YAMLError: the text exceeds a limit, or is not valid YAML.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlRefused(f"{len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    count = 0
    sizes: dict[str, int] = {}
    open_collections: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=SAFE_LOADER):
        count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_collections.append((event.anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = open_collections.pop()
            sizes[anchor or ""] = count - start
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor or ""] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_collections):
                raise YamlRefused(f"line {_get_line_number(event)}: the alias *{event.anchor} refers to itself")
            count += sizes.get(event.anchor or "", 0)
        if len(open_collections) > MAX_DEPTH:
            raise YamlRefused(f"line {_get_line_number(event)}: more than {MAX_DEPTH} levels")
        if count > MAX_VALUES:
            raise YamlRefused(
                f"line {_get_line_number(event)}: more than {MAX_VALUES:,} values with aliases written out"
            )


def _get_line_number(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Loader(SAFE_LOADER):  # type: ignore[misc]  # chosen at run time
    """PyYAML's safe loader that refuses ambiguous numbers."""


def _construct_number(loader: Any, node: Any) -> int | float:
    if oddity := explain_odd_number(node.value):
        raise yaml.constructor.ConstructorError(
            None, None, f"found {oddity}; quote it if it is a text", node.start_mark
        )
    kind = node.tag.rpartition(":")[2]
    value: int | float = getattr(loader, f"construct_yaml_{kind}")(node)
    return value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct_number)
