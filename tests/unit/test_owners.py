"""Whatever a verdict, a right or a version comes of has an owner: derived, so that what is new is not forgotten."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

SOURCE = ROOT / "src"
WITHOUT_SAY = {"ci.yml", "docs.yml"}
"""Workflows that judge no model and get no secret: one runs the tests, one publishes the pages of docs/."""
PATH = re.compile(r"[\w.*/-]+")


@cache
def _tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def _owned(path: str) -> bool:
    """Say whether a file has an owner, as GitHub reads CODEOWNERS: the last line that fits counts."""
    owner = False
    for line in (ROOT / ".github/CODEOWNERS").read_text(encoding="utf-8").splitlines():
        pattern, *owners = line.partition("#")[0].split() or [""]
        assert re.fullmatch(r"(\*|/[\w./-]+)?", pattern), f"{line}: of a form that this test doesn't read"
        folder = pattern.removeprefix("/") if pattern.endswith("/") else None
        if pattern and (pattern in {"*", f"/{path}"} or (folder is not None and path.startswith(folder))):
            owner = bool(owners)
    return owner


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))


def _modules(name: str) -> Iterator[Path]:
    place = SOURCE / name.replace(".", "/")
    yield from (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())


def _code() -> set[str]:
    """Return the files of merit that the gate, or a command of a workflow, imports, wherever the import stands."""
    roots = ("merit/gate/**/*.py", "merit/cli/*.py", "hydra_plugins/**/*.py")
    waiting = [file for pattern in roots for file in SOURCE.glob(pattern)]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += [found for name in _imported(file) if name.startswith("merit") for found in _modules(name)]
    return {file.relative_to(ROOT).as_posix() for file in seen}


def _named(text: str) -> set[str]:
    """Return the tracked files that a text names, or that are in a folder that it names."""
    words = {word.strip("/").removesuffix("/**") for word in PATH.findall(text)} - {"", "."}
    return {path for path in _tracked() if path in words or any(path.startswith(f"{word}/") for word in words)}


def _recipes() -> dict[str, str]:
    """Return what each target of make does, with its prerequisites."""
    found = re.findall(r"(?m)^([\w$()/.-]+):([^=\n]*)((?:\n\t.*)*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return {target: f"{needs}{recipe}" for target, needs, recipe in found}


def _run() -> set[str]:
    """Return the files that the workflows run or read, but for those of the tests."""
    files = [file for file in (ROOT / ".github/workflows").glob("*.yml") if file.name not in WITHOUT_SAY]
    jobs = [job for file in files for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"]]
    text = "\n".join(f"{step.get('run', '')} {step.get('with', '')}" for step in steps)
    recipes = _recipes()
    asked = {target for target in re.findall(r"make ([\w-]+)", text) if target in recipes}
    text += "\n".join(recipes[target] for target in (*asked, "$(INSTALLED)"))
    return _named(text)


BY_THEMSELVES = """.github .gitlab-ci.yml .ci .pre-commit-config.yaml Makefile tools pyproject.toml requirements.lock
    requirements-build.lock requirements-serving.lock bentofile.yaml dvc.yaml dvc.lock .dvc .dvcignore .gitignore"""
"""What GitHub, GitLab and programs read without being told."""
MADE_OF = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("dvc.yaml", "bentofile.yaml"))
NEEDED = {
    "code": _code(),
    "what workflows run": _run(),
    "what programs read by themselves": _named(BY_THEMSELVES),
    "what stages and images are made of": _named(MADE_OF),
    "conf, any file of which may set any key": _named("conf params.yaml"),
}


@pytest.mark.parametrize("kind", NEEDED)
def test_what_decides_has_an_owner(kind: str) -> None:
    assert NEEDED[kind]
    assert {path for path in NEEDED[kind] if not _owned(path)} == set()


def test_the_derivation_finds_what_was_once_forgotten() -> None:
    rooms = (
        "config/components/trusted_packages",
        "metrics/binary",
        "evaluation/evaluate",
        "release/release",
        "data/ingest",
        "features/fit",
    )
    assert {
        f"src/merit/{name}.py" for name in (*rooms, "scoring/package", "git/__init__", "serving/app/handler")
    } <= NEEDED["code"]
    assert {"requirements-build.lock", "requirements.lock", "pyproject.toml"} <= NEEDED["what workflows run"]
    assert {".dvc/config", "requirements-serving.lock"} <= NEEDED["what programs read by themselves"]


def test_nothing_else_is_free() -> None:
    free = {path.partition("/")[0] for path in _tracked() if not _owned(path)}
    prose = {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "docs"}
    assert free == {*prose, "benchmarks", "rehearse", "tests"}
