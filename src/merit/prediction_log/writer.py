"""The process that makes Parquet of what a worker has answered, started by `merit.prediction_log.log_client`.

It has an interpreter of its own, so that it never holds up those who answer. It ends once the worker says so or is no
more, with everything written that it was sent.
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
"""How often it looks for what has come: were it woken by each piece, it would run beside the worker that writes it."""
NICENESS = 10
"""How far it stands back behind those who answer: by 5 it costs them more, and by 19 it does not keep up where each
processor is busy."""


def main() -> None:
    """Work for the process that has started this one."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the processors are for those who answer
    os.nice(NICENESS)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints must not come among the answers
    work(0, answers)


def work(asked: int, answers: int) -> None:
    """Write what comes, until the pipe is closed.

    Args:
        asked: the descriptor that pieces come from: a Task, then one Batch after another.
        answers: the one that each new State goes to.
    """
    with io.FileIO(asked) as pieces, io.FileIO(answers, "w") as told:
        first = _piece(pieces)
        if first is None:
            return
        keeper = kept(msgspec.msgpack.decode(first, type=Task))
        said = msgspec.structs.astuple(keeper.state)
        poll = select.poll()
        while True:
            # Of a pipe that isn't read it is still told when its other end is closed.
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
    """Return what keeps what a task is about."""
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
    """Take what has come; say whether more may."""
    if not event & select.POLLIN:
        return False
    piece = _piece(pieces)
    if not piece:  # the end was told, or the pipe was closed
        return False
    keeper.take(entries(piece), len(piece))
    return True


def _say(state: State, told: io.FileIO) -> None:
    with suppress(BrokenPipeError):  # the worker is no more
        told.write(packed(state))


def _piece(pieces: io.FileIO) -> bytes | None:
    """Return the next piece; None at the end, or where it was cut off."""
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
