"""The process that writes the log of a worker to Parquet; `merit.prediction_log.log_client` starts it.

It has its own interpreter, so that it never blocks requests. It ends when the worker sends the end marker or dies,
after writing all entries that it received.
"""

import io
import os
import select
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from merit.prediction_log.buffered_writer import Build, Keeper
from merit.prediction_log.files import Files
from merit.prediction_log.protocol import HEAD, State, Task, entries, packed

POLL_SECONDS = 0.05
"""Seconds between two reads. Waking for each message would compete for the CPU with the worker that sends it."""
NICENESS = 10
"""Scheduling priority below the workers: at 5 it slows them down more, and at 19 it can't keep up when all CPUs are
busy."""


def main() -> None:
    """Serve the parent process on standard input and output."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the CPUs belong to the workers that serve requests
    os.nice(NICENESS)
    answers = os.dup(1)
    os.dup2(2, 1)  # prints of libraries must not mix with the states
    work(0, answers)


def work(asked: int, answers: int) -> None:
    """Write the entries that arrive, until the end marker or the end of the pipe.

    Args:
        asked: file descriptor of the input: a Task, then one Batch after another.
        answers: file descriptor of the output, to which each new State is sent.
    """
    with io.FileIO(asked) as pieces, io.FileIO(answers, "w") as told:
        first = _piece(pieces)
        if first is None:
            return
        keeper = kept(msgspec.msgpack.decode(first, type=Task))
        said = msgspec.structs.astuple(keeper.state)
        poll = select.poll()
        while True:
            # With an empty mask poll still reports POLLHUP, the end of the worker, while the buffer is full.
            poll.register(asked, 0 if keeper.is_full else select.POLLIN)
            if (ready := poll.poll(0)) and not _took(keeper, pieces, ready[0][1]):
                break
            keeper.step()
            if (now := msgspec.structs.astuple(keeper.state)) != said:
                said = now
                _say(keeper.state, told)
            keeper.tidy()
            if not ready:
                time.sleep(POLL_SECONDS)
        keeper.step(final=True)
        _say(keeper.state, told)


def kept(task: Task) -> Keeper:
    """Return the buffer that a task configures."""
    root = Path(task.told.folder or "")
    folder = root if task.kind == "predictions" else root / "feedback"
    files = Files(folder, task.worker, task.told.max_mb, task.told.max_days, root)
    return Keeper(_builder(task), files, task.told.seconds)


def _builder(task: Task) -> Build:
    if task.kind == "feedback":
        from merit.prediction_log.labels import Truths

        return Truths(task.output).build
    from merit.prediction_log.privacy import Privacy
    from merit.prediction_log.tables import Tables

    return Tables(task, Privacy(task.told, [each["name"] for each in task.inputs])).build


def _took(keeper: Keeper, pieces: io.FileIO, event: int) -> bool:
    """Read one message into the buffer; return False at the end of the input."""
    if not event & select.POLLIN:
        return False
    piece = _piece(pieces)
    if not piece:  # the end marker, or a closed pipe
        return False
    keeper.take(entries(piece), len(piece))
    return True


def _say(state: State, told: io.FileIO) -> None:
    with suppress(BrokenPipeError):  # the worker has ended
        told.write(packed(state))


def _piece(pieces: io.FileIO) -> bytes | None:
    """Return the next message; None at the end, also in the middle of a message."""
    head = _exactly(pieces, HEAD)
    return None if head is None else _exactly(pieces, int.from_bytes(head, "big"))


def _exactly(pieces: io.FileIO, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        part = pieces.read(size - len(found))
        if not part:
            return None
        found += part
    return bytes(found)


if __name__ == "__main__":
    main()
