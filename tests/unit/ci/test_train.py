import json
from pathlib import Path

import pytest

from merit.ci import train
from merit.config.compose import compose
from merit.errors import MeritError, Refused

CONFIG = Path("conf/config.yaml")


def test_each_line_is_a_trial_and_so_is_what_stands_between_semicolons() -> None:
    assert [trial["overrides"] for trial in train.parse_trials("model=mlp a=1\n\n b=2 ;c=3")] == [
        "model=mlp a=1",
        "b=2",
        "c=3",
    ]
    assert [trial["number"] for trial in train.parse_trials("a=1;b=2")] == [1, 2]


@pytest.mark.parametrize("text", ["", " ;\n", ";".join(["a=1"] * 51)])
def test_no_trial_and_too_many_are_refused(text: str) -> None:
    with pytest.raises(MeritError, match=r"overrides: found \d+ sets; allowed: 1 to 50"):
        train.parse_trials(text)


@pytest.mark.parametrize(
    "overrides",
    [
        "optimizer.lr=0.01",
        "model=linear optimizer.lr=0.001",
        "model=mlp trainer.max_epochs=2 data.contract.rows.min=5 gate.floors.roc_auc=0.6",
        "experiment=flights_delay optimizer.lr=0.01",
        "'model.hidden=[8, 4]'",
    ],
)
def test_an_adopted_set_is_what_conf_then_says_without_it(conf: Path, overrides: str) -> None:
    import shlex

    meant = compose(shlex.split(overrides))
    train.adopt_overrides("trial", overrides)
    assert compose() == meant
    assert "- experiment: trial #" in CONFIG.read_text(encoding="utf-8")


def test_trials_are_started_on_main_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(branch: str) -> None:
        file = tmp_path / "event.json"
        file.write_text(json.dumps({"ref": f"refs/heads/{branch}", "repository": {"default_branch": "main"}}))
        monkeypatch.setenv("GITHUB_EVENT_PATH", str(file))
        train.require_main()

    start("main")
    with pytest.raises(Refused, match=r"^train: started on 'work'; start it on 'main', for no other"):
        start("work")


def test_an_experiment_that_is_there_is_chosen_as_it_is(conf: Path) -> None:
    before = sorted((conf / "experiment").iterdir())
    train.adopt_overrides("trial", "experiment=flights_delay")
    assert "- experiment: flights_delay" in CONFIG.read_text(encoding="utf-8")
    assert sorted((conf / "experiment").iterdir()) == before


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("Trial", "optimizer.lr=0.01", "name: found 'Trial'; allowed"),
        ("../x", "optimizer.lr=0.01", "name: found '../x'; allowed"),
        ("digits", "optimizer.lr=0.01", r"digits\.yaml: is there already; give another name"),
        ("trial", "~optimizer.fused", "found '~optimizer.fused'; allowed: group=choice and key=value"),
        ("trial", "+new=1", "allowed: group=choice and key=value"),
        ("trial", "$(touch x)", "allowed: group=choice and key=value"),
        ("trial", "'open", "No closing quotation"),
        ("trial", "model=nosuch", "model"),
        ("trial", "optimizer.rate=1", "rate"),
    ],
)
def test_what_can_not_be_adopted_is_told_and_conf_stays(conf: Path, name: str, overrides: str, message: str) -> None:
    before = CONFIG.read_bytes()
    with pytest.raises(MeritError, match=message):
        train.adopt_overrides(name, overrides)
    assert CONFIG.read_bytes() == before


def _trial(folder: Path, number: int, verdict: str, scores: list[float], monitor: str = "log_loss") -> None:
    place = folder / f"trial-{number}"
    for name in ("reports", "training"):
        (place / name).mkdir(parents=True)
    (place / "reports/gate.json").write_text(json.dumps({"verdict": verdict}), encoding="utf-8")
    (place / "params.yaml").write_text(f"trainer: {{monitor: {monitor}}}\n", encoding="utf-8")
    lines = [f"{epoch},{score}" for epoch, score in enumerate(scores)]
    (place / "training/history.csv").write_text("\n".join([f"epoch,validation_{monitor}", *lines]), encoding="utf-8")


def test_the_best_of_those_that_passed_wins_by_its_best_epoch_on_validation_rows(tmp_path: Path) -> None:
    _trial(tmp_path, 1, "pass", [0.5, 0.4, 0.6])
    _trial(tmp_path, 2, "pass", [0.45, 0.45])
    _trial(tmp_path, 3, "fail", [0.1])
    best, found = train.select_winner(tmp_path)
    assert (best.folder.name, best.score, len(found)) == ("trial-1", 0.4, 3)
    body = train._render_body(best, found)
    assert "| trial-1 **chosen** | pass | log_loss 0.4000 |" in body
    assert "| trial-3 | refused | log_loss 0.1000 |" in body


def test_where_more_is_better_the_highest_wins(tmp_path: Path) -> None:
    _trial(tmp_path, 1, "pass", [0.7], "roc_auc")
    _trial(tmp_path, 2, "pass", [0.8], "roc_auc")
    assert train.select_winner(tmp_path)[0].folder.name == "trial-2"


def test_where_none_passed_nothing_is_proposed(tmp_path: Path) -> None:
    _trial(tmp_path, 1, "inconclusive", [0.5])
    with pytest.raises(Refused, match="none of 1 trials passed the gate"):
        train.select_winner(tmp_path)
