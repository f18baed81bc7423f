"""adopt: write a trial as an experiment in conf/, lock it and optionally commit it to a branch for a pull request."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from merit import artifacts, git
from merit.config import experiment, lock
from merit.config.compose import compose
from merit.config.experiment import CONFIG
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError, Refused
from merit.gate import change
from merit.gate.report.escape import plain
from merit.process import workspace_lock
from merit.sweep import labels
from merit.sweep.record import Sweep, Trial

MOST_KEYS = 5
OURS = ("sweep", "hydra")
"""Sections of a sweep's command line that are not part of the lock."""
_OVERRIDE = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[^=@]+)(?:=(?P<value>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Adopted:
    """The files that adopting a trial wrote, and the commit on the new branch, if one was created.

    Attributes:
        name: the experiment's name.
        trial: the adopted trial.
        files: paths written, the experiment first.
        branch: name of the branch for the pull request.
        message: commit message.
        commit: sha of the commit on the branch; None if no branch was created.
    """

    name: str
    trial: Trial
    files: list[Path]
    branch: str
    message: str
    commit: str | None
    moved: bool
    """Whether the checked-out code differs from the code that the sweep ran with."""
    is_new: bool = True
    """Whether the files differ from the checked-out commit."""

    def following(self) -> list[str]:
        """Return the shell commands that turn the adopted trial into a pull request."""
        if not self.is_new:
            return ["merit run"]
        files = " ".join(path.as_posix() for path in self.files)
        made = [] if self.commit else [
            f"git switch --create {self.branch} && git add {files}",
            f"git commit --message {shlex.quote(self.message)} -- {files}",
        ]  # fmt: skip
        return [
            *made,
            "merit run && git add dvc.lock && git commit --message 'Lock its outputs'",
            f"git push --set-upstream origin {self.branch}",
        ]


def adopt(sweep: Sweep, number: int | None = None, name: str | None = None, *, branch: bool = False) -> Adopted:
    """Write a trial as the experiment `name`, select it in config.yaml and update params.yaml.

    Nothing is kept on failure: the files are restored if conf/ with the trial's values doesn't compose to the lock that
    the trial was trained with.

    Args:
        sweep: the trial's sweep.
        number: number of the trial; None takes the best.
        name: name of the experiment; None derives it from the sweep's name.
        branch: also commit the files to a new branch `sweep/NAME`, and check it out.

    Raises:
        MeritError: the trial does not exist, no trial was named for several objectives, conf/ has uncommitted changes,
            or the experiment's file exists with other content.
        Refused: the trial isn't done, another trial is better in all objectives, or conf/ composes to another lock than
            the trial's.

    Example:
        adopt(record.read("mlp"), number=3, name="wide", branch=True)
    """
    trial = pick(sweep, number)
    named = name or default_name(sweep.name)
    texts = _texts(sweep, trial, named)
    _refuse_dirty(texts)
    made = Adopted(
        name=named,
        trial=trial,
        files=[*texts, artifacts.LOCK],
        branch=f"sweep/{named}",
        message=f"Adopt trial {trial.number} of the sweep {sweep.name}: {labels.score(sweep, trial)}",
        commit=None,
        moved=_has_moved(sweep.commit),
    )
    if branch:
        _refuse_branch(made)
    with workspace_lock.run(), _written(texts):
        composed = _composed(sweep, trial)
        _refuse_other(sweep, trial, composed)
        lock.write(composed)
    return replace(made, commit=_committed(made)) if branch else replace(made, is_new=_differs(made))


def _has_moved(commit: str) -> bool:
    """Return whether the code differs from that of a commit; the files that adopting writes don't count."""
    if not commit:
        return False
    others = (f":(exclude){path.as_posix()}" for path in (artifacts.CONF, artifacts.LOCK, artifacts.DVC_LOCK))
    return git.resolve(commit) is None or git.git("diff", "--quiet", commit, "HEAD", "--", ".", *others) is None


def _differs(made: Adopted) -> bool:
    """Return whether the files differ from the checked-out commit."""
    return bool(git.git("status", "--porcelain", "--", *(path.as_posix() for path in made.files)))


def default_name(sweep: str) -> str:
    """Return the default experiment name: the sweep's name, reduced to the characters of a conf/ file name."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", sweep.lower()).strip("-") or "sweep"
    return (slug if slug[0].isalpha() else f"sweep-{slug}")[:41]


def pick(sweep: Sweep, number: int | None) -> Trial:
    """Return the trial with that number, or the best one if the number is None.

    Raises:
        MeritError: the trial does not exist, or none was named for several objectives.
        Refused: it isn't done, or another trial is better in all objectives.
    """
    front = sweep.front()
    if not front:
        raise Refused(f"sweep {sweep.name}: none of its {len(sweep.trials)} trials is done; resume it or run another")
    told = ", ".join(str(trial.number) for trial in front)
    if number is None:
        best = sweep.best()
        if best is None:
            raise MeritError(
                f"sweep {sweep.name}: it has {len(sweep.objectives)} objectives ({', '.join(sweep.objectives)}), so no "
                f"one trial is best; name one of its front: {told}: 'merit sweep adopt {front[0].number}'"
            )
        return best
    trial = next((each for each in sweep.trials if each.number == number), None)
    if trial is None:
        numbers = sorted(each.number for each in sweep.trials)
        raise MeritError(f"trial: found {number}; sweep {sweep.name} has {numbers[0]} to {numbers[-1]}")
    if trial.state != "done":
        why = f" ({plain(trial.error)})" if trial.error else ""
        raise Refused(f"trial {number} of sweep {sweep.name} is {trial.state}{why}; only one that is done has weights")
    if len(sweep.objectives) > 1 and trial not in front:
        raise Refused(f"trial {number} of sweep {sweep.name} is not on the front: another is better; allowed: {told}")
    return trial


def _texts(sweep: Sweep, trial: Trial, name: str) -> dict[Path, str]:
    """Return the new contents of the experiment's file and of config.yaml, by path."""
    head = git.head()
    config = git.show(head, CONFIG) if head else None
    if config is None:
        raise MeritError(f"{CONFIG}: Git has no commit of it here; commit conf/ first, so that adopting is a change")
    config += "" if config.endswith("\n") else "\n"
    base = _base(sweep, config)
    told = f"Trial {trial.number} of the sweep {plain(sweep.name)}, one of {len(sweep.trials)}:"
    reached = f"{labels.score(sweep, trial)} on the validation rows."
    text = experiment.render(overrides(sweep, trial), f"{told} {reached}", base if base != name else None)
    return {experiment.path(name): text, CONFIG: experiment.choose(config, name)}


def _base(sweep: Sweep, config: str) -> str | None:
    """Return the experiment that was active when the sweep ran, or the active one if that commit is not available."""
    then = git.show(sweep.commit, CONFIG) if sweep.commit and git.resolve(sweep.commit) else None
    return experiment.chosen(config if then is None else then)


def overrides(sweep: Sweep, trial: Trial) -> list[str]:
    """Return the overrides that a trial was composed with: the sweep's, then the trial's own values.

    Raises:
        MeritError: the sweep deletes a key (`~key`), which an experiment file can't express.
    """
    values: dict[str, str] = {}
    for text in sweep.overrides:
        found = _OVERRIDE.fullmatch(text)
        if found is None or found["sign"] == "~" or found["value"] is None:
            raise MeritError(f"sweep {sweep.name}: found {text!r}; a file can't delete a key; write it by hand")
        if re.split(r"[./]", found["key"])[0] not in OURS:
            values[found["key"]] = found["value"]
    values |= {key.lstrip("+"): value for key, value in trial.overrides.items()}
    return [f"{key}={value}" for key, value in values.items()]


def _refuse_dirty(texts: Mapping[Path, str]) -> None:
    """Refuse a conf/ with uncommitted changes, except for those that an earlier adoption of the same trial left."""
    file = next(path for path in texts if path != CONFIG)
    if file.exists() and file.read_text(encoding="utf-8") != texts[file]:
        raise MeritError(f"{file}: exists already with other content; give another name by --name")
    status = git.git("status", "--porcelain", "--untracked-files=all", "-z", "--", artifacts.CONF.as_posix()) or ""
    edited = {Path(entry[3:]) for entry in status.split("\0") if len(entry) > 3}
    edited -= {path for path in texts if path.is_file() and path.read_text(encoding="utf-8") == texts[path]}
    if edited:
        names = ", ".join(sorted(plain(path.as_posix()) for path in edited))
        raise MeritError(
            f"{artifacts.CONF}/: {names}: not committed; commit or stash it, so that only the trial changes"
        )


def _refuse_branch(made: Adopted) -> None:
    if git.resolve(f"refs/heads/{made.branch}"):
        raise MeritError(f"{made.branch}: there is a branch of that name; delete it, or give another name by --name")
    if not git.git("config", "user.email"):
        raise MeritError("git: Git doesn't know who you are; set user.name and user.email by 'git config'")


@contextmanager
def _written(texts: Mapping[Path, str]) -> Iterator[None]:
    """Write files, and restore their former contents if the block raises."""
    before = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in texts}
    try:
        for path, text in texts.items():
            artifacts.write_text(path, text)
        yield
    except BaseException:
        for path, former in before.items():
            if former is None:
                path.unlink(missing_ok=True)
            else:
                artifacts.write_text(path, former)
        raise


def _composed(sweep: Sweep, trial: Trial) -> Lock:
    """Compose conf/ with the trial's experiment selected.

    Raises:
        Refused: conf/ doesn't accept the trial's values any more.
    """
    try:
        return compose()
    except ConfigError as error:
        raise Refused(
            f"trial {trial.number} of sweep {sweep.name}: conf/ doesn't take what it was trained by: "
            f"{error.problems[0]}; {_ran_at(sweep)}"
        ) from error


def _ran_at(sweep: Sweep) -> str:
    return f"it ran at {sweep.commit[:7] or 'no commit'}: check that out, or run the sweep again"


def _refuse_other(sweep: Sweep, trial: Trial, composed: Lock) -> None:
    """Refuse a composed lock that differs from the lock that the trial was trained with."""
    file = sweep.folder / "trials" / f"{trial.number:04d}" / artifacts.LOCK
    if not file.is_file():
        raise MeritError(f"{file}: not found; without it nobody can tell that conf/ says what the trial was trained by")
    try:
        meant = lock.parse(file.read_text(encoding="utf-8"), str(file))
    except ConfigError as error:
        raise MeritError(f"{file}: not in this merit's format; check out the commit that the sweep ran with") from error
    meant = meant.model_copy(update={"tracking": composed.tracking})  # the tracking store doesn't affect weights
    if composed == meant:
        return
    pairs = (each.model_dump(mode="json", by_alias=True) for each in (meant, composed))
    found = change.differences(*pairs)
    shown = [f"{each['key']} was {each['before']}, is {each['after']}" for each in found[:MOST_KEYS]]
    more = f" and {len(found) - MOST_KEYS} more" if len(found) > MOST_KEYS else ""
    raise Refused(
        f"trial {trial.number} of sweep {sweep.name}: conf/ doesn't say what it was trained by: "
        f"{'; '.join(shown)}{more}; {_ran_at(sweep)}"
    )


def _committed(made: Adopted) -> str:
    """Commit the files to a new branch, leave it checked out, and return the commit's sha.

    Raises:
        Refused: the files don't differ from the checked-out commit.
        MeritError: Git refused the commit; the former branch is checked out again.
    """
    names = [path.as_posix() for path in made.files]
    if not _differs(made):
        raise Refused(f"{made.name}: the checked-out commit holds it already; there is nothing to propose")
    former = git.git("symbolic-ref", "--quiet", "--short", "HEAD")
    git.git("switch", "--quiet", "--create", made.branch)
    try:
        _commit(names, made.message)
    except MeritError:
        git.git("switch", "--quiet", *([former] if former else ["--detach"]))
        git.git("branch", "--quiet", "--delete", "--force", made.branch)
        raise
    return git.head() or ""


def _commit(names: list[str], message: str) -> None:
    git.git("add", "--", *names)
    if git.git("commit", "--quiet", "--message", message, "--", *names) is None:
        raise MeritError("git commit: refused, as a hook does; 'git commit' by hand says why")
