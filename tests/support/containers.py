"""Container tools from Debian for tests: a registry on loopback, a store of their own, a base image."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.endpoint import free_port

PROGRAMS = ("buildah", "docker-registry", "mmdebstrap", "podman", "runc")
LACKING = [name for name in PROGRAMS if not shutil.which(name)]
needed = pytest.mark.skipif(
    bool(LACKING) or os.geteuid() != 0,
    reason=f"needs root and Debian's {', '.join(PROGRAMS)} (not here: {', '.join(LACKING) or 'root'})",
)
BASE = "localhost/merit-base:bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
USER, PASSWORD = "writer", "rehearsal"
HASHED = "$2b$05$Y2bIta8LNsZ3jF44iRbezef/3WSK24eqSEoqzxgRttFDZ86Q088Bq"
"""What a registry that asks who one is keeps of that password."""


def base_tar() -> Path:
    """Return a Debian with Python as a tar file, made once and kept below MERIT_TEST_CACHE, by default ~/.cache."""
    cache = Path(os.environ.get("MERIT_TEST_CACHE") or Path.home() / ".cache" / "merit-tests")
    tar = cache / "bookworm-python.tar"
    if not tar.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        aside = cache / f"making-{os.getpid()}.tar"
        command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(aside)]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        aside.replace(tar)
    return tar


@dataclass
class Containers:
    """A registry, and the environment in which the tools see it and a store of images.

    Args:
        folder: of the registry.
        store: of the images; others may share it.
        asks: whether the registry takes only those who have logged in.
    """

    folder: Path
    store: Path
    asks: bool = False
    port: int = field(default_factory=free_port)
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_STORAGE_CONF": str(self.store / "storage.conf"),
            "CONTAINERS_CONF": str(self.store / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "REGISTRY_AUTH_FILE": str(self.folder / "auth.json"),
            "BUILDAH_ISOLATION": "chroot",
            "MERIT_REGISTRY": self.registry,
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }

    def configure(self) -> None:
        place, store = self.folder, self.store
        (store / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{store}/graph"\nrunroot = "{store}/run"\n'
        )
        (store / "containers.conf").write_text(
            '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
            f'tmp_dir = "{store}/state"\nstatic_dir = "{store}/libpod"\nvolume_path = "{store}/volumes"\n'
        )
        (place / "registries.conf").write_text(
            f'unqualified-search-registries = []\n[[registry]]\nlocation = "{self.registry}"\ninsecure = true\n'
        )
        (place / "auth.json").write_text("{}")
        (place / "htpasswd").write_text(f"{USER}:{HASHED}\n")
        asks = f"auth: {{htpasswd: {{realm: registry, path: {place}/htpasswd}}}}\n" if self.asks else ""
        (place / "registry.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {self.registry}}}\n{asks}"
            f"storage: {{filesystem: {{rootdirectory: {place}/registry}}, delete: {{enabled: true}}}}\n"
        )

    def make_base(self) -> None:
        """Make the base image."""
        build = self.folder / "base"
        build.mkdir()
        shutil.copyfile(base_tar(), build / "copy.tar")
        shutil.copyfile(CERTIFICATES, build / "certificates.crt")
        trusted = f"ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES}"
        (build / "Containerfile").write_text(
            f"FROM scratch\nADD copy.tar /\nADD certificates.crt {CERTIFICATES}\n{trusted}\n"
        )
        self.run("buildah", "bud", "--quiet", "--tag", BASE, str(build))
        shutil.rmtree(build)

    def remove_all(self) -> None:
        """Remove what is in the store, so that nothing stays mounted."""
        with suppress(AssertionError):
            self.run("podman", "rm", "--all", "--force")
            self.run("buildah", "rm", "--all")
            self.run("podman", "rmi", "--all", "--force")

    def run(self, *command: str, seconds: float = 300) -> str:
        """Return what a tool prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start the registry, and wait until it answers."""
        config = str(self.folder / "registry.yml")
        self.server = subprocess.Popen(
            ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            time.sleep(0.05)
        pytest.fail("the registry does not come up")

    def stop(self) -> None:
        """Stop the registry."""
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(timeout=30)
            self.server = None


@contextmanager
def containers(folder: Path, store: Path | None = None, *, asks: bool = False) -> Iterator[Containers]:
    """Yield a running registry and the tools beside it, with the base image in their store; nothing of it is left.

    Args:
        folder: of the registry.
        store: of the images; several processes may share one, which the last of them empties. By default its own.
        asks: whether the registry takes only those who have logged in.
    """
    store = store or folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    made = Containers(folder, store, asks)
    try:
        with _users(store) as users:
            made.configure()
            if not users:
                made.make_base()
            users.append(str(folder))
        made.start()
        yield made
    finally:
        made.stop()
        with _users(store) as users:
            if str(folder) in users:
                users.remove(str(folder))
            if not users:
                made.remove_all()


@contextmanager
def _users(store: Path) -> Iterator[list[str]]:
    """Yield who uses a store, to be changed; nobody else changes it meanwhile."""
    with (store / "users").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        users = handle.read().splitlines()
        yield users
        handle.truncate(0)
        handle.write("".join(f"{user}\n" for user in users))
