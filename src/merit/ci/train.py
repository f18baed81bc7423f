"""Steps of train.yml: one trial per set of overrides; the best one that passes the gate becomes a pull request."""

import csv
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, safe_yaml
from merit.ci.commits import commit, start, texts
from merit.ci.lock import LOCKS, check_locks
from merit.config import experiment, tasks
from merit.config.experiment import CONFIG, FOLDER
from merit.errors import MeritError, Refused
from merit.github import Api, event

MOST_TRIALS = 50


def trials(text: str) -> list[dict[str, Any]]:
    """Parse sets of overrides, separated by newlines or `;`, into numbered trials.

    Raises:
        MeritError: there are no sets, or too many.
    """
    found = [each.strip() for each in re.split(r"[\n;]", text) if each.strip()]
    if not 0 < len(found) <= MOST_TRIALS:
        raise MeritError(f"overrides: found {len(found)} sets; allowed: 1 to {MOST_TRIALS}, one on each line")
    return [{"number": number, "overrides": each} for number, each in enumerate(found, start=1)]


def require_main() -> None:
    """Check that the workflow was started on the default branch, the only one whose jobs have write access.

    Raises:
        Refused: it was started on another branch.
    """
    started = event()
    branch, main = str(started["ref"]).removeprefix("refs/heads/"), str(started["repository"]["default_branch"])
    if branch != main:
        raise Refused(f"train: started on {branch!r}; start it on {main!r}, for no other branch may push what it makes")


def adopt(name: str, overrides: str) -> str:
    """Write overrides into conf/ as an experiment and select it; return a line about it.

    Raises:
        MeritError: the overrides are malformed, or conf/ with the experiment composes to other values than they do.
    """
    from merit.config.compose import compose

    words = _words(overrides)
    meant = compose(words, touch="nothing")
    chosen = name
    if len(words) == 1 and words[0].startswith("experiment="):
        chosen = words[0].partition("=")[2]
    else:
        _write(name, words)
    artifacts.write_text(CONFIG, experiment.choose(CONFIG.read_text(encoding="utf-8"), chosen))
    if compose(touch="nothing") != meant:
        raise MeritError(
            f"overrides: {overrides!r} don't stay the same as {FOLDER}/{chosen}.yaml: what comes after "
            f"'experiment' in the defaults of {CONFIG} sets them too; put 'experiment' last"
        )
    return f"{FOLDER}/{chosen}.yaml is the choice of {CONFIG}"


def _words(overrides: str) -> list[str]:
    try:
        words = shlex.split(overrides)
    except ValueError as error:
        raise MeritError(f"overrides: {overrides!r}: {error}; close the quotation") from error
    for word in words:
        if not re.match(r"[A-Za-z_][\w./-]*=", word):
            raise MeritError(f"overrides: found {word!r}; allowed: group=choice and key=value")
    return words


def _write(name: str, words: list[str]) -> None:
    """Write an experiment file that is equivalent to the overrides."""
    file = experiment.path(name)
    if file.exists():
        raise MeritError(f"{file}: is there already; give another name")
    base = experiment.chosen(CONFIG.read_text(encoding="utf-8"))
    artifacts.write_text(file, experiment.render(words, " ".join(words), base))


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
    def rank(self) -> float:
        """The sort key: the score, negated where higher is better, so that lower is always better."""
        return -self.score if tasks.HIGHER_IS_BETTER[self.monitor] else self.score


def winner(folder: Path) -> tuple[Trial, list[Trial]]:
    """Return the best trial that passed the gate, and all trials.

    Trials are ranked by validation rows: to pick the best of many on the test rows would bias its test score upwards.

    Raises:
        Refused: no trial passed.
    """
    found = [_trial(each) for each in sorted(folder.iterdir()) if (each / artifacts.GATE_REPORT).is_file()]
    passed = [trial for trial in found if trial.verdict == "pass"]
    if not passed:
        raise Refused(f"none of {len(found)} trials passed the gate; their reports are among the run's artifacts")
    return min(passed, key=lambda trial: trial.rank), found


def _trial(folder: Path) -> Trial:
    report = artifacts.read_json(folder / artifacts.GATE_REPORT, "gate")
    lock = safe_yaml.load((folder / artifacts.LOCK).read_text(encoding="utf-8"))
    monitor = lock["trainer"]["monitor"]
    with (folder / artifacts.HISTORY).open(encoding="utf-8") as handle:
        scores = [float(row[f"validation_{monitor}"]) for row in csv.DictReader(handle)]
    best = max(scores) if tasks.HIGHER_IS_BETTER[monitor] else min(scores)
    return Trial(folder, "pass" if report["verdict"] == "pass" else "refused", monitor, best)


def propose(folder: Path, name: str, sha: str) -> str:
    """Open a pull request with the best trial's experiment and locks; return a line about it.

    Args:
        folder: the folder that holds one folder per trial.
        name: the name of the experiment and, after `train/`, of the branch.
        sha: the commit from which the trials were trained.

    Raises:
        Refused: no trial passed, or the branch exists.
    """
    best, found = winner(folder)
    files = [*LOCKS, CONFIG.as_posix()]
    if (best.folder / FOLDER / f"{name}.yaml").is_file():
        files.append(f"{FOLDER.as_posix()}/{name}.yaml")
    contents = texts(best.folder, files)
    check_locks(contents)
    api, branch = Api.of_workflow(), f"train/{name}"
    base = str(event()["repository"]["default_branch"])
    start(api, branch, commit(api, sha, contents, f"Train {name}"))
    made = api.call("POST", "pulls", {"title": f"Train {name}", "head": branch, "base": base,
                                      "body": _body(best, found)}, tries=1)  # fmt: skip
    return f"#{made['number']}: {branch}, the best of {len(found)} trials"


def _body(best: Trial, found: list[Trial]) -> str:
    lines = ["| trial | verdict | best validation |", "|---|---|---|"]
    for trial in found:
        mark = " **chosen**" if trial is best else ""
        lines.append(f"| {trial.folder.name}{mark} | {trial.verdict} | {trial.monitor} {trial.score:.4f} |")
    return "\n".join(lines) + "\n"
