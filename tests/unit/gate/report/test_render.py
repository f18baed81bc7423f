import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from merit import artifacts
from merit.errors import MeritError
from merit.gate.report import plots, render, schema, terminal, wording
from merit.gate.report.sections import Estimate
from merit.gate.report.truncation import truncate_report
from tests.support import reports

EVIL = "<script>alert(1)</script> | a\nb @team #12 https://evil.example `c` [d](e) \u202e<!--"
COMMENT = 65_536  # characters in a comment on GitHub
EVERY = ["full", "passing", "first", "data_only", "wide"]


@pytest.fixture
def curves(workdir: Path) -> None:
    """The curves that `evaluate` and `train` leave behind."""
    reports.curves()


def _made(name: str) -> dict[str, Any]:
    return getattr(reports, name)()


def _page(text: str) -> str:
    """Return Markdown as GitHub's dialect makes HTML of it, before it takes out what is dangerous."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


def _tables(text: str) -> list[str]:
    return re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)


def test_the_first_lines_say_the_verdict_why_and_what_to_do() -> None:
    heading, _, todo = render.render_markdown(reports.full()).splitlines()[:3]
    assert heading == (
        "## ❌ merit: fail – <code>flights</code> may not merge: 3 of 13 checks failed, 1 could not decide"  # noqa: RUF001
    )
    assert todo.startswith("**data: drift**: 2 of 29 features: visib has nothing to compare, temp 0.41; allowed: ")
    assert "**What to do:** see whether a unit, a column or the source changed" in todo
    assert todo.endswith(" 3 more below.")


def test_weakened_rules_and_waivers_stand_before_all_else() -> None:
    text = render.render_markdown(reports.full())
    top = text[: text.index("###")]
    assert "> **1 of the gate's rules is weaker here than at <code>aaaaaaa</code>:**" in top
    assert "> - <code>gate.floors.roc&#95;auc</code>: <code>0.64</code> → <code>0.62</code>" in top
    assert "> - <code>data: missing</code> until 2027-01-15: the registry of planes moved" in top
    assert "(expired, so it counts no more)" in top
    assert "> **1 location changes: where data comes from, or where runs, logs and answers go:**" in top
    assert re.search("> - <code>tracking.uri</code>: <code>sqlite.*mlflow.db</code> → <code>http.*:5000</code>", top)
    assert "gate.calibration" not in top  # stricter than before
    assert "gate.waivers" not in top  # told by its reason


def test_the_parts_stand_in_the_order_in_which_a_reviewer_asks() -> None:
    text = render.render_markdown(reports.full())
    titles = [
        "What changes in the configuration",
        "What changes in the project's code",
        "What changes in the data",
        "How good it is",
        "Slices",
        "Slices that nobody declared",
        "Checks",
    ]
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == titles


@pytest.mark.parametrize(
    "line",
    [
        "| <code>model.hidden</code> | <code>&#91;128, 128&#93;</code> | <code>&#91;256, 256&#93;</code> |",
        "| <code>data.columns.gust.type</code> | <code>number</code> | gone |",
        "| <code>data.columns.precip&#95;6h.type</code> | not there | <code>number</code> |",
        "273,355 rows, 246,017 before: **+27,512** added, **−174** gone, **2,031** changed. "  # noqa: RUF001
        "**7** duplicate another row.",
        "Positive: 25.34% before, 25.11% here.",
        "| <code>gust</code> | there | gone |",
        "| <code>seats</code> | Int64 | Float64 |",
        "| <code>plane&#95;age</code> | 16.4% missing | 31.2% missing |",
        "4 new in 11 rows: <code>LEX</code>, <code>SBN</code>, <code>3</code>, <code>missing</code> |",
        "<summary>Drift: 2 of 6 columns are beyond their limit</summary>",
        "| ❌ | <code>temp</code> | 0.4100 | 0.3 | <code>██████████│████░░░░░░</code> |",
        "| roc&#95;auc ↑ | 🔴 worse | 0.6766 [0.6666, 0.6866] | 0.6887 | -0.0121 [-0.0178, -0.0064] |",
        "| brier ↓ | ⚪ no clear difference |",
        "| calibration&#95;error ↓ | 🟢 better |",
        "| carrier = 0 | 4,000 | -0.0300 [-0.0420, -0.0150] | <code>·├─●───┤··│··········</code> | 🔴 worse ⚠️ |",
        "8 of 24 are clearly worse, 6 clearly better; 2 more have too few rows.",
        "- **champion: log&#95;loss**: the interval lies on both sides of the limit: judge on more test rows "
        "(about 52,000 test rows would settle it)",
        "<summary>✅ 8 passed</summary>",
        "with uncommitted changes",
    ],
)
def test_the_markdown_tells(line: str) -> None:
    assert line in render.render_markdown(reports.full())


@pytest.mark.parametrize(
    ("name", "text"),
    [*((name, None) for name in EVERY), *(("full", text) for text in [EVIL, "a\\|b", "x" * 5000, ""]), ("wide", EVIL)],
    ids=[*EVERY, "evil", "bar", "long", "empty", "wide and evil"],
)
def test_every_row_of_a_table_has_as_many_cells(name: str, text: str | None) -> None:
    made = _made(name)
    if text is not None:
        made = truncate_report(reports.spoiled(made, text))
    for table in _tables(render.render_markdown(made)):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@pytest.mark.parametrize("text", [EVIL, "&#64;team", "a" * 3000, "\\", "`", "*_~", "|"])
def test_nothing_from_data_or_yaml_becomes_mark_up(text: str) -> None:
    plain = _page(render.render_markdown(reports.full()))
    spoiled = _page(render.render_markdown(truncate_report(reports.spoiled(reports.full(), text))))
    assert set(re.findall(r"<(/?\w+)", spoiled)) <= set(re.findall(r"<(/?\w+)", plain))
    assert "<a " not in spoiled
    assert "<!--" not in spoiled
    assert not re.search(r"[@#]\w", re.sub(r"&#\w+;", "", re.sub(r"<[^>]*>", "", spoiled)))
    assert "://" not in spoiled
    assert "\u202e" not in spoiled


@pytest.mark.parametrize("name", EVERY)
def test_the_markdown_fits_in_a_comment(name: str) -> None:
    assert render.count_characters(render.render_markdown(_made(name))) <= render.MAX_MARKDOWN_CHARS < COMMENT


@pytest.mark.parametrize("text", ["😀" * 2000, "@" * 2000, "&" * 2000, "x" * 2000])
def test_the_markdown_fits_whatever_texts_it_holds(text: str) -> None:
    assert (
        render.count_characters(render.render_markdown(reports.spoiled(reports.wide(), text)))
        <= render.MAX_MARKDOWN_CHARS
    )


def test_what_is_left_out_is_said_and_the_least_important_goes_first() -> None:
    text = render.render_markdown(reports.wide())
    assert "**Left out, because a comment has limited space:** part of the slices, the checks that passed," in text
    assert "more slices in the HTML report" in text
    assert "### What changes in the configuration" in text
    assert "> - <code>gate.floors.a&#95;very" in text
    assert "Left out" not in render.render_markdown(reports.full())


def test_without_a_champion_nothing_is_compared() -> None:
    text = render.render_markdown(reports.first())
    assert "No champion yet." in text
    assert "### The data" in text
    assert "What changes" not in text
    assert "| metric | candidate | gradient boosting |" in text
    assert "2 slices have too few rows to be measured." in text


def test_both_forms_say_on_which_test_rows_the_champion_was_compared_and_how_often_they_were_asked(
    curves: None,
) -> None:
    made = reports.full()
    texts = [render.render_markdown(made), render.render_html(made)]
    said = "Compared with it on 12,004 of 26,218 test rows (2013-10-16 to 2013-10-31): it has seen the others in"
    assert all(said in text.replace("\\", "") for text in texts)
    asked = "17 candidates were judged on these test rows (counted in MLflow and Git)."
    assert all(asked in text.replace("\\", "") for text in texts)
    for unseen in (None, {"rows": 26_218, "from": None, "to": None}):
        made["test_rows"]["unseen"] = unseen
        assert "Compared with it" not in render.render_markdown(made)


def test_data_that_is_the_champions_own_is_told_in_a_line() -> None:
    made = reports.full()
    made["data"] |= {"identical": True, "missing": [], "categories": [], "drift": [], "columns": None}
    assert "Nothing: it is the champion's, bit for bit (273,355 rows)." in render.render_markdown(made)


def test_the_columns_and_slices_that_changed_most_are_named(curves: None) -> None:
    markdown, html = render.render_markdown(reports.full()), render.render_html(reports.full())
    assert "Columns that changed: <code>temp</code> in 2,019 rows, <code>late</code> in 12 rows." in markdown
    assert "Changed most: <code>carrier B6</code> 12 of 43,170 relabelled." in markdown
    assert "Changed most: <code>carrier B6</code> 12 of 43,170 relabelled." in html


def test_a_report_on_the_data_alone_never_says_that_a_model_may_merge() -> None:
    made = reports.data_only()
    text = render.render_markdown(made)
    assert "the data may not be trained on: 2 of 5 checks failed" in text
    for title in ("How good it is", "Slices", "Curves"):
        assert title not in text
    made |= {"verdict": "pass", "checks": [made["checks"][0]]}
    assert "the data may be trained on: 1 check passed" in render.render_markdown(made)


@pytest.mark.parametrize(
    "absent", ["parts", "test_rows", "metrics", "champion", "data", "change", "curves", "candidate", "confidence"]
)
def test_what_was_not_judged_may_be_null_in_every_form(
    curves: None, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = reports.full() | {absent: None}
    assert "merit: fail" in render.render_markdown(made)
    assert "<h1>flights: <span>fail</span></h1>" in render.render_html(made)
    assert "<p>1 location changes: where data comes from" in render.render_html(reports.full())
    terminal.print_report(made)
    assert "verdict: fail" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verdicts", "verdict", "text"),
    [
        (["pass", "pass"], "pass", "may merge: 2 checks passed"),
        (["pass", "waived"], "pass", "may merge: 2 checks passed, 1 of them by a waiver"),
        (["fail", "pass"], "fail", "may not merge: 1 of 2 checks failed"),
        (["fail", "inconclusive"], "fail", "may not merge: 1 of 2 checks failed, 1 could not decide"),
        (["inconclusive", "pass"], "inconclusive", "may not merge: 1 of 2 checks could not decide"),
        ([], "inconclusive", "may not merge: no check was run"),
    ],
)
def test_each_verdict_has_its_words(verdicts: list[str], verdict: str, text: str) -> None:
    checks = [
        reports.check(str(n), "fail" if v == "waived" else v, waived=v == "waived") for n, v in enumerate(verdicts)
    ]
    assert (
        wording.summarize_verdict(schema.validate_report(reports.full() | {"verdict": verdict, "checks": checks}))
        == text
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"value": 0.5, "low": 0.4, "high": 0.6}, "0.5000 [0.4000, 0.6000]"),
        ({"value": 0.5, "low": None, "high": None}, "0.5000"),
        ({"value": None, "low": None, "high": None}, "none"),
    ],
)
def test_a_value_is_shown_with_its_interval_if_it_has_one(found: dict[str, Any], text: str) -> None:
    made = reports.full()
    made["metrics"]["candidate"]["roc_auc"] = found
    assert wording.format_interval(schema.validate_report(made).metrics.candidate["roc_auc"]) == text
    assert f"| {text} |" in render.render_markdown(made)


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [
        (0.1, 0.2, "higher", wording.BETTER),
        (0.1, 0.2, "lower", wording.WORSE),
        (-0.2, -0.1, "higher", wording.WORSE),
        (-0.2, -0.1, "lower", wording.BETTER),
        (-0.1, 0.1, "higher", wording.UNCLEAR),
        (0.0, 0.1, "higher", wording.UNCLEAR),
        (None, None, "higher", None),
        (0.1, 0.2, None, None),
    ],
)
def test_a_difference_is_clear_only_if_its_interval_is_on_one_side(
    low: float | None, high: float | None, better: str | None, said: str | None
) -> None:
    assert wording.classify_trend(Estimate(value=0.1, low=low, high=high), better) == said


def test_charts_are_in_words_that_mermaid_reads() -> None:
    text = render.render_markdown(reports.full())
    charts = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        first, *rest = chart.splitlines()
        assert first == "xychart-beta"
        kinds = [line.split()[0] for line in rest]
        assert kinds == ["title", "x-axis", "y-axis", "bar", "line"]
        numbers = [re.findall(r"-?[\d.]+(?:e[+-]\d+)?", line.partition("[")[2]) for line in rest]
        assert len({len(found) for found in (numbers[1], numbers[3], numbers[4])}) == 1
        assert "e-" not in "".join(rest[2:])  # Mermaid knows no exponents


def test_very_small_numbers_in_a_chart_have_no_exponent() -> None:
    made = reports.full()
    made["curves"]["loss"] = [{"train": 1.5e-7 * n, "validation": 2.5e9 * n} for n in range(3)]
    assert "line [0, 0.00000015, 0.0000003]" in render.render_markdown(made)


def test_the_page_needs_nothing_from_anywhere_else(curves: None) -> None:
    page = render.render_html(reports.full())
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "<link" not in page
    assert "<img" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"url\((?!#)|@import", page)


def test_the_page_holds_a_drawing_per_curve_in_the_colours_of_the_page(curves: None) -> None:
    page = render.render_html(reports.full())
    assert page.count("<svg") == page.count("</svg>")
    for title in ("ROC", "Precision and recall", "Calibration", "Loss by epoch"):
        assert f'aria-label="{title}"' in page
    assert "var(--candidate)" in page
    assert plots.CANDIDATE not in page


def test_the_page_draws_an_interval_per_metric_and_slice_and_a_bar_per_column(curves: None) -> None:
    page = render.render_html(reports.full())
    strips = '<td class="(worse|better|unclear)"><svg class="strip "'
    said = [found[0] for found in re.finditer(strips, page)]
    assert len(said) == 5 + 10 + 24  # metrics, what moved most, all slices
    assert sum("worse" in each for each in said) == 2 + 5 + 8
    assert page.count('<svg class="strip worse"') == 2  # columns that drifted
    assert page.count('class="filled"') == 6
    assert render.render_html(reports.first()).count('<svg class="strip ') == 24  # each slice beside all rows


def test_the_pages_links_lead_to_its_parts(curves: None) -> None:
    for name in EVERY[:4]:
        page = render.render_html(_made(name))
        for place in re.findall(r'href="#(\w+)"', page):
            assert f'id="{place}"' in page


def test_the_page_escapes_what_comes_from_data(curves: None) -> None:
    page = render.render_html(reports.spoiled(reports.full(), EVIL))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<!--" not in page
    assert "\u202e" not in page


def test_the_same_report_is_the_same_page(curves: None) -> None:
    assert render.render_html(reports.full()) == render.render_html(copy.deepcopy(reports.full()))


def test_a_page_without_its_curves_says_what_makes_them(workdir: Path) -> None:
    with pytest.raises(MeritError, match="'merit evaluate' makes it"):
        render.render_html(reports.full())
    assert render.render_html(reports.data_only())


def test_the_report_is_written_in_three_forms_that_can_be_read_back(curves: None) -> None:
    made = render.write_report(reports.full())
    assert schema.parse_report(artifacts.GATE_REPORT.read_text(encoding="utf-8")) == made == reports.full()
    assert artifacts.GATE_MARKDOWN.read_text(encoding="utf-8") == render.render_markdown(made)
    assert artifacts.GATE_HTML.read_text(encoding="utf-8") == render.render_html(made)


def test_a_report_that_is_none_is_not_written(curves: None) -> None:
    with pytest.raises(MeritError, match="the gate's report: verdict"):
        render.write_report(reports.full() | {"verdict": "maybe"})
    assert not artifacts.GATE_REPORT.exists()


def test_the_markdown_of_a_strangers_report_needs_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from merit.gate.report import render, schema\n"
        "render.render_markdown(schema.parse_report(sys.stdin.read()))\n"
        "heavy = 'polars numpy pandas matplotlib torch mlflow dvc hydra onnxruntime yaml rich'\n"
        "print(json.dumps(sorted(set(heavy.split()) & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(reports.full()), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_the_terminal_is_short_and_shows_the_verdict_and_what_stands_in_the_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = reports.full()
    made["checks"][2]["found"] = "[bold]9[/] MB \x1b[31m"
    made["waivers"][0]["reason"] = "[red]agreed[/]"
    terminal.print_report(made)
    shown = capsys.readouterr().out
    for line in (
        "flights: EmbeddingMLP trained on 217,727 rows to 2013-08-31",
        "verdict: fail: may not merge: 3 of 13 checks failed, 1 could not decide",
        "weaker:  gate.floors.roc_auc: 0.64 → 0.62",
        "location: tracking.uri: sqlite:///mlflow.db → http://10.0.0.1:5000",
        "waiver:  data: missing until 2027-01-15: [red]agreed[/]",
        "waiver:  size until 2026-10-01 (expired): ",
        "-0.0121 [-0.0178, -0.0064]",
        "no clear",
        "fail (waived)",
        "[bold]9[/] MB \ufffd[31m",
        "reports/gate.html",
    ):
        assert line in shown


def test_intervals_stand_on_one_line_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    made = reports.full()
    for name in ("candidate", "baseline"):
        made["metrics"][name]["average_precision"] = {"value": 0.3363, "low": 0.3233, "high": 0.3494}
    made["metrics"]["difference"]["average_precision"] = {"value": 0.0003, "low": -0.0011, "high": 0.0017}
    terminal.print_report(made)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "average_precision" in line)
    assert line.count("0.3363 [0.3233, 0.3494]") == 2
    assert "+0.0003 [-0.0011, +0.0017]" in line
    assert "no clear" in line


def test_another_name_is_said_loudly_and_in_place_of_the_rules_of_the_other_model(
    capsys: pytest.CaptureFixture[str], curves: None
) -> None:
    made = reports.full()
    made["change"]["dropped"] = "w<b>"
    terminal.print_report(made)
    assert "renamed:" not in capsys.readouterr().out  # there is a champion
    made["champion"] = None
    terminal.print_report(made)
    shown = capsys.readouterr().out
    assert "renamed: this is no longer w<b>: it has no champion, and no rule is compared" in shown
    assert "weaker:" not in shown.partition("verdict:")[0].rpartition("└")[2]
    top = render.render_markdown(made).partition("###")[0]
    assert "another name than <code>w&#60;b&#62;</code>: it has no champion, and no rule is compared" in top
    assert "another name than <code>w&lt;b&gt;</code>: it has no champion" in render.render_html(made)


def test_more_rows_are_asked_for_where_they_would_decide_and_nowhere_else() -> None:
    assert terminal.suggest_next_step(reports.full()) == "change conf/ and 'merit run' again"
    checks = [reports.check(f"[{n}]", "inconclusive", rows_needed=4200 if n == 1 else None) for n in range(1, 6)]
    made = reports.full() | {"checks": [reports.check("size"), *checks], "verdict": "inconclusive"}
    assert terminal.suggest_next_step(made) == (
        "more test rows would decide [1] (about 4,200): more data, or a larger test part; "
        "the table says what to do about [2], [3], [4] and 1 more; then 'merit run' again"
    )
    undecided = made | {"checks": checks[1:3]}
    assert terminal.suggest_next_step(undecided) == "the table says what to do about [2], [3]; then 'merit run' again"


def test_the_terminal_tells_many_checks_of_a_kind_that_passed_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    many = [reports.check(f"clock: {name}", found="0.5 s") for name in ("sun", "sand", "water")]
    two = [reports.check(f"lamp: {name}", found="0.7 W") for name in ("oil", "gas")]
    terminal.print_report(
        reports.full() | {"checks": [*many, *two, reports.check("clock: candle", "fail")], "verdict": "fail"}
    )
    shown = capsys.readouterr().out
    for line in ("clock: 3 checks", "sun; sand; water", "lamp: oil", "lamp: gas", "clock: candle"):
        assert line in shown
    assert "0.5 s" not in shown
    assert "0.7 W" in shown


@pytest.mark.usefixtures("curves")
def test_no_column_of_the_page_is_hidden_on_a_narrow_screen_and_each_names_itself_there() -> None:
    page = render.render_html(reports.full())
    style = re.sub(r"\s+", " ", page[: page.index("</style>")])
    hidden = re.findall(r"([^{}]*)\{[^{}]*display: none", style)
    assert [each.split(";")[-1].strip() for each in hidden] == ["table.cards th", "table.cards td:empty", "nav"]
    rows = re.findall(r'<table class="cards">.*?</table>', page, re.DOTALL)
    assert len(rows) > 3
    for table in rows:
        titles = {each for each in re.findall(r"<th[^>]*>([^<]+)</th>", table)[1:] if each != "check"}
        assert all(f'title="{each}' in table or each.startswith("difference in") for each in titles), titles


def test_what_is_not_applicable_is_grey_and_no_pass(curves: None, capsys: pytest.CaptureFixture[str]) -> None:
    made = reports.first()
    passed = sum(check["verdict"] == "pass" for check in made["checks"])
    summary = f"may merge: {passed} checks passed; 1 not applicable"
    text, page = render.render_markdown(made), render.render_html(made)
    assert summary in text.partition("###")[0]
    assert f"✅ {passed} passed" in text
    assert "⚪ 1 not applicable: nothing to compare with" in text
    assert "| ⚪ | champion | no champion yet | nothing to compare with |" in text
    assert '<tr class="not-applicable"><td class="verdict not-applicable">not applicable</td><td>champion</td>' in page
    assert f"{passed} passed, 1 not applicable, 0 waived, 0 stand in the way" in page
    terminal.print_report(made)
    assert summary in capsys.readouterr().out


def test_code_is_shown_as_a_difference_with_its_spaces_and_nothing_of_it_is_alive(curves: None) -> None:
    made = reports.full()
    made["change"]["code"][0]["lines"] = ["@@ -1 +1 @@", "-    return 1", "+\treturn '</pre><b>@team` \u202e'"]
    text, page = render.render_markdown(made), render.render_html(made)
    assert "Files: 1; of these decide verdicts: 1" in text
    block = text.partition("<pre>")[2].partition("</pre>")[0]
    assert "&#45;    return 1" in block
    assert "&#43;   return '&#60;/pre&#62;&#60;b&#62;&#64;&#8203;team&#96; \ufffd'" in block
    assert "... 3 more lines" in block
    shown = page.partition('<pre class="diff">')[2].partition("</pre>")[0]
    assert "+   return &#x27;&lt;/pre&gt;&lt;b&gt;@team` \ufffd&#x27;" in shown
    assert "reference/metrics.py (decides verdicts)" in shown


def test_slices_that_nobody_declared_are_told_by_their_rule_in_words() -> None:
    report = reports.full()
    markdown = render.render_markdown(report)
    assert (
        "The predictions are furthest off where temp at most 34 and &#60;carrier&#62; is &#124;B6 (1,986 rows"
        in markdown
    )
    assert "6 blocks): positive 78.0%, predicted 45.6%." in markdown
    assert "surely worse, where temp at most 34" in markdown
    report["unnamed_slices"] = None
    assert "nobody declared" not in render.render_markdown(report)
