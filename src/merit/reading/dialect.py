"""How a file of text is laid out; a source declares it, and it travels in the package's signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """How a file of text is laid out.

    Attributes:
        separator: one character between fields.
        encoding: as Python calls it; a byte order mark in the file says more.
        skip_rows: lines before the header.
        comment: what lines before the header begin with that are no header either.
    """

    separator: str = ","
    encoding: str = "utf-8"
    skip_rows: int = 0
    comment: str | None = None

    def __post_init__(self) -> None:
        """Check that it can be."""
        if len(self.separator.encode()) != 1 or self.separator in '"\r\n':
            raise ValueError(f"separator: found {self.separator!r}; allowed: one character, such as ';' or '\\t'")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(
                f"encoding: found '{self.encoding}'; allowed: utf-8, utf-16, windows-1252, latin-1 and others of Python"
            ) from error
        if self.skip_rows < 0 or self.comment == "":
            raise ValueError("skip_rows counts lines, and comment is what a line begins with; leave out what isn't so")

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that are not the default, as YAML and JSON have them; the separator always."""
        others = {"encoding": self.encoding, "skip_rows": self.skip_rows, "comment": self.comment}
        default = vars(Dialect())
        return {"separator": self.separator, **{k: v for k, v in others.items() if v != default[k]}}


def dialect_of(settings: Mapping[str, Any] | None) -> Dialect:
    """Return the dialect that a signature has; the usual one where it has none."""
    return Dialect(**settings) if settings else Dialect()
