"""A writer of the prediction log in a thread of the test's own process, where starting another would cost a second."""

import os
import threading

from merit.prediction_log import writer_process


class Thread:
    """As much of a `subprocess.Popen` as a link uses."""

    def __init__(self) -> None:
        asked, self._stdin = os.pipe()
        self._stdout, answers = os.pipe()
        self.stdin, self.stdout = os.fdopen(self._stdin, "wb", 0), os.fdopen(self._stdout, "rb", 0)
        self._thread = threading.Thread(target=writer_process.run_writer, args=(asked, answers), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """Return its status; None while it runs."""
        return None if self._thread.is_alive() else 0

    def wait(self) -> int:
        """Wait for its end."""
        self._thread.join(10)
        return 0

    def kill(self) -> None:
        """A thread can't be; it ends once its pipe does."""
