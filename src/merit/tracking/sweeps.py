"""Logs a sweep from a separate process: a run for the sweep, and a child run for each trial.

Trials can't log themselves: they can read neither the project's data, whose hash is part of a run, nor any store. Each
is logged after it has ended, so that a trial that was interrupted and repeated has one run.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.tracking import run_facts, tracker

WAIT = 60.0
"""Timeout for the start of the sweep's run, in seconds, including the import of the tracking library."""


class Teller:
    """The sweep's client of the tracking process; it waits for the process in `begin` and `end` only.

    Args:
        lock: the lock that the trials vary.
        name: name of the sweep.
    """

    def __init__(self, lock: Lock, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C must reach the sweep only
        )
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._said_all = threading.Event()
        self._has_begun = False
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell({"lock": locks.render(lock), "name": name})

    def begin(self) -> None:
        """Start the sweep's run.

        Raises:
            MeritError: it can't be stored, or the process doesn't respond in time.
        """
        self._tell({"begin": True})
        try:
            heard = self._heard.get(timeout=WAIT)
        except queue.Empty as error:
            raise MeritError(
                f"tracking: no answer in {WAIT:.0f} s; correct conf/tracking, or choose tracking=csv"
            ) from error
        if "begun" not in heard:
            raise MeritError(heard.get("error", "tracking: its process ended without an error; see conf/tracking"))
        self._has_begun = True

    def close(self) -> None:
        """End the process if it still runs; the sweep's run, if it was started, ends as KILLED."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self._has_begun:
            self._process.kill()
        try:
            self._process.wait(WAIT / 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said_all.wait(1)

    def trial(self, folder: Path, told: dict[str, Any]) -> None:
        """Log an ended trial, given its folder and the content of its trial.json."""
        self._tell({"folder": str(folder), "told": told})

    def runs(self) -> dict[int, str]:
        """Return the ids of the trials' runs logged since the last call, by the trial's number.

        Raises:
            MeritError: runs can't be stored.
        """
        found: dict[int, str] = {}
        while not self._heard.empty():
            heard = self._heard.get()
            if "error" in heard:
                raise MeritError(heard["error"])
            if "run" in heard:
                found[heard["number"]] = heard["run"]
        return found

    def end(self, status: str) -> dict[int, str]:
        """End the sweep's run as FINISHED, FAILED or KILLED, wait until all is stored, and return the last ids.

        Raises:
            MeritError: it can't be stored.
        """
        self._tell({"end": status})
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._said_all.wait(10)
        return self.runs()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    self._heard.put(json.loads(line))
                except ValueError:  # output of a library
                    continue
        self._said_all.set()
        self._heard.put({})  # unblocks a waiting `begin`

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # the process has sent its error already
            return


def _serve() -> None:
    """Log the sweep that standard input describes, and respond to each trial with its run's id."""
    os.nice(5)  # trials have priority
    first = json.loads(sys.stdin.readline())
    lock = locks.parse(first["lock"], "lock")
    keeper = tracker(lock.tracking)
    made_of = run_facts.made_of(lock)
    if not sys.stdin.readline():  # the sweep was cancelled before its first trial
        return
    parent = keeper.begin_sweep(lock, first["name"], made_of)
    print(json.dumps({"begun": parent}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "end" in message:
            keeper.end_sweep(lock, parent, message["end"])
            return
        told = run_facts.trial(Path(message["folder"]), message["told"], first["name"], parent)
        told = replace(told, lock=told.lock.model_copy(update={"tracking": lock.tracking}))  # a resume may use another
        run = keeper.keep_trial(told, made_of)
        print(json.dumps({"number": told.number, "run": run}), flush=True)
    keeper.end_sweep(lock, parent, "KILLED")


if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:  # the sweep was killed; the trials sent so far are stored
        os._exit(MeritError.exit_code)
    except MeritError as fault:
        print(json.dumps({"error": str(fault)}), flush=True)
        sys.exit(fault.exit_code)
    except OSError as fault:
        print(json.dumps({"error": f"tracking: {fault.filename}: {fault.strerror}; free space"}), flush=True)
        sys.exit(MeritError.exit_code)
