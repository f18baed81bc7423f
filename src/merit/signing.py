"""Signatures of packages. To be replaced by the registry's own."""

from pathlib import Path
from typing import Any

from merit.errors import MeritError


def verify(folder: Path, bundle: str | None, how: Any, demanded: bool) -> None:
    """Refuse a package whose signature doesn't hold, or that has none where one is demanded.

    Raises:
        MeritError: it does not.
    """
    if bundle is None and demanded:
        raise MeritError(f"{folder}: has no signature, but one is demanded")
