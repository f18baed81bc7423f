import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from merit.config import lock as locks
from merit.config.compose import compose
from merit.errors import ConfigError, MeritError
from merit.project import files
from merit.project import new as news
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Git an identity, and let edits of what is shipped count before they are committed."""
    monkeypatch.setattr(files, "_read_shipped", files._read_from_disk)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")


def _git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_project_is_a_repository_with_everything_committed(workdir: Path) -> None:
    made = news.create_project(Path("shop"))
    folder = workdir / "shop"
    assert _git(folder, "status", "--porcelain") == ""
    assert _git(folder, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert made.commit == _git(folder, "rev-parse", "HEAD")
    tracked = set(_git(folder, "ls-files").splitlines())
    assert tracked == {
        *files.adapt_shipped_files(),
        *files.read_starter(),
        *files.render_templates("shop"),
        "params.yaml",
        ".merit-project.json",
    }
    assert made.files == len(tracked)
    assert _left(workdir) == ["shop"]
    assert (folder / ".ci/run").stat().st_mode & 0o111
    assert not (folder / "Makefile").stat().st_mode & 0o111


def test_its_lock_is_what_its_conf_says(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    news.create_project(Path("shop"))
    monkeypatch.chdir("shop")
    assert locks.diff_lock(compose()) == ""
    assert locks.read_lock().merit is not None


def test_no_path_of_this_machine_is_committed(workdir: Path) -> None:
    made = news.create_project(Path("shop"))
    assert made.source == str(ROOT)
    assert _git(workdir / "shop", "config", "merit.source") == str(ROOT)
    committed = [(workdir / "shop" / path).read_text() for path in _git(workdir / "shop", "ls-files").splitlines()]
    assert not [text for text in committed if str(ROOT) in text or str(workdir) in text]


def test_an_empty_folder_is_taken_and_missing_ones_above_it_are_made(workdir: Path) -> None:
    Path("empty").mkdir()
    news.create_project(Path("empty"))
    news.create_project(Path("deep/er/shop"))
    assert Path("empty/conf/config.yaml").is_file()
    assert Path("deep/er/shop/conf/config.yaml").is_file()
    assert _left(workdir) == ["deep", "empty"]


@pytest.mark.parametrize(
    ("given", "name", "found"),
    [("Shop", None, "shop"), ("Shop", "stock-2", "stock-2")],
)
def test_its_name_is_that_of_the_folder_or_the_one_given(
    workdir: Path, given: str, name: str | None, found: str
) -> None:
    news.create_project(Path(given), name)
    assert f'name = "{found}"' in Path(given, "pyproject.toml").read_text(encoding="utf-8")
    assert json.loads(Path(given, ".merit-project.json").read_text(encoding="utf-8"))["name"] == found


@pytest.mark.parametrize(("given", "name"), [("9 lives", None), ("shop", "Shop"), ("shop", 'x"\ny'), ("shop", "")])
def test_a_name_that_is_none_is_refused(workdir: Path, given: str, name: str | None) -> None:
    with pytest.raises(MeritError, match=r"--name: found '.*'; allowed: a small letter"):
        news.create_project(Path(given), name)
    assert _left(workdir) == []


@pytest.mark.parametrize("name", ["torch", "merit", "json"])
def test_a_name_of_a_package_is_refused(workdir: Path, name: str) -> None:
    with pytest.raises(MeritError, match=f"--name: found '{name}', which is a Python package's; give another"):
        news.create_project(Path(name))
    assert _left(workdir) == []


def test_the_repository_of_a_hook_is_left_alone(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(workdir / "other.git"))
    assert news.create_project(Path("shop")).commit
    assert _left(workdir) == ["shop"]


def test_a_folder_that_is_not_empty_is_left_alone(workdir: Path) -> None:
    Path("shop").mkdir()
    Path("shop/mine.txt").write_text("mine")
    with pytest.raises(MeritError, match=r"^shop: is not empty; name a folder that is empty or not there yet$"):
        news.create_project(Path("shop"))
    assert _left(workdir / "shop") == ["mine.txt"]


def test_a_file_in_the_way_is_left_alone(workdir: Path) -> None:
    Path("shop").write_text("mine")
    with pytest.raises(MeritError, match=r"^shop: is a file; name a folder"):
        news.create_project(Path("shop"))
    with pytest.raises(MeritError, match=r"^shop/x: 'shop' is a file, no folder; name another place$"):
        news.create_project(Path("shop/x"))
    assert Path("shop").read_text() == "mine"


def test_the_folder_that_one_is_in_is_refused(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^\.: is the folder that you are in; run 'merit new' beside it$"):
        news.create_project(Path())


def test_a_place_that_is_not_ours_is_told(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("merit.artifacts.tempfile.mkdtemp", refuse)
    with pytest.raises(MeritError, match=r"shop: can't be written: Permission denied; free space or fix its perm"):
        news.create_project(Path("shop"))
    assert _left(workdir) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError(["conf"]), OSError(28, "No space left on device")])
def test_nothing_half_made_is_left(workdir: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(**_: object) -> None:
        raise error

    Path("shop").mkdir()
    monkeypatch.setattr(news, "compose", fail)
    with pytest.raises((type(error), MeritError)):
        news.create_project(Path("shop"))
    assert _left(workdir) == ["shop"]
    assert _left(workdir / "shop") == []


def test_without_git_nothing_is_begun(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workdir))
    with pytest.raises(MeritError, match="git: not found on PATH; install it"):
        news.create_project(Path("shop"))
    assert _left(workdir) == []


def test_without_an_identity_the_files_are_staged_and_git_says_why(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COUNT": "1", "KEY_0": "user.useConfigOnly", "VALUE_0": "true"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    made = news.create_project(Path("shop"))
    assert made.commit is None
    assert made.reason == "Git has no user.name and user.email; set them, then 'git commit'"
    staged = _git(workdir / "shop", "status", "--porcelain").splitlines()
    assert len(staged) == made.files
    assert all(line.startswith("A  ") for line in staged)


def test_a_hook_that_refuses_the_commit_leaves_the_files_staged(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = workdir / "template/hooks/pre-commit"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(workdir / "template"))
    made = news.create_project(Path("shop"))
    assert (made.commit, made.reason) == (None, "a hook refused it")
    assert _git(workdir / "shop", "status", "--porcelain").startswith("A  ")


@pytest.mark.parametrize(
    ("direct", "expected"),
    [
        ({"url": "file:///home/a%20b/merit", "dir_info": {"editable": True}}, "/home/a b/merit"),
        ({"url": "file:///x/merit.whl", "archive_info": {}}, "/x/merit.whl"),
        ({"url": "https://example.org/merit.whl", "archive_info": {}}, "merit-ml @ https://example.org/merit.whl"),
        (
            {"url": "https://example.org/merit", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "merit-ml @ git+https://example.org/merit@abc",
        ),
    ],
)
def test_merit_is_installed_from_where_the_running_one_came(direct: dict[str, Any], expected: str) -> None:
    assert news._create_requirement(direct) == expected


@pytest.mark.parametrize(("text", "expected"), [(None, None), ('{"url": "file:///m", "dir_info": {}}', "/m")])
def test_an_installed_merit_says_its_origin_by_what_pip_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, expected: str | None
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return text

    monkeypatch.setattr(news.merit_code, "find_template_root", lambda: tmp_path)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Installed())
    assert news.find_merit_source() == expected
