"""What earlier versions of merit stored is still read; the texts are as those versions wrote them: don't edit them."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from merit import prediction_log
from merit.deploy import apply_records
from merit.prediction_log import reader
from merit.registry import mlflow, tags
from merit.serving import mlmodel
from tests.support.versioned import Repository

VERSION_TAG = f"""flights@v3: pass, 33 checks

commit: {"c" * 40}
package: sha256:{"a" * 64}
dvc: {"d" * 32}.dir
params: {"1b" * 32}
data: {"2c" * 32}
data_fingerprint: sha256:{"3" * 64}
verdict: pass
checks: 33
waived: []
metrics: {{roc_auc: 0.6767}}
run: null
signature: null
"""
FILE = "date=2026-06-01/hour=12/w1-000001.parquet"
"""Where an endpoint wrote the rows of an hour."""
APPLY_TAG = f"""flights@v3#staging#1: v3 applied

commit: {"c" * 40}
image: null
package: sha256:{"a" * 64}
file: sha256:{"f" * 64}
done: [started v3]
"""


@pytest.fixture
def repository(workdir: Path) -> Repository:
    """A repository with the tags of an earlier merit."""
    repository = Repository.made(workdir, "name: flights\n")
    for name, message in (("flights@v3", VERSION_TAG), ("flights@v3#staging#1", APPLY_TAG)):
        repository.git("tag", "-a", name, "-m", message.replace("c" * 40, repository.git("rev-parse", "HEAD")))
    return repository


def test_a_version_and_the_tags_that_it_has_in_mlflow(repository: Repository) -> None:
    version = tags.find_version("flights@v3")
    assert (version.short_name, version.lineage.checks, version.lineage.metrics) == ("v3", 33, {"roc_auc": 0.6767})
    assert mlflow.build_tags(version) == {
        "merit.version": "flights@v3",
        "merit.package": f"sha256:{'a' * 64}",
        "merit.commit": repository.git("rev-parse", "HEAD"),
        "merit.dvc": f"{'d' * 32}.dir",
        "merit.params_sha256": "1b" * 32,
        "merit.data_sha256": "2c" * 32,
        "merit.data_fingerprint": f"sha256:{'3' * 64}",
        "merit.verdict": "pass",
        "merit.checks": "33",
        "merit.waived": "none",
        "merit.signature": "none",
    }


def test_the_record_of_an_apply(repository: Repository) -> None:
    (record,) = apply_records.read_records("flights", "staging")
    assert (record.number, record.version) == (1, "v3")
    assert record.told["package"] == f"sha256:{'a' * 64}"


def test_the_loader_that_each_registered_mlmodel_names() -> None:
    assert mlmodel.__name__ == "merit.serving.mlmodel"
    assert callable(mlmodel._load_pyfunc)


def test_the_prediction_log_and_its_feedback(workdir: Path) -> None:
    folder, time = Path("log"), datetime(2026, 6, 1, 12, tzinfo=UTC)
    origin = {"model": "flights", "version": "v2", "commit": "c" * 40}
    row = {"request_id": "r1", "row": 0, "time": time, "caller": "shop", "prediction": 0.25, **origin, "size": 48.5}
    truth = {"time": time, "request_id": "r1", "row": 0, "key": None, "truth": 1.0, "caller": "shop"}
    for path, values in ((folder / FILE, row), (folder / "feedback" / FILE, truth)):
        path.parent.mkdir(parents=True)
        pl.DataFrame([values], schema_overrides={"row": pl.UInt32, "key": pl.String}).write_parquet(path)
    (joined,) = reader.join_feedback(folder).collect().to_dicts()
    assert (joined["prediction"], joined["truth"], joined["version"], joined["size"]) == (0.25, 1.0, "v2", 48.5)
    assert prediction_log.read is reader.read
