"""Reports of the gate as tests want them: every key filled in, or as a part of the gate writes them."""

import copy
from pathlib import Path
from typing import Any

from merit import artifacts

CHAMPION = "a" * 40
METRICS = {
    "roc_auc": (0.6766, -0.0121, -0.0178, -0.0064),
    "average_precision": (0.3381, -0.0090, -0.0171, 0.0002),
    "log_loss": (0.4365, 0.0074, 0.0041, 0.0105),
    "brier": (0.1358, 0.0003, -0.0004, 0.0010),
    "calibration_error": (0.0238, -0.0051, -0.0080, -0.0023),
}
"""Of each metric the candidate's value, and how far that is from the champion's: value, low, high."""


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": value - 0.01 if low is None else low, "high": value + 0.01 if high is None else high}


def check(
    name: str, verdict: str = "pass", found: str = "0.1", allowed: str = "at most 1", **more: Any
) -> dict[str, Any]:
    advice = "" if verdict in {"pass", "not applicable"} else "see what changed"
    rest = {"advice": advice, "group": "model", "waived": False, "rows_needed": None}
    return {"name": name, "verdict": verdict, "found": found, "allowed": allowed, **rest, **more}


def part(number: int) -> dict[str, Any]:
    """Return a slice of which the metrics and the difference are known."""
    gain = (number % 7 - 3) / 100
    metrics = {name: estimate(value) for name, (value, *_) in METRICS.items()}
    difference = {"roc_auc": estimate(gain, gain - 0.012, gain + 0.015)}
    return {
        "column": ("carrier", "origin", "hour")[number % 3],
        "value": f"{number}",
        "rows": 4000 - number,
        "blocks": 31,
        "target_mean": 0.2,
        "metrics": metrics,
        "difference": difference,
        "verdict": "pass" if gain > -0.02 else "inconclusive",
    }


def found_slice(difference: float, **means: float) -> dict[str, Any]:
    """Return a slice that a search has found."""
    rule = "temp at most 34 and <carrier> is |B6"
    return {"rule": rule, "rows": 1986, "blocks": 6, "difference": estimate(difference), **means}


def too_small(value: str | None) -> dict[str, Any]:
    """Return a slice of too few rows."""
    nothing = {"metrics": None, "difference": None, "verdict": None}
    return {"column": "carrier", "value": value, "rows": 12, "blocks": 5, "target_mean": 0.25, **nothing}


def _data() -> dict[str, Any]:
    def drift(column: str, score: float | None, limit: float, method: str = "wasserstein") -> dict[str, Any]:
        drifted = score is None or score > limit
        return {"column": column, "method": method, "score": score, "limit": limit, "drifted": drifted}

    return {
        "champion": {"commit": CHAMPION, "rows": 246_017},
        "rows": {"now": 273_355, "before": 246_017, "added": 27_512, "gone": 174, "changed": 2_031, "relabelled": 12},
        "changed_columns": [{"column": "temp", "rows": 2_019}, {"column": "late", "rows": 12}],
        "changed_slices": [{"slice": "carrier B6", "change": "relabelled", "count": 12, "rows": 43_170}],
        "columns": {
            "added": ["precip_6h"],
            "gone": ["gust"],
            "retyped": [{"column": "seats", "before": "Int64", "after": "Float64"}],
        },
        "missing": [
            {"column": "plane_age", "before": 0.164, "after": 0.312},
            {"column": "pressure", "before": 0.1, "after": 0.08},
        ],
        "categories": [
            {"column": "dest", "new": ["LEX", "SBN", 3, None], "new_count": 4, "new_rows": 11, "gone_count": 1},
        ],
        "target": {"before": 0.2534, "after": 0.2511},
        "drift": [
            drift("late (target)", 0.01, 0.15, "jensenshannon"),
            drift("temp", 0.41, 0.3),
            drift("visib", None, 0.3),
            drift("dest", 0.06, 0.15, "jensenshannon"),
            drift("hour", 0.01, 0.15, "jensenshannon"),
            drift("distance", 0.005, 0.3),
        ],
        "duplicates": 7,
        "identical": False,
    }


def full() -> dict[str, Any]:
    """Return a report in which everything has happened: it fails."""
    rows = {"rows": 217_727, "from": "2013-01-01 05:15:00", "to": "2013-08-31 23:59:00", "target": {"share": 0.26}}
    later = {"rows": 28_618, "from": "2013-10-01 05:00:00", "to": "2013-10-31 23:59:00", "target": {"share": 0.17}}
    return {
        "form": 2,
        "verdict": "fail",
        "scope": "all",
        "inputs": "sha256:" + "1" * 64,
        "model": "flights",
        "task": "binary",
        "candidate": {
            "digest": "sha256:" + "d" * 64,
            "commit": "c" * 40,
            "dirty": True,
            "network": "merit.models.networks.EmbeddingMLP",
        },
        "champion": {"commit": CHAMPION, "package": "05e9a6315478154d87cdb08736bdbed5.dir"},
        "waivers": [
            {
                "check": "data: missing",
                "reason": "the registry of planes moved; ages come back in December",
                "until": "2027-01-15",
                "expired": False,
                "used": True,
            },
            {
                "check": "size",
                "reason": "the first wide network, agreed on in the review",
                "until": "2026-10-01",
                "expired": True,
                "used": False,
            },
        ],
        "change": {
            "config": [
                {"key": "data.window.end", "before": '"2013-09-30"', "after": '"2013-10-31"'},
                {"key": "model.hidden", "before": "[128, 128]", "after": "[256, 256]"},
                {"key": "optimizer.weight_decay", "before": "0.1", "after": "0.05"},
                {"key": "data.columns.gust.type", "before": "number", "after": None},
                {"key": "data.columns.precip_6h.type", "before": None, "after": "number"},
                {"key": "gate.floors.roc_auc", "before": "0.64", "after": "0.62"},
                {"key": "gate.calibration", "before": "0.05", "after": "0.04"},
            ],
            "rules": [
                {"key": "gate.floors.roc_auc", "before": "0.64", "after": "0.62", "weaker": True},
                {"key": "gate.calibration", "before": "0.05", "after": "0.04", "weaker": False},
                {"key": "gate.waivers.size.until", "before": None, "after": '"2026-10-01"', "weaker": True},
            ],
            "locations": [{"key": "tracking.uri", "before": "sqlite:///mlflow.db", "after": "http://10.0.0.1:5000"}],
            "dropped": None,
            "code": [
                {
                    "file": "reference/metrics.py",
                    "decides": True,
                    "before": "0123456789ab",
                    "after": "ba9876543210",
                    "lines": ["@@ -1,2 +1,2 @@", " def profit(target):", "-    return target.sum()", "+    return 1.0"],
                    "more": 3,
                }
            ],
        },
        "data": _data(),
        "parts": {"train": rows, "validation": later, "test": later},
        "test_rows": {
            "rows": 26_218,
            "digest": "sha256:" + "d" * 64,
            "candidates": 17,
            "counted_in": "MLflow and Git",
            "unseen": {"rows": 12_004, "from": "2013-10-16", "to": "2013-10-31"},
        },
        "confidence": 0.95,
        "blocks": {"of": "days", "count": 31, "too_few": False},
        "checks": [
            check("contract", found="273,355 rows, 0 violations", allowed="no violation", group="data"),
            check(
                "data: missing",
                "fail",
                "plane_age 16.40% to 31.20%",
                "moved by at most 5.00%",
                group="data",
                waived=True,
                advice="see where values were lost or made up; if this is meant, raise gate.data.missing",
            ),
            check(
                "data: drift",
                "fail",
                "2 of 29 features: visib has nothing to compare, temp 0.41",
                "Jensen-Shannon 0.15, Wasserstein 0.3 deviations",
                group="data",
                advice="see whether a unit, a column or the source changed; if the world did, raise gate.data.drift",
            ),
            check("data: duplicates", found="0.00%", allowed="at most 1.00%", group="data"),
            check("floor: roc_auc", found="0.6766 [0.6680, 0.6849]", allowed="at least 0.62"),
            check("floor: log_loss", found="0.4365 [0.4295, 0.4435]", allowed="at most 0.5"),
            check("baseline: roc_auc", found="+0.0000 [-0.0033, +0.0034]", allowed="at least -0.01"),
            check(
                "champion: roc_auc",
                "fail",
                "-0.0121 [-0.0178, -0.0064]",
                "at least -0.005",
                advice="the champion is better on the same rows: keep it, or improve the candidate",
            ),
            check(
                "champion: log_loss",
                "inconclusive",
                "+0.0074 [+0.0041, +0.0105]",
                "at most +0.005",
                advice="the interval lies on both sides of the limit: judge on more test rows",
                rows_needed=52_000,
            ),
            check("calibration", found="0.0238 [0.0198, 0.0282]", allowed="at most 0.04"),
            check("parity", found="1.3e-07 on 28,618 rows", allowed="at most 1e-05"),
            check("size", found="0.84 MB", allowed="at most 20 MB"),
            check(
                "rules",
                "fail",
                "weaker: gate.floors.roc_auc, and the model changed too",
                "none weaker, unless the model stays as it is",
                group="rules",
                advice="change the rules in a pull request of their own, or waive this check with a reason",
            ),
        ],
        "better": {name: "higher" if name in {"roc_auc", "average_precision"} else "lower" for name in METRICS},
        "metrics": {
            "candidate": {name: estimate(value) for name, (value, *_) in METRICS.items()},
            "baseline": {name: estimate(value - 0.001) for name, (value, *_) in METRICS.items()},
            "champion": {name: estimate(value - gain) for name, (value, gain, *_) in METRICS.items()},
            "difference": {name: estimate(*differs) for name, (_, *differs) in METRICS.items()},
        },
        "slices": [*(part(number) for number in range(24)), too_small("OO"), too_small(None)],
        "unnamed_slices": {
            "searched": 32_279,
            "min_rows": 540,
            "worse": found_slice(0.0312, candidate=0.512, champion=0.4808),
            "miscalibrated": found_slice(0.324, observed=0.78, predicted=0.456),
        },
        "curves": {
            "calibration": [{"predicted": 0.05 * n + 0.03, "observed": 0.048 * n + 0.04} for n in range(10)],
            "loss": [{"train": 0.52 - 0.01 * n, "validation": 0.37 - 0.005 * n} for n in range(4)],
        },
        "left_out": {},
    }


def passing() -> dict[str, Any]:
    """Return the report of a model that may merge: with a champion, without a change of rules or waivers."""
    made = full()
    made |= {"verdict": "pass", "waivers": [], "checks": [c for c in made["checks"] if c["verdict"] == "pass"]}
    made["change"]["rules"], made["change"]["locations"], made["change"]["code"] = [], [], []
    made["change"]["config"] = made["change"]["config"][1:3]
    for name, found in made["metrics"]["difference"].items():
        gain = 0.004 if made["better"][name] == "higher" else -0.004
        found.update(estimate(gain, gain - 0.003, gain + 0.003))
    return made


def first() -> dict[str, Any]:
    """Return the report of the first model: there is nothing to compare it with."""
    made = passing()
    made |= {"champion": None, "change": None}
    made["checks"].append(check("champion", "not applicable", "no champion yet", "nothing to compare with"))
    made["metrics"] |= {"champion": None, "difference": None}
    made["unnamed_slices"]["worse"] = None
    made["slices"] = [each | {"difference": None, "verdict": None} for each in made["slices"]]
    rows = {"now": 273_355, "before": None, "added": None, "gone": None, "changed": None, "relabelled": None}
    nothing = dict.fromkeys(("champion", "columns", "missing", "categories", "drift"))
    made["data"] = {
        **nothing,
        "rows": rows,
        "target": {"before": None, "after": 0.25},
        "duplicates": 0,
        "identical": False,
        "changed_columns": None,
        "changed_slices": None,
    }
    return made


def data_only() -> dict[str, Any]:
    """Return the report of `merit gate data`, which judges before anything is trained."""
    made = full()
    made |= {"scope": "data", "checks": [c for c in made["checks"] if c["group"] != "model"]}
    nothing = dict.fromkeys(("parts", "metrics", "unnamed_slices", "curves"))
    candidate = made["candidate"] | {"digest": None}
    return made | nothing | {"candidate": candidate, "better": {}, "slices": []}


def wide() -> dict[str, Any]:
    """Return a report of more than a comment holds: 3,000 slices, 500 columns, and long names everywhere."""
    made = full()
    name = "a_very_long_name_of_a_column_" * 10
    made["slices"] = [part(n) | {"column": f"{name}{n % 4}", "value": f"{name}{n}"} for n in range(3000)]
    drift = made["data"]["drift"][1]
    made["data"] |= {
        "columns": {
            "added": [f"{name}{n}" for n in range(500)],
            "gone": [f"{name}{n}" for n in range(500)],
            "retyped": [],
        },
        "missing": [{"column": f"{name}{n}", "before": 0.1, "after": 0.4} for n in range(500)],
        "categories": [made["data"]["categories"][0] | {"column": f"{name}{n}"} for n in range(500)],
        "drift": [drift | {"column": f"{name}{n}"} for n in range(500)],
    }
    change = {"before": name * 3, "after": name * 4}
    made["change"] = {
        "config": [{"key": f"data.columns.{name}{n}.min", **change} for n in range(2000)],
        "rules": [{"key": f"gate.floors.{name}{n}", **change, "weaker": True} for n in range(500)],
        "locations": [{"key": f"data.source.{name}{n}", **change} for n in range(500)],
        "dropped": name * 3,
        "code": [
            {"file": f"{name}{n}", "decides": True, "before": None, "after": None, "lines": [name[:60]] * 40, "more": 9}
            for n in range(20)
        ],
    }
    made["waivers"] = [made["waivers"][0] | {"check": f"{name}{n}", "reason": name * 5} for n in range(200)]
    made["checks"] += [
        check(f"{name[:200]}{n}", v, name, name, advice=name * 3) for n in range(300) for v in ("pass", "fail")
    ]
    return made


def spoiled(report: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a report with a text wherever its form takes any."""
    made = copy.deepcopy(report)
    for waiver in made["waivers"]:
        waiver.update(check=text, reason=text, until=text)
    made["change"]["dropped"] = text
    for each in made["change"]["code"]:
        each.update(file=text, lines=[f"+{text[:1990]}"] * 3)
    for line in [line for name in ("config", "rules", "locations") for line in made["change"][name]]:
        line.update(key=text, before=text, after=text)
    for each in made["checks"]:
        each.update(name=text[:300], found=text, allowed=text, advice="" if each["verdict"] == "pass" else text)
    for each in made["slices"]:
        each.update(column=text[:300], value=text)
    data = made["data"]
    data["columns"] = {"added": [text], "gone": [text], "retyped": [dict.fromkeys(("column", "before", "after"), text)]}
    for each in [*data["missing"], *data["categories"], *data["drift"]]:
        each["column"] = text
    data["categories"][0]["new"] = [text]
    made["champion"]["package"] = made["candidate"]["network"] = text
    metric = text[:300]
    for kind in made["metrics"].values():
        kind[metric] = kind.pop("roc_auc")
    made["better"][metric] = made["better"].pop("roc_auc")
    for each in made["slices"]:
        for kind in ("metrics", "difference"):
            if each[kind]:
                each[kind][metric] = each[kind].pop("roc_auc")
    made["left_out"] = {metric: 3}
    return made


def curves() -> None:
    """Write the curves that `evaluate` and `train` leave behind."""
    for name, x, y in (
        ("roc", "false_positive_rate", "true_positive_rate"),
        ("precision_recall", "recall", "precision"),
        ("calibration", "predicted", "observed"),
    ):
        lines = [f"{model},{point / 4},{point / 4}" for model in ("candidate", "baseline") for point in range(5)]
        artifacts.write_text(artifacts.PLOTS / f"{name}.csv", "\n".join([f"model,{x},{y}", *lines]) + "\n")
    artifacts.write_text(Path(artifacts.HISTORY), "epoch,train_loss,validation_loss\n0,0.7,0.6\n1,0.6,0.5\n")
