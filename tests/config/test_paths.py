"""Where paths of conf/ may lead: into the project, or into a root that pyproject.toml declares."""

from pathlib import Path

import pytest

from merit.config import trusted_paths
from merit.config.components import trusted_packages
from merit.errors import MeritError


@pytest.fixture
def outside(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside the project that holds a file."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "a.csv").write_text("secret\n")
    return folder


@pytest.mark.parametrize("path", ["a.csv", "tables/a.csv", "./a.csv", "not/there.csv", "a..b/c.csv"])
def test_a_path_inside_the_project_is_allowed(workdir: Path, path: str) -> None:
    assert trusted_paths.validate_path(path, "key") == Path(path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../a.csv",
        "a/../../b.csv",
        "a/../b.csv",
        "~/a.csv",
        "~root/a",
        "/proc/self/environ",
        "",
        "a\0b",
        "a\nb",
    ],
)
def test_a_path_that_leads_out_is_refused(workdir: Path, path: str) -> None:
    with pytest.raises(MeritError, match=r"^key: found path .*allowed: a path inside the project") as caught:
        trusted_paths.validate_path(path, "key")
    assert "\n" not in str(caught.value)


def test_an_absolute_path_into_the_project_is_refused_for_others_have_it_elsewhere(workdir: Path) -> None:
    with pytest.raises(MeritError, match="found path"):
        trusted_paths.validate_path(str(workdir.resolve() / "a.csv"), "key")


@pytest.mark.parametrize("link", ["a.csv", "tables"])
def test_a_link_that_leads_out_is_refused(outside: Path, link: str) -> None:
    Path(link).symlink_to(outside / "a.csv" if link == "a.csv" else outside)
    path = link if link == "a.csv" else "tables/a.csv"
    with pytest.raises(MeritError, match=f"key: found path '{path}', which leads to '{outside.resolve()}/a.csv'"):
        trusted_paths.validate_path(path, "key")


def test_a_link_within_the_project_and_into_the_cache_of_dvc_is_allowed(workdir: Path) -> None:
    Path("b.csv").symlink_to("a.csv")
    Path("c.csv").symlink_to(".dvc/cache/files/md5/ab/cdef")
    assert trusted_paths.find_path_error("b.csv") is None
    assert trusted_paths.find_path_error("c.csv") is None


@pytest.mark.parametrize("path", [".env", ".git/config", ".dvc/config.local", "a/.hidden/b.csv", ".dvc/cachex/a"])
@pytest.mark.parametrize("way", ["itself", "by a link"])
def test_what_is_hidden_is_no_data(workdir: Path, path: str, way: str) -> None:
    if way == "by a link":
        Path("link.csv").symlink_to(path)
    with pytest.raises(MeritError, match="which is hidden or in a hidden folder"):
        trusted_paths.validate_path("link.csv" if way == "by a link" else path, "key")


@pytest.mark.parametrize("relative", [False, True])
def test_a_declared_root_may_be_used_and_nothing_beside_it(outside: Path, relative: bool) -> None:
    root = f"../../{outside.relative_to(Path.cwd().parents[1])}" if relative else str(outside)
    Path("pyproject.toml").write_text(f"[tool.merit]\nroots = ['{root}']\n")
    Path("a.csv").symlink_to(outside / "a.csv")
    assert trusted_paths.find_path_error(f"{root}/a.csv") is None
    assert trusted_paths.find_path_error("a.csv") is None
    assert trusted_paths.find_path_error(f"{root}x/a.csv") is not None
    assert trusted_paths.find_path_error(f"{root}/../a.csv") is not None
    (outside / "passwd").symlink_to("/etc/passwd")
    assert trusted_paths.find_path_error(f"{root}/passwd") is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [("roots = '/srv'", "found '/srv'; it must be a list"), ("roots = [1]", "found 1; name folders"),
     ("roots = ['']", "found ''; name folders"), ("root = ['/srv']", "root: unknown key; allowed: trusted, roots")],
)  # fmt: skip
def test_roots_that_are_none_are_told(workdir: Path, text: str, says: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.merit]\n{text}\n")
    with pytest.raises(MeritError, match=says):
        trusted_packages.list_roots()
