"""The one door from configuration rows to the values the core decides on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Prefetch

from controller.core.types import (
    Instances,
    Limits,
    Mode,
    PolicyConfig,
    Role,
    ServiceSpec,
    Slo,
)
from inventory.models import Cluster, HardwareType, RoleSpec, Service
from inventory.models import Policy as PolicyRow

UNREAD: Final = ("created", "updated", "labels", "version")
"""What no decision looks at: at a thousand services parsing it takes a quarter of the reading."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every service as a value, the rows behind the names, and what could not be read."""

    specs: Sequence[ServiceSpec]
    services: Mapping[str, UUID]
    clusters: Mapping[str, UUID]
    cluster_kinds: Mapping[str, str]
    hardware: Mapping[str, UUID]
    broken: Mapping[str, str]


def read() -> Snapshot:
    """Read the configuration of all services; four queries however many there are.

    A service that lacks its SLO, its policy or a role is named in ``broken`` with a sentence, so
    that it blocks nobody else (S24).
    """
    specs: list[ServiceSpec] = []
    broken: dict[str, str] = {}
    roles = RoleSpec.objects.select_related("hardware").defer(*UNREAD, *_of("hardware"))
    rows = list(
        Service.objects.select_related("cluster", "slo", "policy")
        .prefetch_related(Prefetch("roles", queryset=roles))
        .defer(*UNREAD, *_of("cluster"), *_of("slo"), *_of("policy"))
        .order_by("slug")
    )
    for row in rows:
        try:
            specs.append(service_spec(row))
        except (ObjectDoesNotExist, KeyError, ValueError) as fault:
            broken[row.slug] = _missing(row, fault)
    clusters = list(Cluster.objects.all())
    return Snapshot(
        specs=specs,
        services={row.slug: row.pk for row in rows},
        clusters={cluster.slug: cluster.pk for cluster in clusters},
        cluster_kinds={cluster.slug: cluster.kind for cluster in clusters},
        hardware=dict(HardwareType.objects.values_list("slug", "pk")),
        broken=broken,
    )


def _of(part: str) -> list[str]:
    return [f"{part}__{name}" for name in UNREAD]


def service_spec(row: Service) -> ServiceSpec:
    """Return one service as a value. Raises when its SLO, its policy or a role is missing."""
    roles = {Role(spec.role): spec for spec in row.roles.all()}
    prefill, decode = roles[Role.PREFILL], roles[Role.DECODE]
    return ServiceSpec(
        key=row.slug,
        cluster=row.cluster.slug,
        mode=Mode(row.mode),
        slo=Slo(row.slo.ttft_s, row.slo.tbt_s, row.slo.goal_frac),
        limits=Limits(
            minimum=Instances(prefill.minimum, decode.minimum),
            maximum=Instances(prefill.maximum, decode.maximum),
            max_gpus=row.max_gpus,
        ),
        policy=policy_config(row.policy),
        gpus_per_instance=Instances(prefill.gpus_per_instance, decode.gpus_per_instance),
        hardware={role: spec.hardware.slug for role, spec in roles.items()},
        priority=row.priority,
    )


def policy_config(row: PolicyRow) -> PolicyConfig:
    """Return a policy row as the value the core reads."""
    return PolicyConfig(
        name=row.name,
        driver=row.driver,
        target=row.target,
        pd_ratio=row.pd_ratio,
        theta_out=row.theta_out,
        theta_in=row.theta_in,
        ratio_tolerance=row.ratio_tolerance,
        cooldown_out_s=row.cooldown_out_s,
        cooldown_in_s=row.cooldown_in_s,
        stabilisation_s=row.stabilisation_s,
        step_abs=row.step_abs,
        step_frac=row.step_frac,
        coverage_in_frac=row.coverage_in_frac,
        proposal_ttl_s=row.proposal_ttl_s,
        version=row.revision,
    )


def _missing(row: Service, fault: Exception) -> str:
    roles = {spec.role for spec in row.roles.all()}
    wanted = [name for name in RoleSpec.RoleName.values if name not in roles]
    if wanted:
        return f"The {' and '.join(wanted)} role is not configured: add it to the service."
    for part in ("slo", "policy"):
        if not hasattr(row, part):
            return f"The service has no {part.upper() if part == 'slo' else part}: add one."
    return f"The configuration can't be read: {fault}."
