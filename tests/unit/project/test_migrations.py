import pytest
import yaml

from merit.config.schema import FORMAT_VERSION
from merit.errors import MeritError
from merit.project.migrations import CONFIG, MIGRATIONS, Texts, migrate

BLOCK = """# why this table
target: {name: late}
split: # each part ends with its day
  # the last summer
  train_until: 2024-04-30 # a Tuesday
  validation_until: 2024-05-31
  test_until: 2024-06-30
"""
FLOW = "split: {train_until: 2024-04-30, validation_until: 2024-05-31, test_until: 2024-06-30} # small\n"
GLOBAL = "# @package _global_\ndata:\n    split:\n        train_until: 2024-01-20\n"


def _upgraded(texts: Texts) -> Texts:
    return migrate({CONFIG: "seed: 7\n", **texts}, FORMAT_VERSION)[0]


def test_the_steps_lead_from_the_first_form_to_the_present_one() -> None:
    assert [step.from_form for step in MIGRATIONS] == list(range(1, FORMAT_VERSION))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "conf/data/orders.yaml",
            BLOCK,
            BLOCK.replace("  train_until", "  by: time\n  train_until"),
        ),
        ("conf/data/orders.yaml", FLOW, FLOW.replace("{train", "{by: time, train")),
        ("conf/size/small.yaml", GLOBAL, GLOBAL.replace("train", "by: time\n        train")),
        ("conf/config.yaml", f"form: 1\ndata: {{{FLOW.partition(' #')[0]}}}\n", None),
        (
            "conf/data/dos.yaml",
            FLOW.replace("\n", "\r\n"),
            FLOW.replace("{train", "{by: time, train").replace("\n", "\r\n"),
        ),
        (
            "conf/data/dos.yaml",
            BLOCK.replace("\n", "\r\n"),
            BLOCK.replace("  train_until", "  by: time\n  train_until").replace("\n", "\r\n"),
        ),
    ],
    ids=["block", "flow", "another group", "config.yaml", "flow, CRLF", "block, CRLF"],
)
def test_a_split_by_time_says_so_and_all_else_stays_as_written(path: str, text: str, expected: str | None) -> None:
    found = _upgraded({path: text})[path]
    assert expected is None or found == expected
    values = yaml.safe_load(found)
    split = values.get("split") or values["data"]["split"]
    assert split["by"] == "time"
    assert {key: value for key, value in split.items() if key != "by"} == (
        yaml.safe_load(text).get("split") or yaml.safe_load(text)["data"]["split"]
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("conf/data/a.yaml", "split: {by: time, train_until: 2024-01-20}\n"),
        ("conf/data/a.yaml", "split: {by: random, validation: 0.1, test: 0.1}\n"),
        ("conf/data/a.yaml", "split: null\n"),
        ("conf/data/a.yaml", "time: when\n"),
        ("conf/data/a.yaml", "# nothing yet\n"),
        ("conf/data/a.yaml", "[1, 2]\n"),
        ("conf/model/tree.yaml", "split: {train_until: 3}\n"),
        ("conf/data/a.yaml", "? {a: b}\n: split\n"),
    ],
)
def test_what_is_no_old_split_stays_untouched(path: str, text: str) -> None:
    assert _upgraded({path: text})[path] == text


def test_two_splits_that_are_one_by_an_anchor_are_changed_once() -> None:
    text = "split: &s {train_until: 2024-01-20}\ndata: {split: *s}\n"
    assert _upgraded({"conf/data/a.yaml": text})["conf/data/a.yaml"] == text.replace("{train", "{by: time, train")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# contents\nseed: 7\n", "# contents\nform: 3\nseed: 7\n"),
        ("seed: 7\nform: 1 # old\n", "seed: 7\nform: 3 # old\n"),
        ("{seed: 7}\n", "{form: 3, seed: 7}\n"),
    ],
)
def test_the_new_form_is_written_down(text: str, expected: str) -> None:
    assert migrate({CONFIG: text}, FORMAT_VERSION)[0] == {CONFIG: expected}


def test_a_second_time_changes_nothing() -> None:
    once = _upgraded({"conf/data/orders.yaml": BLOCK, "conf/size/small.yaml": GLOBAL})
    assert migrate(once, FORMAT_VERSION) == (once, [])


def test_a_step_that_was_cut_short_is_finished_and_not_done_twice() -> None:
    whole = _upgraded({"conf/data/a.yaml": FLOW, "conf/data/b.yaml": BLOCK})
    half = {CONFIG: "seed: 7\n", "conf/data/a.yaml": whole["conf/data/a.yaml"], "conf/data/b.yaml": BLOCK}
    assert migrate(half, FORMAT_VERSION)[0] == whole


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {CONFIG: "form: 4\n"},
            "conf/config.yaml: form: found 4, newer than 3, which this merit reads; install a newer merit",
        ),
        ({CONFIG: "a: 1\nform: new\n"}, "conf/config.yaml:2: form: must be a whole number of 1 or more; correct it"),
        ({CONFIG: "form: 0\n"}, "conf/config.yaml:1: form: must be a whole number of 1 or more; correct it"),
        ({CONFIG: "form: [1]\n"}, "conf/config.yaml:1: form: must be a whole number of 1 or more; correct it"),
        ({CONFIG: "# empty\n"}, "conf/config.yaml: holds no key; it is the table of contents of conf/"),
    ],
)
def test_a_conf_that_cannot_be_upgraded_is_refused_in_one_line(texts: Texts, message: str) -> None:
    with pytest.raises(MeritError) as caught:
        migrate(texts, FORMAT_VERSION)
    assert str(caught.value) == message


def test_what_is_not_yaml_is_named() -> None:
    with pytest.raises(MeritError, match=r"^conf/data/a\.yaml: not valid YAML: .*; correct it first$"):
        _upgraded({"conf/data/a.yaml": "split: [\n"})


def test_many_aliases_are_not_expanded() -> None:
    levels = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30))]
    with pytest.raises(MeritError, match=r"^conf/data/a\.yaml: not valid YAML: line 7: more than 500,000 values"):
        _upgraded({"conf/data/a.yaml": "\n".join(levels) + "\n"})


@pytest.mark.parametrize(
    "line", ["_target_: {} # ours", "_target_: '{}'", '"_target_" : "{}"', "model: {{_target_: {}, hidden: [8]}}"]
)
def test_a_network_is_named_by_its_present_module(line: str) -> None:
    before, after = (
        f"# merit.training.networks.MLP\n{line}\n".format(name)
        for name in ("merit.training.networks.MLP", "merit.models.networks.MLP")
    )
    assert _upgraded({"conf/model/own.yaml": before})["conf/model/own.yaml"] == after
