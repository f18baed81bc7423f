"""The targets that are files: valid by each platform's schema, locked up, and the same for the same declaration."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets import cloudrun, compose, ecs, kubernetes, render, spaces
from merit.deploy.targets.rendering import JWKS_SECRET, KEYS_SECRET
from merit.errors import MeritError
from merit.registry.release_tags import Release
from merit.release import build_context

TARGETS = {each.__name__.rpartition(".")[2]: each for each in (kubernetes, compose, render, cloudrun, ecs, spaces)}
Declare = Callable[..., Environment]


def _image(digit: str) -> str:
    return f"127.0.0.1:5000/flights@sha256:{digit * 64}"


def _release(digit: str) -> Release:
    return Release(image=_image(digit), sbom=f"sha256:{'0' * 64}", bytes=1, bento="flights:v1", engine="docker")


RELEASES = {"v3": _release("3"), "v4": _release("4")}
CANARY = {"canary": {"version": "v4", "image": _image("4"), "share": 0.25}}


def _declared(target: str, **more: Any) -> Environment:
    told = {"version": "v3", "image": _image("3"), "target": target, "replicas": 1, "local": {"port": 3200}}
    return Environment.model_validate({**told, **more})


def _rendered(target: str, **more: Any) -> dict[str, str]:
    return TARGETS[target].render(_declared(target, **more), "flights", RELEASES, "production")


def _documents(files: dict[str, str]) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in files.items()}


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_declaration_gives_the_same_bytes(target: str) -> None:
    assert _rendered(target) == _rendered(target)


@pytest.mark.parametrize("target", TARGETS)
def test_of_two_versions_only_what_names_them_differs(target: str) -> None:
    old, new = _rendered(target), _rendered(target, version="v4", image=_image("4"))
    assert old.keys() == new.keys()
    changed = [
        (name, *pair) for name in old for pair in zip(old[name].splitlines(), new[name].splitlines(), strict=True)
    ]
    lines = [(name, was, now) for name, was, now in changed if was != now]
    assert lines
    assert all(any(word in was for word in ("v3", "3" * 64)) for _, was, _ in lines), lines


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_that_is_not_declared_or_not_the_release_is_refused(target: str) -> None:
    with pytest.raises(MeritError, match=r"image is null.*v3 has 127\.0\.0\.1:5000/flights@sha256:3"):
        _rendered(target, image=None)
    with pytest.raises(MeritError, match="not what v3 was released as"):
        _rendered(target, image=_image("9"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_shadow_is_refused_with_the_target_that_can(target: str) -> None:
    with pytest.raises(MeritError, match=rf"traffic\.shadow: the target {target} can't do that; local can"):
        _rendered(target, traffic={"shadow": {"version": "v4", "image": _image("4"), "share": 0.1}})


@pytest.mark.parametrize("target", ["compose", "render", "ecs", "spaces"])
def test_a_canary_is_refused_with_the_targets_that_can(target: str) -> None:
    with pytest.raises(MeritError, match="local, kubernetes and cloudrun can"):
        _rendered(target, traffic=CANARY)


# Kubernetes


def _merged(base: Any, patch: Any) -> Any:
    """Apply a strategic merge patch, whose only lists are of things with a name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {**base, **{key: _merged(base[key], value) if key in base else value for key, value in patch.items()}}
    if isinstance(base, list) and isinstance(patch, list):
        told = {each["name"]: each for each in patch}
        return [_merged(each, told.get(each["name"], {})) for each in base]
    return copy.deepcopy(patch)


def _built(files: dict[str, str]) -> dict[str, Any]:
    """Build the overlay as Kustomize does; return what it makes, by kind and name."""
    read = _documents(files)
    overlay = read["kustomization.yaml"]
    base = [read[f"base/{name}"] for name in read["base/kustomization.yaml"]["resources"]]
    found = [*base, *(read[name] for name in overlay["resources"] if name != "base")]
    made = {f"{each['kind']}/{each['metadata']['name']}": each for each in found}
    for patch in (read[each["path"]] for each in overlay["patches"]):
        name = f"{patch['kind']}/{patch['metadata']['name']}"
        made[name] = _merged(made[name], patch)
    for image in overlay["images"]:
        for container in (c for each in made.values() for c in _containers(each)):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}@{image['digest']}"
    return made


def _containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["spec"]["template"]["spec"]["containers"] if document["kind"] == "Deployment" else []


@pytest.mark.parametrize("traffic", [{}, CANARY])
def test_kubernetes_takes_what_is_built_by_its_own_schemas(traffic: dict[str, Any]) -> None:
    import kubernetes_validate

    made = _built(_rendered("kubernetes", replicas=3, traffic=traffic))
    scaled = {"HorizontalPodAutoscaler/flights"} if not traffic else {"Deployment/flights-canary"}
    assert set(made) == scaled | {
        "Deployment/flights-stable",
        "Service/flights",
        "PodDisruptionBudget/flights",
        "NetworkPolicy/flights",
        "Namespace/flights-production",
    }
    for document in made.values():
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_kubernetes_would_refuse_a_misspelt_key() -> None:
    import kubernetes_validate

    document = _built(_rendered("kubernetes"))["Deployment/flights-stable"]
    document["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_every_file_of_the_overlay_is_named_in_it() -> None:
    files = _rendered("kubernetes", replicas=3, traffic=CANARY)
    read = _documents(files)
    base = [f"base/{name}" for name in read["base/kustomization.yaml"]["resources"]]
    overlay = read["kustomization.yaml"]
    named = {*base, *overlay["resources"], *(each["path"] for each in overlay["patches"])} - {"base"}
    assert named | {"kustomization.yaml", "base/kustomization.yaml"} == set(files)


def test_pods_are_locked_up() -> None:
    for name, document in _built(_rendered("kubernetes", replicas=3, traffic=CANARY)).items():
        if not name.startswith("Deployment/"):
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert container["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}


def test_a_selector_fits_its_pods_and_the_service_reaches_both_tracks() -> None:
    made = _built(_rendered("kubernetes", replicas=3, traffic=CANARY))
    wanted = made["Service/flights"]["spec"]["selector"].items()
    for track in ("stable", "canary"):
        spec = made[f"Deployment/flights-{track}"]["spec"]
        labels = spec["template"]["metadata"]["labels"].items()
        assert spec["selector"]["matchLabels"].items() <= labels
        assert wanted <= labels


def test_a_canary_gets_replicas_by_its_share() -> None:
    made = _built(_rendered("kubernetes", replicas=3, traffic=CANARY))
    assert made["Deployment/flights-stable"]["spec"]["replicas"] == 3
    assert made["Deployment/flights-canary"]["spec"]["replicas"] == 1
    assert _containers(made["Deployment/flights-canary"])[0]["image"] == _image("4")
    assert _containers(made["Deployment/flights-stable"])[0]["image"] == _image("3")


def test_a_share_that_whole_replicas_can_not_give_is_refused() -> None:
    with pytest.raises(
        MeritError, match=r"beside replicas: 2 the nearest is 0\.33; declare replicas: 6, or that share"
    ):
        _rendered("kubernetes", replicas=2, traffic={"canary": {**CANARY["canary"], "share": 0.1}})


def test_replicas_are_left_to_the_autoscaler_where_there_is_one() -> None:
    made = _built(_rendered("kubernetes", replicas=3))
    assert "replicas" not in made["Deployment/flights-stable"]["spec"]
    assert made["HorizontalPodAutoscaler/flights"]["spec"]["minReplicas"] == 3


# Who may ask

PROXY = Auth(method="proxy")
TOKENS = Auth(method="jwt", jwks="jwks.json", issuer="i", audience="a")
ASKED = {
    "kubernetes": ("flights-keys", "/run/merit"),
    "compose": ("keys.yaml", "/run/merit/keys.yaml"),
    "render": ("MERIT_KEYS",),
    "cloudrun": ("flights-production-keys", "/run/merit"),
    "ecs": ("MERIT_KEYS", "/merit/flights-production/keys"),
    "spaces": ("MERIT_KEYS",),
}


def _told(target: str, auth: Auth) -> str:
    return "\n".join(TARGETS[target].render(_declared(target), "flights", RELEASES, "production", auth).values())


@pytest.mark.parametrize("target", TARGETS)
def test_keys_are_named_and_never_in_a_file(target: str) -> None:
    for words in ASKED[target]:
        assert words in _told(target, Auth())
        assert words in _told(target, Auth(method="keys", keys="conf/keys.yaml"))
        assert words.replace("keys", "jwks").replace("KEYS", "JWKS").replace(".yaml", ".json") in _told(target, TOKENS)
        assert words not in _told(target, PROXY)
    assert "conf/keys.yaml" not in _told(target, Auth(method="keys", keys="conf/keys.yaml"))


def test_images_look_for_keys_where_targets_put_them() -> None:
    assert (KEYS_SECRET.path, JWKS_SECRET.path) == (build_context.KEYS_PATH, build_context.JWKS_PATH)


def test_pods_wait_for_the_secret_and_read_it_alone() -> None:
    made = _built(_rendered("kubernetes", replicas=3, traffic=CANARY))
    for name in ("stable", "canary"):
        pod = made[f"Deployment/flights-{name}"]["spec"]["template"]
        (secret,) = [each for each in pod["spec"]["volumes"] if "secret" in each]
        assert secret == {"name": "keys", "secret": {"secretName": "flights-keys", "defaultMode": 0o440}}
        (mount,) = [each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == "keys"]
        assert mount == {"name": "keys", "mountPath": "/run/merit", "readOnly": True}


def test_a_domain_of_kubernetes_is_answered_by_tls_and_shows_no_metrics() -> None:
    import kubernetes_validate

    made = _built(_rendered("kubernetes", domain="flights.example.org"))
    ingress = made["Ingress/flights"]
    kubernetes_validate.validate(ingress, "1.34", strict=True)
    assert ingress["spec"]["tls"] == [{"hosts": ["flights.example.org"], "secretName": "flights-tls"}]
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "flights.example.org"
    assert [each["path"] for each in rule["http"]["paths"]] == ["/predict", "/feedback"]
    assert "Ingress/flights" not in _built(_rendered("kubernetes"))


def test_a_domain_of_compose_is_answered_by_a_proxy_alone() -> None:
    made = yaml.safe_load(_rendered("compose", replicas=2, domain="flights.example.org")["compose.yaml"])
    assert "ports" not in made["services"]["flights"]
    proxy = made["services"]["proxy"]
    assert proxy["ports"] == ["80:80", "443:443"]
    assert proxy["command"][2:] == ["--from", "flights.example.org", "--to", "flights:3000"]


@pytest.mark.parametrize("domain", ["Flights.example.org", "flights", "a b.org", "https://a.org", "a.org/x", "-a.org"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        _declared("compose", domain=domain)


# The others


def test_compose_fits_the_compose_specification(tmp_path: Path) -> None:
    for more in ({"domain": "flights.example.org"}, {"replicas": 2}):
        file = tmp_path / "compose.yaml"
        file.write_text(_rendered("compose", **more)["compose.yaml"])
        program = str(Path(sys.executable).with_name("check-jsonschema"))
        command = [program, "--builtin-schema", "vendor.compose-spec", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    service = yaml.safe_load(file.read_text())["services"]["flights"]
    assert service["ports"] == ["127.0.0.1:3200-3201:3000"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_ecs_takes_both_files_by_its_own_service_model() -> None:
    import botocore.loaders
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    model = ServiceModel(botocore.loaders.Loader().load_service_model("ecs", "service-2"))
    files = {name: json.loads(text) for name, text in _rendered("ecs", replicas=2).items()}
    calls = {"task-definition.json": "RegisterTaskDefinition", "service.json": "CreateService"}
    for name, call in calls.items():
        shape = model.operation_model(call).input_shape
        report = ParamValidator().validate(files[name], shape)
        assert not report.has_errors(), report.generate_report()
        unknown = set(files[name]) - set(shape.members)
        assert not unknown
    task = files["task-definition.json"]
    assert (task["cpu"], task["memory"]) == ("512", "1024")
    assert task["containerDefinitions"][0]["readonlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("resources", "size"),
    [
        ({"cpu": "250m", "memory": "512Mi"}, ("256", "512")),
        ({"cpu": "1", "memory": "512Mi"}, ("1024", "2048")),
        ({"cpu": "250m", "memory": "3Gi"}, ("512", "3072")),
        ({"cpu": "8", "memory": "60Gi"}, ("8192", "61440")),
    ],
)
def test_ecs_takes_the_smallest_size_that_holds_it(resources: dict[str, str], size: tuple[str, str]) -> None:
    task = json.loads(_rendered("ecs", resources=resources)["task-definition.json"])
    assert (task["cpu"], task["memory"]) == size


def test_cloud_run_splits_traffic_between_revisions_that_are_called_by_what_they_are() -> None:
    (before,) = _documents(_rendered("cloudrun", replicas=2)).values()
    (during,) = _documents(_rendered("cloudrun", replicas=2, traffic=CANARY)).values()
    (after,) = _documents(_rendered("cloudrun", replicas=2, version="v4", image=_image("4"))).values()
    stable, shared = during["spec"]["traffic"]
    assert stable == {"revisionName": before["spec"]["template"]["metadata"]["name"], "percent": 75}
    assert shared["revisionName"] == during["spec"]["template"]["metadata"]["name"]
    assert shared["percent"] == 25
    assert after["spec"]["template"] == during["spec"]["template"]
    assert len(shared["revisionName"]) <= 63
    (container,) = during["spec"]["template"]["spec"]["containers"]
    assert container["image"] == _image("4")
    assert during["spec"]["template"]["spec"]["containerConcurrency"] == 1  # as Cloud Run asks below one processor


@pytest.mark.parametrize(
    ("target", "more", "words"),
    [
        ("cloudrun", {"resources": {"cpu": "1500m"}}, "2, 4, 6 or 8 processors"),
        ("cloudrun", {"resources": {"cpu": "500m", "memory": "2Gi"}}, "needs cpu: 1"),
        ("cloudrun", {"traffic": {"canary": {**CANARY["canary"], "share": 0.001}}}, "whole percents"),
        ("render", {"resources": {"cpu": "16"}}, "more than Render's plan"),
        ("ecs", {"resources": {"cpu": "16"}}, "Fargate"),
        ("spaces", {"resources": {"cpu": "16"}}, "more than a Space"),
        ("spaces", {"replicas": 2}, "a Space runs one replica"),
    ],
)
def test_what_a_platform_does_not_have_is_refused(target: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(MeritError, match=words):
        _rendered(target, **more)


def test_render_names_the_image_by_digest_and_a_plan_that_holds_it() -> None:
    (document,) = _documents(_rendered("render", replicas=2, resources={"cpu": "1", "memory": "1Gi"})).values()
    (service,) = document["services"]
    assert service["image"] == {"url": _image("3")}
    assert (service["plan"], service["numInstances"], service["healthCheckPath"]) == ("standard", 2, "/readyz")


def test_a_space_runs_the_image_on_its_port() -> None:
    files = _rendered("spaces")
    assert f"\nFROM {_image('3')}\n" in files["Dockerfile"]
    front = yaml.safe_load(files["README.md"].split("---")[1])
    assert (front["sdk"], front["app_port"]) == ("docker", 3000)
