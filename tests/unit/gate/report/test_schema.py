import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from merit.errors import MeritError
from merit.gate.report import schema as form
from tests.support import reports

Edit = Callable[[dict[str, Any]], object]


def _complaint(text: str) -> str:
    with pytest.raises(MeritError) as caught:
        form.parse_report(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", ["full", "passing", "first", "data_only"])
def test_a_report_is_read_as_it_was_written(name: str) -> None:
    made = getattr(reports, name)()
    assert form.parse_report(json.dumps(made)) == made


def test_what_a_report_lacks_is_filled_in() -> None:
    made = form.parse_report(
        json.dumps({"form": 1, "verdict": "inconclusive", "model": "a", "task": "binary", "checks": []})
    )
    assert (made["scope"], made["metrics"], made["slices"], made["waivers"]) == ("all", None, [], [])


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"a"', "\ud800", "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_report_is_refused_in_a_line(text: str) -> None:
    assert _complaint(text).startswith("the gate's report: ")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda made: made.pop("form"), "form: Field required"),
        (lambda made: made.update(form=3), "form: Input should be 1 or 2, found 3"),
        (lambda made: made.update(verdict="maybe"), "verdict: Input should be 'pass', 'fail' or 'inconclusive'"),
        (lambda made: made.update(script="x"), "script: Extra inputs are not permitted"),
        (lambda made: made.update(model="<script>"), "model: String should match pattern"),
        (lambda made: made.update(model="a\n"), "model: String should match pattern"),
        (lambda made: made["champion"].update(commit="HEAD"), "champion.commit: String should match pattern"),
        (lambda made: made["candidate"].update(digest="sha256:$(id)"), "candidate.digest: String should match pattern"),
        (lambda made: made["checks"][0].update(waived="yes"), "checks.0.waived: Input should be a valid boolean"),
        (lambda made: made["checks"][0].update(found="x" * 2001), "checks.0.found: String should have at most 2000"),
        (lambda made: made["checks"][0].update(rows_needed=-1), "checks.0.rows_needed: Input should be greater"),
        (lambda made: made["checks"][0].update(rows_needed=10**30), "checks.0.rows_needed: "),
        (lambda made: made.update(checks=[made["checks"][0]] * 5001), "checks: List should have at most 5000 items"),
        (lambda made: made.update(slices=[{}]), "slices.0.column: Field required; 2 more faults"),
        (lambda made: made["metrics"].update(candidate=None), "metrics.candidate: Input should be"),
        (lambda made: made["data"]["rows"].update(now=1.5), "data.rows.now: Input should be a valid integer"),
        (lambda made: made["data"]["drift"][0].update(limit=float("inf")), "data.drift.0.limit: "),
        (lambda made: made["data"]["drift"][0].update(limit=float("nan")), "data.drift.0.limit: "),
        (lambda made: made.update({"\u202e\x1b[31m" * 50: 1}), "\ufffd\ufffd[31m"),
    ],
)
def test_what_is_not_of_the_form_is_refused_with_its_place(edit: Edit, told: str) -> None:
    made = reports.full()
    edit(made)
    told_now = _complaint(json.dumps(made))
    assert told_now.startswith(f"the gate's report: {told}")
    assert told_now.isprintable()


@pytest.mark.parametrize(
    ("checks", "problem"),
    [
        ([], "no check passed"),
        (["fail"], "not every check passed"),
        (["pass", "inconclusive"], "not every check passed"),
        (["not applicable", "not applicable"], "no check passed"),
    ],
)
def test_a_verdict_can_not_be_forged(checks: list[str], problem: str) -> None:
    made = reports.full() | {"verdict": "pass", "checks": [reports.check("a", verdict) for verdict in checks]}
    assert f"the verdict is pass, but {problem}" in _complaint(json.dumps(made))


def test_a_report_of_the_former_form_is_read() -> None:
    made = reports.passing() | {"form": 1}
    del made["change"]["dropped"]
    read = form.parse_report(json.dumps(made))
    assert (read["form"], read["verdict"], read["change"]["dropped"]) == (1, "pass", None)


def test_ten_megabytes_are_refused_before_they_are_read() -> None:
    made = reports.full()
    made["checks"][0]["found"] = "x" * 10_000_000
    assert _complaint(json.dumps(made)).startswith("the gate's report holds 10,0")
    assert "allowed: 8,000,000 bytes" in _complaint("é" * 5_000_000)


@pytest.mark.parametrize("name", ["full", "passing", "first", "data_only"])
def test_the_published_schema_takes_what_the_gate_writes(name: str) -> None:
    schema = json.loads(form.render_schema())
    Draft202012Validator.check_schema(schema)
    assert list(Draft202012Validator(schema).iter_errors(getattr(reports, name)())) == []


def test_the_published_schema_refuses_what_the_reader_refuses() -> None:
    made = reports.full() | {"script": "x"}
    assert [error.message for error in Draft202012Validator(json.loads(form.render_schema())).iter_errors(made)] == [
        "Additional properties are not allowed ('script' was unexpected)"
    ]


@pytest.mark.parametrize("name", ["contract", "parity", "replay", "waivers"])
def test_a_report_that_excuses_what_can_not_be_waived_is_refused(name: str) -> None:
    forged = reports.full() | {"verdict": "pass", "checks": [reports.check(name, "fail", waived=True)]}
    with pytest.raises(MeritError, match=f"{name} is waived, but can't be waived"):
        form.parse_report(json.dumps(forged))
