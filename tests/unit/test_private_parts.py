"""Private parts of other libraries: each library has one adapter that uses them, and they are still what it expects."""

import ast
import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

import merit

SOURCES = Path(merit.__file__).parent
OWN_PREFIXES = ("self", "cls", "super()")
PUBLIC_NAMES = frozenset({"os._exit"})
"""Names with an underscore that Python documents."""


@dataclass(frozen=True)
class Library:
    """A library of which merit uses private or undocumented parts.

    Attributes:
        distribution: its name on the package index.
        version: the version that the adapter was last seen to work with.
        adapter: the only module that uses those parts.
        modules: modules that only the adapter may import, though their names have no underscore.
        signatures: the parameters that the adapter gives or takes, for each function by `module:name`.
        attributes: other names that must exist, as `module:name`.
    """

    distribution: str
    version: str
    adapter: str
    modules: tuple[str, ...] = ()
    signatures: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()


PROTOCOL = "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol"
LIBRARIES = (
    Library(
        "bentoml",
        "1.4.39",
        "serving/bentoml_adapter.py",
        signatures={
            "bentoml:service": "name, service_class",
            "_bentoml_sdk:Service.to_asgi": "self, is_main",
        },
        attributes=(
            "bentoml._internal.configuration.containers:BentoMLContainer.metrics_client.get",
            "bentoml._internal.configuration.containers:BentoMLContainer.api_server_config.metrics.enabled.get",
        ),
    ),
    Library(
        "uvicorn",
        "0.54.0",
        "serving/server/uvicorn_adapter.py",
        modules=("uvicorn",),
        signatures={
            f"{PROTOCOL}.__init__": "self, config, server_state, app_state",
            f"{PROTOCOL}.connection_made": "self, transport",
            f"{PROTOCOL}.connection_lost": "self, exc",
            f"{PROTOCOL}.data_received": "self, data",
            f"{PROTOCOL}.on_headers_complete": "self",
            f"{PROTOCOL}.on_body": "self, body",
            f"{PROTOCOL}.on_message_complete": "self",
            f"{PROTOCOL}.on_response_complete": "self",
            f"{PROTOCOL}.shutdown": "self",
            f"{PROTOCOL}.send_400_response": "self, msg",
            f"{PROTOCOL}._unsupported_upgrade_warning": "self",
            "uvicorn.protocols.http.flow_control:FlowControl.__init__": "self, transport",
            "uvicorn.protocols.http.flow_control:FlowControl.pause_reading": "self",
            "uvicorn.protocols.http.flow_control:FlowControl.resume_reading": "self",
        },
        attributes=(
            "uvicorn:Config.load",
            "uvicorn.lifespan.on:LifespanOn.receive",
            "uvicorn.middleware.proxy_headers:ProxyHeadersMiddleware",
        ),
    ),
    Library(
        "kantoku",
        "0.18.3",
        "serving/server/circus_adapter.py",
        modules=("circus",),
        signatures={
            "circus.arbiter:Arbiter.__init__": "self, watchers, endpoint, pubsub_endpoint, check_delay, sockets",
            "circus.arbiter:Arbiter.initialize": "self",
            "circus.arbiter:Arbiter.stop": "self",
            "circus.watcher:Watcher.spawn_processes": "self",
            "circus.watcher:Watcher.spawn_process": "self, recovery_wid",
            "circus.watcher:Watcher.reap_process": "self, pid, status",
            "circus.watcher:Watcher.is_stopping": "self",
            "circus.watcher:Watcher.is_stopped": "self",
            "circus.process:Process.age": "self",
            "circus.process:Process.returncode": "self",
            "circus.sockets:CircusSocket.__init__": "self, name, host, port, family, backlog",
        },
        attributes=("circus.exc:ConflictError", "circus.sockets:CircusSockets.close_all"),
    ),
    Library(
        "onnxruntime",
        "1.32.0",
        "scoring/onnxruntime_adapter.py",
        signatures={"onnxruntime:InferenceSession.run": "self, output_names, input_feed, run_options"},
        attributes=("onnxruntime.capi._pybind_state:InferenceSession.run",),
    ),
    Library(
        "hydra-core",
        "1.3.8",
        "config/hydra_adapter.py",
        signatures={
            "hydra._internal.defaults_list:create_defaults_list": (
                "repo, config_name, overrides_list, prepend_hydra, skip_missing"
            ),
            "hydra._internal.config_repository:ConfigRepository.load_config": "self, config_path",
            "hydra._internal.config_repository:ConfigRepository.group_exists": "self, config_path",
            "hydra._internal.config_repository:ConfigRepository.config_exists": "self, config_path",
            "hydra._internal.config_repository:ConfigRepository.get_group_options": "self, group_name, results_filter",
            "hydra._internal.config_repository:ConfigRepository._create_defaults_list": "self, config_path, defaults",
            "hydra.plugins.config_source:ConfigSource._get_header_dict": "config_text",
            "hydra._internal.callbacks:Callbacks.__init__": "self",
        },
    ),
    Library(
        "mlflow",
        "3.17.2",
        "mlflow/mlflow_adapter.py",
        signatures={"mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore._dispose_engine": "self"},
    ),
    Library(
        "dvc",
        "3.67.1",
        "dvc/dvc_adapter.py",
        signatures={
            "dvc.repo:Repo.__init__": "self, _wait_for_lock",
            "dvc.stage.cache:StageCache._load_cache": "self, key, value",
            "dvc.stage.cache:_get_cache_hash": "cache, key",
        },
    ),
    Library(
        "oras",
        "0.2.43",
        "release/oras_adapter.py",
        signatures={
            "oras.decorator:retry": "attempts, timeout",
            "oras.auth:TokenAuth.authenticate_request": "self, original, headers, refresh",
            "oras.auth:TokenAuth.load_configs": "self, container, configs",
        },
        attributes=("oras.client:OrasClient.do_request.__wrapped__",),
    ),
    Library(
        "faststream",
        "0.7.8",
        "stream/faststream_adapter.py",
        attributes=(
            "faststream.nats.broker.state:BrokerState.stream",
            "faststream.kafka.configs.broker:KafkaBrokerConfig.admin_client",
        ),
    ),
)
ADAPTERS = frozenset(each.adapter for each in LIBRARIES)


def _find_part(path: str) -> Any:
    module, _, name = path.partition(":")
    with warnings.catch_warnings(action="ignore"):  # what the libraries themselves use
        part = import_module(module)
        for each in name.split("."):
            part = getattr(part, each)
    return part


def find_signature_fault(function: Any, parameters: str) -> str:
    """Return how a function's parameters differ from those that merit gives or takes; "" if they don't."""
    actual, expected = inspect.signature(function).parameters, parameters.split(", ")
    if lost := [name for name in expected if name not in actual]:
        return f"has no parameter {', '.join(lost)} any more"
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {name for name, each in actual.items() if each.default is each.empty and each.kind not in optional}
    added = sorted(required - set(expected))
    return f"requires {', '.join(added)} now" if added else ""


def find_faults(library: Library) -> Iterator[str]:
    """Yield a sentence for each private part that is gone or has changed."""
    for path in (*library.attributes, *library.signatures):
        try:
            part = _find_part(path)
        except (ImportError, AttributeError) as error:
            yield f"{path} is gone ({error})"
            continue
        if path in library.signatures and (fault := find_signature_fault(part, library.signatures[path])):
            yield f"{path} {fault}"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda each: each.distribution)
def test_the_private_parts_that_an_adapter_uses_are_still_there(library: Library) -> None:
    faults = list(find_faults(library))
    assert not faults, (
        f"{library.distribution} {metadata.version(library.distribution)}: {'; '.join(faults)}; "
        f"src/merit/{library.adapter} was last seen to work with {library.version}: adapt it, or pin that version"
    )


def test_a_private_part_that_is_gone_or_changed_is_named() -> None:
    library = Library(
        "python",
        "3.11",
        "none.py",
        signatures={"shlex:join": "words", "shlex:quote": "s", "shlex:split": "s", "textwrap:dedent": "text, width"},
        attributes=("shlex:_gone", "no_such_module:x"),
    )
    assert [each.partition(" (")[0] for each in find_faults(library)] == [
        "shlex:_gone is gone",
        "no_such_module:x is gone",
        "shlex:join has no parameter words any more",
        "textwrap:dedent has no parameter width any more",
    ]
    assert find_signature_fault(lambda text, width: None, "text") == "requires width now"


def test_bentomls_program_for_a_worker_takes_the_options_that_it_is_started_with() -> None:
    from merit.serving import bentoml_adapter

    program = _find_part(f"{bentoml_adapter.WORKER_MODULE}:main")
    lost = {"bento_identifier", "fd", "backlog", "worker_id"} - {each.name for each in program.params}
    assert not lost, f"bentoml: its worker takes no {', '.join(sorted(lost))} any more (seen with 1.4.39)"
    assert Path(inspect.getfile(program.callback)).parts[-3:] == bentoml_adapter.WORKER_PATH


def test_a_session_of_onnx_runtime_has_the_faster_one_beneath() -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    from merit.scoring import onnxruntime_adapter

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "tiny", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    run = onnxruntime_adapter.get_run_function(session)
    assert run != session.run, (
        "onnxruntime: a session has no '_sess' any more (seen with 1.32.0): rows are scored slower"
    )


def test_a_connection_of_uvicorn_has_the_attributes_that_its_limits_use() -> None:
    import uvicorn
    from uvicorn.server import ServerState

    config = uvicorn.Config(lambda *_: None, log_config=None, http="httptools")
    config.load()
    connection = _find_part(PROTOCOL)(config, ServerState(), {}, _loop=object())
    used = "access_log access_logger connections cycle flow headers loop parser pipeline timeout_keep_alive "
    used += "timeout_keep_alive_task transport ws_protocol_class"
    lost = sorted({name for name in used.split() if not hasattr(connection, name)})
    assert not lost, f"uvicorn: a connection has no {', '.join(lost)} any more (seen with 0.54.0)"
    assert hasattr(config, "http_protocol_class") and hasattr(config, "loaded_app")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def find_private_uses(source: str, reserved: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield each private module, name or attribute of others that a module uses, and each reserved module."""
    nodes = list(ast.walk(ast.parse(source)))
    own_methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            owner = ast.unparse(node.value)
            if (
                node.attr not in own_methods
                and owner not in OWN_PREFIXES
                and f"{owner}.{node.attr}" not in PUBLIC_NAMES
            ):
                yield f"{owner}.{node.attr}"
        for name in names:
            if any(map(_is_private, name.split("."))) or name.partition(".")[0] in reserved:
                yield name


def test_only_the_adapters_use_private_parts_of_other_libraries() -> None:
    reserved = tuple(module for each in LIBRARIES for module in each.modules)
    uses = {
        f"{file.relative_to(SOURCES)}: {use}"
        for file in SOURCES.rglob("*.py")
        if file.relative_to(SOURCES).as_posix() not in ADAPTERS
        for use in find_private_uses(file.read_text(encoding="utf-8"), reserved)
    }
    assert not uses, f"private parts of other libraries belong in the library's adapter: {'; '.join(sorted(uses))}"


@pytest.mark.parametrize(
    "source",
    [
        "import bentoml._internal",
        "from hydra._internal import x",
        "from torch import _dynamo",
        "def f():\n    import uvicorn.config",
        "client._store.close()",
        "a = f(x)._y",
    ],
)
def test_a_use_of_a_private_part_is_found(source: str) -> None:
    assert list(find_private_uses(source, ("uvicorn",)))


def test_what_is_ones_own_or_public_is_no_private_part() -> None:
    source = "import os\nfrom x import y, __version__\nself._a = cls._b\nsuper()._c()\nos._exit(0)\nx.__name__\n"
    source += "class C:\n    def _f(self, other):\n        other._f()\n"
    assert not list(find_private_uses(source, ("uvicorn",)))
