"""One job: a machine for it, and its steps one after another."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rehearse import UnknownError, actions, machine
from rehearse.expressions import Scope, as_text, fill, holds, truth, value_of
from rehearse.machine import STAYS, Machine
from rehearse.runs import Step

SHELLS = {
    "": ["bash", "-e", "{0}"],
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"],
    "sh": ["sh", "-e", "{0}"],
    "python": ["python3", "{0}"],
}
LONGEST = 300.0
"""Seconds that a step may take here, whatever its workflow allows."""
RUNNERS = {"ubuntu-24.04", STAYS}


class Job:
    """Runs the steps of a job on its machine.

    Args:
        on: the machine.
        values: the job as its workflow has it.
        defaults: the workflow's `defaults.run`.
        say: is told each line of the log.
        kill: says that a program is to be killed as it runs; None: none is.
    """

    def __init__(
        self,
        on: Machine,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any],
        say: Callable[[str], None],
        kill: machine.Kill | None = None,
    ) -> None:
        self._machine, self._values, self._say, self._kill = on, values, say, kill
        self._defaults = {**defaults, **values.get("defaults", {}).get("run", {})}
        self._is_failed = False
        self.steps: list[Step] = []

    def run(self, environments: list[Mapping[str, Any]]) -> str:
        """Run the steps, in the environments of the workflow and of the job; return the result."""
        scope = Scope(self._machine.contexts)
        for each in environments:
            filled = {key: as_text(value_of(value, scope)) for key, value in each.items()}
            self._machine.environment.update(filled)
            self._machine.contexts["env"] = {**self._machine.contexts["env"], **filled}
        known_runner(fill(self._values["runs-on"], scope))
        if "concurrency" in self._values:
            value_of(group(self._values["concurrency"]), scope)
        self._deadline = time.monotonic() + 60 * float(value_of(self._values.get("timeout-minutes", 360), scope))
        for number, step in enumerate(self._values["steps"]):
            done = self._step(step, number)
            self._is_failed = self._is_failed or done.conclusion == "failure"
            self.steps.append(done)
        forgiven = truth(value_of(self._values.get("continue-on-error", False), scope))
        return "failure" if self._is_failed and not forgiven else "success"

    def outputs(self) -> dict[str, str]:
        """Return the job's outputs."""
        scope = Scope(self._machine.contexts)
        return {key: fill(str(text), scope) for key, text in self._values.get("outputs", {}).items()}

    def shown(self, name: str) -> dict[str, Any]:
        """Return the job as the API shows it."""
        steps = [
            {"name": done.name, "conclusion": done.conclusion, "number": number}
            for number, done in enumerate(self.steps, 1)
        ]
        return {"name": name, "conclusion": "failure" if self._is_failed else "success", "steps": steps}

    def _step(self, step: Mapping[str, Any], number: int) -> Step:
        """Run a step if its condition holds."""
        started, contexts = time.monotonic(), self._machine.contexts
        status = {"success": not self._is_failed, "failure": self._is_failed, "always": True, "cancelled": False}
        contexts["job"] = {"status": "failure" if self._is_failed else "success"}
        done = Step(_name(step, Scope(contexts)))
        if holds(step.get("if", "success()"), Scope(contexts, status, self._machine.workspace)):
            self._do(step, number, done)
        if "id" in step:
            told = {"outputs": done.outputs, "outcome": done.outcome, "conclusion": done.conclusion}
            contexts["steps"][step["id"]] = told
        done.seconds = time.monotonic() - started
        self._tell(done)
        return done

    def _do(self, step: Mapping[str, Any], number: int, done: Step) -> None:
        contexts, folder = self._machine.contexts, self._machine.workspace
        scope = Scope(contexts, folder=folder)
        own = {key: as_text(value_of(value, scope)) for key, value in step.get("env", {}).items()}
        scope = Scope({**contexts, "env": {**contexts["env"], **own}}, folder=folder)
        if "uses" in step:
            succeeded = self._use(step, scope, done)
        else:
            succeeded = self._shell({**self._defaults, **step, "env": own}, scope, done, number)
        done.outcome = done.conclusion = "success" if succeeded else "failure"
        if not succeeded and truth(value_of(step.get("continue-on-error", False), scope)):
            done.conclusion = "success"
        done.outputs |= self._machine.take(number)

    def _use(self, step: Mapping[str, Any], scope: Scope, done: Step) -> bool:
        inputs = {key: as_text(value_of(value, scope)) for key, value in step.get("with", {}).items()}
        try:
            done.outputs = actions.use(self._machine, step["uses"], inputs)
        except actions.ActionError as error:
            done.log = f"Error: {error}"
            return False
        return True

    def _shell(self, step: Mapping[str, Any], scope: Scope, done: Step, number: int) -> bool:
        shell = step.get("shell", "")
        if shell not in SHELLS:
            raise UnknownError(f"shell {shell!r} is not known")
        on = self._machine
        script = on.folder / "temp" / f"step-{number}{'.py' if shell == 'python' else '.sh'}"
        script.write_text(fill(step["run"], scope) + "\n", encoding="utf-8")
        words = [word.replace("{0}", str(script)) for word in SHELLS[shell]]
        environment = {**on.environment, "PATH": os.pathsep.join(on.path), **on.files(number), **step["env"]}
        folder: Path = on.workspace / fill(str(step.get("working-directory", "")), scope)
        minutes = float(value_of(step.get("timeout-minutes", 360), scope))
        allowed = min(60 * minutes, self._deadline - time.monotonic(), LONGEST)
        code, log = machine.execute(words, folder, environment, allowed, self._kill)
        done.log = log if code == 0 else f"{log}\nError: Process completed with exit code {code}.".lstrip("\n")
        return code == 0

    def _tell(self, done: Step) -> None:
        for secret in filter(None, self._machine.secrets.values()):
            done.log = done.log.replace(secret, "***")
        mark = {"success": "✓", "failure": "✗", "skipped": "-"}[done.outcome]
        self._say(f"    {mark} {done.name}  ({done.seconds:.1f} s)")
        for line in done.log.splitlines():
            self._say(f"        {line}")


def _name(step: Mapping[str, Any], scope: Scope) -> str:
    named = fill(str(step.get("name", "")), scope)
    return named or f"Run {step.get('uses') or step['run'].splitlines()[0]}"


def group(concurrency: Any) -> str:
    """Return the group of a `concurrency`."""
    return str(concurrency if isinstance(concurrency, str) else concurrency["group"])


def known_runner(name: str) -> None:
    """Refuse a machine that the rehearsal doesn't know.

    Raises:
        UnknownError: it doesn't.
    """
    if name not in RUNNERS:
        raise UnknownError(f"runs-on: {name!r} is not known")
