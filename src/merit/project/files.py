"""Provides the files of a new project: those of merit's repository, adapted to a project that installs merit."""

import importlib.metadata
import re
from bisect import insort
from collections.abc import Callable, Collection
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from merit import git
from merit.config import merit_code
from merit.version import __version__

SHIPPED_PATHS = (
    ".ci",
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "Makefile",
    "bentofile.yaml",
    "conf",
    "dvc.yaml",
    "reference",
    "requirements-build.lock",
    "requirements-check.lock",
    "requirements-serving.lock",
    "requirements.lock",
)
"""Files and folders copied from merit's repository; the wheel contains them (`force-include` in pyproject.toml)."""

SHIPPED_SUFFIXES = frozenset({".json", ".lock", ".py", ".yaml", ".yml"})
SHIPPED_NAMES = frozenset({".dvcignore", ".gitignore", "CODEOWNERS", "Makefile", "config", "run"})
"""Suffixes and names of the files that merit ships; others in these folders, such as keys, are not copied."""

OWN_FILES = frozenset({".github/workflows/docs.yml"})
"""Files in these folders that concern only merit's own repository; a project doesn't get them."""
REQUIREMENTS = "requirements.lock"
REFERENCE_MARK = "  # reference\n"
"""How a line of it ends that only merit's own models need; tools/lock.py writes it."""

TEMPLATES = Path(__file__).parent / "templates"
STARTER = TEMPLATES / "starter"
"""A small table and the files of conf/ that choose it: the model that a project starts with."""
TABLE = "biopsies"
"""What they are called."""


def adapt_shipped_files(*, with_reference: bool = False) -> dict[str, str]:
    """Return path and text of every file copied from merit's repository, adapted to a project.

    Args:
        with_reference: keep the packages that the data of merit's own models are in.
    """
    texts = _read_shipped(merit_code.find_template_root())
    if with_reference:
        texts[REQUIREMENTS] = texts[REQUIREMENTS].replace(REFERENCE_MARK, "\n")
    tables = {Path(path).stem for path in texts if path.startswith("conf/data/")}
    generic = {path: text for path, text in texts.items() if not _is_merits_own(path, tables)}
    return {path: _choose_adapter(path)(text) for path, text in sorted(generic.items())}


def _is_merits_own(path: str, tables: Collection[str]) -> bool:
    """Return whether a file is about merit itself or a table of its own models."""
    return (
        path in OWN_FILES
        or path.startswith(("reference/", "conf/data/", "conf/experiment/"))
        or (path.startswith("conf/gate/") and Path(path).stem in tables)
    )


def read_reference() -> dict[str, str]:
    """Return path and text of the package with the sources of merit's own models."""
    return {
        path: text
        for path, text in _read_shipped(merit_code.find_template_root()).items()
        if path.startswith("reference/")
    }


def read_starter() -> dict[str, str]:
    """Return path and text of a table, and of the files of conf/ that train and judge a model on it."""
    return {
        file.relative_to(STARTER).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(STARTER.rglob("*"))
        if file.suffix in {".csv", ".yaml"}
    }


def _read_shipped(root: Path) -> dict[str, str]:
    """Return path and text of the files that merit ships.

    In a clone these are the committed files as of the last commit that changed more than conf/: later edits of conf/,
    and untracked files such as keys and drafts, belong to the clone.
    """
    if not (root / ".git").exists():
        return _read_from_disk(root)
    reference_paths = [merit_code.SOURCE_PREFIX, *(name for name in SHIPPED_PATHS if name != "conf")]
    return {
        path: text.decode() for path, text in git.read_committed_files(root, SHIPPED_PATHS, reference_paths).items()
    }


def _read_from_disk(root: Path) -> dict[str, str]:
    """Return the shipped files on disk; filtered, for a wheel that was built from a clone may contain other files."""
    files_found = [
        file
        for name in SHIPPED_PATHS
        for file in _list_files(root / name)
        if file.suffix in SHIPPED_SUFFIXES or file.name in SHIPPED_NAMES
    ]
    return {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in files_found}


def render_templates(name: str) -> dict[str, str]:
    """Render the templates; return path and text of the files that belong to the project from the start."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    values = {"name": name, "python": importlib.metadata.metadata("merit-ml")["Requires-Python"]}
    paths = {"pyproject.toml": "pyproject.toml", "README.md": "README.md", "tests/test_project.py": "test_project.py"}
    return {
        path: environment.from_string((TEMPLATES / f"{template}.j2").read_text(encoding="utf-8")).render(values)
        for path, template in paths.items()
    }


def _list_files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _choose_adapter(path: str) -> Callable[[str], str]:
    return _clear_version if path.startswith("conf/environment/") else ADAPTERS.get(path, _keep_text)


def _keep_text(text: str) -> str:
    return text


def _clear_version(text: str) -> str:
    """Set version and image of an environment to null: a new project has no version yet."""
    return re.sub(r"(?m)^(version|image):[^#\n]*?( *#.*)?$", r"\1: null\2", text)


def _choose_starter(text: str) -> str:
    """Choose the table that the project starts with."""
    for key in ("  - data: ", "  - gate: ", "  - experiment: ", "name: "):
        text, count = re.subn(rf"(?m)^({key})[\w-]+", rf"\g<1>{TABLE}", text)
        assert count == 1, f"found {count} times, not once: {key!r}"
    return text


def _remove_slices(text: str) -> str:
    """Name no slices: they are columns of merit's own model."""
    return re.sub(r"(?m)^slices: .*$", "slices: [] # columns of your table, such as [shop, channel]", text)


def _adapt_dvc(text: str) -> str:
    """Replace each stage's dependencies on merit's source by the hash of its code in the lock."""
    head, *stages = re.split(r"(?m)^(?=  [a-z_]+:)", text)
    return head + "".join(_adapt_stage(stage) for stage in stages)


def _adapt_stage(text: str) -> str:
    reduced = re.sub(rf"(?m)^      - {merit_code.SOURCE_PREFIX}.*\n", "", text)
    if reduced == text:
        return text
    name = text.strip().partition(":")[0]
    reduced = re.sub(r"(?m)^    deps:\n(?!      )", "", reduced)
    return re.sub(r"(?m)^(    params:.*\n(?:      .*\n)+)", rf"\g<1>      - merit.{name}\n", reduced, count=1)


def _adapt_ci(text: str) -> str:
    """Remove the installation of the programs that merit's own tests need."""
    reduced = re.sub(r"(?ms)^export PATH=.*?(?=^make check$)", "", text)
    comment = "# What CI runs on a clean checkout: the checks, then the tests."
    return re.sub(r"(?m)^# What CI runs.*\n(?:#.*\n)*", f"{comment}\n", reduced)


def _adapt_makefile(text: str) -> str:
    """Install merit as a package, and remove the targets for merit's own source."""
    source = "$(or $(shell git config merit.source),$(shell grep '^merit-ml==' requirements.lock))"
    pip = "$(PIP) --no-build-isolation"
    replacements = {
        "INSTALLED := $(VENV)/.installed\n": "INSTALLED := $(VENV)/.installed\n"
        "# Source of merit: `make demo MERIT=...`, this clone's `git config merit.source`, or the lock.\n"
        f"MERIT ?= {source}\n",
        "DEVELOPING := $(VENV)/.installed-dev\n": "",
        "test: $(DEVELOPING) ##": "test: $(CHECKING) ##",
        "check: $(DEVELOPING) ##": "check: $(CHECKING) ##",
        f"\t@{pip} --no-deps --editable .\n": f'\t@{pip} --no-deps "$(MERIT)" || '
        "{ echo \"error: '$(MERIT)' can't be installed; say where merit is: make install MERIT=...\"; exit 2; }\n",
        "## check lint, types, import contracts, workflows, lock, the site": "## check lint, workflows, lock",
        "docs: $(DEVELOPING) ## build the site of docs/ into site/, offline; a broken link fails\n"
        "\t@NO_MKDOCS_2_WARNING=1 mkdocs build\n\n": "",
        "test check docs lint": "test check lint",
        "SKIP=mypy,import-contracts,site,workflow-lint": "SKIP=mypy,import-contracts,workflow-lint",
        "\t@bentoml build\n": "\t@rm -rf dist/bento && mkdir -p dist/bento/src\n"
        "\t@cp -r model bentofile.yaml requirements-serving.lock dist/bento\n"
        "\t@cp -r $$($(BIN)/python -c 'import merit; print(merit.__path__[0])') dist/bento/src/merit\n"
        "\t@bentoml build dist/bento\n",
        "\t@pytest -n auto --dist loadfile --no-loadscope-reorder tests/unit tests/config\n"
        "\t@pytest -n auto --dist worksteal tests/gates tests/cases\n"
        "\t@pytest -n auto --dist loadfile --no-loadscope-reorder tests/pipeline tests/e2e\n": "\t@pytest\n",
        "test: export PYTHONDONTWRITEBYTECODE := # otherwise each process compiles all modules again\n": "",
        "test: export GOMP_SPINCOUNT := 1000 # otherwise waiting threads of OpenMP slow the other workers\n": "",
        "lock: ## resolve pyproject.toml into the five requirements*.lock\n\t@$(PYTHON) tools/lock.py\n\n": "",
        "install lock remote": "install remote",
        "summary rehearse bento": "summary bento",
        "rehearse: $(DEVELOPING) ## run the steps of the workflows against a simulated GitHub on loopback\n"
        "\t@REHEARSE=aloud pytest --capture=no --no-header tests/e2e/test_rehearsal*.py\n\n": "",
    }
    for old, new in replacements.items():
        text = _replace_once(text, old, new)
    return text


def _remove_hooks(text: str) -> str:
    """Remove the hooks that check merit's own source or need tools that only its repository has."""
    for hook in ("mypy", "import-contracts", "site", "workflow-lint"):
        block = re.search(rf"(?m)^      - id: {hook}\n(?:        .*\n)+", text)
        assert block, f"no hook {hook} in .pre-commit-config.yaml"
        text = text.replace(block[0], "")
    return _replace_once(text, "src/merit/config/", r"requirements\.lock$")


def _add_merit_pin(text: str) -> str:
    """Add the pin of merit itself, in alphabetical order, and drop what only merit's own model needs."""
    head, *pin_lines = (line for line in text.splitlines(keepends=True) if not line.endswith(REFERENCE_MARK))
    insort(pin_lines, f"merit-ml=={__version__}\n", key=lambda line: line.partition("==")[0])
    return head + "".join(pin_lines)


def _pin_merit(text: str) -> str:
    """Install merit's released version instead of the repository's own commit."""
    pinned = re.sub(r"(?m)^(          MERIT: )git\+.*$", rf"\g<1>merit-ml=={__version__}", text)
    assert pinned != text, "no MERIT to install from Git"
    return pinned


def _remove_owners(text: str) -> str:
    """Remove folders that a project doesn't have: a package with such a name would have no code owner."""
    for name in ("benchmarks", "rehearse"):
        text = _replace_once(text, f"/{name}/\n", "")
    return text


def _replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"found {text.count(old)} times, not once: {old!r}"
    return text.replace(old, new)


ADAPTERS: dict[str, Callable[[str], str]] = {
    ".github/CODEOWNERS": _remove_owners,
    ".ci/run": _adapt_ci,
    ".github/workflows/lock.yml": _pin_merit,
    ".github/workflows/report.yml": _pin_merit,
    ".github/workflows/train.yml": _pin_merit,
    ".pre-commit-config.yaml": _remove_hooks,
    "Makefile": _adapt_makefile,
    "conf/config.yaml": _choose_starter,
    "conf/evaluate/default.yaml": _remove_slices,
    "dvc.yaml": _adapt_dvc,
    REQUIREMENTS: _add_merit_pin,
}
"""Files that differ from merit's repository, each with the function that adapts its text; others are copied as is."""
