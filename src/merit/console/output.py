"""Keeps standard output for a command's result: prints JSON there, and sends everything else elsewhere."""

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from merit.console import logging

STDOUT, STDERR = 1, 2


class _Result:
    """Standard output as it was before a diversion."""

    def __init__(self, stream: TextIO, descriptor: int) -> None:
        self._stream, self._descriptor = stream, descriptor

    def write(self, text: str) -> None:
        """Write a text there."""
        try:
            is_file = self._stream.fileno() == STDOUT
        except (OSError, ValueError):  # a test's buffer, or a notebook's cell
            is_file = False
        if not is_file:
            self._stream.write(text)
            return
        data = text.encode(self._stream.encoding or "utf-8", "replace")
        while data:
            data = data[os.write(self._descriptor, data) :]


_diverted_from: list[_Result] = []


def print_json(value: Any) -> None:
    """Print a command's result as JSON on standard output, even where that is kept silent."""
    print_result(json.dumps(_to_json(value), indent=2, ensure_ascii=False, default=str))


def _to_json(value: Any) -> Any:
    """Return a value whose numbers JSON has; NaN and infinity become null."""
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_result(text: str) -> None:
    """Print a line that the caller needs even with --quiet, such as a new key."""
    if _diverted_from:
        _diverted_from[0].write(text + "\n")
    else:
        print(text, flush=True)


@contextmanager
def silence() -> Iterator[None]:
    """Discard what this process and its children print on standard output, except results."""
    with open(os.devnull, "w", encoding="utf-8") as devnull, _divert(devnull, devnull.fileno()):  # noqa: PTH123
        yield


@contextmanager
def reserve_stdout(is_reserved: bool = True) -> Iterator[None]:
    """Send what this process and its children print on standard output to standard error, except results.

    Where logs are JSON, children's results are discarded instead: standard error has nothing but JSON.

    Args:
        is_reserved: whether to do it; False changes nothing.
    """
    if not is_reserved or _diverted_from:
        yield
        return
    if not logging.is_json():
        with _divert(sys.stderr, STDERR):
            yield
        return
    with open(os.devnull, "w", encoding="utf-8") as devnull, _divert(sys.stderr, devnull.fileno()):  # noqa: PTH123
        yield


@contextmanager
def _divert(stream: TextIO, descriptor: int) -> Iterator[None]:
    sys.stdout.flush()
    saved = os.dup(STDOUT)
    _diverted_from.append(_Result(sys.stdout, saved))
    os.dup2(descriptor, STDOUT)
    try:
        with redirect_stdout(stream):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, STDOUT)
        os.close(saved)
        _diverted_from.pop()
