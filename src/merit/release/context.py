"""Creates the build context of a version's image: the version's Bento, its pinned packages, and a Containerfile."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from jinja2 import Environment, StrictUndefined
from pydantic import ValidationError

from merit import artifacts, git, safe_yaml
from merit.config.schema.release import Signing
from merit.config.schema.serve import Serve
from merit.errors import MeritError
from merit.packaging import bento
from merit.registry import tags
from merit.registry.tags import Version
from merit.release.engine import run
from merit.signing import signatures, verification

TEMPLATE = Path(__file__).parent / "templates" / "Containerfile.j2"
PACKAGES = Path("requirements.lock")
"""Pins of all packages: constrains the versions of the Bento's transitive dependencies."""
BUILD_SECONDS = 300
KEYS, JWKS = "/run/merit/keys.yaml", "/run/merit/jwks.json"
"""Where an image reads its API keys or JWT key set, unless MERIT_KEYS or MERIT_JWKS holds the content itself."""


def fill(folder: Path, version: Version, signing: Signing) -> Path:
    """Create a version's build context in `folder`; return the path of the package in it.

    Everything is taken from the version's commit and package, nothing from the working tree.

    Raises:
        MeritError: the package, its signature or a file of the version's commit is missing or invalid, or the Bento
            can't be built.
    """
    code, package, project = folder / "code", folder / "package", folder / "project"
    export(version.commit, code)
    tags.fetch_package(version, package)
    signatures.verify(package, version.lineage.signature, signing, demanded=False)
    project.mkdir()
    bento.assemble(project, root=code, package=package)
    is_sealed = _seal(project, version, signing)
    _, requirements = bento.told(code)
    context = folder / "context"
    context.mkdir()
    _build_bento(project, folder / "store", version, context / "bento")
    shutil.copyfile(code / requirements, context / "requirements.txt")
    pins = code / PACKAGES
    (context / "constraints.txt").write_bytes(pins.read_bytes() if pins.is_file() else b"")
    told = settings(version, code, is_sealed=is_sealed)
    (context / "Containerfile").write_text(containerfile(told), encoding="utf-8")
    _open_to_all(context)
    return package


def _seal(project: Path, version: Version, signing: Signing) -> bool:
    """Write the signature and the public key beside the package if a key signs; return whether it did."""
    if signing.method != "key" or version.lineage.signature is None:
        return False
    beside = {
        verification.SUFFIX: version.lineage.signature,
        verification.PUBLIC_KEY: signatures.public_key(signing).read_text(),
    }
    for suffix, text in beside.items():
        (project / f"{artifacts.PACKAGE}{suffix}").write_text(text, encoding="utf-8")
    return True


def export(commit: str, folder: Path) -> None:
    """Export the files of a commit to a folder, so that the code in the image is the code that was gated.

    Raises:
        MeritError: Git has no such commit.
    """
    done = subprocess.run(["git", "archive", "--format=tar", commit], capture_output=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise MeritError(f"git archive: {reason}; 'git fetch --unshallow' brings commits that are not here")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def containerfile(settings: Mapping[str, str]) -> str:
    """Return the text of the Containerfile, with the endpoint's settings as its environment variables."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(settings=settings)


def settings(version: Version, code: Path, *, is_sealed: bool = False) -> dict[str, str]:
    """Return the endpoint's environment variables, from the section `serve` of params.yaml at the version's commit.

    Args:
        version: the version.
        code: the exported files of its commit.
        is_sealed: whether the image holds a signature, which its endpoint must then verify.

    Raises:
        MeritError: params.yaml has no valid section `serve`.
    """
    place = f"{artifacts.LOCK} at {version.commit[:7]}"
    try:
        how = Serve.model_validate(safe_yaml.load((code / artifacts.LOCK).read_text(encoding="utf-8"))["serve"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise MeritError(
            f"{place}: has no section serve that can be read ({' '.join(str(error).split())[:160]})"
        ) from error
    told = {verification.DEMAND: "1"} if is_sealed else {}
    told |= {"MERIT_VERSION": version.short_name, artifacts.COMMIT: version.commit}
    return {**told, **closed(how).environment()}


def closed(how: Serve) -> Serve:
    """Return the serve section adapted to an image: it listens on all addresses, so no authentication becomes API keys.

    The key files have the same path in every image; whoever runs the image mounts them there.
    """
    files = {"keys": KEYS if how.auth.method in {"none", "keys"} else None}
    files["jwks"] = JWKS if how.auth.method == "jwt" else None
    method = "keys" if how.auth.method == "none" else how.auth.method
    return how.model_copy(
        update={"host": "0.0.0.0", "auth": how.auth.model_copy(update={"method": method, **files})}  # noqa: S104
    )


def labels(version: Version) -> dict[str, str]:
    """Return the image's labels, by which a later release recognises the image of this version."""
    found = {
        "merit.version": version.name,
        "merit.commit": version.commit,
        "merit.package": version.lineage.package,
        "merit.params": version.lineage.params,
        "merit.data": version.lineage.data,
        "org.opencontainers.image.title": version.model,
        "org.opencontainers.image.version": version.short_name,
        "org.opencontainers.image.revision": version.commit,
        "org.opencontainers.image.created": version.tagged_at.isoformat(),
    }
    source = _source()
    return {**found, "org.opencontainers.image.source": source} if source else found


def _source() -> str | None:
    """Return the repository's URL without its credentials; None if origin is not an HTTP(S) URL."""
    address = git.git("config", "--get", "remote.origin.url") or ""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".removesuffix(".git") if scheme in {"http", "https"} else None


def _build_bento(project: Path, store: Path, version: Version, place: Path) -> None:
    program = Path(sys.executable).with_name("bentoml")
    tag = version.short_name
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MERIT_", "BENTOML_"))}
    run(
        [str(program.absolute()), "build", "--version", tag],
        BUILD_SECONDS,
        {**kept, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"},
        project,
    )
    (built,) = (store / "bentos").glob(f"*/{tag}")
    shutil.move(built, place)


def _open_to_all(folder: Path) -> None:
    """Make the files readable for the image's user, who is not the one that wrote them."""
    for each in [folder, *folder.rglob("*")]:
        each.chmod(0o755 if each.is_dir() else 0o644)
