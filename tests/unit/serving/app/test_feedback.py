import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from merit import prediction_log
from merit.prediction_log import log as predictionlog
from merit.prediction_log import log_client
from merit.prediction_log.prediction_tables import PredictionTables
from merit.prediction_log.privacy import PrivacyFilter
from merit.prediction_log.protocol import WriterTask
from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.app.feedback import FeedbackRecorder
from merit.serving.app.row_values import BadRows
from merit.serving.auth.errors import HttpError
from tests.support.writers import Thread


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_client, "start_process", Thread)


KEEP = settings.PredictionLog(folder="log", seconds=0.02)


class Model:
    """As much of a package as feedback is about."""

    inputs = ({"name": "shop", "type": "string", "nullable": False},)
    manifest: ClassVar = {"model": "tiny"}
    commit = "c"

    def __init__(self, task: str, classes: list[Any] | None = None) -> None:
        self.output = {"name": "prediction", "task": task, **({"classes": classes} if classes else {})}


def _feedback(task: str = "binary", classes: list[Any] | None = None, **more: Any) -> FeedbackRecorder:
    told = settings.PredictionLog(folder="log", seconds=0.02, **more)
    return FeedbackRecorder(told, Model(task, classes), "w1", 5)  # type: ignore[arg-type]


def _said(feedback: FeedbackRecorder, value: Any) -> str:
    with pytest.raises(BadRows) as caught:
        feedback.accept_truths(value if isinstance(value, bytes) else json.dumps(value).encode())
    return str(caught.value)


def test_the_truth_is_kept_by_request_and_row_or_by_a_key(workdir: Path) -> None:
    feedback = _feedback()
    told = [{"request_id": "a", "truth": 1}, {"request_id": "a", "row": 2, "truth": False}]
    assert feedback.accept_truths(json.dumps(told).encode(), "shop") == {"accepted": 2}
    by_key = b'{"key": {"flight": "UA1", "day": 3}, "truth": 1}'
    assert feedback.accept_truths(by_key) == {"accepted": 1}
    feedback.close()
    found = prediction_log.read_feedback(Path("log")).sort("key", "row").collect()
    assert found.columns == ["time", "request_id", "row", "key", "truth", "caller"]
    assert found["request_id"].to_list() == ["a", "a", None]
    assert found["row"].to_list() == [0, 2, None]
    assert found["key"].to_list() == [None, None, '{"day": 3, "flight": "UA1"}']
    assert found["truth"].to_list() == [1, 0, 1]
    assert found["caller"].to_list() == ["shop", "shop", ""]


def test_predictions_meet_their_last_truth(workdir: Path, make_package: Callable[..., Path]) -> None:
    package = Package.load(make_package(Path("model")))
    log, feedback = predictionlog.create_log(KEEP, package, "v1", "w1"), FeedbackRecorder(KEEP, package, "w1", 5)
    row = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
    log.put("a", time.time(), json.dumps([row, row]).encode(), None, np.array([0.25, 0.75], dtype=np.float32), "")
    feedback.accept_truths(b'{"request_id": "a", "row": 1, "truth": 0}')
    feedback.accept_truths(b'{"request_id": "a", "row": 1, "truth": 1}')
    feedback.accept_truths(b'{"request_id": "other", "truth": 1}')
    log.close()
    feedback.close()
    found = prediction_log.join_feedback(Path("log")).collect()
    assert found.select("row", "prediction", "truth").rows() == [(1, 0.75, 1)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "not JSON"),
        (b"[" * 20_000, "not JSON"),
        ([], "the array holds no truth"),
        ([{}] * 6, "found 6 truths; at most 5"),
        (5, "item 0: is no object"),
        ({"truth": 1}, "must have either request_id or key"),
        ({"request_id": "a", "key": {"a": 1}, "truth": 1}, "must have either request_id or key"),
        ({"request_id": "", "truth": 1}, "request_id must be a text"),
        ({"request_id": 5, "truth": 1}, "request_id must be a text"),
        ({"request_id": "a", "row": -1, "truth": 1}, "row must be the place"),
        ({"request_id": "a", "row": True, "truth": 1}, "row must be the place"),
        ({"request_id": "a"}, "truth is missing"),
        ({"request_id": "a", "truth": 2}, "truth is 2; allowed: 0, 1, false, true"),
        ({"request_id": "a", "truth": 1.0}, "truth is 1.0"),
        ({"request_id": "a", "truth": None}, "truth is null"),
        ({"request_id": "a", "truth": 1, "when": 1}, "unknown field 'when'; fields: request_id, row, key, truth"),
        ({"key": {}, "truth": 1}, "key must be an object"),
        ({"key": {"a": None}, "truth": 1}, "key: 'a' must be a text"),
        ({"key": {"a": "x" * 201}, "truth": 1}, "key: 'a' must be a text"),
        ({"key": {"a": 1}, "row": 1, "truth": 1}, "row goes with request_id"),
    ],
)
def test_what_is_no_truth_is_refused_with_what_is(workdir: Path, value: Any, words: str) -> None:
    feedback = _feedback()
    assert words in _said(feedback, value)
    assert feedback.log_client is not None
    assert feedback.log_client.waiting == 0


def test_the_limits_of_ids_keys_and_rows_are_taken_and_no_more(workdir: Path) -> None:
    feedback = _feedback()
    at_limit = [
        {"request_id": "a" * 200, "row": 2**32 - 1, "truth": 0},
        {"request_id": "a", "row": 3.0, "truth": 1},
        {"key": {f"c{place}": "x" * 200 for place in range(16)}, "truth": 1},
        {"key": {"n" * 200: 1.5}, "truth": 1},
    ]
    assert feedback.accept_truths(json.dumps(at_limit).encode()) == {"accepted": 4}
    beyond = [
        {"request_id": "a" * 201, "truth": 0},
        {"request_id": "a", "row": 2**32, "truth": 1},
        {"request_id": "a", "row": 3.5, "truth": 1},
        {"key": {f"c{place}": 1 for place in range(17)}, "truth": 1},
        {"key": {"n" * 201: 1}, "truth": 1},
    ]
    with pytest.raises(BadRows) as caught:
        feedback.accept_truths(json.dumps(beyond).encode())
    assert [each[: len("item 0")] for each in caught.value.problems] == [f"item {place}" for place in range(5)]
    feedback.close()
    found = prediction_log.read_feedback(Path("log")).collect()
    assert sorted(found["row"].drop_nulls()) == [3, 2**32 - 1]


def test_every_problem_is_told_and_nothing_is_kept(workdir: Path) -> None:
    feedback = _feedback()
    told = [{"request_id": "a", "truth": 1}, {"row": -1, "truth": 7}, 5]
    with pytest.raises(BadRows) as caught:
        feedback.accept_truths(json.dumps(told).encode())
    assert [each.partition(":")[0] for each in caught.value.problems] == ["item 1", "item 1", "item 1", "item 2"]
    assert str(caught.value) == f"{caught.value.problems[0]} (and 3 more, in problems)"
    feedback.close()
    assert not Path("log").exists()


def test_problems_are_told_up_to_a_bound(workdir: Path) -> None:
    feedback = FeedbackRecorder(KEEP, Model("binary"), "w1", 1000)  # type: ignore[arg-type]
    with pytest.raises(BadRows, match=r" \(and 149 more, in problems\)$") as caught:
        feedback.accept_truths(json.dumps([5] * 150).encode())
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize(
    ("task", "classes", "truth", "other"),
    [
        ("multiclass", ["a", "b"], "b", "c"),
        ("multiclass", [1, 2], 2, True),
        ("regression", None, -3.5, "3"),
        ("regression", None, 7, True),
        pytest.param("regression", None, 1e308, 10**400, id="past a float"),
        pytest.param("regression", None, -1e308, -(10**400), id="below a float"),
    ],
)
def test_what_counts_as_truth_is_the_tasks(
    workdir: Path, task: str, classes: list[Any] | None, truth: Any, other: Any
) -> None:
    feedback = _feedback(task, classes)
    feedback.accept_truths(json.dumps({"request_id": "a", "truth": truth}).encode())
    assert "allowed" in _said(feedback, {"request_id": "a", "truth": other})
    feedback.close()
    assert prediction_log.read_feedback(Path("log")).collect()["truth"].to_list() == [truth]


def test_a_key_is_as_private_as_the_columns(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_HASH_KEY", "k" * 32)
    feedback = _feedback(hashed=["shop"])
    feedback.accept_truths(b'{"key": {"shop": "north"}, "truth": 1}')
    feedback.close()
    (key,) = prediction_log.read_feedback(Path("log")).collect()["key"]
    assert "north" not in key
    assert len(json.loads(key)["shop"]) == 64
    assert "'shop' is not kept" in _said(_feedback(leave_out=["shop"]), {"key": {"shop": "n"}, "truth": 1})


TYPED = (
    {"name": "far", "type": "number", "nullable": True},
    {"name": "hour", "type": "integer", "nullable": True},
    {"name": "when", "type": "datetime", "nullable": True},
    {"name": "on", "type": "boolean", "nullable": True},
    {"name": "shop", "type": "string", "nullable": True},
    {"name": "image", "type": "array", "nullable": False, "shape": [2]},
)


def _typed(monkeypatch: pytest.MonkeyPatch, **more: Any) -> FeedbackRecorder:
    monkeypatch.setenv("MERIT_HASH_KEY", "k" * 32)
    monkeypatch.setattr(Model, "inputs", TYPED)
    return _feedback(**more)


def _keys(feedback: FeedbackRecorder, *keys: str) -> list[dict[str, Any]]:
    for key in keys:
        feedback.accept_truths(b'{"truth": 1, "key": %b}' % key.encode())
    feedback.close()
    return [json.loads(each) for each in prediction_log.read_feedback(Path("log")).sort("time").collect()["key"]]


def test_a_hashed_key_meets_the_predictions_however_json_writes_its_values(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["far", "hour", "when", "on", "shop"]
    feedback = _typed(monkeypatch, hashed=names)
    rows = [
        '{"far": 529, "hour": 5.0, "when": "2024-01-31 15:30", "on": true, "shop": "529"}',
        '{"far": 529.0, "hour": 5, "when": "2024-01-31T15:30:00.000", "on": true, "shop": "529"}',
        '{"far": 5.29e2, "hour": 50e-1, "when": "2024-01-31T15:30:00", "on": true, "shop": "529"}',
    ]
    tables = PredictionTables(
        WriterTask("predictions", KEEP, "w1", list(TYPED), {"task": "binary"}, {}),
        PrivacyFilter(settings.PredictionLog(hashed=names), [each["name"] for each in TYPED]),
    )
    half = np.array([0.5], dtype=np.float32).tobytes()
    bodies = [each[:-1].encode() + b', "image": [1, 2]}' for each in rows]
    logged = tables.build_table([(1, "a", 0.0, body, None, half, "") for body in bodies]).select(names).to_dicts()
    kept = _keys(feedback, *rows)
    assert kept == [logged[0]] * 3
    assert logged == [logged[0]] * 3
    assert len(set(kept[0].values())) == 5  # the text 529 is not the number


def test_a_key_is_kept_in_the_form_of_its_columns(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = '{"far": 529, "hour": 5.0, "when": "2024-01-31 15:30", "on": false, "shop": "529", "flight": 7.0}'
    (kept,) = _keys(_typed(monkeypatch), told)
    assert json.dumps(kept) == (
        '{"far": 529.0, "flight": 7.0, "hour": 5, "on": false, "shop": "529", "when": "2024-01-31T15:30:00"}'
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"far": "529"}, "key: 'far' is \"529\"; the model takes a number of 64 bits"),
        ({"far": True}, "key: 'far' is true; the model takes a number"),
        ({"hour": 5.5}, "key: 'hour' is 5.5; the model takes a whole number of 64 bits"),
        ({"hour": 2**63}, "key: 'hour' is 9223372036854775808; the model takes a whole number of 64 bits"),
        (
            {"when": "soon"},
            "key: 'when' is \"soon\"; the model takes a time such as 2024-01-31T15:30:00",
        ),
        ({"when": 5}, "the model takes a time such as"),
        ({"on": 1}, "key: 'on' is 1; the model takes true or false"),
        ({"shop": 1}, "key: 'shop' is 1; the model takes a text"),
        ({"image": 1}, "key: 'image' is 1; an array can't be part of a key; send another column"),
    ],
)
def test_a_key_that_can_not_be_of_its_column_is_refused_for_it_would_meet_nothing(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, key: dict[str, Any], words: str
) -> None:
    assert words in _said(_typed(monkeypatch, hashed=["far"]), {"key": key, "truth": 1})


def test_where_nothing_is_kept_there_is_no_such_route(workdir: Path) -> None:
    with pytest.raises(HttpError) as caught:
        FeedbackRecorder(settings.PredictionLog(), Model("binary"), "w1", 5).accept_truths(b"{}")  # type: ignore[arg-type]
    assert caught.value.status == 404


def test_what_can_not_be_taken_is_not_accepted(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_client.LogClient, "start", lambda _: None)
    feedback = _feedback(queue=1)
    feedback.accept_truths(b'{"request_id": "a", "truth": 1}')
    with pytest.raises(HttpError) as caught:
        feedback.accept_truths(b'{"request_id": "a", "truth": 1}')
    assert (caught.value.status, caught.value.headers) == (503, [(b"retry-after", b"10")])
