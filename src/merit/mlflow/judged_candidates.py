"""Records in MLflow which candidates were judged on which test rows, as tags of the experiment.

Each candidate is a tag of its own, so that gates at the same time don't overwrite one another, and one query reads all.
Tags of runs would be read with each run's parameters and metrics: 1,000 runs take seconds.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from merit.config.schema import Tracking
from merit.mlflow import store

TAG_PREFIX = "merit.judged"
DIGEST_CHARS = 32
"""Characters of a hash in a tag's name."""


@dataclass(frozen=True)
class Judgement:
    """A candidate's first judgement on some test rows.

    Attributes:
        time: when it was judged, in ISO 8601 and UTC.
        verdict: the latest verdict.
    """

    time: str
    verdict: str


def has_store(tracking: Tracking) -> bool:
    """Return whether MLflow keeps the runs and its store exists; an SQLite file is created by training only."""
    if not store.has_registry(tracking):
        return False
    file = store.get_sqlite_file(store.resolve_uri(tracking))
    return file is None or file.is_file()


def read_judgements(tracking: Tracking, test_rows: str) -> dict[str, Judgement]:
    """Return the candidates judged on test rows, by package.

    Args:
        tracking: the tracking settings.
        test_rows: the digest of the test rows.

    Raises:
        MeritError: the store can't be queried.
    """
    store.check_server(tracking)
    client = store.open_store(tracking)
    with store.convert_errors(store.resolve_uri(tracking)):
        experiment = client.get_experiment_by_name(tracking.experiment)
    tags = {} if experiment is None else experiment.tags
    prefix = _format_tag(test_rows, "")
    return {
        name.removeprefix(prefix): Judgement(*value.split(" ", 1))
        for name, value in tags.items()
        if name.startswith(prefix) and " " in value
    }


def record_judgement(tracking: Tracking, test_rows: str, package: str, judgement: Judgement) -> None:
    """Record a candidate's judgement.

    Args:
        tracking: the tracking settings.
        test_rows: the digest of the test rows.
        package: the package's hash in dvc.lock.
        judgement: the judgement; keep the time of the first one.

    Raises:
        MeritError: the store can't be written.
    """
    client = store.open_store(tracking)
    with store.convert_errors(store.resolve_uri(tracking)):
        experiment = store.find_or_create_experiment(client, tracking)
        value = f"{judgement.time} {judgement.verdict}"
        client.set_experiment_tag(experiment, _format_tag(test_rows, package), value)


def format_now() -> str:
    """Return the present time as judgements hold it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _format_tag(test_rows: str, package: str) -> str:
    return f"{TAG_PREFIX}.{test_rows.rpartition(':')[2][:DIGEST_CHARS]}.{package[:DIGEST_CHARS]}"
