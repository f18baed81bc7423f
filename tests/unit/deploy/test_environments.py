"""The files of environments: what they may say, and where they are wrong."""

import os
from pathlib import Path

import pytest

from merit.deploy import environments
from merit.errors import ConfigError, MeritError

WRONG = """version: 3
image: tiny:latest
targt: local
traffic:
  canary: {version: v2, share: 1.5}
demands: {after: production}
"""


def refusal(name="staging") -> str:
    with pytest.raises(ConfigError) as error:
        environments.read_environment(name)
    return "\n".join(error.value.problems)


def test_every_fault_of_a_file_is_told_with_its_line(repository):
    repository.declare("staging", WRONG)
    said = refusal()
    for words in (
        "conf/environment/staging.yaml:1",
        "conf/environment/staging.yaml:2",
        "conf/environment/staging.yaml:3",
        "did you mean 'target'?",
        "conf/environment/staging.yaml:5",
        "traffic.canary.share",
        "demands.after",
    ):
        assert words in said


def test_an_image_is_named_by_its_digest(repository):
    repository.declare("staging", "version: v1\nimage: tiny:latest\n")
    assert refusal().startswith("conf/environment/staging.yaml:2: image: found 'tiny:latest'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 3.0.0\n", "staging.yaml:1: version: found '3.0.0'; allowed: such as v3"),
        ("version: null\nimage: t@sha256:" + "0" * 64 + "\n", "staging.yaml:2: image: needs a version beside it"),
        (
            "version: null\ntraffic:\n  canary: {version: v1, share: 0.1}\n",
            "staging.yaml:3: traffic.canary: needs a version beside it",
        ),
        ("version: v1\ndemands: {soak_hours: 2}\n", "staging.yaml:2: demands: soak_hours is the time"),
        (
            "defaults: [production]\nversion: v1\n",
            "staging.yaml:1: defaults: an environment's file can't have defaults",
        ),
        ("version: v1\nversion: v2\n", "staging.yaml:2: version: duplicate key"),
        ("version: [\n", "staging.yaml:2: not valid YAML"),
        ("", "staging.yaml:1: version: missing; allowed: such as v3, or null: nothing runs; add it"),
        ("# nothing\n---\n", "staging.yaml:1: version: missing"),
        ("replicas: 1\nversion: # v3\n", "version: missing; allowed: such as v3, or null"),
        ("{}\n", "staging.yaml:1: version: missing"),
    ],
)
def test_what_makes_no_sense_is_one_line(repository, text, words):
    repository.declare("staging", text)
    assert words in refusal()


@pytest.mark.parametrize("text", ["version: null\n", "version: ~ # nothing\n"])
def test_only_a_null_that_is_written_out_takes_an_environment_down(repository, text):
    repository.declare("staging", text)
    assert environments.read_environment("staging").environment.version is None


def test_an_unknown_environment_names_those_that_there_are(repository):
    with pytest.raises(MeritError, match="did you mean 'production'"):
        environments.read_environment("prodution")
    with pytest.raises(MeritError, match="no name of an environment"):
        environments.read_environment("../staging")


def _links_out(place):
    Path("secret.yaml").write_text("version: s3cret\n")
    place.symlink_to(Path("secret.yaml").absolute())


def _links_beside(place):
    place.symlink_to("production.yaml")


def _links_to_nothing(place):
    place.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (_links_out, "found a link; allowed: a plain file"),
        (_links_beside, "found a link"),
        (_links_to_nothing, "found a link"),
        (Path.mkdir, "found no plain file"),
        (os.mkfifo, "found no plain file"),
    ],
)
def test_what_is_no_plain_file_is_refused_and_not_read(repository, put, said):
    place = Path("conf/environment/staging.yaml")
    place.unlink()
    put(place)
    with pytest.raises(MeritError, match=rf"^conf/environment/staging\.yaml: {said}") as caught:
        environments.read_environment("staging")
    assert "s3cret" not in str(caught.value)


def test_a_folder_of_environments_that_is_a_link_is_refused(repository):
    Path("conf/environment").rename("elsewhere")
    Path("conf/environment").symlink_to(Path("elsewhere").absolute())
    with pytest.raises(MeritError, match="found a link"):
        environments.read_environment("staging")


def test_the_shipped_environments_serve_nothing_and_are_whole(conf):
    for name in ("staging", "production"):
        assert environments.read_environment(name).environment.version is None
    assert environments.read_environment("production").environment.demands.after == "staging"
