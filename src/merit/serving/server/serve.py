"""Implements `merit serve`: checks everything that could prevent the service from starting, then starts its workers."""

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
from merit.process.lifetime import STOP_SIGNALS
from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.auth import methods
from merit.serving.observability import tracing
from merit.signing import signatures, verification


def serve(
    config: Serve, version: str | None = None, signing_config: Signing | None = None, commit: str | None = None
) -> NoReturn:
    """Serve the package until the process receives a stop signal.

    Args:
        config: the section `serve` of the lock.
        version: the package's version in the registry, if it has one.
        signing_config: the section `release.signing`; None uses its defaults.
        commit: the commit of the package, if known.

    Raises:
        MeritError: the service would be exposed without authentication, the settings name something missing or
            invalid, the package does not match its manifest or signature, a required signature is missing, or the port
            is in use.
    """
    serve_settings = msgspec.convert(config.model_dump(), settings.Settings)
    methods.from_settings(
        serve_settings.auth, config.host
    )  # the workers check this again, but here it fails before BentoML is loaded
    tracing.check_settings(serve_settings.telemetry)
    check_signature(artifacts.PACKAGE, signing_config or Signing())
    package = Package.load(artifacts.PACKAGE)
    log.check_settings(serve_settings.log, package)
    _check_free(config.host, config.port)
    environment = {
        "MERIT_PACKAGE": str(artifacts.PACKAGE.absolute()),
        **config.to_environment_variables(),
        verification.DIGEST_VARIABLE: package.digest,  # a worker that starts later must not serve another package
        verification.REQUIRE_SIGNATURE_VARIABLE: "0",  # verified above with conf/release's key
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOST": config.host,  # tells the service its address
    }
    optional = {"MERIT_VERSION": version, artifacts.COMMIT_VARIABLE: commit}
    os.environ.update(environment | {name: value for name, value in optional.items() if value is not None})
    listen(config.host, config.port)


def listen(host: str, port: int) -> NoReturn:
    """Replace this process by the worker supervisor, which serves the package named by MERIT_PACKAGE.

    A fresh program needs half the memory of this process, which has loaded the package to check it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the supervisor unblocks them once it can shut down cleanly
    arguments = [host, str(port), str(settings.load_settings().workers)]
    os.execv(sys.executable, [sys.executable, "-P", "-m", "merit.serving.server.worker_supervisor", *arguments])  # noqa: S606  # merit's own program


def check_signature(package: Path, signing_config: Signing) -> None:
    """Verify a package against the signature file beside it (`model.sig` for `model`), before loading the package.

    Raises:
        MeritError: the signature does not match, or there is none and MERIT_DEMAND_SIGNATURE is 1.
    """
    signature_path = package.with_name(package.name + verification.SIGNATURE_SUFFIX)
    bundle = signature_path.read_text(encoding="utf-8") if signature_path.is_file() else None
    signatures.verify_package(
        package, bundle, signing_config, is_required=os.environ.get(verification.REQUIRE_SIGNATURE_VARIABLE) == "1"
    )


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MeritError(
                f"serve: {host}:{port} can't be used ({error.strerror}); choose another with --port or serve.port"
            ) from error
