"""Fixtures that more than one test module uses: a folder, tiny data, a lock, a package made without torch."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from merit import artifacts
from merit.config.schema import Lock
from merit.console import logging
from merit.features.transform import NumberScale, Preprocessing, Vocabulary

ROOT = Path(__file__).resolve().parents[1]
"""The repository: only conf/ and dvc.yaml are read from it, never written."""


Edit = Callable[[dict[str, Any]], object]
Call = Callable[..., tuple[int, str, str]]


def put(values: dict[str, Any], edits: dict[str, Any]) -> None:
    """Set values deep inside a section: the key `contract__rows` sets `rows` in `contract`."""
    for path, value in edits.items():
        place = values
        *parents, last = path.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value


def trust_reference(folder: Path) -> None:
    """Trust the repository's own package of sources in a folder; a link, for it may be imported from there already."""
    (folder / "reference").symlink_to(ROOT / "reference")
    (folder / "pyproject.toml").write_text('[tool.merit]\ntrusted = ["reference"]\n', encoding="utf-8")


def ignore_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Git read no settings of this machine, and put no sample hooks into new repositories."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", "")


def run_git(*args: str) -> str:
    """Run `git ARGS` as somebody in the working folder; return what it prints."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *args], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what this machine happens to have set from deciding a test."""
    for name in ("MLFLOW_TRACKING_URI", "MERIT_PACKAGE", "MERIT_VERSION", artifacts.COMMIT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    ignore_own_settings(monkeypatch)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conf(workdir: Path) -> Path:
    """The repository's own conf/, copied into the folder that the test runs in, with the package that it trusts."""
    shutil.copytree(ROOT / "conf", workdir / "conf")
    trust_reference(workdir)
    return Path("conf")


@pytest.fixture
def git_repo(workdir: Path) -> Callable[..., str]:
    """A Git repository on branch main, without a commit; the fixture runs `git ARGS` in it."""
    run_git("init", "--quiet", "--initial-branch=main")
    return run_git


@pytest.fixture(autouse=True)
def log_as_text() -> None:
    """Log as a command does that was given no option, whatever the test before did."""
    logging.configure()


@pytest.fixture
def call(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run `merit ARGS` as a shell would; return its exit code and what it printed on both streams."""
    from merit import cli

    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    for variable in (logging.VERBOSITY_VARIABLE, logging.FORMAT_VARIABLE):
        monkeypatch.setenv(variable, "")  # a command sets them for its stages

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["merit", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def table() -> pl.DataFrame:
    """240 rows over 120 days of 2024, as a source gives them."""
    draw = np.random.default_rng(0)
    rows = 240
    size = draw.normal(50, 10, rows)
    kind = draw.integers(1, 4, rows)
    return pl.DataFrame(
        {
            "when": [datetime(2024, 1, 1) + timedelta(hours=12 * i) for i in range(rows)],
            "shop": draw.choice(["north", "south", "west"], rows),
            "kind": kind,
            "size": [None if i % 10 == 0 else float(value) for i, value in enumerate(size)],
            "weight": draw.uniform(0, 1, rows),
            "delay": (size - 50) + 5 * kind + draw.normal(0, 5, rows),
        }
    )


def _values() -> dict[str, Any]:
    return {
        "name": "tiny",
        "seed": 7,
        "data": {
            "source": {"_target_": "merit.data.sources.Parquet", "path": "source.parquet"},
            "fingerprint": "sha256:" + "0" * 64,
            "time": "when",
            "window": {"start": "2024-01-01", "end": "2024-12-31"},
            "target": {"name": "late", "sql": "delay >= 10"},
            "columns": {
                "when": {"type": "datetime"},
                "shop": {"type": "string", "feature": "category"},
                "kind": {"type": "integer", "feature": "category", "min": 1, "max": 9},
                "size": {"type": "number", "feature": "number", "missing": 0.5},
                "weight": {"type": "number", "feature": "number"},
            },
            "contract": {"rows": {"min": 1, "max": 1000}, "unique": ["when"]},
            "split": {
                "by": "time",
                "train_until": "2024-02-29",
                "validation_until": "2024-03-31",
                "test_until": "2024-12-31",
            },
        },
        "features": {"category": {"min_count": 1}, "number": {"clip": 4.0}},
        "model": {"_target_": "merit.models.networks.Linear"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
        "trainer": {
            "max_epochs": 1,
            "batch_size": 64,
            "patience": 1,
            "monitor": "log_loss",
            "schedule": "constant",
            "accelerator": "cpu",
            "devices": 1,
            "precision": "32-true",
            "threads": 1,
        },
        "evaluate": {
            "blocks": {"by": "row"},
            "resamples": 100,
            "slice_resamples": 100,
            "confidence": 0.95,
            "slices": ["shop"],
            "slice_min_rows": 10,
            "baseline": {"max_iter": 5},
        },
        "package": {"parity": {"rows": 100, "tolerance": 1e-5}},
        "gate": {
            "floors": {"roc_auc": 0.6, "log_loss": 0.7},
            "baseline": {"metric": "roc_auc", "margin": 0.01},
            "champion": [{"metric": "roc_auc", "margin": 0.01}],
            "calibration": 0.5,
            "parity": 1e-5,
            "size_mb": 1.0,
            "resamples": 100,
            "confidence": 0.95,
        },
        "tracking": {"uri": "sqlite:///mlflow.db", "experiment": "tiny"},
        "serve": {
            "host": "127.0.0.1",
            "port": 3000,
            "workers": 1,
            "max_rows": 3,
            "max_bytes": 1000,
            "timeout_seconds": 10,
        },
    }


@pytest.fixture
def values() -> dict[str, Any]:
    """The plain values of a lock for the tiny data."""
    return _values()


@pytest.fixture
def make_lock() -> Callable[..., Lock]:
    """Return a lock for the tiny data, after an edit of its plain values."""

    def make(edit: Edit | None = None) -> Lock:
        changed = copy.deepcopy(_values())
        if edit is not None:
            edit(changed)
        return Lock.model_validate(changed)

    return make


@pytest.fixture
def lock(make_lock: Callable[..., Lock]) -> Lock:
    """The lock for the tiny data."""
    return make_lock()


def scoring_graph(transform: Preprocessing) -> onnx.ModelProto:
    """Join a fitted transform to the plainest of networks: the sigmoid of the sum of all codes and numbers."""
    model = transform.build_graph()
    nodes = [
        helper.make_node("Cast", ["/codes"], ["/n/codes"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["/n/codes", "/numbers"], ["/n/all"], axis=1),
        helper.make_node("MatMul", ["/n/all", "/n/ones"], ["/n/sums"]),
        helper.make_node("Squeeze", ["/n/sums", "/n/axis"], ["/n/sum"]),
        helper.make_node("Sigmoid", ["/n/sum"], ["prediction"]),
    ]
    model.graph.node.extend(nodes)
    width = len(transform.categories) + transform.width
    constants = {"/n/ones": np.ones((width, 1), dtype=np.float32), "/n/axis": np.array([1], dtype=np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows"]))
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def tiny_transform() -> Preprocessing:
    """A transform for the columns of the tiny data."""
    return Preprocessing(
        [Vocabulary("shop", "string", ["north", "south", "west"]), Vocabulary("kind", "integer", [1, 2, 3])],
        [
            NumberScale("size", 50.0, 10.0, 4.0, has_missing_flag=True),
            NumberScale("weight", 0.5, 0.25, 4.0, has_missing_flag=False),
        ],
    )


@pytest.fixture(scope="session")
def make_package(tiny_transform: Preprocessing) -> Callable[..., Path]:
    """Write a package whose manifest fits its files; `parity` and the graph can be chosen."""

    def make(
        folder: Path, *, transform: Preprocessing = tiny_transform, parity: float = 0.0, sections: str = ""
    ) -> Path:
        folder.mkdir(parents=True)
        (folder / artifacts.GRAPH).write_bytes(scoring_graph(transform).SerializeToString())
        types = {c.column: c.type for c in transform.categories} | dict.fromkeys(
            (n.column for n in transform.numbers), "number"
        )
        nullable = {n.column for n in transform.numbers if n.has_missing_flag}
        inputs = [
            {"name": name, "type": kind, "nullable": name in nullable, "description": None}
            for name, kind in types.items()
        ]
        example: dict[str, Any] = {c.column: c.values[0] for c in transform.categories if c.values}
        example |= {n.column: n.mean for n in transform.numbers if isinstance(n, NumberScale)}
        outputs = [{"name": "prediction", "task": "binary"}]
        artifacts.write_json(folder / artifacts.SIGNATURE, {"inputs": inputs, "outputs": outputs, "example": example})
        (folder / artifacts.PACKAGED_WEIGHTS).write_bytes(b"weights")
        (folder / artifacts.PACKAGED_LOCK).write_text(sections, encoding="utf-8")
        rewrite_manifest(folder, parity=parity)
        return folder

    return make


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs of keys that sign: ours and other."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        key, public = str(folder / f"{name}.pem"), str(folder / f"{name}.pub")
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
        subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    return folder


def rewrite_manifest(folder: Path, *, parity: float = 0.0) -> None:
    """Make the manifest say what the files of the package are now, in the form of those that named their commit."""
    files = {p.name: artifacts.hash_file(p) for p in sorted(folder.iterdir()) if p.name != artifacts.MANIFEST}
    manifest = {
        "model": "tiny",
        "commit": "c" * 40,
        "dirty": False,
        "params_sha256": "p" * 64,
        "data_sha256": "d" * 64,
        "files": files,
        "parity": {"rows": 10, "greatest_difference": parity},
    }
    (folder / artifacts.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
