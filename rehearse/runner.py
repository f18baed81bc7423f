"""Runs a workflow's jobs and steps here, as GitHub would on its machines."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearse import UnknownError, actions
from rehearse.expressions import Scope, as_text, fill, holds, truth, value_of
from rehearse.forge import Forge
from rehearse.workflow import Workflow, combinations

SHELLS = {
    "": ["bash", "-e", "{0}"],
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"],
    "sh": ["sh", "-e", "{0}"],
    "python": ["python3", "{0}"],
}
STAYS = "self-hosted"
"""A machine of one's own: what its jobs leave in their folder is there for the next."""
LONGEST = 300.0
"""Seconds that a step may take here, whatever its workflow allows."""
PASSED_ON = re.compile(r"PIP_.*|.*_PROXY|.*_proxy|SSL_CERT_.*|REQUESTS_CA_BUNDLE|GIT_SSL_CAINFO")
"""How this machine reaches the package index is no part of the rehearsal."""


@dataclass(frozen=True)
class Trigger:
    """What started a run.

    Attributes:
        event: its name.
        payload: what GitHub tells of it.
        sha: the commit that is checked out.
        ref: the ref that it is the tip of.
        actor: who did it.
        is_fork: it comes from a fork: no secrets, and a token that may only read.
        branch: the head's branch; of a pull request alone.
    """

    event: str
    payload: Mapping[str, Any]
    sha: str
    ref: str
    actor: str
    is_fork: bool = False
    branch: str = ""


@dataclass
class Step:
    """What became of a step."""

    name: str
    outcome: str = "skipped"
    conclusion: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    seconds: float = 0.0


@dataclass
class Run:
    """What became of a run."""

    id: int
    workflow: str
    trigger: Trigger
    conclusion: str = ""
    steps: list[Step] = field(default_factory=list)
    summary: str = ""
    seconds: float = 0.0

    def step(self, name: str) -> Step:
        """Return the step whose name begins so."""
        return next(step for step in self.steps if step.name.startswith(name))

    @property
    def log(self) -> str:
        """All that was printed."""
        return "\n".join(step.log for step in self.steps)


@dataclass
class Job:
    """One job on its machine."""

    forge: Forge
    run_id: int
    folder: Path
    shared: Path
    token: str
    contexts: dict[str, Any]
    environment: dict[str, str]
    path: list[str]
    secrets: dict[str, str]

    @property
    def workspace(self) -> Path:
        """Where its steps run."""
        return self.folder / "work"


class Runner:
    """Runs workflows for a forge.

    Args:
        forge: the forge.
        folder: where machines are made.
        secrets: the repository's.
        say: is told each line of the log.
    """

    def __init__(self, forge: Forge, folder: Path, secrets: Mapping[str, str], say: Any = None) -> None:
        self.forge, self.folder, self.secrets = forge, folder, dict(secrets)
        self.variables: dict[str, str] = {}
        self._say = say or (lambda _: None)

    def run(self, workflow: Workflow, trigger: Trigger) -> Run:
        """Run every job of a workflow."""
        run = Run(self.forge.next_id(), workflow.name, trigger)
        started = time.monotonic()
        self._say(f"● {workflow.file} on {trigger.event}{' from a fork' if trigger.is_fork else ''}, run {run.id}")
        results: dict[str, dict[str, Any]] = {}
        shown: list[dict[str, Any]] = []
        self.forge.jobs[run.id] = shown
        contexts = self._contexts(workflow, trigger, run)
        if "concurrency" in workflow.values:
            value_of(_group(workflow.values["concurrency"]), Scope(contexts))
        for name in _ordered(workflow.values["jobs"]):
            results[name] = self._job(workflow, name, run, contexts=contexts, results=results, shown=shown)
        run.conclusion = "failure" if any(each["result"] == "failure" for each in results.values()) else "success"
        if all(each["result"] == "skipped" for each in results.values()):
            run.conclusion = "skipped"
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
        return {
            "github": github,
            "inputs": payload.get("inputs", {}),
            "vars": self.variables,
            "env": {},
        }

    def _job(
        self, workflow: Workflow, name: str, run: Run, *, contexts: dict[str, Any], results: Any, shown: Any
    ) -> dict[str, Any]:
        """Run a job, once for each combination of its matrix; return its result and outputs."""
        job = workflow.values["jobs"][name]
        needs = {need: results[need] for need in _needs(job)}
        ended = [each["result"] for each in needs.values()]
        status = {
            "success": all(each == "success" for each in ended),
            "failure": "failure" in ended,
            "always": True,
            "cancelled": False,
        }
        contexts = {**contexts, "needs": needs}
        if not holds(job.get("if", "success()"), Scope(contexts, status)):
            self._say(f"  ○ {name}: skipped")
            return {"result": "skipped", "outputs": {}}
        strategy = job.get("strategy", {})
        outcome: dict[str, Any] = {"result": "success", "outputs": {}}
        for number, matrix in enumerate(combinations(strategy, Scope(contexts))):
            told = {**contexts, "matrix": matrix, "strategy": {"job-index": float(number)}}
            result, outputs = self._machine(workflow, job, f"{name}-{number}", run=run, contexts=told, shown=shown)
            outcome["outputs"].update(outputs)
            if result == "failure":
                outcome["result"] = "failure"
                if strategy.get("fail-fast", True):
                    break
        return outcome

    def _machine(
        self, workflow: Workflow, job: Any, name: str, *, run: Run, contexts: dict[str, Any], shown: Any
    ) -> tuple[str, dict[str, str]]:
        """Run one job on a machine of its own; return its result and outputs."""
        machine = self._new_machine(workflow, job, name, run, contexts)
        scope = Scope(machine.contexts)
        for each in (workflow.values.get("env", {}), job.get("env", {})):
            filled = {key: as_text(value_of(value, scope)) for key, value in each.items()}
            machine.environment.update(filled)
            machine.contexts["env"] = {**machine.contexts["env"], **filled}
        _known_runner(fill(job["runs-on"], scope))
        if "concurrency" in job:
            value_of(_group(job["concurrency"]), scope)
        entry: dict[str, Any] = {"name": name, "conclusion": "success", "steps": []}
        shown.append(entry)
        self._say(f"  ○ {name}")
        is_failed = False
        deadline = time.monotonic() + 60 * float(value_of(job.get("timeout-minutes", 360), scope))
        shell = {**workflow.values.get("defaults", {}).get("run", {}), **job.get("defaults", {}).get("run", {})}
        for number, step in enumerate(job["steps"]):
            done = self._step(machine, step, shell, number, is_failed=is_failed, deadline=deadline)
            is_failed = is_failed or done.conclusion == "failure"
            run.steps.append(done)
            entry["steps"].append({"name": done.name, "conclusion": done.conclusion, "number": number + 1})
        run.summary += _read(machine.folder, "summary-")
        entry["conclusion"] = "failure" if is_failed else "success"
        outputs = {key: fill(str(text), Scope(machine.contexts)) for key, text in job.get("outputs", {}).items()}
        forgiven = truth(value_of(job.get("continue-on-error", False), scope))
        return ("failure" if is_failed and not forgiven else "success"), outputs

    def _new_machine(self, workflow: Workflow, job: Any, name: str, run: Run, contexts: dict[str, Any]) -> Job:
        folder = self.folder / "runs" / str(run.id) / name
        for part in ("home", "temp"):
            (folder / part).mkdir(parents=True)
        if fill(job["runs-on"], Scope(contexts)) == STAYS:
            (self.folder / STAYS).mkdir(exist_ok=True)
            (folder / "work").symlink_to(self.folder / STAYS)
        else:
            (folder / "work").mkdir()
        is_fork = run.trigger.is_fork
        granted = job.get("permissions", workflow.values.get("permissions"))
        if not isinstance(granted, Mapping):
            raise UnknownError(f"{workflow.file}: permissions must be listed; found {granted!r}")
        # A fork's token may read at most.
        allowed = {scope: "read" if is_fork and level == "write" else level for scope, level in granted.items()}
        token = self.forge.grant(allowed)
        secrets = {**({} if is_fork else self.secrets), "GITHUB_TOKEN": token}
        event = folder / "event.json"
        event.write_text(json.dumps(contexts["github"]["event"]), encoding="utf-8")
        github = {
            **contexts["github"],
            "token": token,
            "workspace": str(folder / "work"),
            "job": name.rpartition("-")[0],
            "event_path": str(event),
        }
        told = {
            **contexts,
            "github": github,
            "secrets": secrets,
            "runner": {"os": "Linux", "arch": "X64", "temp": str(folder / "temp"), "name": "rehearsal"},
            "job": {"status": "success"},
            "steps": {},
        }
        path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        return Job(
            self.forge, run.id, folder, self.folder, token, told, _environment(github, folder), path, dict(secrets)
        )

    def _step(self, machine: Job, step: Any, defaults: Any, number: int, *, is_failed: bool, deadline: float) -> Step:
        """Run a step if its condition holds."""
        started = time.monotonic()
        status = {"success": not is_failed, "failure": is_failed, "always": True, "cancelled": False}
        contexts = machine.contexts
        contexts["job"] = {"status": "failure" if is_failed else "success"}
        name = (
            fill(str(step.get("name", "")), Scope(contexts)) or f"Run {step.get('uses') or step['run'].splitlines()[0]}"
        )
        done = Step(name)
        if holds(step.get("if", "success()"), Scope(contexts, status, machine.workspace)):
            scope = Scope(contexts, folder=machine.workspace)
            own = {key: as_text(value_of(value, scope)) for key, value in step.get("env", {}).items()}
            scope = Scope({**contexts, "env": {**contexts["env"], **own}}, folder=machine.workspace)
            act = self._use if "uses" in step else self._shell
            succeeded = act(machine, {**defaults, **step, "env": own}, scope, done, place=(number, deadline))
            done.outcome = done.conclusion = "success" if succeeded else "failure"
            if not succeeded and truth(value_of(step.get("continue-on-error", False), scope)):
                done.conclusion = "success"
            self._files(machine, done, number)
        if "id" in step:
            contexts["steps"][step["id"]] = {
                "outputs": done.outputs,
                "outcome": done.outcome,
                "conclusion": done.conclusion,
            }
        done.seconds = time.monotonic() - started
        self._tell(machine, done)
        return done

    def _use(self, machine: Job, step: Any, scope: Scope, done: Step, **_: Any) -> bool:
        inputs = {key: as_text(value_of(value, scope)) for key, value in step.get("with", {}).items()}
        try:
            done.outputs = actions.use(machine, step["uses"], inputs)
        except actions.ActionError as error:
            done.log = f"Error: {error}"
            return False
        return True

    def _shell(self, machine: Job, step: Any, scope: Scope, done: Step, *, place: tuple[int, float]) -> bool:
        number, deadline = place
        shell = step.get("shell", "")
        if shell not in SHELLS:
            raise UnknownError(f"shell {shell!r} is not known")
        script = machine.folder / "temp" / f"step-{number}{'.py' if shell == 'python' else '.sh'}"
        script.write_text(fill(step["run"], scope) + "\n", encoding="utf-8")
        words = [word.replace("{0}", str(script)) for word in SHELLS[shell]]
        files = {
            f"GITHUB_{name.upper()}": str(_touched(machine.folder / f"{short}-{number}"))
            for name, short in (("output", "output"), ("env", "env"), ("path", "path"), ("step_summary", "summary"))
        }
        environment = {**machine.environment, "PATH": os.pathsep.join(machine.path), **files, **step["env"]}
        folder = machine.workspace / fill(str(step.get("working-directory", "")), scope)
        minutes = float(value_of(step.get("timeout-minutes", 360), scope))
        allowed = min(60 * minutes, deadline - time.monotonic(), LONGEST)
        code, log = _execute(words, folder, environment, allowed)
        done.log = log if code == 0 else f"{log}\nError: Process completed with exit code {code}.".lstrip("\n")
        return code == 0

    def _files(self, machine: Job, done: Step, number: int) -> None:
        """Take what a step wrote into GitHub's files."""
        done.outputs |= _pairs(machine.folder / f"output-{number}")
        changed = _pairs(machine.folder / f"env-{number}")
        machine.environment |= changed
        machine.contexts["env"] = {**machine.contexts["env"], **changed}
        added = machine.folder / f"path-{number}"
        if added.is_file():
            machine.path[:0] = reversed(added.read_text(encoding="utf-8").split())

    def _tell(self, machine: Job, done: Step) -> None:
        for secret in filter(None, machine.secrets.values()):
            done.log = done.log.replace(secret, "***")
        mark = {"success": "✓", "failure": "✗", "skipped": "-"}[done.outcome]
        self._say(f"    {mark} {done.name}  ({done.seconds:.1f} s)")
        for line in done.log.splitlines():
            self._say(f"        {line}")


def _environment(github: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the environment that a job begins with: GitHub's variables, and nothing of the one here."""
    told = {
        f"GITHUB_{key.upper()}": value for key, value in github.items() if isinstance(value, str) and key != "token"
    }
    passed = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    return {
        **passed,
        **told,
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "RUNNER_OS": "Linux",
        "RUNNER_TEMP": str(folder / "temp"),
    }


def _execute(words: list[str], folder: Path, environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Run a program with all that it starts; return its exit code and what it printed."""
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        return 127, f"{words[0]}: not found"
    started = subprocess.Popen(
        [program, *words[1:]],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        log, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        log, _ = started.communicate()
        return 124, f"{log}\nError: The operation was canceled after {seconds:.0f} s."
    return started.returncode, log.rstrip("\n")


def _pairs(file: Path) -> dict[str, str]:
    """Return what a step wrote as NAME=VALUE, or as NAME<<END, lines, END."""
    if not file.is_file():
        return {}
    lines, found = iter(file.read_text(encoding="utf-8").splitlines()), {}
    for line in lines:
        name, equals, value = line.partition("=")
        start, heredoc, end = line.partition("<<")
        if heredoc and "=" not in start:
            body = []
            for inner in lines:
                if inner == end:
                    break
                body.append(inner)
            else:
                raise UnknownError(f"{file.name}: {start}<<{end}: without an end")
            found[start] = "\n".join(body)
        elif equals:
            found[name] = value
        elif line:
            raise UnknownError(f"{file.name}: invalid format {line!r}")
    return found


def _touched(file: Path) -> Path:
    file.touch()
    return file


def _read(folder: Path, prefix: str) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob(f"{prefix}*")))


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


def _group(concurrency: Any) -> str:
    return concurrency if isinstance(concurrency, str) else concurrency["group"]


def _known_runner(name: str) -> None:
    if name not in {"ubuntu-24.04", STAYS}:
        raise UnknownError(f"runs-on: {name!r} is not known")
