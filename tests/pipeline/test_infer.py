"""Every kind of column, from `merit infer` to a judged model, by the commands of docs/tutorials/own-table.md."""

import csv
import json
import random
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.small_project import ROOT, Project

ROWS = 1500


@pytest.fixture
def shop(fresh: Project) -> Project:
    """A project with orders.csv in it, and without the group by which the small project overrides its data."""
    config = fresh.folder / "conf/config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("  - size: small\n", ""), encoding="utf-8")
    _write(fresh.folder / "orders.csv")
    return fresh


def _write(path: Path) -> None:
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "ordered", "birthday", "shop name", "${plan}", "amount", "items", "gift", "note", "same",
                         "refunded", "size", "returned"])  # fmt: skip
        for i in range(ROWS):
            plan, amount, size = draw.choice("abc"), round(draw.uniform(0, 100), 2), draw.gauss(50, 10)
            returned = draw.random() < 0.05 + 0.6 * (plan == "a") + 0.002 * amount
            born = f"19{draw.randint(50, 99)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
            ordered = (datetime(2024, 1, 1) + timedelta(hours=2 * i)).isoformat()
            known, gift = "" if draw.random() < 0.05 else amount, str(draw.random() < 0.3).lower()
            note, refunded = f"{'a long story of what happened ' * 3}{i}", amount if returned else 0.0
            writer.writerow([1000 + i, ordered, born, f"shop {draw.randint(1, 12)}", plan, known, draw.randint(1, 5),
                             gift, note, "x", refunded, round(size, 2), "yes" if returned else "no"])  # fmt: skip


def _commands() -> dict[str, str]:
    """Return the commands of the guide, by their second word; of several, the first."""
    text = (ROOT / "docs/tutorials/own-table.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for block in re.findall(r"```\n(merit .*?)\n```", text, re.DOTALL):
        for line in block.splitlines():
            found.setdefault(line.split()[1], line)
    return found


def test_a_table_becomes_a_judged_model_by_the_commands_of_the_guide(shop: Project) -> None:
    commands = _commands()
    inferred = shop.run("bash", "-c", commands["infer"])
    assert inferred.returncode == 0, inferred.stderr
    assert "WARNING:  'refunded' gives the target away" in inferred.stdout

    done = shop.run("bash", "-c", commands["run"])

    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(shop.read("reports/gate.json"))
    assert report["model"] == "orders"
    assert {check["name"]: check["verdict"] for check in report["checks"]}["contract"] == "pass"
    assert report["metrics"]["candidate"]["roc_auc"]["value"] > 0.65
    inputs = {each["name"]: each["type"] for each in json.loads(shop.read("model/signature.json"))["inputs"]}
    assert set(inputs) == {"birthday", "shop name", "${plan}", "amount", "items", "gift", "size"}


@pytest.mark.parametrize("target", ["returned", "${plan}", "size"], ids=["binary", "multiclass", "regression"])
def test_each_task_without_a_time_becomes_a_judged_model(shop: Project, target: str) -> None:
    inferred = shop.run("merit", "infer", "orders.csv", "--target", target)
    assert inferred.returncode == 0, inferred.stderr
    done = shop.run("merit", "run", "experiment=orders")
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(shop.read("reports/gate.json"))["model"] == "orders"
    names = {each["name"] for each in json.loads(shop.read("model/signature.json"))["inputs"]}
    assert {"birthday", "shop name", "amount", "gift"} <= names
    assert not names & {"id", "note", "same", target}
