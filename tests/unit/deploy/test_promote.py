"""promote: two values are written, and not a byte else."""

import pytest

from merit.deploy.promote import list_next_commands, promote
from merit.errors import MeritError
from tests.unit.deploy.conftest import IMAGE

FILE = """# what it serves
version:   null   # the version
# its image
image: null
replicas: 2 # two
traffic: {canary: null,   shadow: null}
"""


def test_version_and_image_are_written_and_everything_else_stays(repository, lock):
    repository.declare("staging", f"version: v2\nimage: {IMAGE}\n")
    path = repository.declare("production", FILE)
    made = promote("staging", "production", lock)
    expected = FILE.replace("version:   null", "version:   v2").replace("image: null", f"image: {IMAGE}")
    assert path.read_text() == expected
    assert made.changes == {"version": (None, "v2"), "image": (None, IMAGE)}
    assert promote("staging", "production", lock).changes == {}


def test_what_follows_is_a_pull_request_where_there_is_an_origin_and_an_apply_where_there_is_none(repository, lock):
    made = promote("v2", "staging", lock)
    commit = "git commit --message 'staging: v2' conf/environment/staging.yaml"
    assert list_next_commands(made) == ["merit plan staging", commit, "merit apply staging"]
    repository.git("switch", "--quiet", "--create", "branch")
    assert list_next_commands(made)[2:] == ["git switch main && git merge branch", "merit apply staging"]
    repository.git("remote", "add", "origin", "gone")
    push = "git push --set-upstream origin staging-v2"
    assert list_next_commands(made) == ["merit plan staging", f"git switch --create staging-v2 && {commit}", push]


@pytest.mark.parametrize("start", ["version: null\r\nimage: null\r\n", "version: v1\r\n", "version:\r\n"])
def test_the_line_ends_of_windows_stay(repository, lock, start):
    repository.release(2)
    rest = "# how many\r\nreplicas: 2\r\n"
    path = repository.declare("staging", "version: null\n")
    path.write_bytes(f"{start}{rest}".encode())
    promote("v2", "staging", lock)
    written = path.read_bytes().decode()
    assert written.endswith(rest)
    assert "version: v2\r\n" in written
    assert f"image: {IMAGE}\r\n" in written
    assert written.count("\n") == written.count("\r\n") == 4


@pytest.mark.parametrize("text", ["version:\nreplicas: 2\n", "replicas: 2\n", "", "# nothing\n"])
def test_what_the_file_does_not_say_yet_is_added(repository, lock, text):
    path = repository.declare("staging", text)
    promote("v2", "staging", lock)
    assert "version: v2" in path.read_text()
    assert ("replicas: 2" in path.read_text()) == ("replicas" in text)


@pytest.mark.parametrize("target", ["kubernetes", "local"])
def test_a_version_brings_its_image(repository, lock, target):
    repository.release(2)
    path = repository.declare("staging", f"version: null\ntarget: {target}\n")
    promote("tiny@v2", "staging", lock)
    assert path.read_text() == f"image: {IMAGE}\nversion: v2\ntarget: {target}\n"


def test_an_image_that_was_made_since_comes_along(repository, lock):
    repository.declare("staging", "version: v2\n")
    repository.release(2)
    path = repository.declare("production", "version: null\nimage: null\ntarget: kubernetes\n")
    promote("staging", "production", lock)
    assert path.read_text() == f"version: v2\nimage: {IMAGE}\ntarget: kubernetes\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("v9", "tiny@v9"),
        ("other@v1", "no version of tiny"),
        ("stagin", "did you mean 'staging'"),
        ("staging", "nothing to promote"),
    ],
)
def test_what_can_not_be_promoted_is_one_line(repository, lock, source, words):
    with pytest.raises(MeritError, match=words):
        promote(source, "production", lock)
