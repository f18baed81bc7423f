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
from merit.config.experiment import CONFIG_PATH
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError, Refused
from merit.gate import config_change
from merit.gate.report.escape import sanitize_line
from merit.process import workspace_lock
from merit.sweep.record import Sweep, Trial
from merit.sweep.report import labels

MAX_SHOWN_DIFFERENCES = 5
NON_LOCK_SECTIONS = ("sweep", "hydra")
"""Sections of a sweep's command line that are not part of the lock."""
_OVERRIDE = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[^=@]+)(?:=(?P<value>.*))?", re.DOTALL)


@dataclass(frozen=True)
class AdoptedTrial:
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
    has_other_code: bool
    """Whether the checked-out code differs from the code that the sweep ran with."""
    is_new: bool = True
    """Whether the files differ from the checked-out commit."""

    def list_next_commands(self) -> list[str]:
        """Return the shell commands that turn the adopted trial into a pull request."""
        if not self.is_new:
            return ["merit run"]
        files = " ".join(path.as_posix() for path in self.files)
        commit_commands = [] if self.commit else [
            f"git switch --create {self.branch} && git add {files}",
            f"git commit --message {shlex.quote(self.message)} -- {files}",
        ]  # fmt: skip
        return [
            *commit_commands,
            "merit run && git add dvc.lock && git commit --message 'Lock its outputs'",
            f"git push --set-upstream origin {self.branch}",
        ]


def adopt(sweep: Sweep, number: int | None = None, name: str | None = None, *, branch: bool = False) -> AdoptedTrial:
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
        adopt(record.read_sweep("mlp"), number=3, name="wide", branch=True)
    """
    trial = pick_trial(sweep, number)
    experiment_name = name or derive_experiment_name(sweep.name)
    texts = _render_files(sweep, trial, experiment_name)
    _refuse_uncommitted_changes(texts)
    adopted = AdoptedTrial(
        name=experiment_name,
        trial=trial,
        files=[*texts, artifacts.LOCK],
        branch=f"sweep/{experiment_name}",
        message=f"Adopt trial {trial.number} of the sweep {sweep.name}: {labels.format_score(sweep, trial)}",
        commit=None,
        has_other_code=_has_other_code(sweep.commit),
    )
    if branch:
        _refuse_existing_branch(adopted)
    with workspace_lock.lock_run(), _write_or_restore(texts):
        composed_lock = _compose_lock(sweep, trial)
        _refuse_other_lock(sweep, trial, composed_lock)
        lock.write_lock(composed_lock)
    return (
        replace(adopted, commit=_commit_to_branch(adopted))
        if branch
        else replace(adopted, is_new=_has_changes(adopted))
    )


def _has_other_code(commit: str) -> bool:
    """Return whether the code differs from that of a commit; the files that adopting writes don't count."""
    if not commit:
        return False
    exclusions = (f":(exclude){path.as_posix()}" for path in (artifacts.CONF, artifacts.LOCK, artifacts.DVC_LOCK))
    return (
        git.resolve_commit(commit) is None
        or git.run_git("diff", "--quiet", commit, "HEAD", "--", ".", *exclusions) is None
    )


def _has_changes(adopted: AdoptedTrial) -> bool:
    """Return whether the files differ from the checked-out commit."""
    return bool(git.run_git("status", "--porcelain", "--", *(path.as_posix() for path in adopted.files)))


def derive_experiment_name(sweep_name: str) -> str:
    """Return the default experiment name: the sweep's name, reduced to the characters of a conf/ file name."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", sweep_name.lower()).strip("-") or "sweep"
    return (slug if slug[0].isalpha() else f"sweep-{slug}")[:41]


def pick_trial(sweep: Sweep, number: int | None) -> Trial:
    """Return the trial with that number, or the best one if the number is None.

    Raises:
        MeritError: the trial does not exist, or none was named for several objectives.
        Refused: it isn't done, or another trial is better in all objectives.
    """
    front = sweep.find_front()
    if not front:
        raise Refused(f"sweep {sweep.name}: none of its {len(sweep.trials)} trials is done; resume it or run another")
    front_numbers = ", ".join(str(trial.number) for trial in front)
    if number is None:
        best = sweep.find_best()
        if best is None:
            raise MeritError(
                f"sweep {sweep.name}: it has {len(sweep.objectives)} objectives ({', '.join(sweep.objectives)}), so no "
                f"one trial is best; name one of its front: {front_numbers}: 'merit sweep adopt {front[0].number}'"
            )
        return best
    trial = next((each for each in sweep.trials if each.number == number), None)
    if trial is None:
        numbers = sorted(each.number for each in sweep.trials)
        raise MeritError(f"trial: found {number}; sweep {sweep.name} has {numbers[0]} to {numbers[-1]}")
    if trial.state != "done":
        reason = f" ({sanitize_line(trial.error)})" if trial.error else ""
        raise Refused(
            f"trial {number} of sweep {sweep.name} is {trial.state}{reason}; only one that is done has weights"
        )
    if len(sweep.objectives) > 1 and trial not in front:
        raise Refused(
            f"trial {number} of sweep {sweep.name} is not on the front: another is better; allowed: {front_numbers}"
        )
    return trial


def _render_files(sweep: Sweep, trial: Trial, name: str) -> dict[Path, str]:
    """Return the new contents of the experiment's file and of config.yaml, by path."""
    head = git.get_head()
    config = git.read_file(head, CONFIG_PATH) if head else None
    if config is None:
        raise MeritError(
            f"{CONFIG_PATH}: Git has no commit of it here; commit conf/ first, so that adopting is a change"
        )
    config += "" if config.endswith("\n") else "\n"
    base = _find_base_experiment(sweep, config)
    title = f"Trial {trial.number} of the sweep {sanitize_line(sweep.name)}, one of {len(sweep.trials)}:"
    result = f"{labels.format_score(sweep, trial)} on the validation rows."
    text = experiment.render_experiment(
        collect_overrides(sweep, trial), f"{title} {result}", base if base != name else None
    )
    return {experiment.get_path(name): text, CONFIG_PATH: experiment.choose_experiment(config, name)}


def _find_base_experiment(sweep: Sweep, config: str) -> str | None:
    """Return the experiment that was active when the sweep ran, or the active one if that commit is not available."""
    former_config = (
        git.read_file(sweep.commit, CONFIG_PATH) if sweep.commit and git.resolve_commit(sweep.commit) else None
    )
    return experiment.find_chosen(config if former_config is None else former_config)


def collect_overrides(sweep: Sweep, trial: Trial) -> list[str]:
    """Return the overrides that a trial was composed with: the sweep's, then the trial's own values.

    Raises:
        MeritError: the sweep deletes a key (`~key`), which an experiment file can't express.
    """
    values: dict[str, str] = {}
    for text in sweep.overrides:
        match = _OVERRIDE.fullmatch(text)
        if match is None or match["sign"] == "~" or match["value"] is None:
            raise MeritError(f"sweep {sweep.name}: found {text!r}; a file can't delete a key; write it by hand")
        if re.split(r"[./]", match["key"])[0] not in NON_LOCK_SECTIONS:
            values[match["key"]] = match["value"]
    values |= {key.lstrip("+"): value for key, value in trial.overrides.items()}
    return [f"{key}={value}" for key, value in values.items()]


def _refuse_uncommitted_changes(texts: Mapping[Path, str]) -> None:
    """Refuse a conf/ with uncommitted changes, except for those that an earlier adoption of the same trial left."""
    file = next(path for path in texts if path != CONFIG_PATH)
    if file.exists() and file.read_text(encoding="utf-8") != texts[file]:
        raise MeritError(f"{file}: exists already with other content; give another name by --name")
    status = git.run_git("status", "--porcelain", "--untracked-files=all", "-z", "--", artifacts.CONF.as_posix()) or ""
    edited = {Path(entry[3:]) for entry in status.split("\0") if len(entry) > 3}
    edited -= {path for path in texts if path.is_file() and path.read_text(encoding="utf-8") == texts[path]}
    if edited:
        names = ", ".join(sorted(sanitize_line(path.as_posix()) for path in edited))
        raise MeritError(
            f"{artifacts.CONF}/: {names}: not committed; commit or stash it, so that only the trial changes"
        )


def _refuse_existing_branch(adopted: AdoptedTrial) -> None:
    if git.resolve_commit(f"refs/heads/{adopted.branch}"):
        raise MeritError(f"{adopted.branch}: there is a branch of that name; delete it, or give another name by --name")
    if not git.run_git("config", "user.email"):
        raise MeritError("git: Git doesn't know who you are; set user.name and user.email by 'git config'")


@contextmanager
def _write_or_restore(texts: Mapping[Path, str]) -> Iterator[None]:
    """Write files, and restore their former contents if the block raises."""
    former_texts = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in texts}
    try:
        for path, text in texts.items():
            artifacts.write_text(path, text)
        yield
    except BaseException:
        for path, former_text in former_texts.items():
            if former_text is None:
                path.unlink(missing_ok=True)
            else:
                artifacts.write_text(path, former_text)
        raise


def _compose_lock(sweep: Sweep, trial: Trial) -> Lock:
    """Compose conf/ with the trial's experiment selected.

    Raises:
        Refused: conf/ doesn't accept the trial's values any more.
    """
    try:
        return compose()
    except ConfigError as error:
        raise Refused(
            f"trial {trial.number} of sweep {sweep.name}: conf/ doesn't take what it was trained by: "
            f"{error.problems[0]}; {_describe_commit(sweep)}"
        ) from error


def _describe_commit(sweep: Sweep) -> str:
    return f"it ran at {sweep.commit[:7] or 'no commit'}: check that out, or run the sweep again"


def _refuse_other_lock(sweep: Sweep, trial: Trial, composed_lock: Lock) -> None:
    """Refuse a composed lock that differs from the lock that the trial was trained with."""
    file = sweep.folder / "trials" / f"{trial.number:04d}" / artifacts.LOCK
    if not file.is_file():
        raise MeritError(f"{file}: not found; without it nobody can tell that conf/ says what the trial was trained by")
    try:
        trial_lock = lock.parse_lock(file.read_text(encoding="utf-8"), str(file))
    except ConfigError as error:
        raise MeritError(f"{file}: not in this merit's format; check out the commit that the sweep ran with") from error
    trial_lock = trial_lock.model_copy(
        update={"tracking": composed_lock.tracking}
    )  # the tracking store doesn't affect weights
    if composed_lock == trial_lock:
        return
    documents = (each.model_dump(mode="json", by_alias=True) for each in (trial_lock, composed_lock))
    differences = config_change.list_changed_keys(*documents)
    displayed = [
        f"{each['key']} was {each['before']}, is {each['after']}" for each in differences[:MAX_SHOWN_DIFFERENCES]
    ]
    more = f" and {len(differences) - MAX_SHOWN_DIFFERENCES} more" if len(differences) > MAX_SHOWN_DIFFERENCES else ""
    raise Refused(
        f"trial {trial.number} of sweep {sweep.name}: conf/ doesn't say what it was trained by: "
        f"{'; '.join(displayed)}{more}; {_describe_commit(sweep)}"
    )


def _commit_to_branch(adopted: AdoptedTrial) -> str:
    """Commit the files to a new branch, leave it checked out, and return the commit's sha.

    Raises:
        Refused: the files don't differ from the checked-out commit.
        MeritError: Git refused the commit; the former branch is checked out again.
    """
    paths = [path.as_posix() for path in adopted.files]
    if not _has_changes(adopted):
        raise Refused(f"{adopted.name}: the checked-out commit holds it already; there is nothing to propose")
    former_branch = git.run_git("symbolic-ref", "--quiet", "--short", "HEAD")
    git.run_git("switch", "--quiet", "--create", adopted.branch)
    try:
        _commit_files(paths, adopted.message)
    except MeritError:
        git.run_git("switch", "--quiet", *([former_branch] if former_branch else ["--detach"]))
        git.run_git("branch", "--quiet", "--delete", "--force", adopted.branch)
        raise
    return git.get_head() or ""


def _commit_files(paths: list[str], message: str) -> None:
    git.run_git("add", "--", *paths)
    if git.run_git("commit", "--quiet", "--message", message, "--", *paths) is None:
        raise MeritError("git commit: refused, as a hook does; 'git commit' by hand says why")
