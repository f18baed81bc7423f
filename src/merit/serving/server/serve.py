"""serve: check what would stop the service from starting, then start its workers."""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from merit import artifacts
from merit.config.schema.release import Signing
from merit.config.schema.serve import Serve
from merit.errors import MeritError
from merit.prediction_log import log
from merit.process.lifetime import STOPS
from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.auth import methods
from merit.serving.observability import tracing
from merit.signing import signatures, verification


def serve(how: Serve, version: str | None = None, signed: Signing | None = None, commit: str | None = None) -> NoReturn:
    """Serve until the process is told to end.

    Args:
        how: the section `serve` of the lock.
        version: the package's version in the registry, if it has one.
        signed: whose signature counts: the section `release.signing`.
        commit: the one that the package is of, where it is known.

    Raises:
        MeritError: it would be open to anybody, what the settings name is not there or not right, the package is not
            what its manifest or its signature says, it lacks a signature that it must have, or the port is taken.
    """
    read = msgspec.convert(how.model_dump(), settings.Settings)
    methods.of(read.auth, how.host)  # the service asks all this again; here it is told before BentoML is loaded
    tracing.check(read.telemetry)
    check_signature(artifacts.PACKAGE, signed or Signing())
    package = Package.load(artifacts.PACKAGE)
    log.check(read.log, package)
    _check_free(how.host, how.port)
    told = {
        "MERIT_PACKAGE": str(artifacts.PACKAGE.absolute()),
        **how.environment(),
        verification.DIGEST: package.digest,  # a worker that starts later must not serve another
        verification.DEMAND: "0",  # it was met just now, by the key that conf/release names
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOST": how.host,  # by which the service knows where it listens
    }
    named = {"MERIT_VERSION": version, artifacts.COMMIT: commit}
    os.environ.update(told | {name: value for name, value in named.items() if value is not None})
    listen(how.host, how.port)


def listen(host: str, port: int) -> NoReturn:
    """Serve the package that the environment names until the process is told to end.

    What minds the workers is a program of its own: it needs half the memory of what has checked that it may begin.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until that program can end as it should
    told = [host, str(port), str(settings.read().workers)]
    os.execv(sys.executable, [sys.executable, "-P", "-m", "merit.serving.server.workers", *told])  # noqa: S606  # ours


def check_signature(package: Path, signed: Signing) -> None:
    """Hold a package against the signature that lies beside it, `model.sig` for `model`, before any of it is loaded.

    Raises:
        MeritError: it is not what was signed, or it has no signature and MERIT_DEMAND_SIGNATURE is 1.
    """
    beside = package.with_name(package.name + verification.SUFFIX)
    bundle = beside.read_text(encoding="utf-8") if beside.is_file() else None
    signatures.verify(package, bundle, signed, demanded=os.environ.get(verification.DEMAND) == "1")


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MeritError(
                f"serve: {host}:{port} can't be used ({error.strerror}); choose another with --port or serve.port"
            ) from error
