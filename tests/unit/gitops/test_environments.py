"""The files of environments: what they may say, and where they are wrong."""

import pytest

from merit.errors import ConfigError, MeritError
from merit.gitops import environments

WRONG = """version: 3
image: tiny:latest
targt: local
traffic:
  canary: {version: v2, share: 1.5}
demands: {after: production}
"""


def refusal(name="staging") -> str:
    with pytest.raises(ConfigError) as error:
        environments.read(name)
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
            "traffic:\n  canary: {version: v1, share: 0.1}\n",
            "staging.yaml:2: traffic.canary: needs a version beside it",
        ),
        ("version: v1\ndemands: {soak_hours: 2}\n", "staging.yaml:2: demands: soak_hours is the time"),
        ("defaults: [production]\nversion: v1\n", "staging.yaml:1: defaults: an environment builds on no other"),
        ("version: v1\nversion: v2\n", "staging.yaml:2: version: duplicate key"),
        ("version: [\n", "staging.yaml:2: not valid YAML"),
    ],
)
def test_what_makes_no_sense_is_one_line(repository, text, words):
    repository.declare("staging", text)
    assert words in refusal()


def test_an_unknown_environment_names_those_that_there_are(repository):
    with pytest.raises(MeritError, match="did you mean 'production'"):
        environments.read("prodution")
    with pytest.raises(MeritError, match="no name of an environment"):
        environments.read("../staging")


def test_the_shipped_environments_serve_nothing_and_are_whole(conf):
    for name in ("staging", "production"):
        assert environments.read(name).environment.version is None
    assert environments.read("production").environment.demands.after == "staging"
