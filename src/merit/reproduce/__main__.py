"""Runs the stages of a worktree in a process of its own: `python -m merit.reproduce FOLDER`."""

import os
import sys
from pathlib import Path

from merit.console import logging
from merit.errors import MeritError
from merit.pipeline import run
from merit.reproduce import worktree


def main(root: Path) -> int:
    """Run every stage of the worktree; return the exit code."""
    logging.configure(**logging.read_environment())
    os.environ.update(worktree.build_environment(root))
    os.chdir(root)
    try:
        run.rerun_all_stages()
    except MeritError as error:
        logging.logger.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
