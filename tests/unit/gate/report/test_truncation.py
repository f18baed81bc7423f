import copy
import json
import random
from typing import Any

import pytest

from merit.gate.report import render, sections
from merit.gate.report import schema as form
from merit.gate.report.truncation import truncate_report
from tests.support import reports

SCHEMA = json.loads(form.render_schema())
TEXTS = ["", "a", "é" * 2001, "x" * 9000, "\ud800", "\x00\n|`<b>@a", "😀" * 1500]
NUMBERS = [0.0, -1.0, 0.5, 1.0 + 2**-52, 1e308, float("nan"), float("inf"), -float("inf")]


def _value(draw: random.Random, schema: dict[str, Any], place: str, huge: str | None) -> Any:  # noqa: PLR0911
    """Return what a gate that knows no bounds might put where the form has a schema; one list may be huge."""
    if "$ref" in schema:
        return _value(draw, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], place, huge)
    if "anyOf" in schema:
        return _value(draw, draw.choice(schema["anyOf"]), place, huge)
    if "const" in schema or "enum" in schema:
        return draw.choice(schema.get("enum") or [schema["const"]])
    if "pattern" in schema:
        return "sha256:" + "1" * 64 if "sha256" in schema["pattern"] else "a" * 40
    if "properties" in schema:
        names = [each for each in schema["properties"] if each in schema.get("required", ()) or draw.random() < 0.8]
        return {each: _value(draw, schema["properties"][each], f"{place}.{each}", huge) for each in names}
    size = 5001 if place == huge else draw.choice([0, 1, 3])
    if schema["type"] == "object":
        names = [str(n) for n in range(size)] if size > 3 else draw.sample(TEXTS, size)
        return dict.fromkeys(names, _value(draw, schema["additionalProperties"], f"{place}.", huge))
    if schema["type"] == "array":
        return [_value(draw, schema["items"], f"{place}.", huge)] * size
    if "exclusiveMinimum" in schema:  # conf/ sees to it
        return 0.95
    whole = [0, 1, -1, 2**53, 10**30]
    kinds = {"string": TEXTS, "number": NUMBERS, "integer": whole, "boolean": [False, True], "null": [None]}
    return draw.choice(kinds[schema["type"]])


def _consistent(made: dict[str, Any]) -> dict[str, Any]:
    """Return a report whose verdict follows from its checks, as the gate makes it."""
    for check in made["checks"]:
        check["waived"] = False
    passed = made["checks"] and all(check["verdict"] == "pass" for check in made["checks"])
    return made | {"verdict": "pass" if passed else "fail"}


HUGE = [
    None,
    ".checks",
    ".waivers",
    ".slices",
    ".change.config",
    ".data.categories",
    ".data.target.after",
    ".metrics.candidate",
    ".better",
    ".curves.loss",
]


@pytest.mark.parametrize("seed", range(len(HUGE)))
def test_whatever_a_gate_writes_is_taken_by_the_form_that_reads_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.plots, "draw_plots", lambda task: [])
    draw = random.Random(seed)
    made = _consistent(_value(draw, SCHEMA, "", HUGE[seed % len(HUGE)])) | {"left_out": {}}
    fitted = truncate_report(made)
    text = json.dumps(fitted, indent=2, ensure_ascii=False, allow_nan=False)
    assert form.parse_report(text) == form.validate_report(fitted).model_dump(mode="json", by_alias=True)
    assert render.count_characters(render.render_markdown(fitted)) <= render.MAX_MARKDOWN_CHARS
    assert "</html>" in render.render_html(fitted)


@pytest.mark.parametrize("place", ["slices", "change.config", "change.rules", "data.drift", "data.columns.added"])
def test_a_list_with_too_many_members_is_cut_and_says_by_how_many(place: str) -> None:
    made = reports.full()
    *above, last = place.split(".")
    inside = made
    for name in above:
        inside = inside[name]
    inside[last] = inside[last][:1] * (sections.MAX_ITEMS + 3)
    fitted = truncate_report(made)
    assert form.validate_report(fitted).left_out == {place: 3}
    assert f"{3:,} more" in render.render_markdown(fitted) or place not in {"slices"}


def test_a_report_that_would_be_too_large_to_be_read_is_cut_until_it_is_not() -> None:
    made = truncate_report(reports.wide())
    assert form.parse_report(json.dumps(made, indent=2, ensure_ascii=False)) == made
    assert len(made["checks"]) == len(reports.wide()["checks"])
    assert made["left_out"] == {
        "slices": 3000 - len(made["slices"]),
        "change.config": 2000 - len(made["change"]["config"]),
    }


def test_numbers_that_are_none_are_null_or_left_out_with_their_member() -> None:
    made = reports.full()
    made["metrics"]["candidate"]["roc_auc"]["value"] = float("nan")
    made["data"]["target"]["before"] = {"y" * 3000: 0.5, "n": float("nan")}
    made["curves"]["loss"][1]["train"] = float("inf")
    fitted = truncate_report(made)
    assert fitted["metrics"]["candidate"]["roc_auc"]["value"] is None
    assert fitted["data"]["target"]["before"] == {"y" * (sections.MAX_TEXT_CHARS - 1) + "…": 0.5}
    assert fitted["left_out"] == {"data.target.before": 1, "curves.loss": 1}


def test_of_too_many_checks_those_that_did_not_pass_are_kept() -> None:
    made = reports.full()
    made["checks"] = [reports.check(f"own {n}") for n in range(6000)] + [reports.check("last", "fail")]
    fitted = truncate_report(made)
    assert fitted["checks"][-1]["name"] == "last"
    assert fitted["left_out"] == {"checks": 1001}


def test_what_fits_is_left_as_it_is() -> None:
    made = reports.full()
    assert truncate_report(copy.deepcopy(made)) == made


def test_a_part_of_a_report_is_no_report() -> None:
    with pytest.raises(KeyError, match="config"):
        truncate_report(reports.full()["change"])
