"""How a cluster is reached, and which of its objects hold the instances of a service."""

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

from controller.core.kube.kinds import KINDS, Gate, WorkloadKind
from inventory.models.base import Record
from inventory.models.places import Cluster
from inventory.models.services import Service

KUBE_NAME: Final = RegexValidator(
    r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z",
    "Use at most 253 small letters, digits, '-' and '.', with a letter or digit at both ends.",
)
NAMESPACE: Final = RegexValidator(
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z",
    "Use at most 63 small letters, digits and '-', with a letter or digit at both ends.",
)


class ClusterAccess(Record):
    """How the API server of a cluster is reached, and as whom; secrets are encrypted."""

    class Way(models.TextChoices):
        KUBECONFIG = "kubeconfig", "a kubeconfig"
        TOKEN = "token", "an address and a token"
        IN_CLUSTER = "in_cluster", "the account of the pod this runs in"

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="access")
    way = models.CharField(max_length=12, choices=Way, default=Way.KUBECONFIG)
    server = models.CharField(
        max_length=500, blank=True, help_text="Of the API server, like https://10.0.0.1:6443."
    )
    ca = models.TextField(blank=True, verbose_name="certificate authority (PEM)")
    secret = models.TextField(blank=True, editable=False)
    account = models.CharField(
        max_length=300, blank=True, help_text="As whom the API server knows us."
    )
    namespaces = ArrayField(
        models.CharField(max_length=63, validators=[NAMESPACE]),
        default=list,
        blank=True,
        help_text="Where pods and workloads are looked at; empty: everywhere.",
    )
    watching = models.BooleanField(
        default=True, help_text="Whether the cluster is looked at. Unknown otherwise, not empty."
    )
    checked_at = models.DateTimeField(null=True, editable=False)
    checks = models.JSONField(default=list, editable=False)

    class Meta:
        verbose_name = "access to a cluster"
        verbose_name_plural = "access to clusters"

    def __str__(self) -> str:
        return f"{self.cluster_id} by {self.get_way_display()}"


class Workload(Record):
    """An object of a cluster that says how many instances a role of a service has.

    A role may have several: one for each deployment group.
    """

    class Kind(models.TextChoices):
        DEPLOYMENT = WorkloadKind.DEPLOYMENT.value, "Deployment"
        STATEFUL_SET = WorkloadKind.STATEFUL_SET.value, "StatefulSet"
        LEADER_WORKER_SET = WorkloadKind.LEADER_WORKER_SET.value, "LeaderWorkerSet"
        ROLE_BASED_GROUP = WorkloadKind.ROLE_BASED_GROUP.value, "role of a RoleBasedGroup"
        DYNAMO = WorkloadKind.DYNAMO.value, "component of a DynamoGraphDeployment"
        SCALE = WorkloadKind.SCALE.value, "other object with a scale subresource"

    class Gating(models.TextChoices):
        NONE = Gate.NONE.value, "nothing: instances serve once they are ready"
        LABEL = Gate.LABEL.value, "the label heteroscale.io/serving"
        READINESS = Gate.READINESS.value, "the readiness gate heteroscale.io/registered"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="workloads")
    role = models.CharField(max_length=8, choices=[("prefill", "prefill"), ("decode", "decode")])
    group = models.CharField(
        max_length=100, blank=True, help_text="The deployment group of its instances."
    )
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.DEPLOYMENT)
    api = models.CharField(
        max_length=200, blank=True, help_text="Like apps/v1; empty: the usual of its kind."
    )
    plural = models.CharField(
        max_length=100, blank=True, help_text="Like deployments; empty: the usual of its kind."
    )
    namespace = models.CharField(max_length=63, validators=[NAMESPACE])
    name = models.CharField(max_length=253, validators=[KUBE_NAME])
    part = models.CharField(
        max_length=100,
        blank=True,
        help_text="The role of a RoleBasedGroup, the component of a DynamoGraphDeployment.",
    )
    selector = models.JSONField(
        default=dict, blank=True, help_text="Labels of its pods; empty: read from the object."
    )
    gate = models.CharField(
        max_length=10,
        choices=Gating,
        default=Gating.NONE,
        help_text="What keeps an instance out of service discovery.",
    )

    class Meta:
        ordering = ("service", "-role", "group", "name")
        constraints = (
            models.UniqueConstraint(
                fields=("service", "role", "namespace", "kind", "name", "part"),
                name="workload_once_per_role",
            ),
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f" {self.part}" if self.part else "")

    def clean(self) -> None:
        """Fill in what its kind says, and refuse what another service or role scales already."""
        kind = KINDS[WorkloadKind(self.kind)]
        self.api, self.plural = self.api or kind.api, self.plural or kind.plural
        wrong: dict[str, str] = {}
        if not self.api or not self.plural:
            wrong["api"] = "Name the API and the plural, like apps/v1 and deployments."
        if kind.needs_part and not self.part:
            wrong["part"] = f"Name the {kind.part_word} whose instances it holds."
        twin = (
            Workload.objects.filter(
                service__cluster=self.service.cluster_id,
                namespace=self.namespace,
                plural=self.plural,
                name=self.name,
                part=self.part,
            )
            .exclude(pk=self.pk)
            .select_related("service")
            .first()
        )
        if twin is not None:
            wrong["name"] = f"{twin} already holds the {twin.role} instances of {twin.service}."
        if wrong:
            raise ValidationError(wrong)
