"""Lists the packages that dvc.lock named in Git's history beside the same test rows."""

import re

from merit import artifacts, git

MAX_COMMITS = 1_000
"""The most commits that are looked at, the latest first."""
HASH_LINES = r"\n(?: +hash: md5\n)? +md5: ([0-9a-f]{32}(?:\.dir)?)\n"
"""How DVC writes an output's hash below its path. Thousands of locks are searched: parsing them would take minutes."""


def list_packages(test_rows_hash: str, version_tags: str) -> set[str]:
    """Return the hash of each package that a commit's dvc.lock names beside test rows of this hash.

    Args:
        test_rows_hash: the DVC hash of the test rows.
        version_tags: the pattern of the tags of versions, such as `flights@v*`.

    Raises:
        MeritError: Git fails.
    """
    branches = [name for name in ("HEAD", *git.MAIN_BRANCHES) if git.resolve_commit(name)]
    if not branches:
        return set()
    revisions = [*branches, f"--glob=refs/tags/{version_tags}"]
    texts = git.read_file_history(artifacts.DVC_LOCK, revisions, MAX_COMMITS)
    found = ((_find_hash(text, artifacts.TEST_ROWS.as_posix()), _find_hash(text, artifacts.PACKAGE.as_posix()))
             for text in texts if test_rows_hash in text)  # fmt: skip
    return {package for rows, package in found if rows == test_rows_hash and package is not None}


def _find_hash(text: str, path: str) -> str | None:
    match = re.search(rf"(?m)^ *- path: {re.escape(path)}{HASH_LINES}", text)
    return match[1] if match else None
