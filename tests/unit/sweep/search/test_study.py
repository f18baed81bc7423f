from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import optuna
import pytest

from merit.config import lock as locks
from merit.config.compose import compose
from merit.errors import MeritError
from merit.sweep import plan, record
from merit.sweep.search import storage
from merit.sweep.search.study import Study
from tests.support import postgres

Made = Callable[..., Study]


@pytest.fixture
def made(conf: Path, tmp_path: Path) -> Iterator[Made]:
    """Return a study of the sweep that overrides ask for; the same folder holds all of a test."""
    locks.write_lock(compose())

    studies: list[Study] = []

    def make(*arguments: str, place: int = 0) -> Study:
        studies.append(Study(plan.make_plan(["sweep.name=one", *arguments]), tmp_path, place))
        return studies[-1]

    yield make
    for study in studies:
        study.close()


def _all(study: Study) -> list[dict[str, str]]:
    found = []
    while (suggestion := study.ask()) is not None:
        found.append(suggestion.point)
        study.tell(suggestion.number, "done", {"log_loss": 0.5 + 0.1 * len(found), "parameters": 3.0}, {})
    return found


def test_a_grid_is_tried_once_in_its_order_by_however_many(made: Made) -> None:
    one, other = made("seed=1,2,3", "model=linear,mlp"), made("seed=1,2,3", "model=linear,mlp", place=1)
    taken = [one.ask(), other.ask(), one.ask(), *(other.ask() for _ in range(3))]
    assert [each.number for each in taken if each] == [0, 1, 2, 3, 4, 5]
    assert [each.point for each in taken if each][:2] == [
        {"seed": "1", "model": "linear"},
        {"seed": "1", "model": "mlp"},
    ]
    assert one.ask() is None
    assert other.ask() is None
    assert one.list_unfinished() == {0, 1, 2, 3, 4, 5}
    assert other.repeat_suggestion(2).point == {"seed": "2", "model": "linear"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sampler_gives_so_many_trials_from_the_space(made: Made, sampler: str) -> None:
    study = made(
        f"sweep={sampler}",
        "sweep.trials=6",
        "model=linear,mlp",
        "optimizer.lr=tag(log, interval(1e-4, 1e-2))",
        "seed=range(1, 9, 2)",
        "trainer.batch_size=int(interval(512, 2048))",
    )
    found = _all(study)
    assert len(found) == 6
    for point in found:
        assert point["model"] in {"linear", "mlp"}
        assert 1e-4 <= float(point["optimizer.lr"]) <= 1e-2
        assert point["seed"] in {"1", "3", "5", "7"}
        assert 512 <= int(point["trainer.batch_size"]) <= 2048


def test_cmaes_searches_numbers(made: Made) -> None:
    found = _all(made("sweep=cmaes", "sweep.trials=4", "optimizer.lr=interval(0.001, 0.1)", "seed=range(1, 9)"))
    assert len({point["optimizer.lr"] for point in found}) == 4


@pytest.fixture
def quick(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Studies as of `made`, each in memory."""

    def open_storage(url: str) -> optuna.storages.InMemoryStorage:
        memory = optuna.storages.InMemoryStorage()
        memory.engine = SimpleNamespace(dispose=lambda: None)  # type: ignore[attr-defined]
        return memory

    monkeypatch.setattr(storage, "open_storage", open_storage)
    return made


def _search(study: Study, trials: int) -> list[dict[str, float]]:
    """Return the points of a search for the least distance of both dropouts to (0.3, 0.1)."""
    points = []
    for _ in range(trials):
        suggestion = study.ask()
        assert suggestion is not None
        points.append(point := {key: float(text) for key, text in suggestion.point.items()})
        loss = (point["model.dropout"] - 0.3) ** 2 + (point["model.input_dropout"] - 0.1) ** 2
        study.tell(suggestion.number, "done", {"log_loss": loss}, {})
    return points


@pytest.mark.parametrize(("sampler", "least", "most"), [("random", 0.5, 0.9), ("tpe", 0.2, 0.4), ("cmaes", 0.0, 0.2)])
def test_tpe_and_cmaes_propose_points_near_the_best_and_random_search_anywhere(
    quick: Made, sampler: str, least: float, most: float
) -> None:
    keys = ("model.dropout", "model.input_dropout")
    study = quick(
        f"sweep={sampler}", "sweep.trials=60", "model=embedding_mlp", *(f"{key}=interval(0.0, 0.9)" for key in keys)
    )
    last = _search(study, 60)[40:]
    distance = sum(fmean(abs(point[key] - best) for point in last) for key, best in zip(keys, (0.3, 0.1), strict=True))
    assert least < distance < most


@pytest.mark.parametrize(
    ("pruner", "epochs"),
    [("kind: none", set()), ("kind: median", set()), ("kind: hyperband", {1, 3}),
     ("kind: hyperband, warmup_epochs: 2", {2, 6})],
)  # fmt: skip
def test_hyperband_ends_trials_at_its_rungs_before_any_is_done(quick: Made, pruner: str, epochs: set[int]) -> None:
    limits = ("sweep.trials=12", "trainer.max_epochs=9", f"sweep.pruner={{{pruner}}}")
    study = quick("sweep=random", "optimizer.lr=interval(0.001, 0.1)", *limits)
    ended = {}
    for number in range(12):
        study.ask()
        for epoch in range(9):
            if study.report(number, epoch, {"validation_log_loss": 0.5 + 0.01 * number}):
                ended[number] = epoch
                break
    assert set(ended.values()) == epochs
    assert 0 not in ended  # the best so far


def test_a_point_that_was_tried_is_not_trained_again(made: Made) -> None:
    found = _all(made("sweep=random", "sweep.trials=12", "model=linear,mlp", "seed=1,2"))
    assert len(found) == len({tuple(point.items()) for point in found}) <= 4


def test_another_worker_and_a_resume_draw_what_nobody_drew(made: Made) -> None:
    asked = ("sweep=random", "sweep.trials=9", "optimizer.lr=interval(0.001, 0.1)")
    one, other = made(*asked), made(*asked, place=1)
    drawn = [one.ask(), other.ask(), one.ask(), other.ask(), made(*asked).ask()]
    assert len({each.point["optimizer.lr"] for each in drawn if each}) == 5


def test_a_trial_that_falls_behind_is_to_be_ended(made: Made) -> None:
    study = made("sweep=tpe", "sweep.trials=9", "optimizer.lr=interval(0.001, 0.1)")
    for _ in range(5):
        suggestion = study.ask()
        assert suggestion is not None
        for epoch in range(3):
            assert not study.report(suggestion.number, epoch, {"validation_log_loss": 0.5})
        study.tell(suggestion.number, "done", {"log_loss": 0.5}, {})
    last = study.ask()
    assert last is not None
    assert not study.report(last.number, 0, {"validation_log_loss": 0.9})  # every trial may do one
    assert study.report(last.number, 1, {"validation_log_loss": 0.9})


def test_a_trial_that_failed_or_has_no_number_costs_no_more_than_itself(made: Made) -> None:
    study = made("seed=1,2,3")
    for state, values in (("failed", {}), ("done", {"log_loss": float("nan")}), ("killed", {})):
        suggestion = study.ask()
        assert suggestion is not None
        study.tell(suggestion.number, state, values, {})
    assert study.list_unfinished() == set()


def test_a_study_that_changed_says_how(made: Made) -> None:
    made("seed=1,2")
    with pytest.raises(
        MeritError, match="sweep one: not the one that is there: objectives was log_loss=minimize, is br"
    ):
        made("seed=1,2", "sweep.metric=brier")


def test_a_storage_that_can_not_be_reached_is_told_without_its_user(made: Made) -> None:
    with pytest.raises(MeritError) as caught:
        made("seed=1,2", "sweep.storage='postgresql://user@127.0.0.1:1/x'")
    assert str(caught.value).startswith("sweep.storage 'postgresql+psycopg://***@127.0.0.1:1/x': can't be used (")
    assert "user@" not in str(caught.value)


def test_several_workers_share_a_study_in_postgresql(made: Made) -> None:
    with postgres.server() as url:
        asked = ("seed=1,2,3,4", f"sweep.storage='{url}'")
        one, other = made(*asked), made(*asked, place=1)
        taken = [one.ask(), other.ask(), one.ask(), other.ask()]
        assert sorted(each.point["seed"] for each in taken if each) == ["1", "2", "3", "4"]
        assert one.ask() is None
        one.tell(0, "done", {"log_loss": 0.5}, {"number": 0, "state": "done"})
        assert other.read_shared_records() == {0: {"number": 0, "state": "done"}}
        for study in (one, other):
            study.close()


@pytest.mark.parametrize(
    "asked",
    [
        ("seed=1,2,3",),
        (
            "sweep=random",
            "sweep.trials=4",
            "seed=range(1, 9)",
            "model=linear,mlp",
            "optimizer.lr=tag(log, interval(1e-4, 1e-2))",
            "trainer.batch_size=int(interval(512, 2048))",
        ),
    ],
)
def test_a_storage_that_was_lost_is_made_anew_from_the_files_of_trials(
    made: Made, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    first = made(*asked)
    points = {}
    for _ in range(3):
        suggestion = first.ask()
        assert suggestion is not None
        points[suggestion.number] = suggestion.point
    for number, state in {0: "done", 2: "running"}.items():
        record.update_trial_json(
            record.locate_trial(tmp_path, number), number=number, overrides=points[number], state=state
        )
    first.close()
    (tmp_path / "study.db").unlink()

    study = made(*asked)
    study.tell(0, "done", {"log_loss": 0.5}, {})
    if len(asked) == 1:  # a grid's points wait for whoever asks
        assert [each["seed"] for each in _all(study)] == ["2", "3"]
        assert study.restored_count == 1
    else:
        assert study.restored_count == 2
        assert study.list_unfinished() == {2}
        assert study.repeat_suggestion(2).point == points[2]
        study.tell(2, "killed", {}, {})
        assert len(_all(study)) == 1
    assert study._study.best_trial.number == 0


def test_a_storage_that_is_damaged_is_to_be_moved_away(made: Made, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(MeritError, match=r"study.db': can't be used \(file is not a database\); move it away, by 'mv "):
        made("seed=1,2")


def test_a_storage_that_can_not_be_written_is_to_be_looked_at(made: Made, tmp_path: Path) -> None:
    (tmp_path / "study.db").mkdir()
    with pytest.raises(MeritError, match=r"unable to open database file\); check that .*study.db is writable and not"):
        made("seed=1,2")
