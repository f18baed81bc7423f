import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from merit.gate.report.escape import DEFAULT_MAX_CHARS, REPLACEMENT, escape_markdown, sanitize_line

HTML = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
ACTIVE = st.text(alphabet="<>&|`*_~[]()!#@\\-+=:/.$1ah\n\t \u202e\u200b\x00é", max_size=60)
TAGS = {"table", "thead", "tbody", "tr", "th", "td", "code", "h2", "ul", "li", "p", "strong", "details", "summary"}


def _shown(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page)).replace("\u200b", "").strip()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("roc_auc", "roc&#95;auc"),
        ("0.6766 [0.6680, 0.6849]", "0.6766 &#91;0.6680, 0.6849&#93;"),
        ("at least -0.01; see a:b", "at least -0.01; see a:b"),
        ("@team and a@b.example", "&#64;&#8203;team and a&#64;&#8203;b.example"),
        ("#12, org/repo#12, GH-12", "&#35;&#8203;12, org/repo&#35;&#8203;12, GH&#8203;-12"),
        ("https://a.example www.a.example", "https:&#8203;//a.example www&#8203;.a.example"),
        (":tada: at 10:30:00", ":&#8203;tada: at 10:30:00"),
        ("a|b\nc\td", "a&#124;b c d"),
        ("<script>", "&#60;script&#62;"),
        ("<!--", "&#60;!--"),
        ("`a` $x$ ~~b~~ \\", "&#96;a&#96; &#36;x&#36; &#126;&#126;b&#126;&#126; &#92;"),
        ("- a", "&#45; a"),
        ("+ a", "&#43; a"),
        ("12. a", "&#49;2. a"),
        ("12.5", "12.5"),
        ("===", "&#61;=="),
        ("&lt;", "&#38;lt;"),
        ("a\u202eb\x00c\u200dd\ufeff", f"a{REPLACEMENT}b{REPLACEMENT}c{REPLACEMENT}d{REPLACEMENT}"),
        ("\ud800", REPLACEMENT),
        ("\u2028x", "x"),
        ("naïve 日本", "naïve 日本"),
        ("e" + "\u0336" * 50, "e\u0336\u0336"),
        (None, "None"),
        (3, "3"),
        ("", ""),
    ],
)
def test_a_text_is_shown_and_does_nothing(text: object, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_a_long_text_is_cut_and_says_so() -> None:
    assert escape_markdown("x" * 500) == "x" * (DEFAULT_MAX_CHARS - 1) + "…"
    assert escape_markdown("x" * DEFAULT_MAX_CHARS) == "x" * DEFAULT_MAX_CHARS
    assert escape_markdown("<" * 500, 3) == "&#60;&#60;…"
    assert sanitize_line("a" * 10_000_000, 5) == "aaaa…"


@given(st.one_of(ACTIVE, st.text(max_size=60)))
@pytest.mark.parametrize(
    "place",
    [
        "| a | b |\n|---|---|\n| {} | x |\n",
        "| a | b |\n|---|---|\n| <code>{}</code> | x |\n",
        "## {}\n",
        "- {}\n",
        "- **a**: {}\n",
        "{}\n",
        "<details><summary>{}</summary>\n\nx\n\n</details>\n",
    ],
)
def test_wherever_it_stands_it_adds_no_mark_up_and_is_read_as_it_was(place: str, text: str) -> None:
    page, plainly = HTML.render(place.format(escape_markdown(text))), HTML.render(place.format("word"))
    tags = list(re.findall(r"<(\w+)", plainly))
    # An empty paragraph isn't one.
    assert [tag for tag in re.findall(r"<(\w+)", page) if tag != "p"] == [tag for tag in tags if tag != "p"]
    assert set(tags) <= TAGS
    assert sanitize_line(text).replace("\u200b", "") in _shown(page)


@given(st.text(max_size=80))
def test_no_mention_reference_or_link_is_left_to_be_seen(text: str) -> None:
    shown = html.unescape(escape_markdown(f"@a {text} #1 http://b {text}www.c"))
    assert not re.search(r"[@#]\w|://|\bwww\.|\bgh-\d", shown, re.IGNORECASE)
    assert shown.isprintable() or not text.isprintable() or "\u200b" in shown
