import json
from collections.abc import Callable
from pathlib import Path

import pytest

from merit.config.schema.release import Signing
from merit.errors import MeritError
from merit.serving.server.serve import check_signature
from merit.signing import signatures


@pytest.fixture
def how(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Signing:
    """By our key."""
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "ours.pem"))
    return Signing(method="key", public_key=str(keys / "ours.pub"))


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Path:
    """A package."""
    return make_package(Path("model"))


@pytest.fixture
def bundle(package: Path, how: Signing) -> str:
    """Its signature."""
    return signatures.sign_package(package, how)


def test_what_was_signed_is_verified(package: Path, bundle: str, how: Signing) -> None:
    signatures.verify_package(package, bundle, how, is_required=True)
    assert json.loads(bundle)["dsseEnvelope"]
    assert "manifest.json" in {path.name for path in package.iterdir()}
    assert len(list(package.iterdir())) == 5, "the signature is not put into the package"


def test_a_package_may_be_moved(package: Path, bundle: str, how: Signing) -> None:
    moved = package.rename("elsewhere")
    signatures.verify_package(moved, bundle, how, is_required=True)
    (moved / "extra.bin").write_bytes(b"x")
    with pytest.raises(MeritError, match=r"^elsewhere: not what the signer in .* extra: extra\.bin$"):
        signatures.verify_package(moved, bundle, how, is_required=True)


def _changed(package: Path) -> None:
    (package / "weights.safetensors").write_bytes(b"WEIGHTS")


def _missing(package: Path) -> None:
    (package / "weights.safetensors").unlink()


def _extra(package: Path) -> None:
    (package / "extra.bin").write_bytes(b"x")


def _extra_of_git(package: Path) -> None:
    (package / ".gitignore").write_bytes(b"x")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_changed, "changed: weights.safetensors"),
        (_missing, "missing: weights.safetensors"),
        (_extra, "extra: extra.bin"),
        (_extra_of_git, "extra: .gitignore"),
    ],
)
def test_a_file_that_was_changed_taken_or_added_is_found(
    package: Path, bundle: str, how: Signing, harm: Callable[[Path], None], said: str
) -> None:
    harm(package)
    with pytest.raises(MeritError) as caught:
        signatures.verify_package(package, bundle, how, is_required=False)
    assert str(caught.value) == f"model: not what the signer in release.signing signed: {said}"


def test_another_key_is_refused(package: Path, bundle: str, keys: Path) -> None:
    other = Signing(method="key", public_key=str(keys / "other.pub"))
    with pytest.raises(MeritError, match=r"not what the signer in release\.signing signed: Key mismatch"):
        signatures.verify_package(package, bundle, other, is_required=False)


def test_a_forged_hint_at_the_key_helps_nobody(
    package: Path, bundle: str, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle says that another key made it, and that key's owner did not."""
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "other.pem"))
    other = Signing(method="key", public_key=str(keys / "other.pub"))
    theirs = json.loads(signatures.sign_package(package, other))
    forged = {**json.loads(bundle), "verificationMaterial": theirs["verificationMaterial"]}
    with pytest.raises(MeritError, match=r"not what the signer in release.signing signed"):
        signatures.verify_package(package, json.dumps(forged), other, is_required=False)


@pytest.mark.parametrize("bundle", ["", "{}", "not JSON", "[]", '{"dsseEnvelope": {}}'])
def test_what_is_no_signature_is_refused_in_one_line(package: Path, how: Signing, bundle: str) -> None:
    with pytest.raises(MeritError, match=r"^model: not what the signer in") as caught:
        signatures.verify_package(package, bundle, how, is_required=False)
    assert "\n" not in str(caught.value)


def test_a_package_without_a_signature_is_refused_where_one_is_demanded(package: Path, how: Signing) -> None:
    signatures.verify_package(package, None, how, is_required=False)
    with pytest.raises(MeritError, match=r"^model: has no signature, and one is demanded"):
        signatures.verify_package(package, None, how, is_required=True)


def test_where_nobody_signs_nothing_can_be_demanded(package: Path, bundle: str) -> None:
    signatures.verify_package(package, bundle, Signing(), is_required=False)
    with pytest.raises(MeritError, match=r"a signature is demanded, but release\.signing\.method is none"):
        signatures.verify_package(package, bundle, Signing(), is_required=True)
    with pytest.raises(MeritError, match=r"release\.signing\.method is none, so nothing is signed"):
        signatures.sign_package(package, Signing())


def test_a_key_that_can_not_be_read_is_told_without_its_content(
    package: Path, how: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("bad.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n")
    monkeypatch.setenv("MERIT_SIGNING_KEY", "bad.pem")
    with pytest.raises(MeritError, match=r"^model: can't be signed by release\.signing\.method key: ") as caught:
        signatures.sign_package(package, how)
    assert "c2VjcmV0" not in str(caught.value)
    monkeypatch.setenv("MERIT_SIGNING_KEY", "none.pem")
    with pytest.raises(MeritError, match=r"^MERIT_SIGNING_KEY: names no file"):
        signatures.sign_package(package, how)
    monkeypatch.delenv("MERIT_SIGNING_KEY")
    with pytest.raises(MeritError, match=r"^MERIT_SIGNING_KEY: not set"):
        signatures.sign_package(package, how)


def test_a_public_key_that_is_not_there_is_told(package: Path, bundle: str) -> None:
    with pytest.raises(MeritError, match=r"^release\.signing\.public_key: found 'gone\.pub', which is no file"):
        signatures.verify_package(package, bundle, Signing(method="key", public_key="gone.pub"), is_required=False)
    Path("junk.pub").write_text("junk")
    with pytest.raises(MeritError, match=r"^release\.signing: can't verify by the method key: "):
        signatures.verify_package(package, bundle, Signing(method="key", public_key="junk.pub"), is_required=False)


KEYLESS = Signing(method="keyless", identity="https://example.org/workflow", issuer="https://example.org")


def test_keyless_without_a_token_says_what_gives_one(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI",
                 "BUILDKITE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MeritError, match=r"there is no identity token: in a workflow's job set 'permissions: id-token"):
        signatures.sign_package(package, KEYLESS)


def test_a_workflow_that_may_not_ask_for_a_token_is_told(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    with pytest.raises(MeritError, match=r"^model: can't be signed by release\.signing\.method keyless: ") as caught:
        signatures.sign_package(package, KEYLESS)
    assert "\n" not in str(caught.value)


def test_a_package_is_served_only_as_it_was_signed(
    package: Path, bundle: str, how: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_signature(package, how)
    monkeypatch.setenv("MERIT_DEMAND_SIGNATURE", "1")
    with pytest.raises(MeritError, match="has no signature, and one is demanded"):
        check_signature(package, how)
    Path("model.sig").write_text(bundle)
    check_signature(package, how)
    monkeypatch.delenv("MERIT_DEMAND_SIGNATURE")
    _changed(package)
    with pytest.raises(MeritError, match=r"changed: weights\.safetensors"):
        check_signature(package, how)
