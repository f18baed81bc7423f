"""Limits on the number and size of outputs: `[tool.merit.outputs]` in pyproject.toml, next to the trusted packages.

```toml
[tool.merit.outputs]
files = 100000    # files in all folders together
gigabytes = 50    # bytes of all files together
```
"""

from dataclasses import dataclass, fields

from merit.config.components import trusted_packages
from merit.errors import MeritError

SETTINGS_KEY = "tool.merit.outputs"


@dataclass(frozen=True)
class Limits:
    """Limits on all outputs of a project together.

    Attributes:
        files: the most files in all folders.
        gigabytes: the most bytes of all files, in units of 10^9.
    """

    files: int = 100_000
    gigabytes: float = 50

    def check_files(self, count: int, name: str) -> None:
        """Check a number of files against the limit.

        Raises:
            MeritError: there are more; the message begins with `name`.
        """
        if count > self.files:
            raise MeritError(
                f"{name}: names more than {self.files:,} files; {SETTINGS_KEY}.files in {trusted_packages.PYPROJECT} "
                "may allow "
                "more"
            )

    def check_bytes(self, count: int, name: str) -> None:
        """Check a number of bytes against the limit.

        Raises:
            MeritError: there are more; the message begins with `name`.
        """
        if count > self.gigabytes * 1e9:
            raise MeritError(
                f"{name}: names {count / 1e9:,.1f} GB; at most {self.gigabytes:,g} GB are allowed, "
                f"{SETTINGS_KEY}.gigabytes in "
                f"{trusted_packages.PYPROJECT} may allow more"
            )


def read_limits() -> Limits:
    """Return the limits in pyproject.toml, or the defaults.

    Raises:
        MeritError: the table has unknown keys or invalid values.
    """
    table = trusted_packages.read_table().get("outputs", {})
    known = [field.name for field in fields(Limits)]
    if not isinstance(table, dict) or set(table) - set(known):
        raise MeritError(f"{trusted_packages.PYPROJECT}: {SETTINGS_KEY}: must be a table of {' and '.join(known)}")
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise MeritError(
                f"{trusted_packages.PYPROJECT}: {SETTINGS_KEY}.{name}: found {value!r}; it must be a number above 0"
            )
    return Limits(**table)
