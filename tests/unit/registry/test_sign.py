"""A version that was made without a signature gets one later, by a tag of its own."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit.config.schema import Lock
from merit.errors import MeritError
from merit.process import workspace_lock
from merit.registry import mlflow, queries, sign, tags
from merit.registry.sign import sign_version
from merit.registry.tags import Version
from merit.signing import signatures
from tests.support.file_locks import is_locked
from tests.support.versioned import Repository

Release = Callable[..., Version]
Call = Callable[..., tuple[int, str, str]]
TAG = "signature/tiny@v1"


@pytest.fixture(autouse=True)
def _our_key(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "ours.pem"))


def test_a_version_is_signed_later_and_its_own_tag_stays(
    repository: Repository, release: Release, signing_lock: Lock
) -> None:
    plain = release(1)
    before = repository.git("rev-parse", "tiny@v1")
    version, made = sign_version(signing_lock, "v1")
    assert (version.name, made, repository.git("rev-parse", "tiny@v1")) == ("tiny@v1", True, before)
    assert repository.git("for-each-ref", "--format=%(*objectname) %(subject)", f"refs/tags/{TAG}") == (
        f"{plain.commit} tiny@v1: signature"
    )
    assert tags.find_version("tiny@v1") == version
    assert queries.show_version(signing_lock, "v1")["signature"] == "verified by ours.pub"
    assert list(tags.find_malformed_tags("tiny")) == []
    tags.fetch_package(version, Path("there/model"))
    signatures.verify_package(
        Path("there/model"), Path("there/model.sig").read_text(), signing_lock.release.signing, is_required=True
    )


def test_a_version_is_signed_once(release: Release, signing_lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    release(1)
    sign_package = signatures.sign_package
    locked: list[bool] = []

    def observe(*given: Any) -> str:
        locked.append(is_locked(workspace_lock.REGISTRY_LOCK))
        return sign_package(*given)

    monkeypatch.setattr(signatures, "sign_package", observe)
    first, _ = sign_version(signing_lock, "tiny@v1")
    assert sign_version(signing_lock, "v1") == (first, False)
    assert locked == [True]


def test_a_key_that_is_not_the_public_ones_partner_signs_nothing(
    repository: Repository, release: Release, signing_lock: Lock, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(1)
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "other.pem"))
    with pytest.raises(MeritError, match="Key mismatch"):
        sign_version(signing_lock, "v1")
    assert repository.git("tag", "--list", "signature/*") == ""


def test_where_nobody_signs_it_is_told_and_what_is_no_version_too(release: Release, lock: Lock) -> None:
    release(1)
    with pytest.raises(MeritError, match=r"^release\.signing\.method is none, so nothing is signed"):
        sign_version(lock, "v1")
    with pytest.raises(MeritError, match=r"^tiny@v2: no such version here; there are tiny@v1"):
        sign_version(lock, "v2")


def test_a_tag_of_another_commit_is_no_signature(repository: Repository, release: Release) -> None:
    release(1)
    repository.commit("later")
    repository.git("tag", "-a", TAG, "-m", "tiny@v1: signature", "-m", "{}")
    assert tags.find_version("tiny@v1").lineage.signature is None


def test_a_signature_of_somebody_else_is_told_and_not_taken_for_one(
    repository: Repository, release: Release, signing_lock: Lock
) -> None:
    release(1)
    repository.git("tag", "-a", TAG, "-m", "tiny@v1: signature", "-m", "{}")
    with pytest.raises(MeritError, match=r"^tiny@v1: not what the signer in release\.signing signed"):
        sign_version(signing_lock, "v1")


def test_a_signature_is_shown_as_refused_or_not_checked_and_never_as_verified_by_a_key_that_did_not_sign(
    release: Release, signing_lock: Lock, lock: Lock, keys: Path
) -> None:
    release(1)
    sign_version(signing_lock, "v1")
    shutil.copy(keys / "other.pub", "ours.pub")
    found = queries.show_version(signing_lock, "v1")["signature"]
    assert found.startswith("refused: not what the signer in release.signing signed: ")
    assert queries.show_version(lock, "v1")["signature"] == "not checked: release.signing.method is none"


def test_the_signature_goes_to_origin_and_stays_nowhere_if_that_takes_none(
    repository: Repository, origin: Path, release: Release, signing_lock: Lock
) -> None:
    release(1)
    hook = origin / "hooks/update"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(MeritError, match="git push origin"):
        sign_version(signing_lock, "v1")
    assert repository.git("tag", "--list", "signature/*") == ""
    hook.unlink()
    assert sign_version(signing_lock, "v1")[1]
    assert subprocess.check_output(["git", "tag", "--list", "signature/*"], cwd=origin, text=True) == f"{TAG}\n"


def test_a_signature_that_another_clone_pushed_first_is_taken(
    repository: Repository, origin: Path, release: Release
) -> None:
    version = release(1)
    first, made = sign._tag_signature(version, '{"of": "another clone"}')
    assert (first.lineage.signature, made) == ('{"of": "another clone"}', True)
    repository.git("tag", "--delete", TAG)
    assert sign._tag_signature(version, '{"of": "this clone"}') == (first, False)


def test_the_command_says_what_it_did(
    call: Call, release: Release, signing_lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(1)
    monkeypatch.setattr("merit.config.current_lock.read_current_lock", lambda section: signing_lock)
    monkeypatch.setattr(mlflow, "project_to_mlflow", lambda lock, version: "tiny@v1: tags set")
    told = "'merit registry show v1' verifies it\nMLflow: tiny@v1: tags set\n"
    assert call("sign", "v1") == (0, f"tiny@v1: signed; {told}", "")
    assert call("sign", "v1") == (0, f"tiny@v1: is signed already; {told}", "")
