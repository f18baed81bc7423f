"""kubernetes: renders a Kustomize base and an overlay, for Argo CD, Flux or kubectl to apply."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    ALIVE,
    NOBODY,
    PORT,
    READY,
    USER,
    Asked,
    Served,
    asked,
    canary,
    refuse_splits,
    rendered,
    served,
    title,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

BUSY_PERCENT = 70
"""CPU utilization in percent above which the autoscaler adds a replica."""
SURGE = 2
"""The autoscaler's maximum, as a multiple of the declared replicas."""
TOLERANCE = 0.05
"""The permitted difference between the declared share and the one that a whole number of replicas yields."""
MOST = 1000
"""The upper end of the search for a number of replicas that meets a share."""
LABEL = "app.kubernetes.io"


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    The base is the same for all versions; between two versions, only the files that name the image and the version
    differ.

    Raises:
        MeritError: there is no image, a shadow is declared, or the canary's share can't be met.
    """
    refuse_splits(environment, "shadow")
    main, other = served(environment, releases), canary(environment, releases)
    app = model.replace("_", "-")
    parts = {
        "base/deployment.yaml": deployment(app, "stable", asked(auth)),
        "base/service.yaml": _service(app),
        "base/disruption.yaml": _disruption(app),
        "base/network.yaml": _network(app),
    }
    base = {"resources": [file.removeprefix("base/") for file in parts]}
    overlay: dict[str, Any] = {"overlay/stable.yaml": _patch(app, environment, main, fixed=other is not None)}
    added = []
    if other is None:
        overlay["overlay/scaling.yaml"] = _scaling(app, environment)
        added.append("overlay/scaling.yaml")
    else:
        overlay["overlay/canary.yaml"] = _canary(app, environment, *other, asked(auth))
        added.append("overlay/canary.yaml")
    if environment.domain is not None:
        overlay["overlay/ingress.yaml"] = _ingress(app, environment.domain)
        added.append("overlay/ingress.yaml")
    overlay["overlay/namespace.yaml"] = _namespace(title(model, name))
    kustomization = {
        **_kustomization(title(model, name)),
        "resources": ["base", "overlay/namespace.yaml", *added],
        "patches": [{"path": "overlay/stable.yaml"}],
        "images": [{"name": f"{app}-stable", "newName": main.repository, "digest": main.digest}],
    }
    files = {**parts, **overlay, "base/kustomization.yaml": {**_kustomization(), **base}}
    files["kustomization.yaml"] = kustomization
    return {file: rendered(name, value) for file, value in sorted(files.items())}


def _kustomization(namespace: str | None = None) -> dict[str, Any]:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return head if namespace is None else {**head, "namespace": namespace}


def deployment(app: str, track: str, needs: Asked | None) -> dict[str, Any]:
    """Return the hardened Deployment of a track (stable or canary); the overlay sets its image."""
    selected = {**_labels(app), "merit/track": track}
    probe = {"port": "http", "scheme": "HTTP"}
    container = {
        "name": "model",
        "image": f"{app}-{track}",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": READY, **probe}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"path": READY, **probe}, "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {"httpGet": {"path": ALIVE, **probe}, "periodSeconds": 10, "timeoutSeconds": 3},
        # Leaves the Service time to remove this replica from its endpoints before it stops listening.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # in the image
    }
    identity = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {**identity, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "128Mi"}}],
    }
    if needs is not None:
        _mount(app, needs, pod, container)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{app}-{track}", "labels": selected},
        "spec": {
            "revisionHistoryLimit": 5,
            "selector": {"matchLabels": selected},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": selected}, "spec": pod},
        },
    }


def _mount(app: str, needs: Asked, pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Mount the Secret for authentication into a pod; the pod doesn't start before the Secret exists."""
    secret = {"secretName": f"{app}-{needs.word}", "defaultMode": 0o440}
    pod["volumes"].append({"name": needs.word, "secret": secret})
    container["volumeMounts"].append({"name": needs.word, "mountPath": needs.folder, "readOnly": True})


def _labels(app: str) -> dict[str, str]:
    return {f"{LABEL}/name": app, f"{LABEL}/managed-by": "merit"}


def _limits(environment: Environment) -> dict[str, Any]:
    amounts = environment.resources.model_dump()
    return {"requests": amounts, "limits": amounts}


def _patch(app: str, environment: Environment, what: Served, *, fixed: bool) -> dict[str, Any]:
    """Return the overlay's patch of the Deployment: version, resources, and a fixed number of replicas if wanted."""
    versioned = {f"{LABEL}/version": what.version}
    pod = {
        "metadata": {"labels": versioned},
        "spec": {"containers": [{"name": "model", "resources": _limits(environment)}]},
    }
    count = {"replicas": environment.replicas} if fixed else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{app}-stable", "labels": versioned},
        "spec": {**count, "template": pod},
    }


def _canary(app: str, environment: Environment, what: Served, share: float, needs: Asked | None) -> dict[str, Any]:
    """Return the canary's Deployment behind the same Service; its number of replicas determines its share."""
    made = deployment(app, "canary", needs)
    versioned = {f"{LABEL}/version": what.version}
    made["metadata"]["labels"] = {**made["metadata"]["labels"], **versioned}
    made["spec"]["replicas"] = _replicas(environment.replicas, share)
    template = made["spec"]["template"]
    template["metadata"]["labels"] = {**template["metadata"]["labels"], **versioned}
    template["spec"]["containers"][0] |= {"image": what.image, "resources": _limits(environment)}
    return made


def _replicas(stable: int, share: float) -> int:
    """Return the number of canary replicas that comes nearest to a share of the requests.

    Raises:
        MeritError: the nearest share differs by more than `TOLERANCE`.
    """
    count, given = _nearest(stable, share)
    if abs(given - share) <= TOLERANCE:
        return count
    enough = next(each for each in range(stable, MOST) if abs(_nearest(each, share)[1] - share) <= TOLERANCE)
    raise MeritError(
        f"traffic.canary.share is {share:g}: kubernetes shares requests by whole replicas, and beside replicas: "
        f"{stable} the nearest is {given:.2f}; declare replicas: {enough}, or that share"
    )


def _nearest(stable: int, share: float) -> tuple[int, float]:
    """Return the number of canary replicas, at least one, that comes nearest to a share, and the share it yields."""
    count = max(1, round(stable * share / (1 - share)))
    return count, count / (stable + count)


def _namespace(name: str) -> dict[str, Any]:
    """Return a namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _service(app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app, "labels": _labels(app)},
        "spec": {
            "type": "ClusterIP",
            "selector": _labels(app),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _ingress(app: str, domain: str) -> dict[str, Any]:
    """Return an Ingress with TLS; its certificate is in a Secret, such as one that cert-manager maintains."""
    backend = {"service": {"name": app, "port": {"name": "http"}}}
    paths = [{"path": f"/{path}", "pathType": "Exact", "backend": backend} for path in ("predict", "feedback")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": app, "labels": _labels(app)},
        "spec": {
            "tls": [{"hosts": [domain], "secretName": f"{app}-tls"}],
            "rules": [{"host": domain, "http": {"paths": paths}}],
        },
    }


def _disruption(app: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": app, "labels": _labels(app)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(app)}},
    }


def _network(app: str) -> dict[str, Any]:
    """Return a NetworkPolicy that admits requests to the service's port and blocks all outgoing connections."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": app, "labels": _labels(app)},
        "spec": {
            "podSelector": {"matchLabels": _labels(app)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": "http", "protocol": "TCP"}]}],
            "egress": [],
        },
    }


def _scaling(app: str, environment: Environment) -> dict[str, Any]:
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": BUSY_PERCENT}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": app, "labels": _labels(app)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{app}-stable"},
            "minReplicas": environment.replicas,
            "maxReplicas": environment.replicas * SURGE,
            "metrics": [{"type": "Resource", "resource": metric}],
        },
    }
