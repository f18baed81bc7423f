"""The layout of a delimited text file, as declared by a source and recorded in the package's signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """The layout of a delimited text file.

    Attributes:
        separator: the character between fields.
        encoding: a Python encoding; a byte order mark in the file takes precedence.
        skip_rows: lines before the header.
        comment: the prefix of further lines before the header that are skipped.
    """

    separator: str = ","
    encoding: str = "utf-8"
    skip_rows: int = 0
    comment: str | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if len(self.separator.encode()) != 1 or self.separator in '"\r\n':
            raise ValueError(f"separator: found {self.separator!r}; allowed: one character, such as ';' or '\\t'")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ValueError(
                f"encoding: found '{self.encoding}'; allowed: utf-8, utf-16, windows-1252, latin-1 and others of Python"
            ) from error
        if self.skip_rows < 0 or self.comment == "":
            raise ValueError("skip_rows must be 0 or more, and comment not empty; leave out what isn't needed")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the default, and always the separator, for YAML and JSON."""
        optional = {"encoding": self.encoding, "skip_rows": self.skip_rows, "comment": self.comment}
        default = vars(Dialect())
        return {"separator": self.separator, **{k: v for k, v in optional.items() if v != default[k]}}


def load_dialect(settings: Mapping[str, Any] | None) -> Dialect:
    """Return the dialect of a signature; the default one if it has none."""
    return Dialect(**settings) if settings else Dialect()
