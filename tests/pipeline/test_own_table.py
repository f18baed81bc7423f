"""The README's "Your own table", as it stands there: a CSV, a YAML file, one command."""

import csv
import json
import random
import re
from datetime import datetime, timedelta

from tests.small_project import ROOT


def _orders(path):
    draw = random.Random(0)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["ordered", "channel", "amount", "gift", "status"])
        for i in range(4000):
            channel, amount, gift = draw.choice(["web", "shop"]), round(draw.uniform(0, 100), 2), draw.random() < 0.3
            returned = draw.random() < 0.05 + 0.5 * (channel == "web") + 0.004 * amount * gift
            ordered = datetime(2024, 1, 1) + timedelta(minutes=65 * i)
            known = "" if draw.random() < 0.05 else amount
            writer.writerow(
                [ordered.isoformat(), channel, known, str(gift).lower(), "returned" if returned else "kept"]
            )


def test_a_csv_becomes_a_judged_model_as_the_readme_says(fresh):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (yaml,) = re.findall(r"```yaml\n(source:.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"```\n(merit run data=orders .*?)\n```", text, re.DOTALL)
    (fresh.folder / "conf/data/orders.yaml").write_text(yaml, encoding="utf-8")
    _orders(fresh.folder / "orders.csv")
    # The small project overrides the data by a group of its own, which another table does not want.
    config = fresh.folder / "conf/config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("  - size: small\n", ""), encoding="utf-8")

    done = fresh.run("bash", "-c", command)

    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(fresh.read("reports/gate.json"))
    assert report["model"] == "orders"
    assert {check["name"]: check["verdict"] for check in report["checks"]}["contract"] == "pass"
    assert json.loads(fresh.read("model/signature.json"))["inputs"][0]["name"] == "channel"
    assert report["metrics"]["candidate"]["roc_auc"]["value"] > 0.6
