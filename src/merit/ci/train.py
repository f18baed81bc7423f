"""Steps of train.yml: one trial per set of overrides; the best one that passes the gate becomes a pull request."""

import csv
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, safe_yaml
from merit.ci.api_commits import create_branch, create_commit, read_texts
from merit.ci.lock import LOCK_FILES, check_locks
from merit.config import experiment, tasks
from merit.config.experiment import CONFIG_PATH, EXPERIMENT_FOLDER
from merit.errors import MeritError, Refused
from merit.github import GitHubApi, read_event

MOST_TRIALS = 50


def parse_trials(text: str) -> list[dict[str, Any]]:
    """Parse sets of overrides, separated by newlines or `;`, into numbered trials.

    Raises:
        MeritError: there are no sets, or too many.
    """
    override_sets = [each.strip() for each in re.split(r"[\n;]", text) if each.strip()]
    if not 0 < len(override_sets) <= MOST_TRIALS:
        raise MeritError(f"overrides: found {len(override_sets)} sets; allowed: 1 to {MOST_TRIALS}, one on each line")
    return [{"number": number, "overrides": each} for number, each in enumerate(override_sets, start=1)]


def require_main() -> None:
    """Check that the workflow was started on the default branch, the only one whose jobs have write access.

    Raises:
        Refused: it was started on another branch.
    """
    payload = read_event()
    branch, default_branch = (
        str(payload["ref"]).removeprefix("refs/heads/"),
        str(payload["repository"]["default_branch"]),
    )
    if branch != default_branch:
        raise Refused(
            f"train: started on {branch!r}; start it on {default_branch!r}, for no other branch may push what it makes"
        )


def adopt_overrides(name: str, overrides: str) -> str:
    """Write overrides into conf/ as an experiment and select it; return a line about it.

    Raises:
        MeritError: the overrides are malformed, or conf/ with the experiment composes to other values than they do.
    """
    from merit.config.compose import compose

    arguments = _split_overrides(overrides)
    expected = compose(arguments, data_access="nothing")
    experiment_name = name
    if len(arguments) == 1 and arguments[0].startswith("experiment="):
        experiment_name = arguments[0].partition("=")[2]
    else:
        _write_experiment(name, arguments)
    artifacts.write_text(
        CONFIG_PATH, experiment.choose_experiment(CONFIG_PATH.read_text(encoding="utf-8"), experiment_name)
    )
    if compose(data_access="nothing") != expected:
        raise MeritError(
            f"overrides: {overrides!r} don't stay the same as {EXPERIMENT_FOLDER}/{experiment_name}.yaml: what comes "
            "after "
            f"'experiment' in the defaults of {CONFIG_PATH} sets them too; put 'experiment' last"
        )
    return f"{EXPERIMENT_FOLDER}/{experiment_name}.yaml is the choice of {CONFIG_PATH}"


def _split_overrides(overrides: str) -> list[str]:
    try:
        arguments = shlex.split(overrides)
    except ValueError as error:
        raise MeritError(f"overrides: {overrides!r}: {error}; close the quotation") from error
    for argument in arguments:
        if not re.match(r"[A-Za-z_][\w./-]*=", argument):
            raise MeritError(f"overrides: found {argument!r}; allowed: group=choice and key=value")
    return arguments


def _write_experiment(name: str, arguments: list[str]) -> None:
    """Write an experiment file that is equivalent to the overrides."""
    file = experiment.get_path(name)
    if file.exists():
        raise MeritError(f"{file}: is there already; give another name")
    base = experiment.find_chosen(CONFIG_PATH.read_text(encoding="utf-8"))
    artifacts.write_text(file, experiment.render_experiment(arguments, " ".join(arguments), base))


@dataclass(frozen=True)
class Trial:
    """The result of one set of overrides.

    Attributes:
        folder: the folder with the trial's files.
        verdict: the gate's verdict: pass or refused.
        monitor: the validation metric that ranks trials.
        score: the best validation value of that metric over the epochs.
    """

    folder: Path
    verdict: str
    monitor: str
    score: float

    @property
    def sort_key(self) -> float:
        """The sort key: the score, negated where higher is better, so that lower is always better."""
        return -self.score if tasks.HIGHER_IS_BETTER[self.monitor] else self.score


def select_winner(folder: Path) -> tuple[Trial, list[Trial]]:
    """Return the best trial that passed the gate, and all trials.

    Trials are ranked by validation rows: to pick the best of many on the test rows would bias its test score upwards.

    Raises:
        Refused: no trial passed.
    """
    all_trials = [_read_trial(each) for each in sorted(folder.iterdir()) if (each / artifacts.GATE_REPORT).is_file()]
    passed = [trial for trial in all_trials if trial.verdict == "pass"]
    if not passed:
        raise Refused(f"none of {len(all_trials)} trials passed the gate; their reports are among the run's artifacts")
    return min(passed, key=lambda trial: trial.sort_key), all_trials


def _read_trial(folder: Path) -> Trial:
    report = artifacts.read_json(folder / artifacts.GATE_REPORT, "gate")
    lock = safe_yaml.load((folder / artifacts.LOCK).read_text(encoding="utf-8"))
    monitor = lock["trainer"]["monitor"]
    with (folder / artifacts.HISTORY).open(encoding="utf-8") as handle:
        scores = [float(row[f"validation_{monitor}"]) for row in csv.DictReader(handle)]
    best = max(scores) if tasks.HIGHER_IS_BETTER[monitor] else min(scores)
    return Trial(folder, "pass" if report["verdict"] == "pass" else "refused", monitor, best)


def propose_winner(folder: Path, name: str, sha: str) -> str:
    """Open a pull request with the best trial's experiment and locks; return a line about it.

    Args:
        folder: the folder that holds one folder per trial.
        name: the name of the experiment and, after `train/`, of the branch.
        sha: the commit from which the trials were trained.

    Raises:
        Refused: no trial passed, or the branch exists.
    """
    best, all_trials = select_winner(folder)
    files = [*LOCK_FILES, CONFIG_PATH.as_posix()]
    if (best.folder / EXPERIMENT_FOLDER / f"{name}.yaml").is_file():
        files.append(f"{EXPERIMENT_FOLDER.as_posix()}/{name}.yaml")
    contents = read_texts(best.folder, files)
    check_locks(contents)
    api, branch = GitHubApi.from_workflow(), f"train/{name}"
    base = str(read_event()["repository"]["default_branch"])
    create_branch(api, branch, create_commit(api, sha, contents, f"Train {name}"))
    pull_request = api.send_request("POST", "pulls", {"title": f"Train {name}", "head": branch, "base": base,
                                      "body": _render_body(best, all_trials)}, tries=1)  # fmt: skip
    return f"#{pull_request['number']}: {branch}, the best of {len(all_trials)} trials"


def _render_body(best: Trial, all_trials: list[Trial]) -> str:
    lines = ["| trial | verdict | best validation |", "|---|---|---|"]
    for trial in all_trials:
        mark = " **chosen**" if trial is best else ""
        lines.append(f"| {trial.folder.name}{mark} | {trial.verdict} | {trial.monitor} {trial.score:.4f} |")
    return "\n".join(lines) + "\n"
