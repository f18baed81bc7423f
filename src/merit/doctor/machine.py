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
from merit.doctor.finding import Finding
from merit.signing.signatures import PRIVATE_KEY

PYTHON = ((3, 11), (3, 14))
"""The supported versions: from the first, to before the second."""
FREE_GB = 2.0
"""Free disk space in GB that a run, an image and DVC's cache need."""
SHOWN = 5
ENGINES = ("docker", "podman", "buildah")


def python() -> Iterator[Finding]:
    """Check the interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        yield Finding("python", "ok", found)
    else:
        yield Finding("python", "broken", f"{found}; allowed: 3.11 to 3.13", "'make install' with one of these")


def packages() -> Iterator[Finding]:
    """Compare the installed packages with requirements.lock."""
    lock = Path("requirements.lock")
    if not lock.is_file():
        yield Finding("packages", "missing", "no requirements.lock", "commit one, so that others have what you have")
        return
    pins = pinned(lock.read_text(encoding="utf-8"))
    wrong = others(pins)
    if not wrong:
        yield Finding("packages", "ok", f"all {len(pins)} are those of requirements.lock")
        return
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    yield Finding("packages", "missing", f"{', '.join(wrong[:SHOWN])}{more}", "'make install' brings the locked ones")


def pinned(text: str) -> dict[str, str]:
    """Parse a requirements.lock into the pinned version of each package."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def others(pins: dict[str, str]) -> list[str]:
    """Return the packages that differ from their pin, such as `torch 2.12.0, not 2.13.0`."""
    # A local build such as 2.13.0+cpu counts as the same version.
    found = {name: (installed(name) or "none").partition("+")[0] for name in pins}
    return [f"{name} {found[name]}, not {pin}" for name, pin in pins.items() if found[name] != pin]


def installed(name: str) -> str | None:
    """Return the installed version of a package, with its build suffix; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def disk() -> Iterator[Finding]:
    """Check the free disk space."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free >= FREE_GB:
        yield Finding("disk", "ok", f"{free:.1f} GB free")
    else:
        yield Finding("disk", "missing", f"{free:.1f} GB free of {FREE_GB:g} GB needed", "'dvc gc' or free space")


def engines() -> Iterator[Finding]:
    """Check for container engines that can build images."""
    there = [name for name in ENGINES if shutil.which(name)]
    answering = [name for name in there if name != "docker" or _docker_answers()]
    if answering:
        yield Finding("images", "ok", ", ".join(answering))
    elif there:
        yield Finding("images", "note", "docker, whose engine does not answer", "start it; 'merit release' needs one")
    else:
        yield Finding("images", "note", "none of docker, podman, buildah", "'merit release' needs one of them")


def _docker_answers() -> bool:
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=4)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def haproxy() -> Iterator[Finding]:
    """Check for HAProxy, the proxy of the target local."""
    if shutil.which("haproxy"):
        yield Finding("haproxy", "ok", "it is there")
    else:
        yield Finding("haproxy", "note", "not found", "the target 'local' needs it (Debian: haproxy)")


def signing(lock: Lock | None) -> Iterator[Finding]:
    """Check the keys for the signing method of conf/release."""
    how = None if lock is None else lock.release.signing
    if how is None or how.method == "none":
        yield Finding("signing", "note", "packages are not signed", "choose how under release.signing")
        return
    if how.method == "keyless":
        yield Finding("signing", "ok", "keyless: the workflow's own identity signs")
        return
    public = Path(how.public_key or "")
    if not public.is_file():
        yield Finding("signing", "missing", f"no public key at '{public}'", "commit it, or correct release.signing")
    private = os.environ.get(PRIVATE_KEY)
    if not private:
        yield Finding(
            "signing", "note", f"{PRIVATE_KEY} is not set", "only who registers versions needs the private key"
        )
    elif not Path(private).is_file():
        yield Finding("signing", "missing", f"{PRIVATE_KEY} names no file", "let it name the file of the private key")
    elif Path(private).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "signing", "missing", "others may read the private key", f"'chmod 600' the file that {PRIVATE_KEY} names"
        )
    else:
        yield Finding("signing", "ok", "the private key is there")
