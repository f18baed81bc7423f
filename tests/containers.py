"""Container tools from Debian for tests: a registry on loopback, a store of their own, a base image."""

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.endpoint import free_port

PROGRAMS = ("buildah", "docker-registry", "mmdebstrap", "podman", "runc")
LACKING = [name for name in PROGRAMS if not shutil.which(name)]
needed = pytest.mark.skipif(
    bool(LACKING) or os.geteuid() != 0,
    reason=f"needs root and Debian's {', '.join(PROGRAMS)} (not here: {', '.join(LACKING) or 'root'})",
)
BASE = "localhost/merit-base:bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


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
    """A registry, and the environment in which the tools see it and a store of their own."""

    folder: Path
    port: int = field(default_factory=free_port)
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        names = ("storage", "registries", "containers")
        files = {f"CONTAINERS_{name.upper()}": str(self.folder / f"{name}.conf") for name in names}
        return {
            "CONTAINERS_STORAGE_CONF": files["CONTAINERS_STORAGE"],
            "CONTAINERS_REGISTRIES_CONF": files["CONTAINERS_REGISTRIES"],
            "CONTAINERS_CONF": files["CONTAINERS_CONTAINERS"],
            "BUILDAH_ISOLATION": "chroot",
            "MERIT_REGISTRY": self.registry,
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }

    def configure(self) -> None:
        place = self.folder
        (place / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/graph"\nrunroot = "{place}/run"\n'
        )
        (place / "registries.conf").write_text("unqualified-search-registries = []\n")
        (place / "containers.conf").write_text(
            '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\n'
            f'tmp_dir = "{place}/state"\nstatic_dir = "{place}/libpod"\nvolume_path = "{place}/volumes"\n'
        )
        (place / "registry.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {self.registry}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {place}/registry}}, delete: {{enabled: true}}}}\n"
        )

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
            with suppress(OSError), urllib.request.urlopen(f"http://{self.registry}/v2/", timeout=5):
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
def containers(folder: Path) -> Iterator[Containers]:
    """Yield a running registry and the tools beside it, with the base image in their store; nothing of it is left."""
    made = Containers(folder)
    made.configure()
    build = folder / "base"
    build.mkdir()
    shutil.copyfile(base_tar(), build / "copy.tar")
    shutil.copyfile(CERTIFICATES, build / "certificates.crt")
    trusted = f"ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES}"
    (build / "Containerfile").write_text(
        f"FROM scratch\nADD copy.tar /\nADD certificates.crt {CERTIFICATES}\n{trusted}\n"
    )
    try:
        made.run("buildah", "bud", "--quiet", "--tag", BASE, str(build))
        shutil.rmtree(build)
        made.start()
        yield made
    finally:
        made.stop()
        with suppress(AssertionError):
            made.run("podman", "rm", "--all", "--force")
            made.run("buildah", "rm", "--all")
            made.run("podman", "rmi", "--all", "--force")
