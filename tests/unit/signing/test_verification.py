"""What an image asks of its package before it loads it; the signatures are those that `merit register` makes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from merit import artifacts
from merit.config.schema.release import Signing
from merit.errors import MeritError
from merit.signing import signatures, verification


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path], keys: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with its signature and the public key beside it."""
    monkeypatch.setenv("MERIT_SIGNING_KEY", str(keys / "ours.pem"))
    made = make_package(Path("model"))
    Path("model.sig").write_text(
        signatures.sign_package(made, Signing(method="key", public_key=str(keys / "ours.pub")))
    )
    Path("model.pub").write_bytes((keys / "ours.pub").read_bytes())
    return made


@pytest.mark.parametrize("demanded", ["0", "1"])
def test_what_was_signed_is_served(package: Path, monkeypatch: pytest.MonkeyPatch, demanded: str) -> None:
    monkeypatch.setenv(verification.REQUIRE_SIGNATURE_VARIABLE, demanded)
    assert verification.check_package(package) is None


@pytest.mark.parametrize("curve", ["secp384r1", "secp521r1"])
def test_the_hash_goes_by_the_curve(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: str) -> None:
    key, public = str(tmp_path / "key.pem"), str(tmp_path / "model.pub")
    subprocess.run(["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", key], check=True)
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    monkeypatch.setenv("MERIT_SIGNING_KEY", key)
    Path("model.sig").write_text(signatures.sign_package(package, Signing(method="key", public_key=public)))
    assert verification.check_package(package) is None


def _link(folder: Path) -> None:
    (folder / "weights.safetensors").rename("elsewhere")
    (folder / "weights.safetensors").symlink_to(Path("elsewhere").absolute())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"WEIGHTS"), "changed: weights.safetensors"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "missing: weights.safetensors"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"x"), "extra: extra.bin"),
        (_link, "changed: weights.safetensors"),
    ],
)
def test_a_file_that_was_changed_taken_or_added_is_found(
    package: Path, harm: Callable[[Path], object], said: str
) -> None:
    harm(package)
    with pytest.raises(MeritError) as caught:
        verification.check_package(package)
    assert str(caught.value) == f"model: not what was signed: {said}"


def test_another_key_is_refused(package: Path, keys: Path) -> None:
    Path("model.pub").write_bytes((keys / "other.pub").read_bytes())
    with pytest.raises(MeritError, match=r"^the signature of the package is not by the public key beside it$"):
        verification.check_package(package)


def test_a_changed_statement_is_refused(package: Path) -> None:
    bundle = json.loads(Path("model.sig").read_text())
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-4] + "fQ=="
    Path("model.sig").write_text(json.dumps(bundle))
    with pytest.raises(MeritError, match=r"is not by the public key beside it$"):
        verification.check_package(package)


@pytest.mark.parametrize("text", ["", "{}", "not JSON", "[]", '{"dsseEnvelope": {}}', "null"])
def test_what_is_no_signature_is_refused_in_one_line(package: Path, text: str) -> None:
    Path("model.sig").write_text(text)
    with pytest.raises(MeritError, match=r"^model: its signature can't be read") as caught:
        verification.check_package(package)
    assert "\n" not in str(caught.value)


def test_what_is_no_public_key_is_refused_in_one_line(package: Path) -> None:
    Path("model.pub").write_text("junk")
    with pytest.raises(MeritError, match=r"^model: its signature can't be read") as caught:
        verification.check_package(package)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["model.sig", "model.pub"])
def test_a_signature_that_is_demanded_must_be_there(
    package: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setenv(verification.REQUIRE_SIGNATURE_VARIABLE, "1")
    Path(lacking).unlink()
    with pytest.raises(MeritError, match=rf"^{lacking}: not found, and model must be signed"):
        verification.check_package(package)


def test_where_no_key_was_shipped_nothing_is_asked(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(verification.REQUIRE_SIGNATURE_VARIABLE, raising=False)
    Path("model.pub").unlink()
    (package / "extra.bin").write_bytes(b"x")
    assert verification.check_package(package) is None


def test_another_package_than_the_service_was_started_with_is_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(verification.DIGEST_VARIABLE, artifacts.hash_package(package))
    assert verification.check_package(package) is None
    monkeypatch.setenv(verification.DIGEST_VARIABLE, "sha256:other")
    with pytest.raises(MeritError, match=r"but the service was started with sha256:other; start it again$"):
        verification.check_package(package)


def test_it_loads_nothing_that_signs() -> None:
    code = (
        "import sys, merit.signing.verification; "
        "print(sorted({'model_signing', 'sigstore', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
