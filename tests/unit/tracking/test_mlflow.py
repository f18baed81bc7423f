"""One real SQLite store for the whole module: making one takes seconds."""

import json
import shutil
import socket
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from merit import artifacts, tracking
from merit.config.schema import Lock, Tracking
from merit.errors import MeritError, Refused
from merit.mlflow import store
from merit.registry.mlflow_candidates import register_candidate
from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.tracking import mlflow as runs
from merit.tracking import read_run_tags, run_facts
from merit.tracking.mlflow import PACKAGE_TAG, WEIGHTS_TAG, MlflowRun, complete_run
from tests.support.file_locks import is_locked

# SQLAlchemy 2.1 deprecates a loader that mlflow 3.17 still uses.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EPOCHS = [
    {"epoch": 0.0, "train_loss": 0.7, "validation_loss": 0.6},
    {"epoch": 1.0, "train_loss": 0.6, "validation_loss": 0.5},
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of this module is kept."""
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture
def tracked(workdir: Path, database: Path, make_lock: Callable[..., Lock], request: pytest.FixtureRequest) -> Lock:
    """A lock whose runs go to an experiment and a model of the test's own."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    artifacts.write_text(artifacts.RAW, "raw")
    shared = Tracking(uri=f"sqlite:///{database}", experiment=name)  # where no YAML could put it
    return make_lock(lambda values: values.update(name=name)).model_copy(update={"tracking": shared})


@pytest.fixture
def client(tracked: Lock) -> Iterator[MlflowClient]:
    """A client of the store."""
    yield store.open_store(tracked.tracking)


def _runs(client: MlflowClient, lock: Lock) -> list[Run]:
    found = client.get_experiment_by_name(lock.tracking.experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def _weights(content: bytes = b"w") -> None:
    artifacts.WEIGHTS.parent.mkdir(exist_ok=True)
    artifacts.WEIGHTS.write_bytes(content)


def _finish(make_package: Callable[..., Path], verdict: str = "pass") -> dict[str, Any]:
    """Leave in the folder what every stage from training on leaves there; return what the gate says of it."""
    _weights()
    make_package(artifacts.PACKAGE)
    artifacts.write_json(artifacts.METRICS, {"candidate": {"roc_auc": {"value": 0.7}, "brier": {"value": None}}})
    artifacts.write_json(artifacts.DATA_REPORT, {"passed": True})
    artifacts.write_text(artifacts.PLOTS / "roc.csv", "x\n")
    names = list(EPOCHS[0])
    lines = [",".join(names), *(",".join(str(epoch[name]) for name in names) for epoch in EPOCHS)]
    artifacts.write_text(artifacts.HISTORY, "\n".join(lines) + "\n")
    digest = artifacts.hash_package(artifacts.PACKAGE)
    return {"verdict": verdict, "candidate": {"digest": digest}}


def test_a_finished_run_holds_what_it_is_made_of(tracked: Lock, client: MlflowClient) -> None:
    run = MlflowRun(tracked)
    for epoch in EPOCHS:
        run.log_epoch(epoch)
    _weights()
    run.end("FINISHED")
    (found,) = _runs(client, tracked)
    assert found.info.status == "FINISHED"
    assert found.data.tags[WEIGHTS_TAG] == artifacts.hash_file(artifacts.WEIGHTS)
    assert found.data.tags["merit.data_sha256"] == artifacts.hash_file(artifacts.RAW)
    assert found.data.tags["merit.data_fingerprint"] == tracked.data.fingerprint
    assert all(found.data.tags[f"merit.{name}"] for name in ("python", "processor", "instructions"))
    assert (
        read_run_tags(tracked.tracking, artifacts.hash_file(artifacts.WEIGHTS)).items()
        >= run_facts.describe_machine().items()
    )
    assert read_run_tags(tracked.tracking, "0" * 64) == {}
    assert found.data.tags["mlflow.project.entryPoint"] == "merit train"
    assert found.data.tags["mlflow.source.name"] == Path.cwd().name
    assert found.data.tags["mlflow.note.content"].startswith(f"**{tracked.name}**: Linear, binary: `delay >= 10`")
    (data,) = found.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == (tracked.name, tracked.data.fingerprint[7:43])
    assert json.loads(data.dataset.source)["_target_"] == tracked.data.source.target
    described = json.loads(data.dataset.schema)["mlflow_colspec"]
    assert [each["name"] for each in described] == list(tracked.data.columns)
    assert found.data.params["seed"] == "7"
    assert found.data.params["optimizer.lr"] == "0.01"
    assert found.data.params["model._target_"] == "merit.models.networks.Linear"
    assert found.data.params["data.columns.shop.feature"] == "category"
    assert not any(name.startswith(("gate.", "serve.", "tracking.")) for name in found.data.params)
    history = client.get_metric_history(run.id, "validation_loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.6), (1, 0.5)]
    assert "epoch" not in found.data.metrics
    assert [file.path for file in client.list_artifacts(run.id)] == ["params.yaml"]


def test_a_column_of_any_name_is_kept(tracked: Lock, make_lock: Callable[..., Lock], client: MlflowClient) -> None:
    odd = {name: {"type": "number", "feature": "number"} for name in ("${a}", "b//c", "d, e", "é", "x" * 300)}
    data = make_lock(lambda values: values["data"]["columns"].update(odd)).data
    MlflowRun(tracked.model_copy(update={"data": data}))
    (found,) = _runs(client, tracked)
    assert found.data.params["data.columns.__a_.feature"] == "number"
    assert found.data.params["data.columns.b__c.feature"] == "number"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_ends_early_says_how_and_is_nobodys_weights(
    tracked: Lock, client: MlflowClient, status: str
) -> None:
    run = MlflowRun(tracked)
    run.log_epoch(EPOCHS[0])
    run.end(status)
    (found,) = _runs(client, tracked)
    assert found.info.status == status
    assert WEIGHTS_TAG not in found.data.tags
    assert found.data.metrics["train_loss"] == 0.7


def test_an_epoch_that_can_not_be_sent_goes_with_the_next(
    tracked: Lock, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, refusals = MlflowClient.log_batch, [True, False, False]

    def sometimes(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("metrics") and refusals.pop(0):
            raise MlflowException("away")
        return send(self, *args, **kwargs)

    _weights()
    run = MlflowRun(tracked)
    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_batch", sometimes)
        for epoch in EPOCHS:
            run.log_epoch(epoch)
    run.end("FINISHED")
    assert [metric.step for metric in client.get_metric_history(run.id, "train_loss")] == [0, 1]


def test_a_run_that_can_not_be_kept_is_told(tracked: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise MlflowException("away")

    _weights()
    kept = r"^tracking: the run could not be kept \(away\); see conf/tracking$"
    run = MlflowRun(tracked)
    monkeypatch.setattr(MlflowClient, "set_terminated", refuse)
    with pytest.raises(MeritError, match=kept):
        run.end("FINISHED")


def test_without_data_no_run_is_begun(tracked: Lock, client: MlflowClient) -> None:
    artifacts.RAW.unlink()
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: not found"):
        MlflowRun(tracked)
    assert client.get_experiment_by_name(tracked.tracking.experiment) is None


def test_the_run_of_the_weights_gets_their_package_once(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]
) -> None:
    run = MlflowRun(tracked)
    _finish(make_package)
    run.end("FINISHED")
    assert complete_run(tracked) == run.id
    assert complete_run(tracked) == run.id
    (found,) = _runs(client, tracked)
    assert found.data.tags[PACKAGE_TAG] == artifacts.hash_package(artifacts.PACKAGE)
    assert found.data.metrics["test_roc_auc"] == 0.7
    assert "test_brier" not in found.data.metrics
    assert len(client.get_metric_history(run.id, "test_roc_auc")) == 1
    assert {file.path for file in client.list_artifacts(run.id)} == {"model", "params.yaml", "plots", "reports"}
    assert {file.path for file in client.list_artifacts(run.id, "reports")} == {
        "reports/data.json",
        "reports/history.csv",
        "reports/metrics.json",
    }


def test_a_run_that_the_store_lost_is_written_again_from_the_files(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]
) -> None:
    lost = MlflowRun(tracked)
    _finish(make_package)
    lost.end("FINISHED")
    client.delete_run(lost.id)
    restored = complete_run(tracked)
    assert restored != lost.id
    (found,) = _runs(client, tracked)
    assert (found.info.run_id, found.info.status) == (restored, "FINISHED")
    assert found.data.tags[WEIGHTS_TAG] == artifacts.hash_file(artifacts.WEIGHTS)
    assert found.data.params["seed"] == "7"
    history = client.get_metric_history(restored, "train_loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.7), (1, 0.6)]
    assert complete_run(tracked) == restored
    assert "merit.processor" not in found.data.tags  # who writes it again did not train it


def test_other_weights_are_another_run(tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]) -> None:
    run = MlflowRun(tracked)
    _finish(make_package)
    run.end("FINISHED")
    _weights(b"other")
    assert complete_run(tracked) != run.id
    assert len(_runs(client, tracked)) == 2


def test_a_package_is_registered_once_with_its_lineage(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]
) -> None:
    report = _finish(make_package)
    run_id = complete_run(tracked)
    assert [register_candidate(tracked, run_id, report) for _ in range(3)] == ["1", "1", "1"]
    (version,) = client.search_model_versions(f"name = '{tracked.name}'")
    assert version.run_id == run_id
    assert version.source.endswith("/artifacts/model")
    assert version.description.startswith(f"**{tracked.name}**: Linear")
    assert version.tags[PACKAGE_TAG] == artifacts.hash_package(artifacts.PACKAGE)
    assert version.tags["merit.data_sha256"] == "d" * 64
    assert version.tags["merit.verdict"] == "pass"


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")  # of MLflow's own, when it is imported
def test_what_is_registered_is_loaded_by_its_name_in_mlflow(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    report = _finish(make_package)
    assert register_candidate(tracked, complete_run(tracked), report) == "1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.resolve_uri(tracked.tracking))
    loaded = mlflow.pyfunc.load_model(f"models:/{tracked.name}/1")
    row = {"shop": "north", "kind": 1, "size": 48.5, "weight": 0.25}
    package = Package.load(artifacts.PACKAGE)
    answer = ServedModel(package, package.digest, 1).predict(json.dumps(row).encode())
    found = loaded.predict(pd.DataFrame([row])).to_dict("records")
    assert found == [{"prediction": answer.pop("predictions")[0], **answer}]


def test_a_run_of_a_wide_table_counts_its_columns(
    tracked: Lock, make_lock: Callable[..., Lock], client: MlflowClient
) -> None:
    wide = {f"g{n}": {"type": "number", "feature": "number"} for n in range(300)}
    data = make_lock(lambda values: values["data"]["columns"].update(wide)).data
    MlflowRun(tracked.model_copy(update={"data": data}))
    (found,) = _runs(client, tracked)
    assert found.data.params["data.columns"] == f"{len(data.columns)} columns, see params.yaml"
    assert len(found.data.params) < 100


def test_another_package_is_another_version(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]
) -> None:
    report = _finish(make_package)
    assert register_candidate(tracked, complete_run(tracked), report) == "1"
    shutil.rmtree(artifacts.PACKAGE)
    make_package(artifacts.PACKAGE, parity=1e-6)
    report["candidate"]["digest"] = artifacts.hash_package(artifacts.PACKAGE)
    assert register_candidate(tracked, complete_run(tracked), report) == "2"


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_a_package_that_the_gate_did_not_pass_is_not_registered(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path], verdict: str
) -> None:
    report = _finish(make_package, verdict)
    with pytest.raises(Refused) as caught:
        register_candidate(tracked, "run", report)
    assert caught.value.exit_code == 1
    assert str(caught.value) == "register: the gate does not pass this package; read reports/gate.md"
    assert client.search_model_versions(f"name = '{tracked.name}'") == []


def test_a_pass_of_another_package_is_no_pass(tracked: Lock, make_package: Callable[..., Path]) -> None:
    report = _finish(make_package)
    report["candidate"]["digest"] = "sha256:other"
    with pytest.raises(Refused, match="the gate does not pass this package"):
        register_candidate(tracked, "run", report)


def test_a_parameter_that_is_too_long_is_cut(
    tracked: Lock, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_PARAM_CHARS", 5)
    _weights()
    MlflowRun(tracked).end("FINISHED")
    (found,) = _runs(client, tracked)
    assert found.data.params["model._target_"] == "merit"


def test_parameters_have_dotted_names_and_a_list_is_one() -> None:
    assert run_facts.flatten({"a": {"b": 1}, "c": [1, 2]}) == {"a.b": 1, "c": [1, 2]}


def test_the_environment_comes_before_the_configuration(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.resolve_uri(lock.tracking) == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert store.resolve_uri(lock.tracking) == "sqlite:///other.db"
    assert store.get_sqlite_file("sqlite:///other.db") == Path("other.db")
    assert store.get_sqlite_file("sqlite:///other.db?timeout=30") == Path("other.db")
    assert store.get_sqlite_file("http://example.org") is None


def test_a_store_that_is_no_database_is_told_in_one_line(workdir: Path) -> None:
    Path("broken.db").write_bytes(b"not a database, not at all, by no means" * 100)
    with pytest.raises(MeritError) as caught:
        store.open_store(Tracking(uri="sqlite:///broken.db", experiment="x"))
    assert str(caught.value) == (
        "broken.db: file is not a database; move it away; 'merit registry rebuild' fills a new one"
    )


def _other_tables(made: Path) -> None:
    with sqlite3.connect("half.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("CREATE TABLE registered_model_tags (key INTEGER)")


def _older(made: Path) -> None:
    shutil.copyfile(made, "half.db")
    with sqlite3.connect("half.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


@pytest.mark.parametrize("make", [_other_tables, _older])
def test_a_store_whose_tables_are_not_this_mlflows_is_told_with_what_mends_it(
    workdir: Path, client: MlflowClient, database: Path, make: Callable[[Path], None]
) -> None:
    make(database)
    with pytest.raises(MeritError) as caught:
        store.open_store(Tracking(uri="sqlite:///half.db", experiment="x"))
    told = str(caught.value)
    assert told.startswith("half.db: not this MLflow's tables (")
    assert told.endswith(
        "); 'mlflow db upgrade sqlite:///half.db' mends an older MLflow's; if that fails, move it away; "
        "'merit registry rebuild' fills a new one"
    )
    assert "\n" not in told


def test_a_store_stands_whole_or_not_at_all(
    workdir: Path, client: MlflowClient, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = Tracking(uri="sqlite:///new.db", experiment="x")
    made_at: list[str] = []

    def cut_off(uri: str) -> MlflowClient:
        made_at.append(uri)
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half of a database")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(store, "_connect", cut_off)
        store.open_store(tracking)
    assert not Path("new.db").exists()

    def made(uri: str) -> MlflowClient:
        made_at.append(uri)
        if ".new/" in uri:
            shutil.copyfile(database, uri.removeprefix("sqlite:///"))
        return whole(uri)

    whole = store._connect
    monkeypatch.setattr(store, "_connect", made)
    assert store.open_store(tracking).search_experiments()
    assert store.open_store(tracking).search_experiments()
    aside, place = "sqlite:///new.db.new/new.db", "sqlite:///new.db"
    assert made_at == [aside, aside, place, place]
    assert sorted(path.name for path in Path().glob("new.db*")) == ["new.db", "new.db.lock"]


def test_a_store_that_another_made_in_the_meantime_is_used(
    workdir: Path, client: MlflowClient, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store._connect

    def overtaken(uri: str) -> MlflowClient:
        Path("late.db").write_bytes(b"another's")
        shutil.copyfile(database, uri.removeprefix("sqlite:///"))
        return whole(uri)

    monkeypatch.setattr(store, "_connect", overtaken)
    store._create_sqlite_store(Path("late.db"))
    assert Path("late.db").read_bytes() == b"another's"
    assert not Path("late.db.new").exists()


def test_a_server_that_is_not_there_is_told_in_the_words_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MeritError) as caught, store.convert_errors("http://127.0.0.1:1"):
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise MlflowException("HTTPConnectionPool(host='127.0.0.1'): Max retries exceeded") from error
    assert str(caught.value) == (
        "tracking.uri 'http://127.0.0.1:1': can't be used (Connection refused); correct conf/tracking or "
        "MLFLOW_TRACKING_URI"
    )


def test_a_server_that_takes_no_connection_is_told_before_anything_is_trained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        tracking.check_tracking(Tracking(uri=uri, experiment="tiny"))
    with pytest.raises(
        MeritError, match=rf"^tracking\.uri '{uri}': can't be reached \(Connection refused\), and nothing"
    ):
        tracking.check_tracking(Tracking(uri=uri, experiment="tiny"))


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "http://127.0.0.1:99999", "postgresql:///runs?host=/run"])
def test_what_names_no_port_of_a_server_is_left_to_mlflow(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.check_tracking(Tracking(uri="sqlite:///mlflow.db", experiment="tiny"))


@pytest.mark.parametrize("uri", ["sqlite:///no/such/folder/mlflow.db", "nothing://x"])
def test_a_store_that_can_not_be_reached_is_told_in_one_line(workdir: Path, uri: str) -> None:
    with pytest.raises(MeritError, match=r"^tracking\.uri '") as caught:
        store.open_store(Tracking(uri=uri, experiment="x"))
    assert "\n" not in str(caught.value)


def test_a_trial_that_another_worker_is_keeping_becomes_one_run(
    tracked: Lock, client: MlflowClient, make_package: Callable[..., Path]
) -> None:
    about = {"commit": "c" * 40}
    parent = runs.start_sweep(tracked, "s", about)
    best = {"validation_loss": 0.5}
    trial = run_facts.LoggedTrial(
        3, "s", parent, tracked, "FINISHED", {"state": "done"}, best, EPOCHS, "w", 1000.0, 1001.0
    )
    run = runs.log_trial(trial, about)
    client.update_run(run, status="RUNNING")  # as if the other had come no further
    assert runs.log_trial(trial, about) == run
    kept = [each for each in _runs(client, tracked) if each.info.run_id != parent]
    assert [each.info.status for each in kept] == ["FINISHED"]
    assert [each.value for each in client.get_metric_history(run, "train_loss")] == [0.7, 0.6]


def test_one_process_at_a_time_creates_a_store_and_connects_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen = tmp_path / "mlflow.db", []

    def note(what: str) -> None:
        seen.append((what, is_locked(Path(f"{file}.lock"))))
        file.touch()

    monkeypatch.setattr(store, "_create_sqlite_store", lambda _: note("create"))
    monkeypatch.setattr(store, "_connect", lambda _: note("connect"))
    tracking = Tracking(uri=f"sqlite:///{file}", experiment="tiny")
    for _ in range(2):  # a store is created once
        store.open_store(tracking)
    assert seen == [("create", True), ("connect", True), ("connect", True)]
    assert not is_locked(Path(f"{file}.lock"))
