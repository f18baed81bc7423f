import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts, git
from merit.config.schema import Lock
from merit.data.input_files import MissingInput
from merit.errors import MeritError, Refused
from merit.process import workspace_lock
from merit.registry import register as room
from merit.registry import tags
from merit.registry.register import register
from merit.registry.tags import Version
from tests.support.file_locks import is_locked
from tests.support.versioned import Repository, report

Release = Callable[..., Version]
OTHER = "sha256:" + "e" * 64


def _judge(against: str | None) -> dict[str, Any]:
    return report()


def _never(against: str | None) -> dict[str, Any]:
    pytest.fail("the gate was asked")


def test_a_version_is_an_annotated_tag_that_carries_its_lineage(repository: Repository, lock: Lock) -> None:
    dvc = repository.package(1)
    commit = repository.commit("the first")
    judged = report()
    judged["checks"].append({"name": "size", "verdict": "pass", "waived": False})
    version, made = register(lock, lambda against: judged)
    assert (version.name, version.commit, made, version.tagger) == ("tiny@v1", commit, True, "Ada")
    assert repository.git("cat-file", "-t", "tiny@v1") == "tag"
    assert repository.git("for-each-ref", "--format=%(subject)", "refs/tags/tiny@v1") == "tiny@v1: 2 checks passed"
    found = tags.find_version("tiny@v1")
    assert found == version
    lineage = found.lineage
    assert (lineage.commit, lineage.dvc, lineage.package) == (commit, dvc, artifacts.hash_package(artifacts.PACKAGE))
    assert (lineage.params, lineage.data, lineage.data_fingerprint) == (f"{1:064}", "d" * 64, lock.data.fingerprint)
    assert (lineage.verdict, lineage.checks, lineage.waived) == ("pass", 2, ["champion: roc_auc"])
    assert (lineage.metrics, lineage.run, lineage.signature) == ({"roc_auc": 0.7}, None, None)


def test_a_package_becomes_one_version_however_often_it_is_registered(repository: Repository, lock: Lock) -> None:
    repository.package(1)
    repository.commit("package")

    def judge(against: str | None) -> dict[str, Any]:
        assert is_locked(workspace_lock.REGISTRY_LOCK)  # a second registration waits for this one
        return report()

    first = register(lock, judge)
    repository.commit("something else")
    assert register(lock, _never) == (first[0], False)
    assert [each.name for each in tags.list_versions("tiny")] == ["tiny@v1"]


def test_a_table_that_another_clone_would_lack_is_no_versions(repository: Repository, lock: Lock) -> None:
    repository.git("rm", "--quiet", "--cached", "source.parquet")
    repository.git("commit", "--quiet", "--message", "less")
    repository.package(1)
    repository.git("add", "dvc.lock")
    repository.git("commit", "--quiet", "--message", "package")
    with pytest.raises(Refused, match=r"^register: source\.parquet is neither in Git nor tracked by DVC; git add"):
        register(lock, _never)
    repository.commit("the table too")
    assert register(lock, _judge)[1]


@pytest.mark.parametrize(("count", "more"), [(1, ""), (2, " (1 more files are like it)")])
def test_of_several_tables_that_another_clone_would_lack_the_first_is_named(
    lock: Lock, monkeypatch: pytest.MonkeyPatch, count: int, more: str
) -> None:
    missing = [MissingInput(Path(f"{number}.csv"), "is not in Git") for number in range(count)]
    monkeypatch.setattr(room.input_files, "find_missing_inputs", lambda _: missing)
    with pytest.raises(Refused) as caught:
        room._refuse_missing_inputs(lock)
    assert str(caught.value) == f"register: 0.csv is not in Git; git add 0.csv, then commit{more}"


def test_each_new_package_is_the_next_version(release: Release) -> None:
    assert [release(number).name for number in (1, 2, 3)] == ["tiny@v1", "tiny@v2", "tiny@v3"]
    assert [each.number for each in tags.list_versions("tiny")] == [1, 2, 3]


def test_ten_comes_after_nine(repository: Repository, release: Release) -> None:
    repository.git("tag", "-a", "tiny@v8", "-m", "by hand")
    for number in (1, 2, 3):
        release(number)
    assert [each.number for each in tags.list_versions("tiny")] == [9, 10, 11]


def test_the_number_of_a_tag_that_somebody_made_by_hand_is_not_taken_again(
    repository: Repository, release: Release
) -> None:
    release(1)
    repository.git("tag", "-a", "tiny@v5", "-m", "by hand")
    repository.git("tag", "tiny@v6")
    repository.git("tag", "tiny@v7-old")
    assert release(2).name == "tiny@v7"
    assert [each.number for each in tags.list_versions("tiny")] == [1, 7]
    assert list(tags.find_malformed_tags("tiny")) == ["tiny@v5", "tiny@v6"]
    with pytest.raises(MeritError, match=r"^tiny@v5: its tag holds no lineage"):
        tags.find_version("tiny@v5")


def test_a_number_that_was_made_up_is_passed_over_or_told(repository: Repository, release: Release) -> None:
    release(1)
    repository.git("tag", "-a", "tiny@v99999999999999999999", "-m", "by hand")
    assert release(2).name == "tiny@v2"
    repository.git("tag", "-a", "tiny@v999999", "-m", "by hand")
    with pytest.raises(MeritError, match=r"^register: tiny@v999999 is the maximum; delete that tag here and at"):
        release(3)


def test_a_branch_registers_nothing(repository: Repository, lock: Lock) -> None:
    repository.git("switch", "--quiet", "--create", "candidate")
    repository.package(1)
    repository.commit("package")
    with pytest.raises(Refused) as caught:
        register(lock, _never)
    assert str(caught.value) == "register: found candidate; only what is on main becomes a version: merge it first"
    repository.git("switch", "--quiet", "--detach")
    with pytest.raises(Refused, match=r"register: found the commit [0-9a-f]{7}; only what is on main"):
        register(lock, _never)


def test_a_commit_of_the_history_of_main_is_main(repository: Repository, lock: Lock) -> None:
    repository.package(1)
    commit = repository.commit("package")
    repository.git("switch", "--quiet", "--detach")
    repository.git("switch", "--quiet", "main")
    repository.commit("later")
    repository.git("checkout", "--quiet", commit)
    assert register(lock, _judge)[0].commit == commit


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock"])
def test_what_is_not_committed_is_not_registered(repository: Repository, lock: Lock, name: str) -> None:
    repository.package(1)
    repository.commit("package")
    with Path(name).open("a") as handle:
        handle.write("# more\n")
    with pytest.raises(Refused, match=r"params.yaml or dvc.lock differs from what is committed"):
        register(lock, _never)
    repository.git("add", name)
    with pytest.raises(Refused, match=r"differs from what is committed"):
        register(lock, _never)


def test_without_a_lock_in_git_nothing_is_registered(repository: Repository, lock: Lock) -> None:
    with pytest.raises(Refused, match=r"^register: dvc\.lock is not committed"):
        register(lock, _never)


def test_a_package_that_the_lock_does_not_name_is_refused(repository: Repository, lock: Lock) -> None:
    dvc = repository.package(1)
    repository.commit("package")
    (artifacts.PACKAGE / "extra").write_text("x")
    with pytest.raises(MeritError, match=rf"model/: is \w+\.dir, and dvc\.lock names {dvc}; 'merit pull'"):
        register(lock, _never)
    shutil.rmtree(artifacts.PACKAGE)
    with pytest.raises(MeritError, match=r"^model/manifest\.json: not found"):
        register(lock, _never)


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_what_the_gate_does_not_pass_is_not_registered(repository: Repository, lock: Lock, verdict: str) -> None:
    repository.package(1)
    repository.commit("package")
    with pytest.raises(Refused, match="the gate does not pass this package"):
        register(lock, lambda against: report(verdict=verdict))
    assert tags.list_versions("tiny") == []


def test_a_pass_of_another_package_is_none(repository: Repository, lock: Lock) -> None:
    repository.package(1)
    repository.commit("package")
    with pytest.raises(Refused, match="the gate does not pass this package"):
        register(lock, lambda against: {**report(), "candidate": {"digest": "sha256:other"}})


def test_the_rival_is_the_champion_before_the_package_came(repository: Repository, lock: Lock) -> None:
    asked: list[str | None] = []

    def judge(against: str | None) -> dict[str, Any]:
        asked.append(against)
        return report()

    repository.package(1)
    first = repository.commit("package 1")
    repository.git("switch", "--quiet", "--create", "work")
    repository.package(2)
    repository.commit("package 2")
    repository.git("switch", "--quiet", "main")
    second = repository.commit("main goes on")
    repository.git("merge", "--quiet", "--no-ff", "-m", "merge", "work")
    repository.commit("docs")
    repository.commit("more docs")
    register(lock, judge)
    assert asked == [second]
    assert git.is_on_branch(first, second)


def test_a_shallow_clone_can_not_tell_the_rival(
    repository: Repository, lock: Lock, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")
    place = tmp_path_factory.mktemp("shallow") / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.folder}", str(place))
    shutil.copytree(artifacts.PACKAGE, place / artifacts.PACKAGE)
    monkeypatch.chdir(place)
    with pytest.raises(MeritError, match="git fetch --unshallow"):
        register(lock, _never)


def test_the_tag_is_pushed_to_origin(repository: Repository, origin: Path, release: Release) -> None:
    release(1)
    assert repository.git("--git-dir", str(origin), "tag") == "tiny@v1"
    assert not room.PENDING_TAG_FILE.exists()


def test_a_version_that_another_clone_registered_is_found(
    repository: Repository, origin: Path, lock: Lock, release: Release
) -> None:
    version = release(1)
    repository.git("tag", "-d", "tiny@v1")
    assert register(lock, _never) == (version, False)


def test_a_tag_that_was_not_pushed_yet_is_pushed(
    repository: Repository, origin: Path, lock: Lock, release: Release
) -> None:
    release(1)
    repository.git("push", "--quiet", "--delete", "origin", "tiny@v1")
    assert register(lock, _never)[1] is False
    assert repository.git("--git-dir", str(origin), "tag") == "tiny@v1"


def test_the_loser_of_a_race_takes_the_winners_version(
    repository: Repository, origin: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another clone pushes the same package as v1 between our look and our push."""
    repository.package(1)
    repository.commit("package")
    push = git.push_tag

    def race(name: str) -> bool:
        monkeypatch.setattr(git, "push_tag", push)
        ours = repository.git("rev-parse", "refs/tags/tiny@v1")
        text = tags.format_message("tiny@v1", tags.find_version("tiny@v1").lineage)
        repository.git("tag", "-d", "tiny@v1")
        theirs = ["-c", "user.name=Bob", "tag", "-a", "tiny@v1", "-m", text]
        repository.git(*theirs)
        repository.git("push", "--quiet", "origin", "refs/tags/tiny@v1")
        repository.git("update-ref", "refs/tags/tiny@v1", ours)
        return push(name)

    monkeypatch.setattr(git, "push_tag", race)
    version, made = register(lock, _judge)
    assert (version.name, version.tagger, made) == ("tiny@v1", "Bob", False)


def test_the_loser_of_a_race_for_a_number_takes_the_next(
    repository: Repository, origin: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another clone pushes another package as v1 between our look and our push."""
    repository.package(1)
    repository.commit("package")
    push = git.push_tag

    def race(name: str) -> bool:
        monkeypatch.setattr(git, "push_tag", push)
        ours = repository.git("rev-parse", "refs/tags/tiny@v1")
        lineage = tags.find_version("tiny@v1").lineage.model_copy(update={"package": OTHER})
        repository.git("tag", "-d", "tiny@v1")
        repository.git("tag", "-a", "tiny@v1", "-m", tags.format_message("tiny@v1", lineage))
        repository.git("push", "--quiet", "origin", "refs/tags/tiny@v1")
        repository.git("update-ref", "refs/tags/tiny@v1", ours)
        return push(name)

    monkeypatch.setattr(git, "push_tag", race)
    version, made = register(lock, _judge)
    assert (version.name, made) == ("tiny@v2", True)
    assert repository.git("--git-dir", str(origin), "tag").split() == ["tiny@v1", "tiny@v2"]


def test_who_loses_every_race_is_told_to_come_again(
    repository: Repository, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")
    tried: list[str] = []
    monkeypatch.setattr(git, "push_tag", lambda name: bool(tried.append(name)))
    with pytest.raises(MeritError, match=r"^register: others took the next version in each of 5 tries; run it again$"):
        register(lock, _judge)
    assert tried == ["tiny@v1"] * 5
    assert repository.git("tag") == ""


def test_an_origin_that_is_down_leaves_no_tag(
    repository: Repository, origin: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")
    origin.rename(origin.with_suffix(".away"))
    with pytest.raises(MeritError, match=r"^git fetch origin: tried 3 times: ") as caught:
        register(lock, _never)
    assert caught.value.exit_code == 2
    monkeypatch.setattr(git, "fetch_tags", lambda: None)
    with pytest.raises(MeritError, match=r"^git push origin tiny@v1: tried 3 times: "):
        register(lock, _judge)
    assert repository.git("tag") == ""
    monkeypatch.undo()
    monkeypatch.chdir(repository.folder)
    origin.with_suffix(".away").rename(origin)
    assert register(lock, _judge)[0].name == "tiny@v1"


def test_a_registration_that_was_killed_before_the_push_counts_for_nothing(
    repository: Repository, origin: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")

    class Killed(BaseException):
        pass

    def killed(version: Version, made: bool) -> bool:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(room, "_push_tag", killed)
        with pytest.raises(Killed):
            register(lock, _judge)
    assert repository.git("tag") == "tiny@v1"
    # Meanwhile another clone's package became v1.
    ours = repository.git("rev-parse", "refs/tags/tiny@v1")
    lineage = tags.find_version("tiny@v1").lineage.model_copy(update={"package": OTHER})
    repository.git("tag", "-d", "tiny@v1")
    repository.git("tag", "-a", "tiny@v1", "-m", tags.format_message("tiny@v1", lineage))
    repository.git("push", "--quiet", "origin", "refs/tags/tiny@v1")
    repository.git("update-ref", "refs/tags/tiny@v1", ours)
    told: list[str] = []
    assert register(lock, _judge, told.append)[0].name == "tiny@v2"
    assert len(told) == 1
    assert told[0].startswith("tiny@v1: its tag was made here by a registration that was killed")


@pytest.mark.parametrize("pending", ["tiny@v1", "other@v1", "tiny@v1#staging#1", "release/tiny@v1", "x", ""])
def test_what_is_left_of_a_registration_removes_no_tag_where_there_is_no_origin(
    repository: Repository, lock: Lock, release: Release, pending: str
) -> None:
    version = release(1)
    for name in ("other@v1", "tiny@v1#staging#1", "release/tiny@v1"):
        repository.git("tag", "-a", name, "-m", "x")
    before = repository.git("for-each-ref")
    room.PENDING_TAG_FILE.write_text(pending)
    assert register(lock, _never) == (version, False)
    assert repository.git("for-each-ref") == before
    assert not room.PENDING_TAG_FILE.exists()


@pytest.mark.usefixtures("origin")
def test_what_is_left_of_a_registration_removes_only_this_models_versions_that_origin_lacks(
    repository: Repository, lock: Lock, release: Release
) -> None:
    version = release(1)
    for pending, stays in {"other@v1": True, "tiny@v1#staging#1": True, "tiny@v9": False}.items():
        repository.git("tag", "-a", pending, "-m", "x")
        room.PENDING_TAG_FILE.write_text(pending)
        assert register(lock, _never) == (version, False)
        assert (pending in repository.git("tag").split()) is stays
    room.PENDING_TAG_FILE.write_text("tiny@v1")
    told: list[str] = []
    assert register(lock, _never, told.append) == (version, False)  # it is at origin
    assert told == []


def test_a_tag_that_was_moved_at_origin_is_told(
    repository: Repository, origin: Path, lock: Lock, release: Release
) -> None:
    release(1)
    repository.git("tag", "-f", "-a", "tiny@v1", "-m", "moved")
    with pytest.raises(MeritError, match=r"^git fetch: the tags tiny@v1 differ from those at origin; "):
        register(lock, _never)


def test_who_git_does_not_know_is_told_what_to_set(
    repository: Repository, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")
    repository.git("config", "--unset", "user.email")
    repository.git("config", "user.useConfigOnly", "true")
    with pytest.raises(MeritError, match=r"^git tag: Git doesn't know who you are; set user\.name and user\.email"):
        register(lock, _judge)


def test_the_run_of_another_packages_training_is_not_named(repository: Repository, lock: Lock) -> None:
    repository.package(1)
    repository.commit("package")
    artifacts.write_json(artifacts.REGISTRATION, {"run_id": "abc", "package": OTHER})
    assert register(lock, _judge)[0].lineage.run is None


def test_the_run_of_the_training_is_named_where_it_is_known(repository: Repository, lock: Lock) -> None:
    repository.package(1)
    repository.commit("package")
    digest = artifacts.hash_package(artifacts.PACKAGE)
    artifacts.write_json(artifacts.REGISTRATION, {"package": digest, "run_id": "abc"})
    assert register(lock, _judge)[0].lineage.run == "abc"


def test_a_signed_version_carries_a_signature_that_holds(
    repository: Repository, signing_lock: Lock, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = signing_lock
    repository.package(1)
    repository.commit("package")
    with pytest.raises(MeritError, match=r"^MERIT_SIGNING_KEY: not set"):
        register(signed, _judge)
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "other.pem"))
    with pytest.raises(MeritError, match=r"not what the signer in release\.signing signed: Key mismatch"):
        register(signed, _judge)
    assert tags.list_versions("tiny") == []
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "ours.pem"))
    version, _ = register(signed, _judge)
    assert json.loads(version.lineage.signature or "")["dsseEnvelope"]
    tags.fetch_package(version, Path("there/model"))
    assert Path("there/model.sig").read_text() == version.lineage.signature
