"""What kinds of objects the double serves, and which have a count and a status.

Kubernetes API concepts, "Resource URIs": group, version and plural make the path; custom resources
declare their scale and status subresources ("Extend the Kubernetes API with
CustomResourceDefinitions", "Subresources").
"""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str, ...]
REPLICAS: Path = ("spec", "replicas")


@dataclass(frozen=True)
class Scale:
    """Where a kind keeps what its scale subresource shows."""

    wanted: Path = REPLICAS
    present: Path = ("status", "replicas")
    selector: Path | None = None
    """A string in the object; None: the object's own ``spec.selector``, written out."""


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of object; each is itself alone, so that keys are compared quickly."""

    api: str
    plural: str
    name: str
    namespaced: bool = True
    scale: Scale | None = None
    status: bool = True
    builtin: bool = False
    """Decoded into types of the server; custom resources are checked against a schema."""
    generations: bool = True

    @property
    def group(self) -> str:
        return self.api.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api.rpartition("/")[2]

    @property
    def resource(self) -> str:
        """``deployments.apps``, as messages say it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """``Deployment.apps``, as messages about invalid objects say it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def root(self) -> str:
        return f"/apis/{self.api}" if self.group else f"/api/{self.api}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the address of an object, or of the list when there is no name."""
        within = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return "/".join(filter(None, (f"{self.root}{within}/{self.plural}", name, subresource)))


def _core(plural: str, name: str, *, namespaced: bool = True, status: bool = False) -> Kind:
    return Kind("v1", plural, name, namespaced, None, status, builtin=True, generations=False)


APPS = Scale()
TOLD = Scale(selector=("status", "selector"))

KINDS: tuple[Kind, ...] = (
    _core("namespaces", "Namespace", namespaced=False, status=True),
    _core("nodes", "Node", namespaced=False, status=True),
    _core("pods", "Pod", status=True),
    _core("services", "Service", status=True),
    _core("endpoints", "Endpoints"),
    _core("events", "Event"),
    _core("configmaps", "ConfigMap"),
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount"),
    _core("resourcequotas", "ResourceQuota", status=True),
    Kind("apps/v1", "deployments", "Deployment", scale=APPS, builtin=True),
    Kind("apps/v1", "statefulsets", "StatefulSet", scale=APPS, builtin=True),
    Kind("apps/v1", "replicasets", "ReplicaSet", scale=APPS, builtin=True),
    Kind("apps/v1", "daemonsets", "DaemonSet", builtin=True),
    Kind(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        builtin=True,
        generations=False,
    ),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", builtin=True),
    Kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", status=False, builtin=True),
    Kind("coordination.k8s.io/v1", "leases", "Lease", status=False, builtin=True),
    Kind(
        "leaderworkerset.x-k8s.io/v1",
        "leaderworkersets",
        "LeaderWorkerSet",
        scale=Scale(selector=("status", "hpaPodSelector")),
    ),
    Kind("workloads.x-k8s.io/v1alpha1", "rolebasedgroups", "RoleBasedGroup"),
    Kind(
        "workloads.x-k8s.io/v1alpha1",
        "rolebasedgroupscalingadapters",
        "RoleBasedGroupScalingAdapter",
        scale=TOLD,
    ),
    Kind("nvidia.com/v1alpha1", "dynamographdeployments", "DynamoGraphDeployment"),
    Kind(
        "nvidia.com/v1alpha1",
        "dynamographdeploymentscalingadapters",
        "DynamoGraphDeploymentScalingAdapter",
        scale=TOLD,
    ),
    Kind("keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
)
