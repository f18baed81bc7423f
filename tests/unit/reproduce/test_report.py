import pytest

from merit.reproduce.compare import StageDifference
from merit.reproduce.report import ReproductionResult

COMMIT = "c" * 40
INGEST, TRAIN = StageDifference("ingest", [], [], []), StageDifference("train", [], [], ["w"])
EVALUATE = StageDifference("evaluate", [], ["w"], ["m"])


def test_what_is_identical_has_a_line_for_each_stage() -> None:
    outcome = ReproductionResult(COMMIT, [INGEST, StageDifference("train", ["src/a.py differs"], [], [])])
    assert outcome.is_identical
    assert list(outcome.format_lines()) == [
        "ingest  identical",
        "train   identical, although src/a.py differs",
        "reproduce: ccccccc is identical, all 2 stages bit for bit",
    ]


def test_a_difference_of_unknown_cause_names_the_first_stage_and_what_else_differs() -> None:
    outcome = ReproductionResult(
        COMMIT,
        [INGEST, TRAIN, EVALUATE],
        content_differences={"w": ["a: differs by up to 1.00e-02"]},
        causes=["processor was A, is B"],
    )
    assert not outcome.is_identical
    as_json = outcome.as_json()
    assert (as_json["identical"], as_json["causes"]) == (False, ["processor was A, is B"])
    assert [each["changed_outputs"] for each in as_json["stages"]] == [[], ["w"], ["m"]]
    assert list(outcome.format_lines()) == [
        "ingest    identical",
        "train     differs: w",
        "            w: a: differs by up to 1.00e-02",
        "evaluate  differs: m, as w does",
        "reproduce: ccccccc differs, first in train: the same went in, so it is code that no stage declares, a "
        "package, or the machine",
        "  processor was A, is B",
    ]


def test_a_difference_of_inputs_names_them_and_no_machine() -> None:
    stage = StageDifference("train", ["params.yaml: seed was 7, is 8"], [], ["w"])
    lines = list(ReproductionResult(COMMIT, [stage], causes=["processor was A, is B"]).format_lines())
    assert lines[-1] == "reproduce: ccccccc differs, first in train: params.yaml: seed was 7, is 8"


def test_many_inputs_are_counted() -> None:
    stage = StageDifference("train", [f"{n} differs" for n in range(7)], [], ["w"])
    assert list(ReproductionResult(COMMIT, [stage]).format_lines())[-1].endswith("4 differs and 2 more")


def test_data_that_is_no_longer_there_is_no_identity() -> None:
    outcome = ReproductionResult(COMMIT, data_change="ingest: data.source: its files are x, params.yaml was made for y")
    assert not outcome.is_identical
    assert list(outcome.format_lines()) == [
        "reproduce: ccccccc differs in what goes in, so nothing was computed: "
        "ingest: data.source: its files are x, params.yaml was made for y"
    ]


@pytest.mark.parametrize(
    ("near", "other", "told"),
    [
        (
            True,
            True,
            "within the tolerance that holds on another kind of processor (25% of each one's interval); it was made on",
        ),
        (False, False, "(25% of each one's interval); but it was made on the same, where all is to be identical"),
        (
            False,
            None,
            "are beyond the tolerance that holds on another kind of processor",
        ),
    ],
)
def test_the_tolerance_between_processors_is_told_and_does_not_make_it_identical(
    near: bool, other: bool | None, told: str
) -> None:
    outcome = ReproductionResult(COMMIT, [TRAIN], is_within_tolerance=near, is_other_processor=other)
    assert not outcome.is_identical
    assert told in list(outcome.format_lines())[-1]
