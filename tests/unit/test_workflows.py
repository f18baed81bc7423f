"""What holds of every workflow: who may read a secret, who may write, and what is installed where something may be."""

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

READABLE = {"DVC_READ", "GITHUB_TOKEN"}
"""Secrets of the repository itself: the code of any branch gets them, so none of them may write."""
ENVIRONMENTS = {"merit/write", "merit/release", "${{ matrix.environment }}", "github-pages"}
SECRET = re.compile(r"secrets\.(\w+)")
Job = dict[str, Any]


def _workflows() -> dict[str, dict[Any, Any]]:
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    return {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


WORKFLOWS = _workflows()
JOBS = {f"{file}: {name}": job for file, values in WORKFLOWS.items() for name, job in values["jobs"].items()}
INSTALLED_BY_MAKE = re.sub(
    r"<\(\$\(LOCKED\)( \| awk '[^']*')?\)", "requirements.lock", (ROOT / "Makefile").read_text(encoding="utf-8")
)


def _events(file: str) -> dict[str, Any]:
    on = WORKFLOWS[file][True]  # YAML 1.1 reads the key `on` as true
    return {on: None} if isinstance(on, str) else on


def _writes(job: Job) -> bool:
    return "write" in job["permissions"].values()


@pytest.mark.parametrize("name", JOBS)
def test_a_secret_that_can_write_is_read_in_an_environment_of_main_alone(name: str) -> None:
    secrets = set(SECRET.findall(yaml.safe_dump(JOBS[name])))
    assert secrets <= READABLE or JOBS[name]["environment"] in ENVIRONMENTS
    assert JOBS[name].get("environment") in {None, *ENVIRONMENTS}


@pytest.mark.parametrize("file", WORKFLOWS)
def test_no_workflow_hands_secrets_or_rights_to_all_of_its_jobs(file: str) -> None:
    values = WORKFLOWS[file]
    assert values["permissions"] == {}
    assert not SECRET.findall(yaml.safe_dump({key: value for key, value in values.items() if key != "jobs"}))


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_file_that_a_pull_request_brings_may_write_nothing_and_names_no_environment(file: str) -> None:
    events = _events(file)
    assert "pull_request_target" not in events
    jobs = WORKFLOWS[file]["jobs"].values()
    assert "pull_request" not in events or not [job for job in jobs if _writes(job) or "environment" in job]


@pytest.mark.parametrize("file", ["pr.yml", "plan.yml"])
def test_a_verdict_is_about_a_merge_into_main(file: str) -> None:
    assert _events(file)["pull_request"]["branches"] == ["main"]


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if _writes(job) or "environment" in job])
def test_a_job_that_may_write_runs_the_code_of_main_alone(name: str) -> None:
    job = JOBS[name]
    refs = {step.get("with", {}).get("ref") for step in job["steps"] if "actions/checkout" in step.get("uses", "")}
    assert not refs or job["environment"] in ENVIRONMENTS  # a run of another branch is not admitted
    assert refs <= {None, "${{ github.event.repository.default_branch }}"}


@pytest.mark.parametrize("name", JOBS)
def test_no_script_holds_what_somebody_typed(name: str) -> None:
    """A title, a branch's name or an input reaches a script through its environment, where it is no code."""
    assert not [step for step in JOBS[name]["steps"] if "${{" in step.get("run", "")]


@pytest.mark.parametrize("name", JOBS)
def test_nothing_is_cached_for_one_run_would_take_what_another_with_fewer_rights_has_stored(name: str) -> None:
    steps = [step for step in JOBS[name]["steps"] if "uses" in step]
    assert not [step for step in steps if "cache" in step["uses"] or "cache" in step.get("with", {})]


def _commands() -> Iterator[tuple[str, str]]:
    """Give each command that installs, and where it stands."""
    for name, job in JOBS.items():
        for step in job["steps"]:
            yield from ((name, each.strip()) for each in step.get("run", "").split("&&") if "pip install" in each)
    yield from (("Makefile", each.strip()) for each in re.findall(r"\$\(PIP\) [^&;\n]+", INSTALLED_BY_MAKE))
    text = (ROOT / "src/merit/release/templates/Containerfile.j2").read_text(encoding="utf-8")
    yield from (("Containerfile", each) for each in text.replace("\\\n", "").split("&&") if "pip install" in each)


COMMANDS = list(_commands())
FROM_SOURCE = ('"$MERIT"', "requirements.lock", "$<", "--editable")


def test_every_way_to_install_is_looked_at() -> None:
    places = [place for place, _ in COMMANDS]
    assert [places.count(place) for place in ("Makefile", "Containerfile", "report.yml: report")] == [6, 1, 2]
    assert len(re.findall(r"\$\(PIP\)|pip install", INSTALLED_BY_MAKE)) == 7
    others = [path for path in (ROOT / ".ci").iterdir() if "pip install" in path.read_text(encoding="utf-8")]
    assert others == []


@pytest.mark.parametrize(("place", "command"), COMMANDS)
def test_what_is_installed_is_pinned_and_so_is_what_builds_it(place: str, command: str) -> None:
    locks = ("requirements.lock", "requirements-build.lock", "/made/requirements.txt", "/made/constraints.txt")
    words = command.partition("pip install ")[2] or command.removeprefix("$(PIP) ")
    known = {
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-compile",
        "--editable",
        ".",
        "-r",
        '"$MERIT"',
        *locks,
    }
    known |= {"$<"}  # a requirements-*.lock: what the pattern rule depends on
    known |= {"--no-cache-dir", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"}
    unknown = set(words.split()) - known - {"--requirement", "--constraint"}
    assert not [word for word in unknown if not re.fullmatch(r"[\w.-]+==[\w.]+", word)]
    if any(each in words for each in FROM_SOURCE):
        assert "--no-build-isolation" in words
    assert "--no-deps" in words or "-r requirements.lock" in words or "-r $<" in words or "--only-binary :all:" in words


def _pins(*names: str) -> dict[str, str]:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}


@pytest.mark.parametrize(("place", "command"), [each for each in COMMANDS if "==" in each[1]])
def test_a_pin_in_a_workflow_is_that_of_a_lock_and_hatchling_comes_whole(place: str, command: str) -> None:
    words = [word.partition("==") for word in command.split() if "==" in word]
    pins = {canonicalize_name(name): pin for name, _, pin in words}
    builders = _pins("requirements-build.lock")
    assert pins.items() <= (_pins("requirements.lock") | builders).items()
    assert builders.keys() - pins.keys() == {"editables", "pip", "setuptools"}  # merit's own wheel takes neither


def test_what_builds_packages_is_of_the_same_version_where_it_is_a_package_too() -> None:
    packages, builders = _pins("requirements.lock", "requirements-dev.lock"), _pins("requirements-build.lock")
    assert {name: pin for name, pin in builders.items() if name in packages and packages[name] != pin} == {}


ADDED = ("requirements-check.lock", "requirements-dev.lock")
"""The locks that are installed on top of requirements.lock."""


def test_a_lock_that_is_installed_on_top_names_nothing_twice_and_no_other_version() -> None:
    runs, checks, development = map(_pins, ("requirements.lock", *ADDED))
    assert not runs.keys() & development.keys()
    assert checks.items() <= development.items()


@pytest.mark.parametrize("added", [(), *((name,) for name in ADDED)])
def test_the_locks_of_packages_leave_nothing_to_be_resolved(added: tuple[str, ...]) -> None:
    """What a package needs and the lock does not name would be installed in whatever version there is."""
    pins, asked = _pins("requirements.lock", *added), {}
    waiting = [Requirement(name) for name in pins]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} is in none of requirements.lock {' '.join(added)}"
        new = {"", *requirement.extras} - asked.setdefault(name, set())
        asked[name] |= new
        for text in (importlib.metadata.requires(name) or []) if new else []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in new):
                waiting.append(needed)
