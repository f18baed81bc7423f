"""Logs a run while it trains, from a separate process.

Training then never waits for a server, the tracking library is imported in parallel with Lightning, and the run of a
killed training is still ended: the process sees its standard input close.
"""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.tracking import select_tracker


class RunLogger:
    """A training run as a context manager; the run ends as FINISHED, FAILED or KILLED, as the block does.

    Args:
        lock: the configuration.

    Example:
        with RunLogger(lock) as run:
            train(lock, run.log_epoch)
    """

    def __init__(self, lock: Lock) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must reach training only, which then reports the run's status
        )
        self._send_message({"lock": locks.render_lock(lock)})

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Send an epoch's metrics to the tracking process.

        Raises:
            MeritError: the run can't be logged; an untracked training is not worth finishing.
        """
        self._send_message({"epoch": metrics})

    def __enter__(self) -> "RunLogger":
        """Return the run, whose process was started by the constructor."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run as the block ended, and wait until it is stored."""
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self._send_message({"end": status})
            output, _ = self._process.communicate()
            self._raise_on_failure(output)
        except MeritError:
            if kind is None:
                raise

    def _send_message(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            assert self._process.stdout is not None
            output = self._process.stdout.read()
            self._process.wait()
            self._raise_on_failure(output)

    def _raise_on_failure(self, output: str) -> None:
        if self._process.returncode:
            lines = output.strip().splitlines() or [f"tracking: its process ended with {self._process.returncode}"]
            raise MeritError(lines[-1])


def _serve_run() -> None:
    """Log the run that standard input describes, a JSON object per line; input that closes early means a kill."""
    lock = locks.parse_lock(json.loads(sys.stdin.readline())["lock"], "lock")
    run = select_tracker(lock.tracking).start_run(lock)
    status = "KILLED"
    for line in sys.stdin:
        message = json.loads(line)
        if "end" in message:
            status = message["end"]
            break
        run.log_epoch(message["epoch"])
    run.end(status)


if __name__ == "__main__":
    try:
        _serve_run()
    except MeritError as error:
        print(error)  # the parent raises the last line
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"tracking: {error.filename}: {error.strerror}; free space or fix its permissions")
        sys.exit(MeritError.exit_code)
