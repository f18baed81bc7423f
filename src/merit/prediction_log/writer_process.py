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

from merit.prediction_log.buffered_writer import BufferedWriter, BuildTable
from merit.prediction_log.files import LogFiles
from merit.prediction_log.protocol import LENGTH_BYTES, WriterState, WriterTask, pack_message, unpack_entries

POLL_INTERVAL_S = 0.05
"""Seconds between two reads. Waking for each message would compete for the CPU with the worker that sends it."""
NICENESS = 10
"""Scheduling priority below the workers: at 5 it slows them down more, and at 19 it can't keep up when all CPUs are
busy."""


def main() -> None:
    """Serve the parent process on standard input and output."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the CPUs belong to the workers that serve requests
    os.nice(NICENESS)
    output_fd = os.dup(1)
    os.dup2(2, 1)  # prints of libraries must not mix with the states
    run_writer(0, output_fd)


def run_writer(input_fd: int, output_fd: int) -> None:
    """Write the entries that arrive, until the end marker or the end of the pipe.

    Args:
        input_fd: file descriptor of the input: a Task, then one Batch after another.
        output_fd: file descriptor of the output, to which each new State is sent.
    """
    with io.FileIO(input_fd) as messages, io.FileIO(output_fd, "w") as states:
        first_message = _read_message(messages)
        if first_message is None:
            return
        buffer = create_buffer(msgspec.msgpack.decode(first_message, type=WriterTask))
        last_state = msgspec.structs.astuple(buffer.state)
        poll = select.poll()
        while True:
            # With an empty mask poll still reports POLLHUP, the end of the worker, while the buffer is full.
            poll.register(input_fd, 0 if buffer.is_full else select.POLLIN)
            if (ready := poll.poll(0)) and not _read_entries(buffer, messages, ready[0][1]):
                break
            buffer.write_if_due()
            if (state := msgspec.structs.astuple(buffer.state)) != last_state:
                last_state = state
                _send_state(buffer.state, states)
            buffer.tidy_files()
            if not ready:
                time.sleep(POLL_INTERVAL_S)
        buffer.write_if_due(final=True)
        _send_state(buffer.state, states)


def create_buffer(task: WriterTask) -> BufferedWriter:
    """Return the buffer that a task configures."""
    root = Path(task.settings.folder or "")
    folder = root if task.kind == "predictions" else root / "feedback"
    files = LogFiles(folder, task.worker, task.settings.max_mb, task.settings.max_days, root)
    return BufferedWriter(_create_builder(task), files, task.settings.seconds)


def _create_builder(task: WriterTask) -> BuildTable:
    if task.kind == "feedback":
        from merit.prediction_log.feedback_tables import FeedbackTables

        return FeedbackTables(task.output).build_table
    from merit.prediction_log.prediction_tables import PredictionTables
    from merit.prediction_log.privacy import PrivacyFilter

    return PredictionTables(task, PrivacyFilter(task.settings, [each["name"] for each in task.inputs])).build_table


def _read_entries(buffer: BufferedWriter, messages: io.FileIO, event: int) -> bool:
    """Read one message into the buffer; return False at the end of the input."""
    if not event & select.POLLIN:
        return False
    message = _read_message(messages)
    if not message:  # the end marker, or a closed pipe
        return False
    buffer.add_entries(unpack_entries(message), len(message))
    return True


def _send_state(state: WriterState, states: io.FileIO) -> None:
    with suppress(BrokenPipeError):  # the worker has ended
        states.write(pack_message(state))


def _read_message(messages: io.FileIO) -> bytes | None:
    """Return the next message; None at the end, also in the middle of a message."""
    head = _read_exactly(messages, LENGTH_BYTES)
    return None if head is None else _read_exactly(messages, int.from_bytes(head, "big"))


def _read_exactly(messages: io.FileIO, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = messages.read(size - len(content))
        if not part:
            return None
        content += part
    return bytes(content)


if __name__ == "__main__":
    main()
