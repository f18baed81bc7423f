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
from merit.tracking import run_facts, select_tracker

START_TIMEOUT_S = 60.0
"""Timeout for the start of the sweep's run, in seconds, including the import of the tracking library."""


class SweepLogger:
    """The sweep's client of the tracking process; it waits for the process in `start_sweep` and `end_sweep` only.

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
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._is_drained = threading.Event()
        self._has_started = False
        threading.Thread(target=self._read_replies, daemon=True).start()
        self._send_message({"lock": locks.render_lock(lock), "name": name})

    def start_sweep(self) -> None:
        """Start the sweep's run.

        Raises:
            MeritError: it can't be stored, or the process doesn't respond in time.
        """
        self._send_message({"begin": True})
        try:
            reply = self._replies.get(timeout=START_TIMEOUT_S)
        except queue.Empty as error:
            raise MeritError(
                f"tracking: no answer in {START_TIMEOUT_S:.0f} s; correct conf/tracking, or choose tracking=csv"
            ) from error
        if "begun" not in reply:
            raise MeritError(reply.get("error", "tracking: its process ended without an error; see conf/tracking"))
        self._has_started = True

    def close(self) -> None:
        """End the process if it still runs; the sweep's run, if it was started, ends as KILLED."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if not self._has_started:
            self._process.kill()
        try:
            self._process.wait(START_TIMEOUT_S / 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._is_drained.wait(1)

    def log_trial(self, folder: Path, payload: dict[str, Any]) -> None:
        """Log an ended trial, given its folder and the content of its trial.json."""
        self._send_message({"folder": str(folder), "told": payload})

    def pop_runs(self) -> dict[int, str]:
        """Return the ids of the trials' runs logged since the last call, by the trial's number.

        Raises:
            MeritError: runs can't be stored.
        """
        run_ids: dict[int, str] = {}
        while not self._replies.empty():
            reply = self._replies.get()
            if "error" in reply:
                raise MeritError(reply["error"])
            if "run" in reply:
                run_ids[reply["number"]] = reply["run"]
        return run_ids

    def end_sweep(self, status: str) -> dict[int, str]:
        """End the sweep's run as FINISHED, FAILED or KILLED, wait until all is stored, and return the last ids.

        Raises:
            MeritError: it can't be stored.
        """
        self._send_message({"end": status})
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._is_drained.wait(10)
        return self.pop_runs()

    def _read_replies(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    self._replies.put(json.loads(line))
                except ValueError:  # output of a library
                    continue
        self._is_drained.set()
        self._replies.put({})  # unblocks a waiting `start_sweep`

    def _send_message(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # the process has sent its error already
            return


def _serve_requests() -> None:
    """Log the sweep that standard input describes, and respond to each trial with its run's id."""
    os.nice(5)  # trials have priority
    header = json.loads(sys.stdin.readline())
    lock = locks.parse_lock(header["lock"], "lock")
    backend = select_tracker(lock.tracking)
    run_inputs = run_facts.collect_provenance(lock)
    if not sys.stdin.readline():  # the sweep was cancelled before its first trial
        return
    parent = backend.start_sweep(lock, header["name"], run_inputs)
    print(json.dumps({"begun": parent}), flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if "end" in message:
            backend.end_sweep(lock, parent, message["end"])
            return
        trial = run_facts.read_trial(Path(message["folder"]), message["told"], header["name"], parent)
        trial = replace(
            trial, lock=trial.lock.model_copy(update={"tracking": lock.tracking})
        )  # a resume may use another
        run = backend.log_trial(trial, run_inputs)
        print(json.dumps({"number": trial.number, "run": run}), flush=True)
    backend.end_sweep(lock, parent, "KILLED")


if __name__ == "__main__":
    try:
        _serve_requests()
    except BrokenPipeError:  # the sweep was killed; the trials sent so far are stored
        os._exit(MeritError.exit_code)
    except MeritError as fault:
        print(json.dumps({"error": str(fault)}), flush=True)
        sys.exit(fault.exit_code)
    except OSError as fault:
        print(json.dumps({"error": f"tracking: {fault.filename}: {fault.strerror}; free space"}), flush=True)
        sys.exit(MeritError.exit_code)
