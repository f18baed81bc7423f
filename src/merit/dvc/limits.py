"""How much dvc.lock may name at once: `[tool.merit.outputs]` in pyproject.toml, where trust is given too.

```toml
[tool.merit.outputs]
files = 100000    # files in all folders together
gigabytes = 50    # bytes of all files together
```
"""

from dataclasses import dataclass, fields

from merit.config import trust
from merit.errors import MeritError

KEY = "tool.merit.outputs"


@dataclass(frozen=True)
class Limits:
    """The most that the outputs of a project may be.

    Attributes:
        files: files in all folders together.
        gigabytes: the size of all files together.
    """

    files: int = 100_000
    gigabytes: float = 50

    def check_files(self, count: int, name: str) -> None:
        """Refuse more files than are allowed.

        Raises:
            MeritError: there are more; `name` says where.
        """
        if count > self.files:
            raise MeritError(
                f"{name}: names more than {self.files:,} files; {KEY}.files in {trust.PYPROJECT} may allow more"
            )

    def check_bytes(self, count: int, name: str) -> None:
        """Refuse more bytes than are allowed.

        Raises:
            MeritError: there are more; `name` says where.
        """
        if count > self.gigabytes * 1e9:
            raise MeritError(
                f"{name}: names {count / 1e9:,.1f} GB; at most {self.gigabytes:,g} GB are allowed, {KEY}.gigabytes in "
                f"{trust.PYPROJECT} may allow more"
            )


def read() -> Limits:
    """Return what pyproject.toml allows.

    Raises:
        MeritError: it says so in another form.
    """
    table = trust.table().get("outputs", {})
    known = [field.name for field in fields(Limits)]
    if not isinstance(table, dict) or set(table) - set(known):
        raise MeritError(f"{trust.PYPROJECT}: {KEY}: must be a table of {' and '.join(known)}")
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise MeritError(f"{trust.PYPROJECT}: {KEY}.{name}: found {value!r}; it must be a number above 0")
    return Limits(**table)
