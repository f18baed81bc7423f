"""Program of one replica of an environment, run by a supervisor: verifies the package, then starts the server.

Usage: python -m merit.serving.server.replica FILE, where FILE is the JSON written by `merit apply`.
"""

import json
import os
import sys
from pathlib import Path

from merit import artifacts
from merit.config.schema.release import Signing
from merit.errors import MeritError
from merit.process.lifetime import end_with_parent
from merit.serving.server.serve import listen
from merit.signing import signatures, verification

HOST = "127.0.0.1"


def main(file: Path) -> None:
    """Verify the package and serve it.

    Raises:
        MeritError: the package is not the version's, or its signature is not valid.
    """
    specification = json.loads(file.read_text(encoding="utf-8"))
    package = Path(specification["package"])
    if (digest := artifacts.hash_package(package)) != specification["digest"]:
        raise MeritError(
            f"{package}: is {digest}, but the version's package is {specification['digest']}; 'merit apply' again"
        )
    signatures.verify_package(
        package, specification["signature"], Signing.model_validate(specification["signing"]), specification["demanded"]
    )
    os.environ.update(specification["environment"])
    os.environ.update({"MERIT_PACKAGE": str(package.absolute()), "BENTOML_DO_NOT_TRACK": "True"})
    os.environ.update({"BENTOML_HOST": HOST, verification.DIGEST_VARIABLE: digest})
    end_with_parent(os.getppid())
    listen(HOST, specification["port"])


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except MeritError as error:
        sys.exit(f"error: {error}")
