"""Events become answers, or dead letters that say why; one bad event costs none of the others."""

import hashlib
import json
from pathlib import Path

import pytest

from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.stream.events import MAX_REASON_CHARACTERS, Event, create_dead_letter, join_problems, truncate_record
from merit.stream.scorer import EventScorer

GOOD = {"shop": "north", "kind": 1, "size": 40.0, "weight": 0.5}


@pytest.fixture
def package(tmp_path: Path, make_package) -> Package:
    return Package.load(make_package(tmp_path / "model"))


@pytest.fixture
def scorer(package: Package) -> EventScorer:
    return EventScorer(ServedModel(package, "v1", 100), [column["name"] for column in package.inputs], "id")


def _event(value: object, place: str = "events:1") -> Event:
    return Event(value if isinstance(value, bytes) else json.dumps(value).encode(), place)


def test_each_event_gets_the_endpoints_answer_under_its_own_key(scorer, package):
    other = {**GOOD, "weight": 0.75}
    expected = ServedModel(package, "v1", 2).predict(json.dumps([GOOD, other]).encode())
    records = scorer.score([_event({"id": "a", **GOOD}), _event({"id": 7, **other})])
    assert [record.key for record in records] == ["a", "7"]
    found = [json.loads(record.body) for record in records]
    assert [each.pop("prediction") for each in found] == expected["predictions"]
    times = [each.pop("time") for each in found]
    assert all(time.endswith("Z") and len(time) == 24 for time in times)
    origin = {"model": "tiny", "version": "v1", "commit": "c" * 40}
    assert found == [{"id": "a", **origin}, {"id": 7, **origin}]


def test_an_event_without_a_key_goes_by_its_place(scorer):
    (record,) = scorer.score([_event(GOOD, "events:41")])
    assert (record.key, json.loads(record.body)["id"]) == ("events:41", "events:41")


def test_a_key_that_the_model_takes_as_well_stays_in_the_row(package):
    scorer = EventScorer(ServedModel(package, "v1", 1), [column["name"] for column in package.inputs], "shop")
    (record,) = scorer.score([_event(GOOD)])
    assert (record.key, record.cause) == ("north", "")


@pytest.mark.parametrize(
    ("event", "cause", "words"),
    [
        (b"\xff\xfe", "not_json", "not JSON"),
        (b"", "not_json", "not JSON"),
        (b"[" * 100_000, "not_json", "not JSON"),
        (b"3", "not_json", "not an object"),
        ({"id": "a", "shop": "north"}, "bad_row", "the columns 'kind', 'weight' are missing"),
        ({"id": "a", **GOOD, "weight": "heavy"}, "bad_row", "column 'weight'"),
        ({"id": "", **GOOD}, "bad_key", "allowed: text of 1 to 256 printable characters, or an integer"),
        ({"id": "a\r\nNats-Msg-Id: b", **GOOD}, "bad_key", "can't name the event"),
        ({"id": True, **GOOD}, "bad_key", "can't name the event"),
        ({"id": 1.5, **GOOD}, "bad_key", "can't name the event"),
        ({"id": 10**256, **GOOD}, "bad_key", "or an integer of as many digits"),
    ],
)
def test_what_can_not_be_answered_is_told_apart_and_kept_as_it_came(scorer, event, cause, words):
    good = [_event({"id": f"g{number}", **GOOD}) for number in range(7)]
    records = scorer.score([*good[:3], bad := _event(event, "events:9"), *good[3:]])
    assert [record.key for record in records if not record.cause] == [f"g{number}" for number in range(7)]
    letter = records[3]
    assert (letter.cause, letter.body) == (cause, bad.raw)
    assert words in letter.reason
    assert "\n" not in letter.reason


def test_every_problem_of_a_row_is_in_the_reason_up_to_a_bound(scorer):
    (record,) = scorer.score([_event({"id": "a", "kind": "x"})])
    assert "the columns 'shop', 'weight' are missing" in record.reason
    assert "column 'kind': Expected `int`, got `str`; the" in record.reason
    assert "in problems" not in record.reason
    many = join_problems([f"problem {number} {'x' * 90}" for number in range(100)])
    assert len(many) < MAX_REASON_CHARACTERS
    assert many.endswith("; and 62 more")
    assert (many.count("problem"), join_problems(["one"])) == (38, "one")


def test_what_holds_no_event_is_told_as_the_broker_says(scorer):
    (record,) = scorer.score([Event(b"", "1-0", fault="the entry has no field 'data'; it has foo")])
    assert (record.cause, record.reason) == ("not_json", "the entry has no field 'data'; it has foo")


def test_a_dead_letter_that_has_no_room_for_its_event_tells_its_size_and_its_digest():
    letter = create_dead_letter(Event(b"x" * 100, "1"), "not_json", "why")
    assert truncate_record(letter, 100) is letter
    less = truncate_record(letter, 10)
    assert (less.body, less.size) == (b"x" * 10, 100)
    assert less.digest == "sha256:" + hashlib.sha256(b"x" * 100).hexdigest()
    again = truncate_record(less, -5)
    assert (again.body, again.size, again.digest) == (b"", 100, less.digest)


def test_a_row_that_the_graph_fails_on_costs_none_of_the_others():
    class Fails:
        def predict(self, body: bytes) -> dict:
            rows = json.loads(body)
            rows = rows if isinstance(rows, list) else [rows]
            if any(row["kind"] == 13 for row in rows):
                raise RuntimeError("Non-zero status\ncode")
            return {"predictions": [0.5] * len(rows), "model": "m", "version": "v", "commit": "c"}

    events = [_event({"id": number, "kind": number}) for number in range(20)]
    records = EventScorer(Fails(), ["kind"], "id").score(events)
    assert [record.key for record in records if record.cause] == ["13"]
    assert records[13].reason == "scoring failed: Non-zero status code"
    assert [record.key for record in records] == [str(number) for number in range(20)]


def test_of_classes_an_answer_holds_each_ones_probability():
    class Digits:
        def predict(self, body: bytes) -> dict:
            told = {"classes": ["a", "b"], "probabilities": [[0.25, 0.75]], "predictions": ["b"]}
            return {**told, "model": "m", "version": "v", "commit": "c"}

    (record,) = EventScorer(Digits(), ["kind"], None).score([_event({"kind": 1})])
    found = json.loads(record.body)
    assert (found["prediction"], found["classes"], found["probabilities"]) == ("b", ["a", "b"], [0.25, 0.75])
