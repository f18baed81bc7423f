import ast
import asyncio
import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import merit
import merit.api
from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.console.json_log import RateLimitedLogger
from merit.features.transform import NumberScale, Preprocessing, TimeEncoding, Vocabulary
from merit.gate import judge
from merit.pipeline import run as pipeline
from merit.prediction_log.log import NullLog
from merit.registry.register import register
from merit.scoring.package import Package
from merit.serving import model as served
from merit.serving import settings
from merit.serving.app.feedback import FeedbackRecorder
from merit.serving.app.handler import Handler
from merit.serving.app.served_model import ServedModel
from merit.serving.auth.methods import NoAuth
from merit.serving.observability.metrics import RequestMetrics
from tests.conftest import rewrite_manifest
from tests.support import reports
from tests.support.versioned import Repository, report

HOME = Path(merit.__file__)


def test_importing_merit_imports_nothing_else() -> None:
    code = "import sys, merit; dir(merit); print([name for name in sys.modules if name.startswith('merit.')])"
    heavy = "print([name for name in ('polars', 'torch', 'pydantic', 'numpy', 'click') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}; {heavy}"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_each_public_name_is_there_and_documented() -> None:
    assert set(merit.__all__) <= set(dir(merit))
    for name in set(merit.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(merit, name)), name
    functions = (merit.compose, merit.run, merit.load, merit.Model.predict, merit.Source, merit.Metric, merit.Check,
                 merit.Target, merit.Report)  # fmt: skip
    assert all("Example:" in str(each.__doc__) or each is merit.Model.predict for each in functions)
    with pytest.raises(AttributeError, match="module 'merit' has no attribute 'predict'"):
        _ = merit.predict


def test_type_checkers_see_the_names_that_are_imported_on_first_use() -> None:
    block = next(each for each in ast.parse(HOME.read_text()).body if isinstance(each, ast.If))
    seen = {(each.asname or each.name): each_from.module for each_from in block.body
            if isinstance(each_from, ast.ImportFrom) for each in each_from.names}  # fmt: skip
    assert seen == merit._MODULE_BY_NAME | {"gate": "merit.gate.result", "CheckResult": "merit.gate.verdict"}
    assert set(seen) == set(merit.__all__)


@pytest.mark.parametrize("imported", ["merit", "merit.gate.verdict", "merit.gate.result, merit.gate"])
def test_gate_can_be_called_whatever_was_imported_before(imported: str, tmp_path: Path) -> None:
    code = f"import {imported}\ntry:\n    merit.gate()\nexcept merit.MeritError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "params.yaml: not found; 'merit compose' writes it\n"


AWKWARD: list[dict[str, Any]] = [
    {"shop": "north", "kind": 1, "size": 48.5, "weight": 0.25, "when": datetime(2026, 1, 31, 15, 30, 0, 123456)},
    {"shop": "nowhere", "kind": 99, "size": None, "weight": 1e300, "when": None},
    {"shop": "", "kind": 3, "size": -0.0, "weight": 5e-324, "when": datetime(1969, 12, 31, 23, 59)},
    {"shop": "wést \u2028 \"'", "kind": -(2**53), "size": 1e22, "weight": 1 / 3, "when": datetime(2026, 3, 1)},
]


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Path:
    """A package in model/ with a category of text, one of numbers, a nullable number, a number and a time."""
    transform = Preprocessing(
        [Vocabulary("shop", "string", ["north", "south"]), Vocabulary("kind", "integer", [1, 2, 3])],
        [NumberScale("size", 50.0, 10.0, 4.0, has_missing_flag=True),
         NumberScale("weight", 0.5, 0.25, 4.0, has_missing_flag=False), TimeEncoding("when", has_missing_flag=True)],
    )  # fmt: skip
    folder = make_package(workdir / "model", transform=transform)
    signature = artifacts.read_json(folder / artifacts.SIGNATURE, "package")
    signature["inputs"][-1]["type"] = "datetime"
    artifacts.write_json(folder / artifacts.SIGNATURE, signature)
    rewrite_manifest(folder)
    return Path("model")


def _ask_endpoint(body: bytes) -> list[Any]:
    """Return the predictions that the endpoint's handler answers."""
    package = Package.load(Path("model"))
    limits = settings.Settings(max_rows=100, max_bytes=10_000)
    model = ServedModel(package, "v1", limits.max_rows)
    handler = Handler(
        model, limits, auth=NoAuth(), prediction_log=NullLog(), logger=RateLimitedLogger(),
        metrics=RequestMetrics(model.origin, "binary", model.classes, None),
        feedback=FeedbackRecorder(limits.log, package, "w", 3),
    )  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await handler({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200, sent[1]
    return list(json.loads(sent[1]["body"])["predictions"])


def _to_json(rows: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(rows, default=datetime.isoformat).encode()


@pytest.mark.parametrize(
    "convert",
    [
        list,
        lambda rows: pl.DataFrame(rows, infer_schema_length=None),
        lambda rows: pl.DataFrame(rows, infer_schema_length=None).with_columns(
            pl.col("shop").cast(pl.Categorical), pl.col("size").fill_null(math.nan), late=pl.lit(1)
        ),
        pd.DataFrame,
        lambda rows: pd.DataFrame(rows, index=[9, 9, 0.5, 1]).assign(late=1),
        lambda rows: pd.DataFrame(rows).astype({"size": "Float64", "shop": "category", "kind": object}),
    ],
    ids=["dicts", "Polars", "Polars, other types", "pandas", "pandas, any index", "pandas, other types"],
)
def test_awkward_rows_get_the_endpoints_answers_bit_for_bit(
    package: Path, convert: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = np.array(_ask_endpoint(_to_json(AWKWARD)), dtype=np.float32)
    for max_rows in (10_000, 3):  # at once, and in steps
        monkeypatch.setattr(served, "MAX_ROWS", max_rows)
        found = merit.load("model").predict(convert(AWKWARD))
        assert found.dtype == np.float32
        assert found.tobytes() == expected.tobytes()
    assert merit.load(package.absolute()).predict(AWKWARD[0]).tobytes() == expected[:1].tobytes()


def test_values_of_other_types_are_read_as_their_json(package: Path) -> None:
    row = AWKWARD[0] | {"kind": np.int64(1), "size": Decimal("48.5"), "when": date(2026, 2, 1)}
    same = AWKWARD[0] | {"when": "2026-02-01T00:00:00+00:00", "size": np.float64(48.5)}
    model = merit.load("model")
    assert model.predict([row]).tolist() == model.predict(same).tolist()
    zoned = model.predict(AWKWARD[0] | {"when": datetime(2026, 2, 1, tzinfo=UTC)})
    assert zoned.tolist() == model.predict(same).tolist()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the array holds no row"),
        (pl.DataFrame({"shop": []}), "the array holds no row"),
        ({**AWKWARD[0], "shpo": "x"}, "did you mean 'shop'?"),
        ({**AWKWARD[0], "weight": None}, "column 'weight'"),
        ({**AWKWARD[0], "size": math.inf}, "column 'size': a number is infinite; send finite numbers"),
        ({**AWKWARD[0], "size": timedelta(1)}, "column 'size': found a value of the type timedelta; convert it first"),
        ([1], "predict: found a row of the type int; give a dict for one row, a list of dicts, or a DataFrame"),
        ([0], "predict: found a row of the type int"),
        ("north", "predict: found the type str; give a dict for one row"),
        (None, "predict: found the type NoneType"),
        (pl.LazyFrame({"shop": ["x"]}), "predict: found the type LazyFrame; 'collect' a LazyFrame first; give a dict"),
        (pd.DataFrame([["x", "y"]], columns=["shop", "shop"]), "column 'shop': the table has it more than once"),
    ],
)  # fmt: skip
def test_rows_that_are_none_or_wrong_are_refused_in_one_line(package: Path, rows: Any, message: str) -> None:
    with pytest.raises(merit.MeritError) as caught:
        merit.load("model").predict(rows)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_classes_each_row_gets_all_probabilities(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = merit.load("model")
    monkeypatch.setattr(served, "MAX_ROWS", 1)
    monkeypatch.setattr(model._model, "score", lambda columns: np.array([[0.75, 0.25]], np.float32))
    assert model.predict(AWKWARD[:2]).shape == (2, 2)


def test_a_model_says_what_it_is(package: Path) -> None:
    model = merit.load(package)
    assert [column["name"] for column in model.signature["inputs"]] == ["shop", "kind", "size", "weight", "when"]
    assert (model.manifest["model"], model.version) == ("tiny", artifacts.hash_package(package))
    assert repr(model) == f"<merit.Model tiny {model.version}>"


def test_a_package_that_was_changed_is_not_loaded(package: Path) -> None:
    (package / artifacts.PACKAGED_WEIGHTS).write_bytes(b"others")
    with pytest.raises(merit.MeritError, match=r"weights\.safetensors was changed"):
        merit.load("model")


@pytest.fixture
def versions(workdir: Path, lock: Lock, make_package: Callable[..., Path]) -> Repository:
    """A repository whose version v1 is a package that only DVC's cache has."""
    repository = Repository.made(workdir, locks.render_lock(lock))
    make_package(workdir / "model")
    repository.keep()
    repository.commit("package")
    register(lock, lambda against: report())
    return repository


@pytest.mark.parametrize("name", ["tiny@v1", "v1"])
def test_a_version_is_loaded_from_dvcs_cache_and_again_from_its_copy(versions: Repository, name: str) -> None:
    Path("model").rename("moved")
    expected = Package.load(Path("moved")).signature["example"]
    row = {column: value for column, value in expected.items() if value is not None}
    model = merit.load(name)
    assert (model.version, repr(model)) == ("v1", "<merit.Model tiny v1>")
    assert model.predict(row).tobytes() == merit.load("moved").predict(row).tobytes()
    assert merit.load("moved").version == "v1"
    copied = next(Path(".merit/packages").rglob(artifacts.PACKAGED_WEIGHTS))
    copied.write_bytes(b"others")  # found by its digest, and fetched again
    assert merit.load(name).version == "v1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny@v2", "tiny@v2: no such version here; there are tiny@v1"),
        ("other@v1", "'other@v1' is no version of tiny, which is this repository's model"),
        ("modle", "load: 'modle' is neither a folder with a package nor a version such as flights@v3"),
        (Path("v1"), "load: 'v1' is neither a folder"),
        (".dvc", ".dvc/manifest.json: not found"),
    ],
)
def test_what_is_no_package_and_no_version_is_refused(versions: Repository, name: str | Path, message: str) -> None:
    with pytest.raises(merit.MeritError) as caught:
        merit.load(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["tiny@v1", "model"])
def test_where_a_signature_is_demanded_a_package_without_one_is_not_loaded(
    versions: Repository, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERIT_DEMAND_SIGNATURE", "1")
    with pytest.raises(merit.MeritError, match="signature"):
        merit.load(name)


@pytest.fixture
def written(workdir: Path, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> dict[str, Any]:
    """The content of a report that the gate writes in place of judging."""
    content = reports.full() | {"verdict": "fail"}

    def gate(lock: Lock, ref: str | None, scope: str | None) -> dict[str, Any]:
        artifacts.write_text(artifacts.GATE_HTML, f'<p class="x">{ref} {scope} &amp;</p>')
        return content

    monkeypatch.setattr(judge, "gate", gate)
    monkeypatch.setattr(locks, "read_lock", lambda: lock)
    return content


def test_a_report_has_the_verdict_the_checks_and_the_metrics(written: dict[str, Any]) -> None:
    found = merit.gate(against="HEAD~1", only="model")
    assert (found.verdict, found.verdict == "fail") == (merit.Verdict.FAIL, True)
    assert [check.name for check in found.checks] == [check["name"] for check in written["checks"]]
    assert all(isinstance(check, merit.CheckResult) and isinstance(check.verdict, merit.Verdict)
               for check in found.checks)  # fmt: skip
    for name, values in written["metrics"]["candidate"].items():
        assert found.metrics[name].as_json() == values
    assert found.path == artifacts.GATE_HTML.absolute()
    assert found.content is written


def test_a_notebook_shows_the_page_that_the_gate_wrote_then(written: dict[str, Any]) -> None:
    found = merit.gate("main")
    artifacts.GATE_HTML.write_text("another")
    shown = found._repr_html_()
    assert 'srcdoc="&lt;p class=&quot;x&quot;&gt;main None &amp;amp;&lt;/p&gt;"' in shown
    assert "sandbox" in shown
    assert "class=" not in repr(found)


def test_a_report_of_the_data_alone_has_no_metrics(written: dict[str, Any]) -> None:
    written["metrics"] = None
    assert merit.gate(only="data").metrics == {}


def test_a_refused_run_is_a_result(written: dict[str, Any], lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_path(overrides: Sequence[str]) -> pipeline.RunResult:
        assert overrides == ["model=linear"]
        return pipeline.RunResult(judge.gate(lock, None, None), lock, None)

    monkeypatch.setattr(pipeline, "run_path", run_path)
    outcome = merit.run(["model=linear"])
    assert (outcome.verdict, outcome.version, outcome.lock) == ("fail", None, lock)
    assert outcome.report.verdict == "fail"


def test_a_run_that_cant_be_recorded_is_an_error(
    written: dict[str, Any], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = merit.MeritError("MLflow: is down")
    result = pipeline.RunResult(judge.gate(lock, None, None), lock, None, record_error=error)
    monkeypatch.setattr(pipeline, "run_path", lambda overrides: result)
    with pytest.raises(merit.MeritError, match="MLflow: is down"):
        merit.run()


def test_compose_returns_the_lock_and_writes_nothing(conf: Path) -> None:
    assert merit.compose(["seed=8"]).seed == 8
    assert not artifacts.LOCK.exists()


@pytest.mark.parametrize("function", [merit.compose, merit.run], ids=["compose", "run"])
def test_a_text_in_place_of_a_list_of_overrides_is_refused(function: Callable[[str], object], workdir: Path) -> None:
    with pytest.raises(merit.MeritError, match=r"found the text 'seed=8'; give a list, such as \['seed=8'\]"):
        function("seed=8")
