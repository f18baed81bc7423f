"""The lines of a batch's files of text: looked at before anything is scored."""

from merit.batch.sources import Files, faults
from merit.errors import MeritError
from merit.reading import lines


def check(files: Files) -> None:
    """Read all lines once, and hold their fields against those of the header; empty lines are rows without values.

    Raises:
        MeritError: one has fewer or more, a quote is not closed or stands inside a field, or a header is not right.
    """
    for path in files.paths:
        with faults(path), _Unscored():
            lines.check(files.text(path))


def check_headers(files: Files) -> None:
    """Look at the header of each file, before anything else is told of its columns; in a store at the first alone.

    Raises:
        MeritError: it is not right.
    """
    for path in files.paths[:1] if files.paths[0].startswith("s3://") else files.paths:
        with faults(path), _Unscored():
            lines.check_header(files.text(path))


class _Unscored:
    """Adds to what is wrong that nothing was scored."""

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise it with these words."""
        if isinstance(error, MeritError):
            raise MeritError(f"{error}; nothing was scored") from error
