"""Finds where a SQL query selects rows by the value of certain columns, beyond whether it is known.

The query is read as tokens, by names alone: no catalog says what a view or a function hides. A name that a query gives
to an expression of such a column is followed (`arr_delay > 5 AS chosen ... WHERE chosen`), and so are the columns of an
expression that a query names like one of them. What is in doubt counts as looking.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<text>[eEnN]?'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`[^`]*`|\[[A-Za-z_][^\]]*\])
    |(?P<number>\d[\w.]*)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
CLAUSES = {
    "SELECT": "select", "FROM": "from", "JOIN": "from", "ON": "rows", "USING": "rows", "WHERE": "rows", "GROUP": "rows",
    "HAVING": "rows", "QUALIFY": "rows", "ORDER": "order", "LIMIT": "limit", "OFFSET": "limit", "FETCH": "limit",
    "WINDOW": "select", "UNION": "from", "EXCEPT": "from", "INTERSECT": "from", "TABLESAMPLE": "rows",
}  # fmt: skip
"""The keyword that begins a clause, and what its names do: `rows` select rows, `select` makes values."""
KEYWORDS = frozenset({
    "ALL", "AND", "ANY", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "COLLATE", "CROSS", "DESC", "DISTINCT",
    "ELSE", "END", "EXISTS", "FALSE", "FULL", "ILIKE", "IN", "INNER", "IS", "ISNULL", "LEFT", "LIKE", "NATURAL",
    "NOT", "NOTNULL", "NULL", "OR", "OUTER", "RIGHT", "THEN", "TRUE", "WHEN", "WITH",
}) | frozenset(CLAUSES)  # fmt: skip
"""Words that no column can have as its name without quotes."""
MAX_ROUNDS = 20
"""Rounds in which names are followed from one sub-query to the next."""


@dataclass(frozen=True)
class Token:
    """A token in lower case, without quotes."""

    kind: Literal["word", "quoted", "text", "number", "sign"]
    text: str

    @property
    def word(self) -> str:
        """The keyword that it may be; empty if it can't be one."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def is_name(self) -> bool:
        """Whether it can be the name of a column."""
        return self.kind == "quoted" or (self.kind == "word" and self.word not in KEYWORDS)


@dataclass(frozen=True)
class Place:
    """A token's place: the clauses that it stands in, from the outermost query to the innermost.

    Attributes:
        levels: for each level of parentheses around it: a number of the level, and its clause; empty before a clause.
    """

    levels: tuple[tuple[int, str], ...]

    def selects_rows(self, limited: Collection[int]) -> bool:
        """Return whether what stands here decides which rows there are; `limited` levels keep the first rows."""
        for level, clause in self.levels:
            if clause == "select":
                return False
            if clause == "rows" or (clause == "order" and level in limited):
                return True
        return False


def list_examined_names(query: str, columns: Collection[str]) -> list[str]:
    """Return the names by which a query selects rows according to the values of some of its columns.

    Raises:
        ValueError: the parentheses of the query don't match, so that nothing can be said of it.

    Example:
        >>> list_examined_names("SELECT * FROM f WHERE delay IS NOT NULL", ["delay"])
        []
        >>> list_examined_names("WITH a AS (SELECT *, delay > 3 AS ok FROM f) SELECT * FROM a WHERE ok", ["delay"])
        ['ok']
    """
    tokens = list(_read_tokens(query))
    places, limited = _place_tokens(tokens)
    plain, derived = _follow_names(tokens, places, {name.lower() for name in columns})
    found: list[str] = []
    for at, (token, place) in enumerate(zip(tokens, places, strict=True)):
        if token.kind == "number" and _is_position(tokens, at, place, limited):
            found.append(f"order by {token.text}")
        is_wanted = token.text in plain | derived and (token.is_name or token.kind == "text")
        if not is_wanted or not (place.selects_rows(limited) or _is_distinct_on(tokens, at)):
            continue
        if _is_qualifier(tokens, at) or (token.text not in derived and _is_asked_whether_known(tokens, at)):
            continue
        found.append(token.text)
    if any(token.word == "NATURAL" for token in tokens):
        found.append("natural join")
    return list(dict.fromkeys(found))


def list_outcome_names(query: str, columns: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the names that a query gives to some of its columns as they are, and to what it computes from them.

    Raises:
        ValueError: the parentheses of the query don't match.
    """
    tokens = list(_read_tokens(query))
    places, _ = _place_tokens(tokens)
    return _follow_names(tokens, places, {name.lower() for name in columns})


def _read_tokens(query: str) -> Iterator[Token]:
    for match in TOKEN.finditer(query):
        kind, text = match.lastgroup or "", match.group()
        if kind in {"skip", "tag"} and not match["dollar"]:
            continue
        if match["dollar"]:
            yield Token("text", text.split("$", 2)[2].rsplit("$", 2)[0].lower())
        elif kind == "text":
            yield Token("text", text[text.index("'") + 1 : -1].lower())
        elif kind == "quoted":
            yield Token("quoted", text[1:-1].lower())
        else:
            yield Token(kind, text.lower())  # type: ignore[arg-type]  # the other groups are kinds


def _place_tokens(tokens: Sequence[Token]) -> tuple[list[Place], set[int]]:
    """Return the place of each token, and the levels that keep only the first rows of an order."""
    levels, places, limited, count = [(0, "")], [], set(), 0
    for at, token in enumerate(tokens):
        if token.text == ")" and token.kind == "sign":
            levels.pop()
            if not levels:
                raise ValueError("a parenthesis closes that none has opened")
        level, clause = levels[-1]
        if (kind := CLAUSES.get(token.word)) and not _is_within_function(tokens, at, clause):
            levels[-1] = (level, kind)
            if kind == "limit":
                limited.add(level)
        if token.word == "TOP" and at and tokens[at - 1].word in {"SELECT", "DISTINCT"}:
            limited.add(level)
        places.append(Place(tuple(levels)))
        if token.text == "(" and token.kind == "sign":
            count += 1
            levels.append((count, ""))
    if len(levels) > 1:
        raise ValueError("a parenthesis is never closed")
    return places, limited


def _is_within_function(tokens: Sequence[Token], at: int, clause: str) -> bool:
    """Return whether a keyword of a clause belongs to an expression: EXTRACT(x FROM y), IS DISTINCT FROM, ORDER BY."""
    previous = tokens[at - 1].word if at else ""
    if tokens[at].word == "FROM":
        return clause == "" or previous == "DISTINCT"
    # In parentheses that no SELECT opened, ORDER BY is that of a window or an aggregate, WHERE that of FILTER.
    return clause == "" and tokens[at].word in {"ORDER", "GROUP", "LIMIT", "OFFSET", "WHERE"} and at > 0


def _follow_names(tokens: Sequence[Token], places: Sequence[Place], columns: set[str]) -> tuple[set[str], set[str]]:
    """Return the names of the columns themselves, and those of values computed from them."""
    plain, derived, items = set(columns), set[str](), _list_items(tokens, places)
    for _ in range(MAX_ROUNDS):
        before = len(plain), len(derived)
        for item, name in items:
            names = {
                each.text
                for at, each in enumerate(item)
                if each.is_name and not _is_called(item, at) and not _is_qualifier(item, at)
            }
            is_bare = _is_bare(item)
            if name in columns or (name in plain and is_bare):
                plain |= names  # the outcome is made of these
                if _may_choose_null(item):
                    derived.add(name)
            elif names & (plain | derived) and name:
                (plain if is_bare and not names & derived else derived).add(name)
        if (len(plain), len(derived)) == before:
            break
    return plain, derived


def _list_columns(item: Sequence[Token]) -> set[str]:
    """Return the columns that an item of a SELECT list uses."""
    return {
        each.text
        for at, each in enumerate(item)
        if each.is_name and not _is_called(item, at) and not _is_qualifier(item, at)
    }


def _list_items(tokens: Sequence[Token], places: Sequence[Place]) -> list[tuple[list[Token], str]]:
    """Return the items of every SELECT list, each with its name; empty where it has none that can be used."""
    lists: dict[tuple[int, int], list[list[Token]]] = {}
    turns: dict[int, int] = {}
    for token, place in zip(tokens, places, strict=True):
        if token.word == "SELECT":
            turns[place.levels[-1][0]] = turns.get(place.levels[-1][0], 0) + 1
            lists[place.levels[-1][0], turns[place.levels[-1][0]]] = [[]]
            continue
        for level, clause in place.levels:
            if clause != "select" or level not in turns:
                continue
            items = lists[level, turns[level]]
            if token.text == "," and token.kind == "sign" and place.levels[-1][0] == level:
                items.append([])
            else:
                items[-1].append(token)
    named = [(item, _name_item(item)) for items in lists.values() for item in items if item]
    return [(_remove_alias(item, name), name) for item, name in named] + _list_column_lists(tokens, lists)


def _name_item(item: Sequence[Token]) -> str:
    """Return the name that an item of a SELECT list has: its alias, its column, or that of its function."""
    last = item[-1]
    if last.is_name:
        return last.text
    called = [each.text for at, each in enumerate(item) if each.is_name and _is_called(item, at)]
    return called[0] if called else "case" if any(each.word == "CASE" for each in item) else ""


def _remove_alias(item: Sequence[Token], name: str) -> list[Token]:
    if len(item) > 1 and item[-1].text == name and item[-2].text != ".":
        return list(item[:-2] if item[-2].word == "AS" else item[:-1])
    return list(item)


def _list_column_lists(
    tokens: Sequence[Token], lists: dict[tuple[int, int], list[list[Token]]]
) -> list[tuple[list[Token], str]]:
    """Return items for `name (a, b) AS (SELECT ...)` and `(SELECT ...) AS name (a, b)`: any may have any name."""
    everything = [token for items in lists.values() for item in items for token in item]
    names = []
    for at, token in enumerate(tokens):
        if token.text != "(" or at == 0 or not tokens[at - 1].is_name:
            continue
        end = next((i for i in range(at, len(tokens)) if tokens[i].text == ")"), len(tokens))
        inner = tokens[at + 1 : end]
        is_list = all(each.is_name or each.text == "," for each in inner) and bool(inner)
        before = tokens[at - 2] if at > 1 else Token("sign", "")
        follows = tokens[end + 1 : end + 3]
        is_common_table = bool(follows) and follows[0].word == "AS" and before.word in {"WITH", "RECURSIVE", ""}
        is_common_table &= any(each.text == "(" or each.word in {"NOT", "MATERIALIZED"} for each in follows[1:])
        is_derived_table = before.text == ")" or (before.word == "AS" and at > 2 and tokens[at - 3].text == ")")
        if is_list and (is_common_table or is_derived_table):
            names += [each.text for each in inner if each.is_name]
    return [(everything, name) for name in names]


def _is_bare(item: Sequence[Token]) -> bool:
    """Return whether an item is a column, perhaps with its table: `a`, `t.a`."""
    return all(each.is_name or each.text == "." for each in item) and len(item) in {1, 3, 5}


def _may_choose_null(item: Sequence[Token]) -> bool:
    """Return whether an expression can make a known value unknown."""
    words = [each.word for each in item]
    cases = words.count("CASE") - words.count("ELSE")
    return cases > 0 or any(word in {"NULL", "NULLIF", "IIF", "FILTER", "SELECT"} for word in words)


def _is_called(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].text == "(" and tokens[at + 1].kind == "sign"


def _is_qualifier(tokens: Sequence[Token], at: int) -> bool:
    return at + 1 < len(tokens) and tokens[at + 1].text == "." and tokens[at + 1].kind == "sign"


def _is_asked_whether_known(tokens: Sequence[Token], at: int) -> bool:
    """Return whether the column at a token is the whole operand of IS [NOT] NULL."""
    start = at
    while start >= 2 and tokens[start - 1].text == ".":
        start -= 2
    before = tokens[start - 1] if start else Token("sign", "(")
    is_operand = before.word in {"WHERE", "AND", "OR", "NOT", "ON", "HAVING", "QUALIFY", "WHEN"} or before.text == "("
    words = [each.word for each in tokens[at + 1 : at + 4]]
    return is_operand and (words[:2] == ["IS", "NULL"] or words == ["IS", "NOT", "NULL"] or words[:1] == ["NOTNULL"])


def _is_position(tokens: Sequence[Token], at: int, place: Place, limited: Collection[int]) -> bool:
    """Return whether a number stands for an item of the SELECT list by which the first rows are chosen."""
    level, clause = place.levels[-1]
    return clause == "order" and level in limited and (tokens[at - 1].word == "BY" or tokens[at - 1].text == ",")


def _is_distinct_on(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a token stands in the parentheses of DISTINCT ON (...)."""
    depth = 0
    for start in range(at - 1, 1, -1):
        if tokens[start].kind == "sign" and tokens[start].text in "()":
            depth += 1 if tokens[start].text == ")" else -1
        if depth < 0:
            if tokens[start - 1].word == "ON" and tokens[start - 2].word == "DISTINCT":
                return True
            depth = 0
    return False
