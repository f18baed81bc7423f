"""Checks of this machine: Python, packages, disk space, container engines, HAProxy and the signing keys."""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from merit.config.schema import Lock
from merit.console.findings import Finding
from merit.signing.signatures import PRIVATE_KEY_VARIABLE

PYTHON_RANGE = ((3, 11), (3, 14))
"""The supported versions: from the first, to before the second."""
MIN_FREE_GB = 2.0
"""Free disk space in GB that a run, an image and DVC's cache need."""
MAX_DISPLAYED = 5
ENGINES = ("docker", "podman", "buildah")


def check_python() -> Iterator[Finding]:
    """Check the interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if PYTHON_RANGE[0] <= sys.version_info[:2] < PYTHON_RANGE[1]:
        yield Finding("python", "ok", version)
    else:
        yield Finding("python", "broken", f"{version}; allowed: 3.11 to 3.13", "'make install' with one of these")


def check_packages() -> Iterator[Finding]:
    """Compare the installed packages with requirements.lock."""
    lock_file = Path("requirements.lock")
    if not lock_file.is_file():
        yield Finding("packages", "missing", "no requirements.lock", "commit one, so that others have what you have")
        return
    pins = parse_pins(lock_file.read_text(encoding="utf-8"))
    mismatches = find_mismatches(pins)
    if not mismatches:
        yield Finding("packages", "ok", f"all {len(pins)} are those of requirements.lock")
        return
    remainder = f" and {len(mismatches) - MAX_DISPLAYED} more" if len(mismatches) > MAX_DISPLAYED else ""
    yield Finding(
        "packages",
        "missing",
        f"{', '.join(mismatches[:MAX_DISPLAYED])}{remainder}",
        "'make install' brings the locked ones",
    )


def parse_pins(text: str) -> dict[str, str]:
    """Parse a requirements.lock into the pinned version of each package."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def find_mismatches(pins: dict[str, str]) -> list[str]:
    """Return the packages that differ from their pin, such as `torch 2.12.0, not 2.13.0`."""
    # A local build such as 2.13.0+cpu counts as the same version.
    installed_versions = {name: (get_installed_version(name) or "none").partition("+")[0] for name in pins}
    return [
        f"{name} {installed_versions[name]}, not {pin}" for name, pin in pins.items() if installed_versions[name] != pin
    ]


def get_installed_version(name: str) -> str | None:
    """Return the installed version of a package, with its build suffix; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_disk() -> Iterator[Finding]:
    """Check the free disk space."""
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    if free_gb >= MIN_FREE_GB:
        yield Finding("disk", "ok", f"{free_gb:.1f} GB free")
    else:
        yield Finding(
            "disk", "missing", f"{free_gb:.1f} GB free of {MIN_FREE_GB:g} GB needed", "'dvc gc' or free space"
        )


def check_engines() -> Iterator[Finding]:
    """Check for container engines that can build images."""
    available = [name for name in ENGINES if shutil.which(name)]
    usable = [name for name in available if name != "docker" or _is_docker_running()]
    if usable:
        yield Finding("images", "ok", ", ".join(usable))
    elif available:
        yield Finding("images", "note", "docker, whose engine does not answer", "start it; 'merit release' needs one")
    else:
        yield Finding("images", "note", "none of docker, podman, buildah", "'merit release' needs one of them")


def _is_docker_running() -> bool:
    try:
        completed = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=4)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return completed.returncode == 0


def check_haproxy() -> Iterator[Finding]:
    """Check for HAProxy, the proxy of the target local."""
    if shutil.which("haproxy"):
        yield Finding("haproxy", "ok", "it is there")
    else:
        yield Finding("haproxy", "note", "not found", "the target 'local' needs it (Debian: haproxy)")


def check_signing(lock: Lock | None) -> Iterator[Finding]:
    """Check the keys for the signing method of conf/release."""
    settings = None if lock is None else lock.release.signing
    if settings is None or settings.method == "none":
        yield Finding("signing", "note", "packages are not signed", "choose how under release.signing")
        return
    if settings.method == "keyless":
        yield Finding("signing", "ok", "keyless: the workflow's own identity signs")
        return
    public_key_path = Path(settings.public_key or "")
    if not public_key_path.is_file():
        yield Finding(
            "signing", "missing", f"no public key at '{public_key_path}'", "commit it, or correct release.signing"
        )
    private_key_path = os.environ.get(PRIVATE_KEY_VARIABLE)
    if not private_key_path:
        yield Finding(
            "signing", "note", f"{PRIVATE_KEY_VARIABLE} is not set", "only who registers versions needs the private key"
        )
    elif not Path(private_key_path).is_file():
        yield Finding(
            "signing", "missing", f"{PRIVATE_KEY_VARIABLE} names no file", "let it name the file of the private key"
        )
    elif Path(private_key_path).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "signing",
            "missing",
            "others may read the private key",
            f"'chmod 600' the file that {PRIVATE_KEY_VARIABLE} names",
        )
    else:
        yield Finding("signing", "ok", "the private key is there")
