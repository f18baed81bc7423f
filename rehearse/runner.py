"""Runs a workflow's jobs here, as GitHub would on its machines."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rehearse import UnknownError, environments, machine
from rehearse.environments import Environment
from rehearse.expressions import Scope, fill, holds, value_of
from rehearse.forge import Forge
from rehearse.jobs import Job, group
from rehearse.machine import STAYS, Machine
from rehearse.runs import Run, Step, Trigger
from rehearse.workflow import Workflow, combinations

Results = dict[str, dict[str, Any]]


class Runner:
    """Runs workflows for a forge.

    Args:
        forge: the forge.
        folder: where machines are made.
        secrets: the repository's, which every job gets that is not of a fork.
        say: is told each line of the log.

    Attributes:
        environments: the repository's, by their names in small letters.
        variables: the repository's.
        installed: what the environment of every machine says of the programs on it.
        kill: says that what runs is to be killed, as a machine that is taken away does; None: nothing is.
    """

    def __init__(
        self, forge: Forge, folder: Path, secrets: Mapping[str, str], say: Callable[[str], None] | None = None
    ) -> None:
        self.forge, self.folder, self.secrets = forge, folder, dict(secrets)
        self.environments: dict[str, Environment] = {}
        self.variables: dict[str, str] = {}
        self.installed: dict[str, str] = {}
        self.kill: machine.Kill | None = None
        self._say = say or (lambda _: None)

    def run(self, workflow: Workflow, trigger: Trigger) -> Run:
        """Run every job of a workflow."""
        run = Run(self.forge.next_id(), workflow.name, trigger)
        started = time.monotonic()
        self._say(f"● {workflow.file} on {trigger.event}{' from a fork' if trigger.is_fork else ''}, run {run.id}")
        results: Results = {}
        self.forge.jobs[run.id] = []
        contexts = self._contexts(workflow, trigger, run)
        if "concurrency" in workflow.values:
            value_of(group(workflow.values["concurrency"]), Scope(contexts))
        for name in _ordered(workflow.values["jobs"]):
            results[name] = self._job(workflow, name, run, contexts, results)
        run.conclusion = _conclusion([each["result"] for each in results.values()])
        run.seconds = time.monotonic() - started
        self._say(f"  {run.conclusion} after {run.seconds:.0f} s")
        return run

    def _contexts(self, workflow: Workflow, trigger: Trigger, run: Run) -> dict[str, Any]:
        payload = trigger.payload
        github = {
            "event_name": trigger.event,
            "event": payload,
            "sha": trigger.sha,
            "ref": trigger.ref,
            "ref_name": trigger.ref.removeprefix("refs/").removeprefix("heads/").removeprefix("pull/"),
            "head_ref": trigger.branch,
            "base_ref": payload.get("pull_request", {}).get("base", {}).get("ref", ""),
            "repository": self.forge.repository,
            "repository_owner": self.forge.repository.split("/")[0],
            "actor": trigger.actor,
            "triggering_actor": trigger.actor,
            "workflow": workflow.name,
            "run_id": str(run.id),
            "run_number": str(run.id),
            "run_attempt": "1",
            "api_url": self.forge.url,
            "server_url": self.forge.server_url,
        }
        return {"github": github, "inputs": payload.get("inputs", {}), "vars": self.variables, "env": {}}

    def _job(
        self, workflow: Workflow, name: str, run: Run, contexts: Mapping[str, Any], results: Results
    ) -> dict[str, Any]:
        """Run a job, once for each combination of its matrix; return its result and outputs."""
        job = workflow.values["jobs"][name]
        needs = {need: results[need] for need in _needs(job)}
        contexts = {**contexts, "needs": needs}
        if not holds(job.get("if", "success()"), Scope(contexts, _status(needs))):
            self._say(f"  ○ {name}: skipped")
            return {"result": "skipped", "outputs": {}}
        strategy = job.get("strategy", {})
        outcome: dict[str, Any] = {"result": "success", "outputs": {}}
        for number, matrix in enumerate(combinations(strategy, Scope(contexts))):
            told = {**contexts, "matrix": matrix, "strategy": {"job-index": float(number)}}
            result, outputs = self._one(workflow, job, f"{name}-{number}", run, told)
            outcome["outputs"].update(outputs)
            if result == "failure":
                outcome["result"] = "failure"
                if strategy.get("fail-fast", True):
                    break
        return outcome

    def _one(
        self, workflow: Workflow, job: Mapping[str, Any], name: str, run: Run, contexts: Mapping[str, Any]
    ) -> tuple[str, dict[str, str]]:
        """Run one job on a machine of its own; return its result and outputs."""
        environment = environments.named(job, Scope(contexts))
        if environment is not None and not self._environment(environment).admits(run.trigger):
            return self._refused(name, environment, run)
        on = self._machine(workflow, job, name, run, contexts)
        defaults = workflow.values.get("defaults", {}).get("run", {})
        made = Job(on, job, defaults, self._say, self.kill)
        self._say(f"  ○ {name}")
        result = made.run([workflow.values.get("env", {}), job.get("env", {})])
        run.steps += made.steps
        run.summary += on.summary()
        self.forge.jobs[run.id].append(made.shown(name))
        return result, made.outputs()

    def _environment(self, name: str) -> Environment:
        """Return an environment; one that nobody has set up is made, and admits every run."""
        return self.environments.setdefault(name, Environment())

    def _refused(self, name: str, environment: str, run: Run) -> tuple[str, dict[str, str]]:
        """Fail a job that its environment doesn't admit: no step of it runs."""
        step = Step(name, "failure", "failure", log=environments.refusal(environment, run.trigger))
        self._say(f"  ○ {name}\n    ✗ {step.log}")
        run.steps.append(step)
        self.forge.jobs[run.id].append({"name": name, "conclusion": "failure", "steps": []})
        return "failure", {}

    def _machine(
        self, workflow: Workflow, job: Mapping[str, Any], name: str, run: Run, contexts: Mapping[str, Any]
    ) -> Machine:
        is_kept = fill(job["runs-on"], Scope(contexts)) == STAYS
        folder = machine.new(self.folder / "runs" / str(run.id) / name, self.folder, is_kept=is_kept)
        is_fork = run.trigger.is_fork
        token = self.forge.grant(_allowed(workflow, job, is_fork=is_fork))
        environment = environments.named(job, Scope(contexts))
        own = {} if environment is None else self._environment(environment).secrets
        secrets = {**({} if is_fork else {**self.secrets, **own}), "GITHUB_TOKEN": token}
        github = machine.told(folder, contexts["github"], token, name.rpartition("-")[0])
        known = {
            **contexts,
            "github": github,
            "secrets": secrets,
            "runner": {"os": "Linux", "arch": "X64", "temp": str(folder / "temp"), "name": "rehearsal"},
            "job": {"status": "success"},
            "steps": {},
        }
        variables = machine.environment(github, folder, self.installed)
        return Machine(self.forge, run.id, folder, self.folder, token, known, variables, dict(secrets))


def _allowed(workflow: Workflow, job: Mapping[str, Any], *, is_fork: bool) -> dict[str, str]:
    """Return what a job's token may do; a fork's may read at most."""
    granted = job.get("permissions", workflow.values.get("permissions"))
    if not isinstance(granted, Mapping):
        raise UnknownError(f"{workflow.file}: permissions must be listed; found {granted!r}")
    return {scope: "read" if is_fork and level == "write" else level for scope, level in granted.items()}


def _status(needs: Results) -> dict[str, bool]:
    ended = [each["result"] for each in needs.values()]
    all_well = all(each == "success" for each in ended)
    return {"success": all_well, "failure": "failure" in ended, "always": True, "cancelled": False}


def _conclusion(results: list[str]) -> str:
    if "failure" in results:
        return "failure"
    return "skipped" if set(results) == {"skipped"} else "success"


def _needs(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


def _ordered(jobs: Mapping[str, Any]) -> list[str]:
    """Return the jobs so that each comes after those it needs."""
    found: list[str] = []
    while len(found) < len(jobs):
        ready = [name for name, job in jobs.items() if name not in found and set(_needs(job)) <= set(found)]
        if not ready:
            raise UnknownError(f"jobs: {sorted(set(jobs) - set(found))} need each other or what isn't there")
        found += ready
    return found
