import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.dvc import cache
from merit.errors import MeritError
from merit.registry import tags
from merit.registry.register import register
from merit.registry.tags import Lineage, Version
from tests.support.versioned import Repository, report


@pytest.fixture
def repository(workdir: Path, lock: Lock) -> Repository:
    """A repository in the folder that the test runs in."""
    return Repository.made(workdir, locks.render_lock(lock))


@pytest.fixture
def version(repository: Repository, lock: Lock) -> Version:
    """Its first version."""
    repository.package(1)
    repository.commit("package")
    return register(lock, lambda against: report())[0]


@pytest.fixture
def remote(repository: Repository, version: Version) -> Path:
    """DVC's remote, which alone has the packages."""
    place = repository.folder / "remote"
    (repository.folder / ".dvc/config").write_text(f"[core]\nremote = store\n['remote \"store\"']\nurl = {place}\n")
    shutil.copytree(cache.DEFAULT_CACHE, place / "files/md5")
    shutil.rmtree(cache.DEFAULT_CACHE)
    return place


def test_a_package_comes_out_of_the_cache(version: Version) -> None:
    shutil.rmtree("model")
    tags.fetch_package(version, Path("there/model"))
    assert artifacts.hash_package(Path("there/model")) == version.lineage.package
    assert not Path("there/model.sig").exists()


def test_a_package_that_is_fetched_takes_the_place_of_another(version: Version, repository: Repository) -> None:
    place = Path("there/model")
    place.mkdir(parents=True)
    (place / "old").write_text("x")
    Path("there/model.sig").write_text("old")
    tags.fetch_package(version, place)
    assert artifacts.hash_package(place) == version.lineage.package
    assert not Path("there/model.sig").exists()


def test_a_package_comes_out_of_the_remote(version: Version, remote: Path) -> None:
    tags.fetch_package(version, Path("there"))
    assert artifacts.hash_package(Path("there")) == version.lineage.package


def test_a_package_that_is_nowhere_is_told(version: Version, remote: Path) -> None:
    shutil.rmtree(remote)
    with pytest.raises(MeritError, match=r"^tiny@v1: its package \(\w+\.dir\) is neither in DVC's cache nor in"):
        tags.fetch_package(version, Path("there"))
    assert not Path("there").exists()


def test_without_a_remote_that_is_said(version: Version) -> None:
    shutil.rmtree(cache.DEFAULT_CACHE)
    with pytest.raises(MeritError, match=r"^tiny@v1: not in DVC's cache, and DVC has no remote here"):
        tags.fetch_package(version, Path("there"))


def test_a_cache_that_was_changed_is_told_and_nothing_is_brought(version: Version) -> None:
    tags.find_package_files(version)["weights.safetensors"].write_text("other")
    with pytest.raises(MeritError, match=r"^tiny@v1: in DVC's cache is not the package .*weights\.\w+ was changed"):
        tags.fetch_package(version, Path("there"))
    assert not Path("there").exists()


def test_a_package_that_is_not_the_tags_is_refused(version: Version, repository: Repository) -> None:
    other = version.lineage.model_copy(update={"package": "sha256:other"})
    false = Version("tiny", 1, version.commit, other, "Eve", version.tagged_at)
    with pytest.raises(MeritError, match=r"^tiny@v1: its tag names the package sha256:other, DVC has sha256:"):
        tags.fetch_package(false, Path("there"))


def test_a_listing_that_names_files_elsewhere_is_refused(version: Version) -> None:
    md5 = _list_files([{"md5": "0" * 32, "relpath": "../../escaped"}])
    other = replace(version, lineage=version.lineage.model_copy(update={"dvc": md5}))
    with pytest.raises(MeritError, match=r"its listing names '../../escaped', which leads elsewhere"):
        tags.fetch_package(other, Path("there"))
    place = cache.locate_object(cache.DEFAULT_CACHE, md5)
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.raises(MeritError, match="its listing is not what its hash says"):
        tags.fetch_package(other, Path("there"))
    assert not Path("escaped").exists()
    assert not Path("there").exists()


def _list_files(files: list[dict[str, str]]) -> str:
    """Put the listing of a folder into DVC's cache; return its hash."""
    text = json.dumps(files).encode()
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
    place = cache.locate_object(cache.DEFAULT_CACHE, md5)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text)
    return md5


def test_a_package_with_a_folder_inside_is_refused_as_any_other_that_is_not_the_tags(version: Version) -> None:
    files = json.loads(cache.locate_object(cache.DEFAULT_CACHE, version.lineage.dvc).read_bytes())
    md5 = _list_files([*files, {"md5": files[0]["md5"], "relpath": "inner/file"}])
    other = replace(version, lineage=version.lineage.model_copy(update={"dvc": md5}))
    with pytest.raises(MeritError, match=r"^tiny@v1: in DVC's cache is not the package .*inner"):
        tags.fetch_package(other, Path("there"))


def _moved(repository: Repository, version: Version) -> None:
    commit = repository.commit("later")
    repository.git("tag", "-f", "-a", "tiny@v1", "-m", tags.format_message("tiny@v1", version.lineage), commit)


def _light(repository: Repository, version: Version) -> None:
    repository.git("tag", "-f", "tiny@v1", version.commit)


def _latin(repository: Repository, version: Version) -> None:
    raw = tags.format_message("tiny@v1", version.lineage).replace("data_fingerprint: ", "data_fingerprint: é")
    place = repository.folder / "message"
    place.write_bytes(raw.encode("latin-1"))
    repository.git("tag", "-f", "-a", "-F", str(place), "tiny@v1", version.commit)


def _keys(repository: Repository, version: Version) -> None:
    repository.git("tag", "-f", "-a", "tiny@v1", "-m", "x\n\ncommit: y\nextra: z", version.commit)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_moved, "its tag is on"),
        (_latin, "its tag is not UTF-8"),
        (_light, "its tag has no message"),
        (_keys, "its tag holds no lineage"),
    ],
)
def test_a_tag_that_is_not_as_it_was_made_is_no_version(
    repository: Repository, version: Version, spoil: Callable[[Repository, Version], None], said: str
) -> None:
    spoil(repository, version)
    assert tags.list_versions("tiny") == []
    with pytest.raises(MeritError, match=rf"^tiny@v1: {said}") as caught:
        tags.find_version("tiny@v1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "told",
    [{"package": "sha256:000"}, {"package": "x"}, {"dvc": "../../../etc.dir"}, {"dvc": "a.dir"}],
)
def test_a_tag_that_names_no_package_is_no_version(
    repository: Repository, version: Version, told: dict[str, str]
) -> None:
    text = tags.format_message("tiny@v2", version.lineage.model_copy(update=told))
    repository.git("tag", "-a", "tiny@v2", "-m", text)
    assert [each.name for each in tags.list_versions("tiny")] == ["tiny@v1"]
    assert tags.find_malformed_tags("tiny")["tiny@v2"].startswith("its tag holds no lineage")


def test_a_copied_tag_is_no_version(repository: Repository, version: Version) -> None:
    text, renamed = (tags.format_message(name, version.lineage) for name in ("tiny@v1", "tiny@v3"))
    repository.git("tag", "-a", "tiny@v2", "-m", text)
    repository.git("tag", "-a", "tiny@v3", "-m", renamed)
    repository.git("tag", "-a", "tiny@v99999999999999999999", "-m", text)
    assert [each.name for each in tags.list_versions("tiny")] == ["tiny@v1"]
    found = tags.find_malformed_tags("tiny")
    assert list(found) == ["tiny@v2", "tiny@v3", "tiny@v99999999999999999999"]
    assert found["tiny@v2"].startswith("its tag's message is that of 'tiny@v1': no version that 'merit register' made")
    assert found["tiny@v3"].startswith("its tag names the package of tiny@v1: ")
    assert found["tiny@v99999999999999999999"].startswith("its number has more than 6 digits: ")
    assert tags.list_numbers("tiny") == [1, 2, 3]


def test_a_lineage_of_any_text_is_read_as_it_was_written(repository: Repository) -> None:
    lineage = Lineage(
        commit=repository.git("rev-parse", "HEAD"),
        package="sha256:" + "0" * 64,
        dvc="0" * 32 + ".dir",
        params="p",
        data="d",
        data_fingerprint="f: # 'é'",
        verdict="pass",
        checks=2,
        waived=["# not a comment", "a: b", "---"],
        metrics={"roc_auc": 0.1 + 0.2, "weird: name": 1e-300},
        run=None,
        signature=json.dumps({"a": "b " * 2000, "c": "-----BEGIN X-----\n\n# x"}),
    )
    message = tags.format_message("tiny@v1", lineage)
    assert message.startswith("tiny@v1: 2 checks passed\n\ncommit: ")
    one = lineage.model_copy(update={"checks": 1})
    assert tags.format_message("tiny@v1", one).startswith("tiny@v1: 1 check passed\n\n")
    assert git.create_tag("tiny@v1", message)
    assert not git.create_tag("tiny@v1", "again")
    assert tags.find_version("tiny@v1").lineage == lineage


def test_other_models_are_not_this_ones(repository: Repository, version: Version) -> None:
    repository.git("tag", "-a", "tiny-er@v1", "-m", "x")
    repository.git("tag", "-a", "other@v1", "-m", tags.format_message("other@v1", version.lineage))
    assert [each.name for each in tags.list_versions("tiny")] == ["tiny@v1"]
    assert [each.name for each in tags.list_versions("other")] == ["other@v1"]


def test_a_folder_has_the_hash_that_dvc_gives_it(version: Version) -> None:
    from dvc.repo import Repo
    from dvc_data.hashfile.build import build

    with Repo() as repo:
        _, _, made = build(repo.cache.local, str(Path("model").absolute()), repo.cache.local.fs, "md5", dry_run=True)
    assert cache.hash_folder(Path("model")) == made.hash_info.value == version.lineage.dvc


def test_a_version_is_of_the_commit_of_its_tag(version: Version, repository: Repository) -> None:
    repository.commit("later")
    assert tags.find_origin(Path("model")) == version.commit
    shutil.copytree("model", "elsewhere")
    assert tags.find_origin(Path("elsewhere")) == version.commit


def test_a_package_that_was_not_registered_is_no_version_beside_one_that_was(
    version: Version, repository: Repository
) -> None:
    assert tags.find_package_version(Path("model")) == version
    repository.package(2)
    assert tags.find_package_version(Path("model")) is None


def test_another_package_is_of_the_commit_that_is_checked_out_or_of_more(repository: Repository) -> None:
    repository.package(1)
    commit = repository.commit("package")
    assert tags.find_origin(Path("model")) == commit
    Path("untracked").write_text("x")
    assert tags.find_origin(Path("model")) == commit
    Path("params.yaml").write_text("changed")
    assert tags.find_origin(Path("model")) == f"{commit}-dirty"
    repository.git("checkout", "params.yaml")
    shutil.copytree("model", "elsewhere")
    assert tags.find_origin(Path("elsewhere")) is None, "what is checked out says nothing of it"
    repository.package(2)
    repository.git("checkout", "dvc.lock")
    assert tags.find_origin(Path("model")) == f"{commit}-dirty"
    Path("dvc.lock").write_text("a: [")
    repository.git("update-index", "--assume-unchanged", "dvc.lock")
    assert tags.find_origin(Path("model")) == f"{commit}-dirty"


def test_without_git_nobody_knows_a_commit(workdir: Path, make_package: Callable[..., Path]) -> None:
    make_package(Path("model"))
    assert tags.find_origin(Path("model")) is None


def test_tags_of_gto_and_of_merit_are_not_taken_for_one_another(version: Version, repository: Repository) -> None:
    """Where GTO reads `flights@v3` one day, its grammar may replace merit's: docs/decisions/0026."""
    from gto.tag import Action, name_tag, parse_name

    from merit.deploy import apply_records

    model = version.model
    for action, options in ((Action.REGISTER, {"version": "v1.0.0"}), (Action.ASSIGN, {"stage": "staging"})):
        name = name_tag(action, model, simple=True, **options)
        assert parse_name(name)["name"] == model
        repository.git("tag", "-a", name, "-m", name)
        repository.git("tag", "-a", f"{name}#1", "-m", name)
    assert [each.name for each in tags.list_versions(model)] == [version.name]
    assert tags.find_malformed_tags(model) == {}
    assert apply_records.read_records(model, "staging") == []
    for name in (version.name, f"{version.name}#staging#1", f"release/{version.name}"):
        assert parse_name(name, raise_on_fail=False) == {}
