"""Folders of sweeps as they are left behind, made of plausible trials."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = {
    "model": "choice(linear,mlp)",
    "optimizer.lr": "tag(log, interval(1e-4, 1e-1))",
    "model.hidden": "choice([64], [128, 64])",
    "trainer.batch_size": "choice(512, 1024, 2048)",
}
ERROR = "train: the loss is not a number after epoch 1; lower optimizer.lr"
Edit = Callable[[int, dict[str, Any]], object]


def drawn(number: int, draw: random.Random) -> dict[str, str]:
    """Return a trial's values."""
    values = {
        "model": draw.choice(["linear", "mlp"]),
        "optimizer.lr": repr(10 ** draw.uniform(-4, -1)),
        "trainer.batch_size": draw.choice(["512", "1024", "2048"]),
    }
    return values | ({"model.hidden": draw.choice(["[64]", "[128,64]"])} if values["model"] == "mlp" else {})


def trial(number: int, draw: random.Random) -> dict[str, Any]:
    """Return what is known of a trial, most of which are done."""
    overrides = drawn(number, draw)
    rate = math.log10(float(overrides["optimizer.lr"]))
    loss = 0.43 + 0.01 * (rate + 2.6) ** 2 + (0.0 if overrides["model"] == "mlp" else 0.012) + draw.gauss(0, 0.001)
    state = {4: "pruned", 9: "pruned", 13: "failed", 17: "killed"}.get(number, "done")
    seconds = 6.0 + 8 * (overrides["model"] == "mlp") + draw.random()
    return {
        "number": number,
        "overrides": overrides,
        "state": state,
        "values": {"log_loss": loss, "train_seconds": seconds} if state == "done" else {},
        "error": {"failed": ERROR, "killed": "killed by the kernel: out of memory"}.get(state),
        "started": 1_700_000_000.0 + 8 * number,
        "seconds": seconds if state == "done" else 2.5,
        "first_batch_seconds": 1.9,
        "epochs": 4 if state == "done" else 1,
        "run": None,
        "pid": None,
        "loss": loss,
    }


def make(
    root: Path, name: str = "mlp", trials: int = 20, objectives: dict[str, str] | None = None,
    edit: Edit = lambda number, told: None, **other: Any,
) -> Path:  # fmt: skip
    """Write the folder of a sweep below `root`; `edit` changes what is known of each trial."""
    draw = random.Random(3)
    folder = root / "sweeps" / name
    told = {
        "name": name, "created": "2026-01-05T10:00:00", "sampler": "tpe",
        "objectives": objectives or {"log_loss": "minimize"}, "overrides": ["sweep=mlp", "trainer.max_epochs=4"],
        "space": SPACE, "planned": trials, "commit": "", "seed": 7,
    }  # fmt: skip
    _write(folder / "sweep.json", told | other)
    for number in range(trials):
        known = trial(number, draw)
        known["values"] = {key: value for key, value in known["values"].items() if key in told["objectives"]}
        edit(number, known)
        place = folder / "trials" / f"{number:04d}"
        loss = known.pop("loss")
        _write(place / "trial.json", known)
        if known["state"] in {"done", "pruned"}:
            rows = [f"{epoch},{loss + 0.02 / (epoch + 1)}" for epoch in range(known["epochs"])]
            (place / "history.csv").write_text("\n".join(["epoch,validation_log_loss", *rows, ""]), encoding="utf-8")
    return folder


def _write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told), encoding="utf-8")
