"""Checks the structure of CSV input before anything is scored."""

from merit.batch.sources import InputFiles, translate_read_errors
from merit.errors import MeritError
from merit.reading import lines


def check_lines(files: InputFiles) -> None:
    """Read all lines once, and compare their number of fields with the header; an empty line is a row of nulls.

    Raises:
        MeritError: a line has fewer or more fields, a quote is not closed or stands inside a field, or a header is
            invalid.
    """
    for path in files.paths:
        with translate_read_errors(path), _AppendNothingScored():
            lines.check_lines(files.open_text(path))


def check_headers(files: InputFiles) -> None:
    """Check the header of each file, before any other message about columns; in S3 only that of the first file.

    Raises:
        MeritError: a header is invalid.
    """
    for path in files.paths[:1] if files.paths[0].startswith("s3://") else files.paths:
        with translate_read_errors(path), _AppendNothingScored():
            lines.check_header(files.open_text(path))


class _AppendNothingScored:
    """Context manager that adds "nothing was scored" to an error."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise the error again with the addition."""
        if isinstance(error, MeritError):
            raise MeritError(f"{error}; nothing was scored") from error
