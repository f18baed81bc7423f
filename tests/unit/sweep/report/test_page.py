import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.sweep import record
from merit.sweep.report import axes, labels, plots
from merit.sweep.report import page as report
from tests.support import sweep_folders

EVIL = "</style></title><script>alert(1)</script> \"' onload=x & \u202e"
TWO = {"log_loss": "minimize", "train_seconds": "minimize"}


class _Page(HTMLParser):
    """Collects what a page is made of, and fails on tags that don't close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, has in self.tags if (value := has.get(name))]


def _page(root: Path, name: str = "mlp", **how: Any) -> _Page:
    sweep_folders.make(root, name, **how)
    path = report.write_report(record.read_sweep(name))
    assert path == artifacts.SWEEP_HTML
    return _Page(path.read_text(encoding="utf-8"))


def test_the_page_says_the_best_how_many_were_tried_and_how_to_adopt_it(workdir: Path) -> None:
    page = _page(workdir)
    assert "trial 16" in page.text
    assert "log_loss 0.4306 on the validation rows, the best of 20 trials" in page.text
    assert "20 trials: 16 done, 2 pruned, 1 failed, 1 killed" in page.text
    assert "best by merit and by luck" in page.text
    assert "merit sweep adopt 16 --sweep mlp --branch" in page.text
    assert sweep_folders.ERROR in page.text
    assert "log_loss 0.4581" in page.text


def test_the_page_shows_the_command_that_was_given_without_secrets(workdir: Path) -> None:
    settings = ["sweep=mlp", "sweep.trials=20", "sweep.storage=postgresql://me:secret@host/d"]
    overrides, launcher = ["optimizer.lr=tag(log, interval(1e-4, 1e-2))"], ["hydra/launcher=ray"]
    page = _page(workdir, settings=settings, overrides=overrides, launcher=launcher)
    given = "merit train -m hydra/launcher=ray sweep=mlp sweep.trials=20 sweep.storage=postgresql://***@host/d"
    assert f"{given} 'optimizer.lr=tag(log," in page.text
    assert "secret" not in page.text


def test_the_page_needs_nothing_from_elsewhere_and_is_small(workdir: Path) -> None:
    page = _page(workdir)
    assert artifacts.SWEEP_HTML.stat().st_size < 100_000
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.attributes("src") == []
    assert all(link.startswith("#") for link in page.attributes("href"))
    text = artifacts.SWEEP_HTML.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_every_link_of_a_plot_leads_to_a_row(workdir: Path) -> None:
    page = _page(workdir)
    assert {link[1:] for link in page.attributes("href")} <= set(page.attributes("id"))


def test_each_trial_is_drawn_and_says_what_it_is(workdir: Path) -> None:
    page = _page(workdir)
    assert page.text.count("trial 16 (done): log_loss 0.4306; model=mlp optimizer.lr=0.003283") == 2
    assert page.text.count("trial 13 (failed): log_loss -;") == 1
    lines = [has for tag, has in page.tags if tag == "path" and has.get("class") == "seen"]
    assert len(lines) == 16


def test_hostile_texts_show_and_do_nothing(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        told["overrides"] |= {"data.filter": f"{EVIL}{number % 3}", EVIL: str(number)}
        told["error"] = told["error"] and EVIL * 1000

    page = _page(workdir, edit=edit, sampler=EVIL, created=EVIL, overrides=[EVIL], space={EVIL: EVIL}, commit=EVIL)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, has in page.tags for name in has)
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in artifacts.SWEEP_HTML.read_text(encoding="utf-8")


def test_of_two_objectives_the_page_shows_the_front_and_asks_for_a_choice(workdir: Path) -> None:
    page = _page(workdir, objectives=TWO)
    front = record.read_sweep("mlp").find_front()
    assert f"{len(front)} trials on the front" in page.text
    assert "Pareto front" in page.text
    assert "merit sweep adopt TRIAL" in page.text
    best = [has["href"] for tag, has in page.tags if tag == "a" and has.get("class") == "trial best"]
    assert set(best) == {f"#trial-{trial.number}" for trial in front}


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_few_trials_make_a_page_too(workdir: Path, trials: int) -> None:
    page = _page(workdir, trials=trials)
    assert (f"{trials} trial" in page.text) is True
    assert ("fewer than 10 say too little" in page.text) is (trials > 0)


def test_a_sweep_in_which_all_failed_says_so(workdir: Path) -> None:
    page = _page(workdir, edit=lambda number, told: told.update(state="failed", values={}, error="no"))
    assert "no trial is done" in page.text
    assert "merit sweep adopt" not in page.text


def test_a_trial_whose_figure_is_no_number_is_no_point(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        if number == 2:
            told["values"] = {"log_loss": float("nan")}

    page = _page(workdir, edit=edit)
    assert "nan" not in page.text


def test_what_is_far_worse_lies_at_the_edge_of_the_history(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        if number == 5:
            told["values"] = {"log_loss": 900.0}

    page = _page(workdir, edit=edit)
    assert page.text.count("beyond the scale") == 2  # the mark, and the legend


def test_many_parameters_are_drawn_by_their_importance(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        told["overrides"] |= {f"k.p{i}": str(number + i) for i in range(20)}

    sweep_folders.make(workdir, edit=edit)
    drawn = plots.draw_parallel(record.read_sweep("mlp"), {"k.p19": 1.0, "k.p18": 0.5})
    assert len(re.findall('class="name"', drawn)) == plots.MAX_AXES
    assert ">p19<" in drawn


def test_words_of_the_first_scale_have_room_at_its_left(workdir: Path) -> None:
    sweep_folders.make(workdir, edit=lambda number, told: told["overrides"].update(model="m" * 40))
    drawn = plots.draw_parallel(record.read_sweep("mlp"), {})
    (place,) = {float(x) for x in re.findall(r'<text class="tick" x="([\d.]+)"[^>]*>m{5,}', drawn)}
    assert place >= 7 * plots.MAX_LABEL_CHARS, "a character is about 7 wide"


def test_names_are_as_short_as_they_can_be() -> None:
    assert labels.shorten_keys(["optimizer.lr", "model.hidden", "data.lr", "lr"]) == {
        "optimizer.lr": "optimizer.lr",
        "model.hidden": "hidden",
        "data.lr": "data.lr",
        "lr": "lr",
    }


def test_scales_are_by_powers_where_the_space_says_so_or_the_values_do() -> None:
    assert axes.from_values("lr", ["0.001", "0.1"]).log
    assert not axes.from_values("lr", ["0.01", "0.1"]).log
    assert axes.from_values("lr", ["0.01", "0.1"], "tag(log, interval(0.01, 0.1))").log
    assert axes.from_values("lr", ["0.001", "0.01", "0.1"]).locate_value("0.01") == pytest.approx(0.5)
    assert axes.from_values("hidden", ["[64]", "8", None]).labels == ("8", "[64]")
    assert axes.from_values("x", ["5"]).locate_value("5") == 0.5
