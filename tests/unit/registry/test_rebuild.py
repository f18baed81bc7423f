"""One real SQLite store for the whole module: making one takes seconds."""

import json
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from merit import artifacts, git
from merit.config.schema import Lock, Tracking
from merit.dvc import cache
from merit.errors import MeritError
from merit.mlflow import model, store
from merit.registry import mlflow as projections
from merit.registry import rebuild, tags
from merit.registry.mlflow import Projection, project_to_mlflow
from merit.registry.mlflow_candidates import register_candidate as candidate
from merit.registry.rebuild import find_differences, rebuild_projection
from merit.registry.register import register
from merit.registry.tags import Version
from tests.support.versioned import Repository, report

# SQLAlchemy 2.1 deprecates a loader that mlflow 3.17 still uses.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of this module is kept."""
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture
def lock(database: Path, make_lock: Callable[..., Lock], request: pytest.FixtureRequest) -> Lock:
    """A lock whose runs go to an experiment and a model of the test's own."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    shared = Tracking(uri=f"sqlite:///{database}", experiment=name)  # where no YAML could put it
    return make_lock(lambda values: values.update(name=name)).model_copy(update={"tracking": shared})


@pytest.fixture
def client(lock: Lock) -> MlflowClient:
    """A client of the store."""
    return store.open_store(lock.tracking)


@pytest.fixture
def two(release: Callable[..., Version], repository: Repository) -> list[Version]:
    """Two versions, the second in staging, the first in production."""
    found = [release(1, auc=0.7), release(2, auc=0.8)]
    repository.declare("production", "v1", "production")
    repository.declare("staging", "v2", "staging")
    return found


def test_an_empty_store_is_filled_with_versions_tags_files_and_aliases(
    lock: Lock, client: MlflowClient, two: list[Version]
) -> None:
    name = lock.name
    assert list(rebuild_projection(lock)) == [
        f"{name}@v1: made as MLflow's version 1",
        f"{name}@v2: made as MLflow's version 2",
        f"production: points to {name}@v1",
        f"staging: points to {name}@v2",
    ]
    for version in two:
        (found,) = client.search_model_versions(f"name = '{name}' and tags.`merit.version` = '{version.name}'")
        assert found.tags == projections.build_tags(version)
        run = client.get_run(found.run_id)
        assert found.source == f"{run.info.artifact_uri}/model"
        assert (run.info.status, run.data.metrics) == ("FINISHED", {"test_roc_auc": version.lineage.metrics["roc_auc"]})
        files = {Path(each.path).name for each in client.list_artifacts(found.run_id, model.PACKAGE_PATH)}
        assert files == set(tags.find_package_files(version))
        place = Path(client.download_artifacts(found.run_id, "model"))
        assert artifacts.hash_package(place / "package") == version.lineage.package
        params = Path(client.download_artifacts(found.run_id, "params.yaml")).read_text()
        assert params == git.read_file(version.commit, artifacts.LOCK)
        origin = json.loads((place / "origin.json").read_text())
        assert origin == {"version": version.short_name, "commit": version.commit}
        assert yaml.safe_load((place / "MLmodel").read_text())["flavors"]["python_function"]["loader_module"]
        (data,) = run.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == (name, lock.data.fingerprint[7:43])
        assert run.data.tags["mlflow.source.git.commit"] == version.commit
        assert run.data.tags["mlflow.project.entryPoint"] == "merit registry rebuild"
        assert run.data.tags["mlflow.note.content"].startswith(f"**{version.name}**: Linear, binary: `delay >= 10`")
    assert client.get_model_version_by_alias(name, "production").tags["merit.version"] == f"{name}@v1"
    assert find_differences(lock) == []


def test_a_second_rebuild_writes_nothing(lock: Lock, client: MlflowClient, two: list[Version]) -> None:
    list(rebuild_projection(lock))
    runs = len(client.search_runs([store.find_or_create_experiment(client, lock.tracking)]))
    assert list(rebuild_projection(lock)) == []
    assert len(client.search_runs([store.find_or_create_experiment(client, lock.tracking)])) == runs == 2


def test_a_rebuild_that_was_killed_is_gone_on_with(
    lock: Lock, client: MlflowClient, two: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*args: object, **kwargs: object) -> None:
        raise Killed

    # Killed while a run is filled, then between the run and its version.
    for step in ("set_tag", "create_model_version"):
        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, step, killed)
            with pytest.raises(Killed):
                list(rebuild_projection(lock))
    list(rebuild_projection(lock))
    runs = client.search_runs([store.find_or_create_experiment(client, lock.tracking)])
    assert sorted(run.info.run_name for run in runs) == [version.name for version in two]
    assert find_differences(lock) == []


def _log_candidate(client: MlflowClient, run_id: str) -> None:
    with tempfile.TemporaryDirectory() as room:
        model.write_model(artifacts.PACKAGE, Path(room) / model.ARTIFACT_PATH, version=None, commit=None)
        client.log_artifacts(run_id, room)


def test_a_version_whose_files_an_older_merit_kept_gets_its_mlmodel(
    lock: Lock, client: MlflowClient, two: list[Version]
) -> None:
    list(rebuild_projection(lock))
    (found,) = client.search_model_versions(f"name = '{lock.name}' and tags.`merit.version` = '{two[0].name}'")
    place = Path(found.source.removeprefix("file://"))
    for file in place.glob("package/*"):
        file.rename(place / file.name)
    (place / "MLmodel").unlink()
    assert _told(lock) == [f"{two[0].name} (MLflow's {found.version}): found other files; Git says MLmodel"]
    assert list(rebuild_projection(lock)) == [f"{two[0].name}: MLflow's version {found.version} has its files again"]
    assert find_differences(lock) == []


def test_what_merit_run_made_of_the_package_is_taken(lock: Lock, client: MlflowClient, repository: Repository) -> None:
    repository.package(1)
    repository.commit("package")
    run = client.create_run(store.find_or_create_experiment(client, lock.tracking))
    _log_candidate(client, run.info.run_id)
    assert candidate(lock, run.info.run_id, report()) == "1"
    (before,) = client.search_model_versions(f"name = '{lock.name}'")
    assert before.tags == {
        "merit.package": artifacts.hash_package(artifacts.PACKAGE),
        "merit.commit": repository.git("rev-parse", "HEAD"),
        "merit.params_sha256": f"{1:064}",
        "merit.data_sha256": "d" * 64,
        "merit.data_fingerprint": lock.data.fingerprint,
        "merit.verdict": "pass",
    }
    version, _ = register(lock, lambda against: report())
    assert project_to_mlflow(lock, version) == f"{version.name}: MLflow's version 1 carries its tags"
    assert project_to_mlflow(lock, version) is None
    (after,) = client.search_model_versions(f"name = '{lock.name}'")
    assert (after.run_id, after.tags) == (run.info.run_id, projections.build_tags(version))
    origin = Path(client.download_artifacts(run.info.run_id, "model/origin.json")).read_text()
    assert json.loads(origin)["version"] == "v1"


def test_a_candidate_that_was_never_registered_stays_as_it_is(
    lock: Lock, client: MlflowClient, two: list[Version], repository: Repository
) -> None:
    list(rebuild_projection(lock))
    repository.package(3)
    run = client.create_run(store.find_or_create_experiment(client, lock.tracking))
    _log_candidate(client, run.info.run_id)
    assert candidate(lock, run.info.run_id, report()) == "3"
    assert find_differences(lock) == []
    assert list(rebuild_projection(lock)) == []


def _told(lock: Lock) -> list[str]:
    return [str(fault) for fault in find_differences(lock)]


def test_an_empty_store_differs_in_everything(lock: Lock, two: list[Version]) -> None:
    name = lock.name
    assert [fault.what for fault in find_differences(lock)] == [
        f"{name}@v1",
        f"{name}@v2",
        "alias production",
        "alias staging",
    ]


def test_an_alias_that_was_moved_by_hand_is_shown_and_put_back(
    lock: Lock, client: MlflowClient, two: list[Version]
) -> None:
    name = lock.name
    list(rebuild_projection(lock))
    client.set_registered_model_alias(name, "production", "2")
    client.set_registered_model_alias(name, "mine", "2")
    assert _told(lock) == [f"alias production: found MLflow's version 2 ({name}@v2); Git says {name}@v1"]
    client.delete_registered_model_alias(name, "staging")
    assert _told(lock)[1:] == [f"alias staging: found no version; Git says {name}@v2"]
    assert list(rebuild_projection(lock)) == [f"production: points to {name}@v1", f"staging: points to {name}@v2"]
    assert str(client.get_model_version_by_alias(name, "mine").version) == "2"


def test_an_environment_that_declares_nothing_has_no_alias(
    lock: Lock, client: MlflowClient, two: list[Version], repository: Repository
) -> None:
    list(rebuild_projection(lock))
    repository.declare("staging", None, "nothing in staging")
    assert _told(lock) == [f"alias staging: found MLflow's version 2 ({lock.name}@v2); Git says no version"]
    assert list(rebuild_projection(lock)) == ["staging: points to no version"]
    assert "staging" not in client.get_registered_model(lock.name).aliases


def test_an_environment_of_a_version_without_a_tag_is_told(
    lock: Lock, two: list[Version], repository: Repository
) -> None:
    repository.declare("production", "v9", "a version that is not there")
    with pytest.raises(MeritError, match=rf"production\.yaml at main declares {lock.name}@v9, which has no tag"):
        list(rebuild_projection(lock))
    assert _told(lock) == [f"alias production: found no version; Git says {lock.name}@v9"]


def test_an_alias_shows_what_main_declares_and_without_a_main_what_is_checked_out(
    repository: Repository, lock: Lock, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository.declare("production", "v1", "production")
    repository.git("switch", "--quiet", "--create", "work")
    repository.declare("production", "v2", "not merged")
    assert rebuild._read_declared_versions(lock) == {"production": f"{lock.name}@v1"}
    repository.git("branch", "--quiet", "-D", "main")
    assert rebuild._read_declared_versions(lock) == {"production": f"{lock.name}@v2"}
    monkeypatch.chdir(tmp_path_factory.mktemp("no repository"))
    assert rebuild._read_declared_versions(lock) == {}


def test_tags_that_were_edited_are_shown_and_put_back(lock: Lock, client: MlflowClient, two: list[Version]) -> None:
    list(rebuild_projection(lock))
    client.set_model_version_tag(lock.name, "1", "merit.verdict", "perfect")
    client.set_model_version_tag(lock.name, "2", "merit.package", "sha256:other")
    assert _told(lock) == [
        f"{lock.name}@v1 (MLflow's 1): found merit.verdict=perfect; Git says pass",
        f"{lock.name}@v2 (MLflow's 2): found merit.package=sha256:other; Git says {two[1].lineage.package}",
    ]
    list(rebuild_projection(lock))
    assert find_differences(lock) == []
    assert len(client.search_model_versions(f"name = '{lock.name}'")) == 2


def test_files_that_are_gone_or_others_are_shown_and_put_back(
    lock: Lock, client: MlflowClient, two: list[Version]
) -> None:
    list(rebuild_projection(lock))
    places = [Path(v.source.removeprefix("file://")) for v in client.search_model_versions(f"name = '{lock.name}'")]
    first, second = sorted(places, key=lambda place: (place / "package/manifest.json").read_text())
    (first / "package" / artifacts.GRAPH).unlink()
    shutil.copyfile(first / "package" / artifacts.MANIFEST, second / "package" / artifacts.MANIFEST)
    assert _told(lock) == [
        f"{lock.name}@v1 (MLflow's 1): found other files; Git says model.onnx",
        f"{lock.name}@v2 (MLflow's 2): found other files; Git says manifest.json",
    ]
    list(rebuild_projection(lock))
    assert find_differences(lock) == []
    assert len(client.search_model_versions(f"name = '{lock.name}'")) == 2


def test_a_file_of_the_same_size_but_another_content_is_shown_and_put_back(
    lock: Lock, client: MlflowClient, two: list[Version]
) -> None:
    list(rebuild_projection(lock))
    places = [Path(v.source.removeprefix("file://")) for v in client.search_model_versions(f"name = '{lock.name}'")]
    (first, *_) = sorted(places, key=lambda place: (place / "package/manifest.json").read_text())
    file = first / "package" / artifacts.PACKAGED_WEIGHTS
    file.write_bytes(file.read_bytes()[::-1])
    assert _told(lock) == [f"{lock.name}@v1 (MLflow's 1): found other files; Git says weights.safetensors"]
    assert len(list(rebuild_projection(lock))) == 1
    assert find_differences(lock) == []


def test_a_version_that_was_deleted_is_made_again(lock: Lock, client: MlflowClient, two: list[Version]) -> None:
    list(rebuild_projection(lock))
    client.delete_model_version(lock.name, "1")
    assert list(rebuild_projection(lock)) == [
        f"{lock.name}@v1: made as MLflow's version 3",
        f"production: points to {lock.name}@v1",
    ]
    assert len(client.search_runs([store.find_or_create_experiment(client, lock.tracking)])) == 2, (
        "its run was there still"
    )


def test_a_name_that_no_tag_backs_is_shown_and_taken_away(lock: Lock, client: MlflowClient, two: list[Version]) -> None:
    list(rebuild_projection(lock))
    client.create_model_version(lock.name, "file:///x", tags={"merit.version": f"{lock.name}@v7"})
    client.set_model_version_tag(lock.name, "2", "merit.version", f"{lock.name}@v1")
    told_of = _told(lock)
    assert f"{lock.name}@v1: found MLflow's versions 1 and 2; Git says one" in told_of
    assert f"MLflow's version 3: found {lock.name}@v7; Git says there is no such version" in told_of
    list(rebuild_projection(lock))
    assert find_differences(lock) == []
    assert "merit.version" not in client.get_model_version(lock.name, "3").tags


def test_a_package_that_is_nowhere_stops_only_its_version(lock: Lock, two: list[Version]) -> None:
    listing = cache.DEFAULT_CACHE / two[0].lineage.dvc[:2] / two[0].lineage.dvc[2:]
    listing.unlink()
    done: list[str] = []
    with pytest.raises(MeritError, match=rf"{lock.name}@v1: not in DVC's cache, and DVC has no remote here"):
        for line in rebuild_projection(lock):
            done.append(line)  # extend() would lose what came before the error
    assert f"{lock.name}@v2: made as MLflow's version 1" in done


def test_two_that_show_one_version_at_once_leave_one(lock: Lock, client: MlflowClient, two: list[Version]) -> None:
    first, second = Projection(lock), Projection(lock)
    seen = second.list_versions()
    first.project_version(two[0], first.list_versions())
    second.project_version(two[0], seen)
    found = client.search_model_versions(f"name = '{lock.name}' and tags.`merit.version` = '{two[0].name}'")
    assert [str(version.version) for version in found] == ["1"]


def test_a_store_that_can_not_be_reached_leaves_the_version(
    lock: Lock, two: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///no/such/folder/mlflow.db")
    with pytest.raises(MeritError, match=rf"^{two[0].name} is in Git but not in MLflow: tracking\.uri") as caught:
        project_to_mlflow(lock, two[0])
    assert "\n" not in str(caught.value)
