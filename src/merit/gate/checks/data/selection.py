"""Selection check: neither data.filter nor the source's query selects rows by their outcome.

Rows chosen by their outcome make a problem that is easier than the real one, or another: whoever asks for a prediction
doesn't know the outcome. Whether it is known at all may be asked.
"""

from collections.abc import Collection

from merit.config.schema.data import Data
from merit.database.row_selection import list_examined_names, list_outcome_names
from merit.expression import list_columns
from merit.expression.selection import list_examined_columns
from merit.gate.checks.data.evidence import DataEvidence
from merit.gate.checks.data.findings import Findings, build_check, format_worst
from merit.gate.checks.protocol import DataFamily

NAME = "filter"
ALLOWED = "of the target's columns only whether they are known (IS NOT NULL)"
ADVICE = (
    "select rows by what is known before the outcome; if rows of such an outcome are no examples at all, waive this "
    "check with the reason"
)


def judge_selection(evidence: DataEvidence) -> Findings:
    """Return the check of data.filter and of the source's query; none if there is neither."""
    data = evidence.lock.data
    query = data.source.arguments.get("query")
    if data.filter is None and not isinstance(query, str):
        return Findings([])
    outcome = list_columns(data.target.sql)
    try:
        found = _examine_filter(data, query if isinstance(query, str) else "", outcome)
        found += [f"the query looks at {name}" for name in list_examined_names(query or "", outcome)]
    except ValueError as error:
        return Findings([build_check(NAME, None, f"data.source.query can't be read: {error}", ALLOWED, ADVICE)])
    text = format_worst(found) or "nothing selects rows by the outcome"
    return Findings([build_check(NAME, not found, text, ALLOWED, ADVICE)])


def _examine_filter(data: Data, query: str, outcome: Collection[str]) -> list[str]:
    """Return what data.filter does that it may not, under the names that the query gives to the outcome."""
    if data.filter is None:
        return []
    plain, derived = list_outcome_names(query, outcome)
    examined = list_examined_columns(data.filter, {*plain, *derived, *outcome}, data.target.classes or ())
    chosen = [name for name in list_columns(data.filter) if name.lower() in derived and name not in examined]
    lines = [f"data.filter looks at {name}" for name in examined]
    return lines + [f"data.filter asks whether {name} is known, which the query decides" for name in chosen]


FAMILY = DataFamily(25, judge_selection)
