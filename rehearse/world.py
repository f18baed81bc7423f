"""A small project with its forge, its remote and its people, on which the workflows are rehearsed."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearse.actions import lend
from rehearse.bare import git
from rehearse.environments import Environment
from rehearse.forge import Forge, Pull
from rehearse.runner import Runner
from rehearse.runs import Run, Trigger
from rehearse.workflow import Workflow

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "house/flights"
FORK = "stranger/flights"
LEFT_OUT = ("tests/", "docs/", "benchmarks/", "rehearse/")
"""What of this repository no workflow here needs."""
NOT_REHEARSED = {"ci.yml", "docs.yml"}
"""One runs all tests, and so the rehearsal too; the other publishes the site."""
WRITE, RELEASE = "merit/write", "merit/release"
ENVIRONMENTS = (WRITE, RELEASE, "staging", "production")
"""The environments of the repository, each of them main's alone, as docs/how-to/pull-requests.md says."""
SECONDS = 300


@dataclass
class World:
    """A forge with a project on main whose outputs lie in a DVC remote, and what people do to it.

    Attributes:
        folder: where everything is.
        forge: the forge.
        runner: runs its workflows.
        runs: every run there was, the latest last.
        left_out: the files of workflows that are not run.
    """

    folder: Path
    forge: Forge
    runner: Runner
    say: Callable[[str], None]
    runs: list[Run] = field(default_factory=list)
    left_out: set[str] = field(default_factory=lambda: set(NOT_REHEARSED))

    @classmethod
    def make(cls, folder: Path, small: str, say: Callable[[str], None], kept: Path | None = None) -> "World":
        """Make a world whose main has a champion.

        Args:
            folder: where it is made.
            small: YAML that keeps the project small.
            say: is told each line of the log.
            kept: where DVC's cache of a world is kept for the next, which then computes nothing that this one did.
        """
        forge = Forge(folder / "forge", REPOSITORY)
        settings = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {folder / 'remote'}"
        runner = Runner(forge, folder, {"DVC_READ": settings}, say)
        runner.environments = {name: Environment(("main",)) for name in ENVIRONMENTS}
        runner.environments[WRITE].secrets["DVC_WRITE"] = settings
        world = cls(folder, forge, runner, say)
        forge.permissions = {"writer": "write", "owner": "admin", "reader": "read", "stranger": "read"}
        project = folder / "main"
        _copy(project)
        keep_small(project, small)
        git(project, "init", "--quiet", "--initial-branch", "main")
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message", "start")
        (project / ".dvc/config.local").write_text(settings + "\n", encoding="utf-8")
        with _computed(project, kept):
            world.work(project, "merit compose && make repro && dvc push --quiet")
        git(project, "add", "params.yaml", "dvc.lock")
        git(project, "commit", "--quiet", "--message", "First champion")
        git(project, "push", "--quiet", str(forge.place()), "main", REHEARSE_MAY_PUSH="yes")
        return world

    def work(self, folder: Path, command: str) -> str:
        """Run a command as a person would on their laptop, with the folder's own source."""
        lend(folder)
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=folder,
            env=_laptop(folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def laptop(self, name: str, *, repository: str = "", has_cache: bool = True) -> Path:
        """Return a clone of main on a branch; somebody who works here knows the remote, and has what they made before.

        One that is there already stays as it is.
        """
        place = self.folder / "laptops" / name
        if not place.exists():
            git(self.folder, "clone", "--quiet", str(self.forge.place(repository or None)), str(place))
            git(place, "checkout", "--quiet", "-b", name, "origin/main")
            if not repository:
                shutil.copyfile(self.folder / "main/.dvc/config.local", place / ".dvc/config.local")
            if not repository and has_cache:
                shutil.copytree(self.folder / "main/.dvc/cache", place / ".dvc/cache")
        return place

    def branch(self, name: str, edit: Callable[[Path], object], *, command: str = "", repository: str = "") -> str:
        """Edit a clone of main on a branch, run a command there, commit what Git tracks or was added, and push.

        A branch that is there already gets one commit more.
        """
        place = self.laptop(name, repository=repository)
        target = self.forge.place(repository or None)
        edit(place)
        if command:
            self.work(place, command)
        git(place, "add", "--all")
        git(place, "commit", "--quiet", "--allow-empty", "--message", f"Change {name}")
        git(place, "push", "--quiet", str(target), f"HEAD:refs/heads/{name}", REHEARSE_MAY_PUSH="yes")
        return git(place, "rev-parse", "HEAD")

    def open(self, branch: str, *, author: str = "writer", repository: str = "") -> Pull:
        """Open a pull request; its workflows run."""
        pull = self.forge.open(branch, title=branch, author=author, repository=repository or None)
        self.say(f"# {author} opens #{pull.number}: {pull.head_repository}:{branch}")
        self.changed(pull, "opened")
        return pull

    def changed(self, pull: Pull, action: str = "synchronize", **more: Any) -> None:
        """Run what a pull request's event starts."""
        merged = self.forge.refresh(pull)
        payload = {"action": action, "number": pull.number, "pull_request": pull.as_json(self.forge.repository), **more}
        ref = f"refs/pull/{pull.number}/merge"
        is_fork = pull.head_repository != self.forge.repository
        self._happened(Trigger("pull_request", payload, merged, ref, pull.author, is_fork, pull.head))

    def merge(self, pull: Pull, *, quietly: bool = False) -> str:
        """Merge a pull request; its workflows run unless it is done quietly; return main's new tip."""
        self.say(f"# #{pull.number} is merged")
        bare = self.forge.place()
        before, merged = git(bare, "rev-parse", "refs/heads/main"), self.forge.refresh(pull)
        git(bare, "update-ref", "refs/heads/main", merged)
        self.forge.shut(pull)
        if not quietly:
            self.pushed(before, merged, pull.author)
        return merged

    def pushed(self, before: str, after: str, login: str) -> None:
        """Run what a push to main starts."""
        payload = {"ref": "refs/heads/main", "before": before, "after": after}
        self._happened(Trigger("push", payload, after, "refs/heads/main", login))

    def say_on(self, pull: Pull, login: str, text: str, association: str) -> None:
        """Comment on a pull request; what that starts is main's own workflow."""
        user = {"login": login, "type": "User"}
        made = self.forge.say(pull.number, text, user)
        self.say(f"# {login} comments on #{pull.number}: {text}")
        issue = {"number": pull.number, "pull_request": {"url": "…"}, "state": "open"}
        comment = {**made, "author_association": association}
        self._happened(
            self._on("main", "issue_comment", {"action": "created", "issue": issue, "comment": comment}, login)
        )

    def dispatch(self, file: str, login: str, inputs: Mapping[str, str], *, branch: str = "main") -> Run:
        """Start a workflow by hand, as a branch has it."""
        self.say(f"# {login} starts {file} of {branch} with {dict(inputs)}")
        trigger = self._on(branch, "workflow_dispatch", {"ref": f"refs/heads/{branch}", "inputs": dict(inputs)}, login)
        workflow = next(each for each in self._workflows(trigger.sha) if each.file == file)
        return self._run(workflow, trigger)

    def _on(self, branch: str, event: str, payload: dict[str, Any], login: str) -> Trigger:
        sha = git(self.forge.place(), "rev-parse", f"refs/heads/{branch}")
        payload = {**self._everywhere(login), **payload}
        return Trigger(event, payload, sha, f"refs/heads/{branch}", login)

    def _everywhere(self, login: str) -> dict[str, Any]:
        """Return what every event tells."""
        return {
            "repository": {"full_name": self.forge.repository, "default_branch": "main"},
            "sender": {"login": login},
        }

    def _happened(self, trigger: Trigger) -> None:
        """Run each workflow that waits for an event, as the commit of that event has it."""
        payload = {**self._everywhere(trigger.actor), **trigger.payload}
        told = Trigger(**{**vars(trigger), "payload": payload})
        before = payload.get("before") or (f"{trigger.sha}^1" if trigger.event == "pull_request" else None)
        files = git(self.forge.place(), "diff", "--name-only", before, trigger.sha).splitlines() if before else []
        for workflow in self._workflows(trigger.sha):
            if workflow.answers(trigger.event, payload, files):
                self._run(workflow, told)

    def _run(self, workflow: Workflow, trigger: Trigger) -> Run:
        run = self.runner.run(workflow, trigger)
        self.runs.append(run)
        if trigger.event == "pull_request":
            self.completed(run)
        return run

    def completed(self, run: Run, **changed: Any) -> None:
        """Run what the end of a run starts; it is main's own workflow, whatever the run was."""
        pull = run.trigger.payload["pull_request"]
        ended = {
            "id": run.id,
            "name": run.workflow,
            "event": run.trigger.event,
            "conclusion": run.conclusion,
            "created_at": self.forge.now(),
            "head_sha": pull["head"]["sha"],
            "head_branch": pull["head"]["ref"],
            "head_repository": {"full_name": pull["head"]["repo"]["full_name"]},
            "html_url": f"https://forge.invalid/{self.forge.repository}/actions/runs/{run.id}",
            **changed,
        }
        payload = {"action": "completed", "workflow_run": ended}
        self._happened(self._on("main", "workflow_run", payload, run.trigger.actor))

    def _workflows(self, commit: str) -> list[Workflow]:
        bare, place = self.forge.place(), ".github/workflows/"
        files = [Path(path).name for path in git(bare, "ls-tree", "--name-only", commit, place).splitlines()]
        return [
            Workflow.read(file, git(bare, "show", f"{commit}:{place}{file}"))
            for file in files
            if file not in self.left_out
        ]

    def last(self, workflow: str) -> Run:
        """Return the latest run of a workflow."""
        return next(run for run in reversed(self.runs) if run.workflow == workflow)

    def status(self, pull: Pull, context: str = "merit/gate") -> dict[str, Any] | None:
        """Return the latest status of a pull request's head."""
        found = [each for each in self.forge.statuses if (each["sha"], each["context"]) == (pull.sha, context)]
        return found[-1] if found else None

    def comments(self, pull: Pull) -> list[str]:
        """Return what the workflows said on a pull request."""
        return [each["body"] for each in self.forge.comments.get(pull.number, []) if each["user"]["type"] == "Bot"]


@contextmanager
def _computed(project: Path, kept: Path | None) -> Iterator[None]:
    """Lend a project DVC's cache of another, or keep its own for the next; one at a time."""
    if kept is None:
        yield
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if kept.exists():
            shutil.copytree(kept, project / ".dvc/cache")
        yield
        if not kept.exists():
            shutil.copytree(project / ".dvc/cache", kept)


def _copy(project: Path) -> None:
    """Copy what Git knows of this repository, as it lies here now."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in listed:
        if not name.startswith(LEFT_OUT) and (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)


def keep_small(project: Path, small: str) -> None:
    """Give a project a last choice that keeps it small."""
    (project / "conf/size").mkdir()
    (project / "conf/size/small.yaml").write_text(small, encoding="utf-8")
    config = project / "conf/config.yaml"
    text = config.read_text(encoding="utf-8")
    # A model of one month knows too little for what is asked of flights; and an experiment has the last word.
    for old, new in (("gate: flights", "gate: default"), ("- experiment: null", "- size: small\n  - experiment: null")):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    config.write_text(text, encoding="utf-8")


def _laptop(folder: Path) -> dict[str, str]:
    home = folder.parent / ".home"
    home.mkdir(exist_ok=True)
    path = f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(folder / "src")}
