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
from merit.packaging import bento_files
from merit.registry import tags
from merit.registry.tags import Version
from merit.release.engine import run_program
from merit.signing import signatures, verification

CONTAINERFILE_TEMPLATE = Path(__file__).parent / "templates" / "Containerfile.j2"
PINNED_PACKAGES = Path("requirements.lock")
"""Pins of all packages: constrains the versions of the Bento's transitive dependencies."""
BENTO_BUILD_TIMEOUT_S = 300
KEYS_PATH, JWKS_PATH = "/run/merit/keys.yaml", "/run/merit/jwks.json"
"""Where an image reads its API keys or JWT key set, unless MERIT_KEYS or MERIT_JWKS holds the content itself."""


def create_context(folder: Path, version: Version, signing: Signing) -> Path:
    """Create a version's build context in `folder`; return the path of the package in it.

    Everything is taken from the version's commit and package, nothing from the working tree.

    Raises:
        MeritError: the package, its signature or a file of the version's commit is missing or invalid, or the Bento
            can't be built.
    """
    code, package, project = folder / "code", folder / "package", folder / "project"
    export_commit(version.commit, code)
    tags.fetch_package(version, package)
    signatures.verify_package(package, version.lineage.signature, signing, is_required=False)
    project.mkdir()
    bento_files.assemble_files(project, root=code, package=package)
    is_sealed = _write_seal(project, version, signing)
    _, requirements = bento_files.read_bentofile(code)
    context = folder / "context"
    context.mkdir()
    _build_bento(project, folder / "store", version, context / "bento")
    shutil.copyfile(code / requirements, context / "requirements.txt")
    pins = code / PINNED_PACKAGES
    (context / "constraints.txt").write_bytes(pins.read_bytes() if pins.is_file() else b"")
    environment = build_environment(version, code, is_sealed=is_sealed)
    (context / "Containerfile").write_text(render_containerfile(environment), encoding="utf-8")
    _make_readable(context)
    return package


def _write_seal(project: Path, version: Version, signing: Signing) -> bool:
    """Write the signature and the public key beside the package if a key signs; return whether it did."""
    if signing.method != "key" or version.lineage.signature is None:
        return False
    files = {
        verification.SIGNATURE_SUFFIX: version.lineage.signature,
        verification.PUBLIC_KEY_SUFFIX: signatures.find_public_key(signing).read_text(),
    }
    for suffix, text in files.items():
        (project / f"{artifacts.PACKAGE}{suffix}").write_text(text, encoding="utf-8")
    return True


def export_commit(commit: str, folder: Path) -> None:
    """Export the files of a commit to a folder, so that the code in the image is the code that was gated.

    Raises:
        MeritError: Git has no such commit.
    """
    process = subprocess.run(["git", "archive", "--format=tar", commit], capture_output=True, check=False)
    if process.returncode != 0:
        reason = " ".join(process.stderr.decode(errors="replace").split())[:200]
        raise MeritError(f"git archive: {reason}; 'git fetch --unshallow' brings commits that are not here")
    with tarfile.open(fileobj=io.BytesIO(process.stdout)) as archive:
        archive.extractall(folder, filter="data")


def render_containerfile(settings: Mapping[str, str]) -> str:
    """Return the text of the Containerfile, with the endpoint's settings as its environment variables."""
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    return jinja.from_string(CONTAINERFILE_TEMPLATE.read_text(encoding="utf-8")).render(settings=settings)


def build_environment(version: Version, code: Path, *, is_sealed: bool = False) -> dict[str, str]:
    """Return the endpoint's environment variables, from the section `serve` of params.yaml at the version's commit.

    Args:
        version: the version.
        code: the exported files of its commit.
        is_sealed: whether the image holds a signature, which its endpoint must then verify.

    Raises:
        MeritError: params.yaml has no valid section `serve`.
    """
    source = f"{artifacts.LOCK} at {version.commit[:7]}"
    try:
        serve = Serve.model_validate(safe_yaml.load((code / artifacts.LOCK).read_text(encoding="utf-8"))["serve"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValidationError) as error:
        raise MeritError(
            f"{source}: has no section serve that can be read ({' '.join(str(error).split())[:160]})"
        ) from error
    environment = {verification.REQUIRE_SIGNATURE_VARIABLE: "1"} if is_sealed else {}
    environment |= {"MERIT_VERSION": version.short_name, artifacts.COMMIT_VARIABLE: version.commit}
    return {**environment, **adapt_to_image(serve).to_environment_variables()}


def adapt_to_image(serve: Serve) -> Serve:
    """Return the serve section adapted to an image: it listens on all addresses, so no authentication becomes API keys.

    The key files have the same path in every image; whoever runs the image mounts them there.
    """
    files = {"keys": KEYS_PATH if serve.auth.method in {"none", "keys"} else None}
    files["jwks"] = JWKS_PATH if serve.auth.method == "jwt" else None
    method = "keys" if serve.auth.method == "none" else serve.auth.method
    return serve.model_copy(
        update={"host": "0.0.0.0", "auth": serve.auth.model_copy(update={"method": method, **files})}  # noqa: S104
    )


def build_labels(version: Version) -> dict[str, str]:
    """Return the image's labels, by which a later release recognises the image of this version."""
    image_labels = {
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
    source = _find_repository_url()
    return {**image_labels, "org.opencontainers.image.source": source} if source else image_labels


def _find_repository_url() -> str | None:
    """Return the repository's URL without its credentials; None if origin is not an HTTP(S) URL."""
    address = git.run_git("config", "--get", "remote.origin.url") or ""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}".removesuffix(".git") if scheme in {"http", "https"} else None


def _build_bento(project: Path, store: Path, version: Version, target: Path) -> None:
    program = Path(sys.executable).with_name("bentoml")
    tag = version.short_name
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MERIT_", "BENTOML_"))}
    run_program(
        [str(program.absolute()), "build", "--version", tag],
        BENTO_BUILD_TIMEOUT_S,
        {**environment, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"},
        project,
    )
    (built_folder,) = (store / "bentos").glob(f"*/{tag}")
    shutil.move(built_folder, target)


def _make_readable(folder: Path) -> None:
    """Make the files readable for the image's user, who is not the one that wrote them."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
