"""`merit serve` with its prediction log in a folder, which the command line can't name. `ways.py` starts it.

Usage: python benchmarks/serve_package.py FOLDER PORT
"""

import sys

from merit.config import lock
from merit.serving.server.serve import serve


def main(folder: str, port: str) -> None:
    """Serve the package in model/ by the settings of params.yaml."""
    settings = lock.read_lock().serve
    log = settings.log.model_copy(update={"folder": folder})
    serve(settings.model_copy(update={"port": int(port), "log": log}))


if __name__ == "__main__":
    main(*sys.argv[1:])
