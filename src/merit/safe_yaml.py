"""YAML that anybody may have written, read within bounds: how large, how deep, how much once aliases are written out.

PyYAML's safe loader builds no objects of Python's, and that is all: brackets crash the one in C, `1:1:1` is a number in
base 60 that takes time without end, and a few merged aliases mean millions of values. What YAML 1.1 reads as another
number than it looks like is refused, here and in conf/.
"""

import re
from typing import Any

import yaml

FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's safe loader, in C where it was built with that."""
CHARACTERS, DEPTH, VALUES, DIGITS = 8_000_000, 64, 500_000, 64
"""The longest text, how deep its values may be, how many there may be with aliases written out, the longest number."""
OCTAL = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]*")


class Refused(yaml.YAMLError):
    """YAML that is past a bound, or holds a value that can't be."""


def load(text: str) -> Any:
    """Return what a text of one document holds; None of an empty one.

    Raises:
        yaml.YAMLError: it is no YAML, or past a bound, or holds a value that can't be.
    """
    check(text)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe one
    except (ValueError, OverflowError) as error:
        raise Refused(f"a value that can't be ({error})") from error
    except (TypeError, AttributeError, LookupError) as error:  # its constructors stumble over what they don't expect
        raise Refused("a value that can't be (its tag does not fit)") from error


def compose(text: str) -> Any:
    """Return the node of a text's document, with the place of each part in it; None of an empty one.

    Raises:
        yaml.YAMLError: it is no YAML, or past a bound.
    """
    check(text)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def odd(number: str) -> str:
    """Return what is odd about a number as it is written; empty if it is what it looks like."""
    if ":" in number:
        return f"{number[:20]}, which YAML reads as a number in base 60"
    if OCTAL.fullmatch(number):
        return f"{number[:20]}, which YAML reads as a number in base 8"
    return f"a number of {len(number)} characters" if len(number) > DIGITS else ""


def check(text: str) -> None:
    """Check that a text is within the bounds, before anything is made of it.

    Raises:
        yaml.YAMLError: it is not, or is no YAML.
    """
    if len(text) > CHARACTERS:
        raise Refused(f"{len(text):,} characters; at most {CHARACTERS:,} are read")
    count = 0
    sizes: dict[str, int] = {}
    inside: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=FAST):
        count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = inside.pop()
            sizes[anchor or ""] = count - start
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor or ""] = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in inside):
                raise Refused(f"line {_line(event)}: the alias *{event.anchor} stands in what it means")
            count += sizes.get(event.anchor or "", 0)
        if len(inside) > DEPTH:
            raise Refused(f"line {_line(event)}: more than {DEPTH} levels")
        if count > VALUES:
            raise Refused(f"line {_line(event)}: more than {VALUES:,} values with aliases written out")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Loader(FAST):  # type: ignore[misc]  # chosen at run time
    """The safe loader, without numbers that are none to who reads them."""


def _number(loader: Any, node: Any) -> int | float:
    if found := odd(node.value):
        raise yaml.constructor.ConstructorError(None, None, f"found {found}; quote it if it is a text", node.start_mark)
    kind = node.tag.rpartition(":")[2]
    made: int | float = getattr(loader, f"construct_yaml_{kind}")(node)
    return made


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)
