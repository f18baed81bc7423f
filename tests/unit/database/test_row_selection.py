"""Which queries select rows by an outcome: `arr_delay` here."""

import pytest

from merit.database.row_selection import list_examined_names, list_outcome_names

HARMLESS = [
    "SELECT * FROM f",
    "SELECT * FROM f WHERE arr_delay IS NOT NULL",
    "SELECT f.*, p.seats FROM f JOIN p ON f.tail=p.tail WHERE f.arr_delay IS NOT NULL AND p.x>3",
    "SELECT id, CASE WHEN arr_delay >= 15 THEN 1 ELSE 0 END AS late FROM f WHERE month < 11 ORDER BY arr_delay",
    "SELECT *, avg(arr_delay) OVER (PARTITION BY carrier ORDER BY day) AS hist FROM f WHERE (arr_delay "
    "IS NOT NULL) LIMIT 10",
    "WITH h AS (SELECT carrier, avg(arr_delay) AS mean FROM f GROUP BY carrier) SELECT f.*, h.mean FROM "
    "f JOIN h ON h.carrier = f.carrier WHERE f.arr_delay IS NOT NULL",
    "SELECT a, (SELECT avg(arr_delay) FROM f g WHERE g.arr_delay > 3) AS m FROM f",
    "SELECT EXTRACT(hour FROM dep) AS h, arr_delay FROM f WHERE EXTRACT(hour FROM dep) > 3 -- arr_delay > 3",
    "SELECT arr_delay FROM f ORDER BY id LIMIT 100",
    "SELECT arr_delay FROM f WHERE note <> 'it''s arr_delay > 3' UNION ALL SELECT arr_delay FROM g",
    "SELECT string_agg(x, ',' ORDER BY arr_delay) AS s, arr_delay FROM f GROUP BY k",
    "SELECT count(*) FILTER (WHERE arr_delay > 3) AS n, k, max(arr_delay) AS arr_delay FROM f GROUP BY k "
    "HAVING count(*) > 2",
]
CHOOSING = [
    "SELECT * FROM f WHERE arr_delay NOT BETWEEN 12 AND 17",
    'SELECT * FROM f WHERE f."Arr_Delay" > 3',
    "SELECT * FROM (SELECT *, arr_delay AS d FROM f) t WHERE d<12",
    "WITH a AS (SELECT *, arr_delay > 3 AS ok FROM f) SELECT * FROM a WHERE ok IS NOT NULL",
    "SELECT * FROM f WHERE id IN (SELECT id FROM f WHERE abs(arr_delay) > 3)",
    "SELECT f.* FROM f JOIN b ON f.arr_delay = b.lim",
    "SELECT f.* FROM f JOIN b USING (arr_delay)",
    "SELECT * FROM f ORDER BY arr_delay LIMIT 10",
    "SELECT k, max(arr_delay) arr_delay FROM f GROUP BY k HAVING max(arr_delay)>3",
    "SELECT * FROM f QUALIFY row_number() OVER (ORDER BY arr_delay) < 5",
    "SELECT DISTINCT ON (arr_delay) * FROM f",
    "SELECT *, actual - planned AS arr_delay FROM f WHERE actual > planned",
    "SELECT * FROM f WHERE NULLIF(arr_delay, 15) IS NOT NULL",
    "SELECT * FROM f WHERE COALESCE(arr_delay,0) IS NOT NULL AND (arr_delay + 0) IS NULL",
    "WITH a(x, y) AS (SELECT id, arr_delay FROM f) SELECT x, y AS arr_delay FROM a WHERE y > 3",
    "SELECT * FROM (SELECT id, arr_delay FROM f) AS t (i, d) WHERE d > 1",
    "SELECT CASE WHEN delay < 5 THEN delay END AS arr_delay FROM f WHERE delay > 2",
    "SELECT * FROM f EXCEPT SELECT * FROM f WHERE arr_delay=15",
    "SELECT * FROM f WHERE EXISTS (SELECT 1 FROM f g WHERE g.id=f.id AND g.arr_delay>3)",
    "SELECT * FROM f WHERE to_json(f)->>'arr_delay' > '3'",
    "SELECT * FROM f WHERE id IN (SELECT CASE WHEN arr_delay>5 THEN id END FROM f)",
    "SELECT * FROM (SELECT *, row_number() OVER (ORDER BY arr_delay) AS n FROM f) t WHERE n > 100",
    "SELECT * FROM f WHERE /* x */ arr_delay /* IS NOT NULL */ > 3",
    "SELECT * FROM f NATURAL JOIN g",
    "SELECT * FROM (SELECT *, arr_delay > 3 AS last FROM f) t WHERE last = 1",
    "SELECT id FROM f WHERE arr_delay IS NOT NULL = 1 OR arr_delay>2",
    "SELECT * FROM f WHERE arr_delay IS DISTINCT FROM 15",
    "SELECT * FROM f JOIN (SELECT id FROM f WHERE arr_delay < 12) g ON g.id = f.id",
    "SELECT * FROM (SELECT abs(arr_delay), * FROM f) t WHERE abs > 3",
    "SELECT * FROM f WHERE (SELECT arr_delay > 3)",
    "SELECT * FROM f ORDER BY abs(arr_delay) FETCH FIRST 10 ROWS ONLY",
    "SELECT * FROM f WHERE ((arr_delay)) > 3",
    "SELECT * FROM f WHERE id > (SELECT max(id) FROM f) * (arr_delay > 3)",
    "SELECT id, arr_delay FROM f ORDER BY 2 LIMIT 10",
    "SELECT TOP 10 * FROM f ORDER BY arr_delay",
    "SELECT * FROM f WHERE [arr_delay] > 3 AND `x` > 1",
]


@pytest.mark.parametrize("query", HARMLESS)
def test_a_query_may_compute_from_the_outcome_and_ask_whether_it_is_known(query: str) -> None:
    assert list_examined_names(query, ["arr_delay"]) == []


@pytest.mark.parametrize("query", CHOOSING)
def test_a_query_that_selects_rows_by_the_outcome_is_found_under_any_name(query: str) -> None:
    assert list_examined_names(query, ["arr_delay"])


@pytest.mark.parametrize("query", ["SELECT (a FROM f", "SELECT a) FROM f"])
def test_a_query_whose_parentheses_do_not_match_is_not_judged(query: str) -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        list_examined_names(query, ["a"])


def test_names_of_the_outcome_are_followed_through_a_query() -> None:
    query = "SELECT a.delay AS d, a.delay > 3 AS late, CASE WHEN d < 9 THEN d END AS some, size FROM a"
    assert list_outcome_names(query, ["delay"]) == ({"delay", "d"}, {"late", "some"})
    assert list_outcome_names(query, ["some"])[1] >= {"some"}, "it is unknown where the query wants it to be"
