"""kubernetes: renders a Kustomize base and an overlay, for Argo CD, Flux or kubectl to apply."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import DesiredState, Target
from merit.deploy.targets.manifests import ManifestTarget
from merit.deploy.targets.rendering import (
    DEFAULT_AUTH,
    IMAGE_PORT,
    IMAGE_USER_ID,
    LIVE_PATH,
    READY_PATH,
    SecretMount,
    VersionImage,
    build_service_name,
    refuse_splits,
    render_yaml,
    select_canary,
    select_image,
    select_secret,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

NAME = "kubernetes"
TARGET_CPU_PERCENT = 70
"""CPU utilization in percent above which the autoscaler adds a replica."""
MAX_SCALE_FACTOR = 2
"""The autoscaler's maximum, as a multiple of the declared replicas."""
SHARE_TOLERANCE = 0.05
"""The permitted difference between the declared share and the one that a whole number of replicas yields."""
MAX_SEARCHED_REPLICAS = 1000
"""The upper end of the search for a number of replicas that meets a share."""
LABEL_PREFIX = "app.kubernetes.io"


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    The base is the same for all versions; between two versions, only the files that name the image and the version
    differ.

    Raises:
        MeritError: there is no image, a shadow is declared, or the canary's share can't be met.
    """
    refuse_splits(environment, "shadow")
    stable_image, canary_split = select_image(environment, releases), select_canary(environment, releases)
    app = model.replace("_", "-")
    base_files = {
        "base/deployment.yaml": build_deployment(app, "stable", select_secret(auth)),
        "base/service.yaml": _build_service(app),
        "base/disruption.yaml": _build_disruption_budget(app),
        "base/network.yaml": _build_network_policy(app),
    }
    base_kustomization = {"resources": [file.removeprefix("base/") for file in base_files]}
    overlay_files: dict[str, Any] = {
        "overlay/stable.yaml": _build_patch(app, environment, stable_image, has_fixed_replicas=canary_split is not None)
    }
    resources = []
    if canary_split is None:
        overlay_files["overlay/scaling.yaml"] = _build_autoscaler(app, environment)
        resources.append("overlay/scaling.yaml")
    else:
        overlay_files["overlay/canary.yaml"] = _build_canary(app, environment, *canary_split, select_secret(auth))
        resources.append("overlay/canary.yaml")
    if environment.domain is not None:
        overlay_files["overlay/ingress.yaml"] = _build_ingress(app, environment.domain)
        resources.append("overlay/ingress.yaml")
    overlay_files["overlay/namespace.yaml"] = _build_namespace(build_service_name(model, name))
    kustomization = {
        **_build_kustomization(build_service_name(model, name)),
        "resources": ["base", "overlay/namespace.yaml", *resources],
        "patches": [{"path": "overlay/stable.yaml"}],
        "images": [{"name": f"{app}-stable", "newName": stable_image.repository, "digest": stable_image.digest}],
    }
    files = {**base_files, **overlay_files, "base/kustomization.yaml": {**_build_kustomization(), **base_kustomization}}
    files["kustomization.yaml"] = kustomization
    return {file: render_yaml(name, value) for file, value in sorted(files.items())}


def _build_kustomization(namespace: str | None = None) -> dict[str, Any]:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return head if namespace is None else {**head, "namespace": namespace}


def build_deployment(app: str, track: str, mount: SecretMount | None) -> dict[str, Any]:
    """Return the hardened Deployment of a track (stable or canary); the overlay sets its image."""
    labels = {**_build_labels(app), "merit/track": track}
    probe = {"port": "http", "scheme": "HTTP"}
    container = {
        "name": "model",
        "image": f"{app}-{track}",
        "ports": [{"name": "http", "containerPort": IMAGE_PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": READY_PATH, **probe}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"path": READY_PATH, **probe}, "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {"httpGet": {"path": LIVE_PATH, **probe}, "periodSeconds": 10, "timeoutSeconds": 3},
        # Leaves the Service time to remove this replica from its endpoints before it stops listening.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # in the image
    }
    identity = {"runAsNonRoot": True, "runAsUser": IMAGE_USER_ID, "runAsGroup": IMAGE_USER_ID, "fsGroup": IMAGE_USER_ID}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {**identity, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "128Mi"}}],
    }
    if mount is not None:
        _mount_secret(app, mount, pod, container)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{app}-{track}", "labels": labels},
        "spec": {
            "revisionHistoryLimit": 5,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _mount_secret(app: str, mount: SecretMount, pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Mount the Secret for authentication into a pod; the pod doesn't start before the Secret exists."""
    secret = {"secretName": f"{app}-{mount.name}", "defaultMode": 0o440}
    pod["volumes"].append({"name": mount.name, "secret": secret})
    container["volumeMounts"].append({"name": mount.name, "mountPath": mount.folder, "readOnly": True})


def _build_labels(app: str) -> dict[str, str]:
    return {f"{LABEL_PREFIX}/name": app, f"{LABEL_PREFIX}/managed-by": "merit"}


def _build_limits(environment: Environment) -> dict[str, Any]:
    amounts = environment.resources.model_dump()
    return {"requests": amounts, "limits": amounts}


def _build_patch(
    app: str, environment: Environment, image: VersionImage, *, has_fixed_replicas: bool
) -> dict[str, Any]:
    """Return the overlay's patch of the Deployment: version, resources, and a fixed number of replicas if wanted."""
    version_labels = {f"{LABEL_PREFIX}/version": image.version}
    pod = {
        "metadata": {"labels": version_labels},
        "spec": {"containers": [{"name": "model", "resources": _build_limits(environment)}]},
    }
    count = {"replicas": environment.replicas} if has_fixed_replicas else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{app}-stable", "labels": version_labels},
        "spec": {**count, "template": pod},
    }


def _build_canary(
    app: str, environment: Environment, image: VersionImage, share: float, mount: SecretMount | None
) -> dict[str, Any]:
    """Return the canary's Deployment behind the same Service; its number of replicas determines its share."""
    manifest = build_deployment(app, "canary", mount)
    version_labels = {f"{LABEL_PREFIX}/version": image.version}
    manifest["metadata"]["labels"] = {**manifest["metadata"]["labels"], **version_labels}
    manifest["spec"]["replicas"] = _count_replicas(environment.replicas, share)
    template = manifest["spec"]["template"]
    template["metadata"]["labels"] = {**template["metadata"]["labels"], **version_labels}
    template["spec"]["containers"][0] |= {"image": image.reference, "resources": _build_limits(environment)}
    return manifest


def _count_replicas(stable: int, share: float) -> int:
    """Return the number of canary replicas that comes nearest to a share of the requests.

    Raises:
        MeritError: the nearest share differs by more than `TOLERANCE`.
    """
    count, nearest_share = _find_nearest(stable, share)
    if abs(nearest_share - share) <= SHARE_TOLERANCE:
        return count
    sufficient = next(
        each
        for each in range(stable, MAX_SEARCHED_REPLICAS)
        if abs(_find_nearest(each, share)[1] - share) <= SHARE_TOLERANCE
    )
    raise MeritError(
        f"traffic.canary.share is {share:g}: kubernetes shares requests by whole replicas, and beside replicas: "
        f"{stable} the nearest is {nearest_share:.2f}; declare replicas: {sufficient}, or that share"
    )


def _find_nearest(stable: int, share: float) -> tuple[int, float]:
    """Return the number of canary replicas, at least one, that comes nearest to a share, and the share it yields."""
    count = max(1, round(stable * share / (1 - share)))
    return count, count / (stable + count)


def _build_namespace(name: str) -> dict[str, Any]:
    """Return a namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _build_service(app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app, "labels": _build_labels(app)},
        "spec": {
            "type": "ClusterIP",
            "selector": _build_labels(app),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _build_ingress(app: str, domain: str) -> dict[str, Any]:
    """Return an Ingress with TLS; its certificate is in a Secret, such as one that cert-manager maintains."""
    backend = {"service": {"name": app, "port": {"name": "http"}}}
    paths = [{"path": f"/{path}", "pathType": "Exact", "backend": backend} for path in ("predict", "feedback")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": app, "labels": _build_labels(app)},
        "spec": {
            "tls": [{"hosts": [domain], "secretName": f"{app}-tls"}],
            "rules": [{"host": domain, "http": {"paths": paths}}],
        },
    }


def _build_disruption_budget(app: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "labels": _build_labels(app)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _build_labels(app)}},
    }


def _build_network_policy(app: str) -> dict[str, Any]:
    """Return a NetworkPolicy that admits requests to the service's port and blocks all outgoing connections."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": app, "labels": _build_labels(app)},
        "spec": {
            "podSelector": {"matchLabels": _build_labels(app)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": "http", "protocol": "TCP"}]}],
            "egress": [],
        },
    }


def _build_autoscaler(app: str, environment: Environment) -> dict[str, Any]:
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET_CPU_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": app, "labels": _build_labels(app)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{app}-stable"},
            "minReplicas": environment.replicas,
            "maxReplicas": environment.replicas * MAX_SCALE_FACTOR,
            "metrics": [{"type": "Resource", "resource": metric}],
        },
    }


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
