"""Reads and writes the files of a sweep in sweeps/NAME: sweep.json and a folder per trial, the input of all reports."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.errors import MeritError

SWEEPS = Path("sweeps")
SWEEP_JSON = "sweep.json"
TRIALS_FOLDER = "trials"
TRIAL_JSON = "trial.json"
HISTORY_CSV = "history.csv"
WEIGHTS = "weights.safetensors"
LOG_FILE = "log.txt"
FINAL_STATES = frozenset({"done", "pruned", "failed", "killed"})
"""States of trials that a resume doesn't run again."""
_SWEEP_JSON_KEYS = ("name", "created", "sampler", "objectives", "overrides", "space", "planned", "commit")


@dataclass(frozen=True)
class Trial:
    """One trial: its parameters and its result.

    Attributes:
        number: its number in the study, and the name of its folder.
        overrides: the value of each swept key, as text of an override.
        state: running, done, pruned, failed or killed.
        values: metrics of the validation rows at the best epoch, `train_seconds` and `parameters`.
        error: one line that says why it failed or was killed.
        started: start time of its process, in seconds since 1970.
        seconds: duration of its training.
        first_batch_seconds: seconds from the sweep's request to run it to its network's first batch.
        epochs: number of finished epochs.
        run: id of its run in the tracking store.
        folder: path of its folder.
        max_epochs: maximum number of epochs; None in trials of an older merit.
    """

    number: int
    overrides: dict[str, str]
    state: str
    values: dict[str, float]
    error: str | None
    started: float
    seconds: float
    first_batch_seconds: float | None
    epochs: int
    run: str | None
    folder: Path = field(default=Path(), repr=False)
    max_epochs: int | None = None

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch so far."""
        return read_epochs(self.folder)


@dataclass(frozen=True)
class Sweep:
    """A sweep: its search space, its settings, and its trials in the order of their numbers.

    Example:
        best = read_sweep(find_latest()).find_best()
        print(best.number, best.overrides, best.values["log_loss"])
    """

    name: str
    folder: Path
    created: str
    sampler: str
    objectives: dict[str, str]
    overrides: list[str]
    space: dict[str, str]
    planned: int | None
    trials: list[Trial]
    commit: str
    settings: list[str] = field(default_factory=list)
    """Overrides of the sweep's own settings, such as sweep.trials=50."""
    launcher: list[str] = field(default_factory=list)
    """Overrides of Hydra's settings, such as hydra/launcher=ray."""

    def find_best(self) -> Trial | None:
        """Return the best trial that is done; None if there is none, or if there are several objectives."""
        if len(self.objectives) != 1:
            return None
        (metric, direction), *_ = self.objectives.items()
        sign = -1 if direction == "maximize" else 1
        done = [trial for trial in self._list_done() if metric in trial.values]
        return min(done, key=lambda trial: sign * trial.values[metric], default=None)

    def find_front(self) -> list[Trial]:
        """Return the Pareto front: the done trials that no other dominates (as good in all objectives, better in one).

        The order is that of the trials' numbers.
        """
        done = [trial for trial in self._list_done() if set(self.objectives) <= set(trial.values)]
        costs = [self._compute_costs(trial) for trial in done]
        return [
            trial
            for trial, own_costs in zip(done, costs, strict=True)
            if not any(_dominates(other, own_costs) for other in costs)
        ]

    def _list_done(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == "done"]

    def _compute_costs(self, trial: Trial) -> tuple[float, ...]:
        return tuple(
            -trial.values[metric] if direction == "maximize" else trial.values[metric]
            for metric, direction in self.objectives.items()
        )


def _dominates(other_costs: tuple[float, ...], costs: tuple[float, ...]) -> bool:
    return other_costs != costs and all(a <= b for a, b in zip(other_costs, costs, strict=True))


def list_names() -> list[str]:
    """Return the names of all sweeps, oldest first."""
    files = [file for file in SWEEPS.glob(f"*/{SWEEP_JSON}") if file.is_file()]
    return [file.parent.name for file in sorted(files, key=lambda file: (_read_creation_time(file), file.parent.name))]


def _read_creation_time(file: Path) -> str:
    with suppress(MeritError):  # a damaged one sorts as the oldest
        return str(artifacts.read_json(file, "train -m").get("created", ""))
    return ""


def find_latest() -> str:
    """Return the name of the newest sweep.

    Raises:
        MeritError: there is no sweep.
    """
    if sweep_names := list_names():
        return sweep_names[-1]
    raise MeritError(f"{SWEEPS}/: holds no sweep; 'merit train -m model=linear,mlp' makes one")


def read_sweep(name: str) -> Sweep:
    """Read a sweep from its folder.

    Raises:
        MeritError: no sweep has that name, or its sweep.json can't be read.
    """
    sweep_json = read_sweep_json(name)
    folder = SWEEPS / name
    return build_sweep(sweep_json, folder, read_trials(folder))


def build_sweep(sweep_json: dict[str, Any], folder: Path, trials: Iterable[Trial]) -> Sweep:
    """Return a sweep from the content of its sweep.json and its trials."""
    return Sweep(
        name=sweep_json["name"],
        folder=folder,
        created=sweep_json["created"],
        sampler=sweep_json["sampler"],
        objectives=sweep_json["objectives"],
        overrides=sweep_json["overrides"],
        space=sweep_json["space"],
        planned=sweep_json["planned"],
        trials=sorted(trials, key=lambda trial: trial.number),
        commit=sweep_json["commit"],
        settings=sweep_json.get("settings", []),
        launcher=sweep_json.get("launcher", []),
    )


def read_sweep_json(name: str) -> dict[str, Any]:
    """Return the content of a sweep's sweep.json.

    Raises:
        MeritError: no sweep has that name, or its sweep.json is damaged.
    """
    file = SWEEPS / name / SWEEP_JSON
    if not file.is_file():
        raise MeritError(f"{SWEEPS}/{name}: no such sweep; allowed: {', '.join(list_names()) or 'none is there yet'}")
    advice = f"remove it and give the sweep's command again with sweep.name={name}: its trials are kept"
    return _read_json(file, _SWEEP_JSON_KEYS, advice)


def _read_json(file: Path, keys: Iterable[str], advice: str) -> dict[str, Any]:
    """Return the content of a JSON file, which must have these keys."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
    except (OSError, ValueError, TypeError) as error:
        raise MeritError(f"{file}: can't be read ({' '.join(str(error).split())}); {advice}") from error
    if missing or not isinstance(content, dict):
        raise MeritError(f"{file}: damaged, for it lacks {', '.join(missing) or 'all keys'}; {advice}")
    return content


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials in a sweep's folder, without those that have no trial.json or a damaged one."""
    return [trial for _, trial in _iterate_trials(folder) if isinstance(trial, Trial)]


def find_damaged(folder: Path) -> dict[int, str]:
    """Return the trials in a sweep's folder whose trial.json is damaged: error messages by number."""
    return {number: str(error) for number, error in _iterate_trials(folder) if isinstance(error, MeritError)}


def _iterate_trials(folder: Path) -> Iterator[tuple[int, Trial | MeritError]]:
    for file in sorted((folder / TRIALS_FOLDER).glob(f"*/{TRIAL_JSON}")):
        try:
            yield int(file.parent.name), read_trial(file.parent)
        except MeritError as error:
            yield int(file.parent.name), error


def read_trial_json(folder: Path) -> dict[str, Any]:
    """Return the content of a trial's trial.json.

    Raises:
        MeritError: it is damaged.
    """
    advice = f"'merit train -m sweep.resume={folder.absolute().parents[1].name}' trains it again"
    payload = _read_json(folder / TRIAL_JSON, ("number", "overrides", "state"), advice)
    if payload["state"] not in {*FINAL_STATES, "running"} or not isinstance(payload["overrides"], dict):
        raise MeritError(f"{folder / TRIAL_JSON}: damaged, for its state is {payload['state']!r}; {advice}")
    return payload


def read_trial(folder: Path, epochs: int | None = None) -> Trial:
    """Return the trial in a folder.

    Args:
        folder: the trial's folder.
        epochs: number of epochs so far; None takes the number in trial.json, which is written at the end.

    Raises:
        MeritError: its trial.json is damaged.
    """
    payload = read_trial_json(folder)
    return Trial(
        number=int(payload["number"]),
        overrides=payload["overrides"],
        state=payload["state"],
        values=payload.get("values", {}),
        error=payload.get("error"),
        started=float(payload.get("started") or 0.0),
        seconds=float(payload.get("seconds") or 0.0),
        first_batch_seconds=payload.get("first_batch_seconds"),
        epochs=int(payload.get("epochs") or 0) if epochs is None else epochs,
        run=payload.get("run"),
        folder=folder,
        max_epochs=payload.get("max_epochs"),
    )


def locate_trial(sweep: Path, number: int) -> Path:
    """Return the folder of a trial."""
    return sweep / TRIALS_FOLDER / f"{number:04}"


def update_trial_json(folder: Path, **changes: Any) -> dict[str, Any]:
    """Update keys of trial.json, and return its content. Only one process at a time may write it."""
    file = folder / TRIAL_JSON
    stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    payload = {**stored, **changes}
    artifacts.write_json(file, payload)
    return payload


def read_owner(folder: Path) -> str | None:
    """Return the name of the process that owns a trial, HOST.PID."""
    return read_trial_json(folder).get("owner")


def is_final(folder: Path) -> bool:
    """Return whether a trial has a final state."""
    try:
        return json.loads((folder / TRIAL_JSON).read_text(encoding="utf-8"))["state"] in FINAL_STATES
    except (OSError, ValueError, KeyError):
        return False


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """Return the metrics of each epoch in a trial's history.csv, without a line that is still being written."""
    try:
        text = (folder / HISTORY_CSV).read_text(encoding="utf-8")
    except OSError:
        return []
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]
