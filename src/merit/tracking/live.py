"""A run told to what keeps it while it trains, by a process of its own.

Training then never waits for a server, loads what keeps runs beside Lightning rather than after it, and a run whose
training was killed is still ended: the process sees that nobody speaks to it any more.
"""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.tracking import tracker


class Live:
    """A training run as a context: finished, failed or killed as its block is.

    Args:
        lock: the configuration.
    """

    def __init__(self, lock: Lock) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for training to hear, which then says how the run ended
        )
        self._tell({"lock": locks.render(lock)})

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Pass an epoch's metrics on.

        Raises:
            MeritError: the run can't be kept; an untracked training is not worth finishing.
        """
        self._tell({"epoch": metrics})

    def __enter__(self) -> "Live":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run as the block ended, and wait until that is kept."""
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        try:
            self._tell({"end": status})
            said, _ = self._process.communicate()
            self._check(said)
        except MeritError:
            if kind is None:
                raise

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            assert self._process.stdout is not None
            said = self._process.stdout.read()
            self._process.wait()
            self._check(said)

    def _check(self, said: str) -> None:
        if self._process.returncode:
            lines = said.strip().splitlines() or [f"tracking: its process ended with {self._process.returncode}"]
            raise MeritError(lines[-1])


def _listen() -> None:
    """Keep the run that standard input tells of, a JSON object per line; silence before its end means it was killed."""
    lock = locks.parse(json.loads(sys.stdin.readline())["lock"], "lock")
    run = tracker(lock.tracking).begin(lock)
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
        _listen()
    except MeritError as error:
        print(error)  # the last line is what the other side raises
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"tracking: {error.filename}: {error.strerror}; free space or fix its permissions")
        sys.exit(MeritError.exit_code)
