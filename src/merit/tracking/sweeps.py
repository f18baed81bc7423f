"""A sweep told to what keeps runs, by a process of its own: a run for the sweep, and one below it for each trial.

Trials can't tell themselves: they see neither the project's data, which a run is named by, nor any store. Each is told
when it has ended, so that one that was interrupted and done again has one run.
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
"""Seconds that what keeps runs has to begin one; it is loaded in them too."""


class Teller:
    """The process, as the sweep sees it; it waits for it before the first trial and at its end.

    Args:
        lock: what the trials vary.
        name: the sweep's.
    """

    def __init__(self, lock: Lock, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the sweep to hear
        )
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._said_all = threading.Event()
        self._has_begun = False
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell({"lock": locks.render(lock), "name": name})

    def begin(self) -> None:
        """Begin the sweep's run.

        Raises:
            MeritError: it can't be kept, or there is no answer.
        """
        self._tell({"begin": True})
        try:
            heard = self._heard.get(timeout=WAIT)
        except queue.Empty as error:
            raise MeritError(
                f"tracking: no answer in {WAIT:.0f} s; correct conf/tracking, or choose tracking=csv"
            ) from error
        if "begun" not in heard:
            raise MeritError(heard.get("error", "tracking: what keeps runs ended without a word; see conf/tracking"))
        self._has_begun = True

    def close(self) -> None:
        """End the process if it still runs; a run that was begun is told as KILLED."""
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
        """Tell a trial that has ended, by its folder and what its trial.json says."""
        self._tell({"folder": str(folder), "told": told})

    def runs(self) -> dict[int, str]:
        """Return the ids of runs that were made since this was last asked, by the trial's number.

        Raises:
            MeritError: runs can't be kept.
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
        """End the sweep's run as FINISHED, FAILED or KILLED, wait until all is kept, and return the last ids.

        Raises:
            MeritError: it can't be kept.
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
                except ValueError:  # something that a library prints
                    continue
        self._said_all.set()
        self._heard.put({})  # who waits for an answer gets none any more

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has said why
            return


def _serve() -> None:
    """Keep what standard input tells of, and answer each trial with its run's id."""
    os.nice(5)  # trials come first
    first = json.loads(sys.stdin.readline())
    lock = locks.parse(first["lock"], "lock")
    keeper = tracker(lock.tracking)
    made_of = run_facts.made_of(lock)
    if not sys.stdin.readline():  # the sweep was given up before its first trial
        return
    parent = keeper.begin_sweep(lock, first["name"], made_of)
    print(json.dumps({"begun": parent}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "end" in message:
            keeper.end_sweep(lock, parent, message["end"])
            return
        told = run_facts.trial(Path(message["folder"]), message["told"], first["name"], parent)
        told = replace(told, lock=told.lock.model_copy(update={"tracking": lock.tracking}))  # a resume may have another
        run = keeper.keep_trial(told, made_of)
        print(json.dumps({"number": told.number, "run": run}), flush=True)
    keeper.end_sweep(lock, parent, "KILLED")


if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:  # the sweep was killed; what it had told is kept
        os._exit(MeritError.exit_code)
    except MeritError as fault:
        print(json.dumps({"error": str(fault)}), flush=True)
        sys.exit(fault.exit_code)
    except OSError as fault:
        print(json.dumps({"error": f"tracking: {fault.filename}: {fault.strerror}; free space"}), flush=True)
        sys.exit(MeritError.exit_code)
