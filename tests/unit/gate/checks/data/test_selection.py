from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from merit.config.schema import Lock
from merit.gate.checks.data.selection import judge_selection
from merit.gate.verdict import Check, Verdict


@pytest.fixture
def judge(make_lock: Callable[..., Lock]) -> Callable[..., list[Check]]:
    """Judge a filter and a query of data whose target is `delay >= 15`."""

    def run(filter: str | None, query: str | None = None) -> list[Check]:  # the key's name
        def edit(values: dict[str, Any]) -> None:
            values["data"].update(filter=filter)
            values["data"]["target"].update(sql="delay >= 15")
            if query is not None:
                values["data"].update(
                    source={"_target_": "merit.data.sources.Sql", "url": "sqlite:///shop.db", "query": query}
                )

        evidence: Any = SimpleNamespace(lock=make_lock(edit))
        return judge_selection(evidence).checks

    return run


@pytest.mark.parametrize(
    ("filter", "query", "verdict"),
    [
        ("delay IS NOT NULL AND weight > 0", None, Verdict.PASS),
        ("delay NOT BETWEEN 12 AND 17", None, Verdict.FAIL),
        (None, "SELECT * FROM f WHERE delay IS NOT NULL", Verdict.PASS),
        (None, "SELECT * FROM f WHERE delay < 12", Verdict.FAIL),
        ("chosen", "SELECT *, delay < 12 AS chosen FROM f", Verdict.FAIL),
        ("delay IS NOT NULL", "SELECT CASE WHEN d < 12 THEN d END AS delay FROM f", Verdict.FAIL),
        ("delay IS NOT NULL", "SELECT actual - planned AS delay FROM f", Verdict.PASS),
        ("actual > 3", "SELECT *, actual - planned AS delay FROM f", Verdict.FAIL),
        (None, "SELECT (delay FROM f", Verdict.INCONCLUSIVE),
    ],
)
def test_rows_are_not_selected_by_the_outcome(
    judge: Callable[..., list[Check]],
    filter: str | None,
    query: str | None,
    verdict: Verdict,
) -> None:
    (check,) = judge(filter, query)
    assert (check.name, check.verdict) == ("data: filter", verdict)
    if verdict is Verdict.FAIL:
        assert "looks at" in check.found or "asks whether" in check.found


def test_without_a_filter_or_a_query_there_is_no_check(judge: Callable[..., list[Check]]) -> None:
    assert judge(None) == []
