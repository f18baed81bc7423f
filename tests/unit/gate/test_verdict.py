from itertools import product
from math import nan

import pytest

from merit.gate.verdict import (
    Check,
    SampleSize,
    Verdict,
    check_at_least,
    check_at_most,
    check_no_worse_than,
    combine_verdicts,
    estimate_rows_needed,
)
from merit.metrics import Estimate

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 0.6, PASS), (0.51, 0.6, PASS), (0.4, 0.6, INCONCLUSIVE), (0.4, 0.5, INCONCLUSIVE), (0.4, 0.49, FAIL)],
)
def test_an_interval_is_judged_against_a_lower_limit(low: float, high: float, verdict: Verdict) -> None:
    assert check_at_least(Estimate(0.45, low, high), 0.5) is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.4, 0.5, PASS), (0.4, 0.49, PASS), (0.4, 0.6, INCONCLUSIVE), (0.5, 0.6, INCONCLUSIVE), (0.51, 0.6, FAIL)],
)
def test_an_interval_is_judged_against_an_upper_limit(low: float, high: float, verdict: Verdict) -> None:
    assert check_at_most(Estimate(0.45, low, high), 0.5) is verdict


@pytest.mark.parametrize("judge", [check_at_least, check_at_most])
@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (Estimate(nan, nan, nan), 0.5),
        (Estimate(0.9, nan, nan), 0.5),
        (Estimate(0.1, nan, nan), 0.5),
        (Estimate(0.5, 0.4, 0.6), nan),
    ],
)
def test_nan_is_never_a_pass(judge: type, found: Estimate, limit: float) -> None:
    assert judge(found, limit) is INCONCLUSIVE


def test_only_passes_pass() -> None:
    for verdicts in product(Verdict, repeat=3):
        found = combine_verdicts(verdicts)
        expected = FAIL if FAIL in verdicts else INCONCLUSIVE if INCONCLUSIVE in verdicts else PASS
        assert found is (expected if set(verdicts) != {Verdict.NOT_APPLICABLE} else INCONCLUSIVE)


def test_what_is_not_applicable_stands_in_no_way() -> None:
    assert [verdict for verdict in Verdict if verdict.is_blocking] == [FAIL, INCONCLUSIVE]


def test_no_check_at_all_is_no_pass() -> None:
    assert combine_verdicts([]) is INCONCLUSIVE


@pytest.mark.parametrize(
    ("found", "rows"),
    [
        (Estimate(0.55, 0.45, 0.65), 4000),  # four times the rows halve the interval
        (Estimate(0.45, 0.35, 0.55), 4000),
        (Estimate(0.465, 0.365, 0.565), 8200),  # rounded up to two digits
        (Estimate(0.468, 0.368, 0.568), 9800),
        (Estimate(0.469, 0.369, 0.569), None),  # more than ten times the rows
        (Estimate(0.5, 0.4, 0.6), None),  # the value lies on the limit
        (Estimate(0.5 + 1e-9, 0.4, 0.6), None),
        (Estimate(0.6, 0.55, 0.65), None),  # decided already
        (Estimate(nan, nan, nan), None),
        (Estimate(0.6, nan, nan), None),
    ],
)
def test_the_rows_that_would_settle_it_are_told(found: Estimate, rows: int | None) -> None:
    assert estimate_rows_needed(found, 0.5, 1000) == rows


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        (Estimate(0.0, -0.9, 0.9), PASS),  # as far as the margin reaches, the value decides
        (Estimate(0.99, -0.01, 1.99), PASS),
        (Estimate(1.01, 0.01, 2.01), FAIL),
        (Estimate(-1.0, -3.0, 1.0), PASS),  # its bound is within the margin
        (Estimate(0.0, -1.1, 1.1), INCONCLUSIVE),  # the interval reaches further than the margin
        (Estimate(-0.2, -1.3, 1.01), INCONCLUSIVE),
        (Estimate(1.5, -0.1, 3.1), INCONCLUSIVE),
        (Estimate(1.5, 0.1, 2.9), FAIL),  # surely worse, and by more than the margin
        (Estimate(0.9, 0.1, 2.1), INCONCLUSIVE),
        (Estimate(3.0, 2.0, 4.0), FAIL),
        (Estimate(nan, nan, nan), INCONCLUSIVE),
        (Estimate(0.5, nan, nan), INCONCLUSIVE),
        (Estimate(1.5, nan, nan), INCONCLUSIVE),
    ],
)
def test_a_loss_is_judged_at_its_margin_if_the_interval_reaches_no_further(loss: Estimate, verdict: Verdict) -> None:
    assert check_no_worse_than(loss, 1.0) is verdict


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (SampleSize(28_618, 31, "days"), "about 63 days of test rows (31 now)"),
        (SampleSize(28_618, 28_618, "rows"), "about 58,000 test rows"),
    ],
)
def test_a_number_of_rows_is_told_as_the_blocks_that_they_form(size: SampleSize, text: str) -> None:
    assert size.describe_rows(58_000) == text


def test_a_check_counts_and_looks_at_the_model_unless_it_says_otherwise() -> None:
    assert Check("a", PASS, "", "") == Check("a", PASS, "", "", "", group="model", waived=False, rows_needed=None)
