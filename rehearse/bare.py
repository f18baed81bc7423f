"""Git, on the forge's bare repositories and in the clones of those who work there."""

import os
import subprocess
from pathlib import Path

WHO = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in
       (("NAME", "forge"), ("EMAIL", "forge@example.org"), ("DATE", "2026-01-01T00:00:00Z"))}  # fmt: skip


def git(folder: Path, *args: str, text: str | None = None, **environment: str) -> str:
    """Return what `git ARGS` prints in a repository."""
    away = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *args],
        cwd=folder,
        env={**os.environ, **away, **WHO, **environment},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"git {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")
