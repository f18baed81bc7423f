import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from merit.errors import MeritError
from merit.registry import environment_history, queries
from tests.support.versioned import Repository

ROBOT = {"GIT_COMMITTER_NAME": "GitHub", "GIT_COMMITTER_EMAIL": "noreply@github.com"}


@pytest.fixture
def told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Production's story: nothing, v1, v2, back to v1 by a revert, each a commit of a day of its own."""
    days = iter(range(1, 29))

    def on_the_next_day() -> None:
        day = f"2024-02-{next(days):02}T12:00:00+00:00"
        monkeypatch.setenv("GIT_AUTHOR_DATE", day)
        monkeypatch.setenv("GIT_COMMITTER_DATE", day)

    on_the_next_day()
    repository.declare("production", None, "Environments")
    on_the_next_day()
    repository.declare("production", "v1", "Promote v1\n\nIt is better on every slice.\nMore.")
    on_the_next_day()
    repository.git("switch", "--quiet", "--create", "promotion")
    repository.declare("production", "v2", "Promote v2")
    repository.git("switch", "--quiet", "main")
    for name, value in ROBOT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Bob")
    message = "Merge pull request #7 from ada/promotion\n\nPromote v2 to production"
    repository.git("merge", "--quiet", "--no-ff", "-m", message, "promotion")
    for name in (*ROBOT, "GIT_AUTHOR_NAME"):
        monkeypatch.delenv(name)
    on_the_next_day()
    file = repository.folder / "conf/environment/production.yaml"
    file.write_text(file.read_text() + "# a comment\n")
    repository.commit("A comment that changes no version")
    on_the_next_day()
    bad = repository.git("log", "--format=%H", "--merges", "-1")
    repository.declare("production", "v1", f'Revert "Promote v2"\n\nThis reverts commit {bad}, reversing changes.')
    return repository


def test_what_was_in_production_when_by_whom_and_why(told: Repository) -> None:
    found = queries.list_history("tiny", "production")
    assert [each["version"] for each in found] == ["tiny@v1", "tiny@v2", "tiny@v1", None]
    assert [each["since"][:10] for each in found] == ["2024-02-05", "2024-02-03", "2024-02-02", "2024-02-01"]
    assert [each["until"] and each["until"][:10] for each in found] == [None, "2024-02-05", "2024-02-03", "2024-02-02"]
    assert [each["by"] for each in found] == ["Ada", "Bob", "Ada", "Ada"]
    assert [each["why"] for each in found] == [
        'Revert "Promote v2"',
        "Merge pull request #7 from ada/promotion: Promote v2 to production",
        "Promote v1: It is better on every slice.",
        "Environments",
    ]
    assert [each["reverts"] for each in found] == [found[1]["commit"], None, None, None]


def test_a_merged_revert_is_one_too() -> None:
    assert environment_history._find_reverted_commit('Merge pull request #8 from x/revert\n\nRevert "Promote v2"') == ""
    assert environment_history._find_reverted_commit("Merge pull request #8 from x/y\n\nPromote v3") is None


def test_the_history_is_mains_and_not_the_branchs(told: Repository) -> None:
    told.git("switch", "--quiet", "--create", "other")
    told.declare("production", "v9", "not merged")
    assert queries.list_history("tiny", "production")[0]["version"] == "tiny@v1"


def test_each_environments_history_is_told_by_time(told: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2024-02-04T12:00:00-03:00")
    told.declare("staging", "v2", "Staging takes v2")
    found = queries.list_history("tiny", None)
    assert [each["environment"] for each in found] == [
        "production",
        "staging",
        "production",
        "production",
        "production",
    ]


def test_an_environment_that_is_not_there_is_told_with_those_that_are(told: Repository) -> None:
    with pytest.raises(MeritError) as caught:
        queries.list_history("tiny", "prod")
    assert str(caught.value) == (
        "history: conf/environment/prod.yaml is not in main's history; environments there: production"
    )


def test_a_version_is_told_with_every_place_that_names_it(repository: Repository) -> None:
    file = repository.folder / "conf/environment/production.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("version: v1\ntraffic: {canary: {version: v2, share: 0.1}, shadow: null}\n")
    repository.declare("staging", "v2", "both")
    tip = repository.git("rev-parse", "HEAD")
    assert environment_history.find_declarations(tip) == {
        "v1": ["production"],
        "v2": ["production (canary)", "staging"],
    }


def test_an_environment_that_is_no_yaml_is_told_with_its_commit(repository: Repository) -> None:
    file = repository.folder / "conf/environment/production.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("version: [")
    tip = repository.commit("broken")
    with pytest.raises(MeritError, match=rf"^conf/environment/production\.yaml at {tip[:7]}: not valid YAML"):
        environment_history.read_environments(tip)


def test_an_old_file_that_can_not_be_read_does_not_hide_the_history(repository: Repository) -> None:
    repository.declare("production", "v1", "one")
    file = repository.folder / "conf/environment/production.yaml"
    file.write_bytes(b"version: [caf\xe9")
    repository.commit("broken")
    file.write_bytes(b"version: v2 # caf\xe9\n")
    repository.commit("Latin-1")
    found = queries.list_history("tiny", "production")
    assert [each["version"] for each in found] == ["tiny@v2", None, "tiny@v1"]
    assert found[1]["why"] == "(the file can't be read) broken"


def test_a_version_is_that_of_the_model_as_it_was_called_then(repository: Repository) -> None:
    params = repository.folder / "params.yaml"
    repository.declare("staging", "v1", "v1 to staging")
    params.write_text(params.read_text().replace("name: tiny\n", "name: other\n"))
    repository.commit("another name")
    params.write_text(params.read_text() + "# more\n")
    repository.commit("a comment")
    found = queries.list_history("other", "staging")
    assert [(each["version"], each["why"]) for each in found] == [
        ("other@v1", "another name"),
        ("tiny@v1", "v1 to staging"),
    ]


def test_times_are_times(told: Repository) -> None:
    tip = subprocess.run(["git", "rev-parse", "main"], capture_output=True, text=True, check=True).stdout.strip()
    periods = environment_history.load_history("production", tip)
    assert all(isinstance(period.since, datetime) for period in periods)
    assert Path("conf/environment/production.yaml").is_file()
