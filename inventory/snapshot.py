"""The one door from configuration rows to the values the core decides on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Max, Prefetch

from controller.core.engine import Engine
from controller.core.schedule import schedule_from_plain
from controller.core.types import (
    Adapt,
    Instances,
    Limits,
    Mode,
    PolicyConfig,
    Role,
    ServiceSpec,
    Slo,
)
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.speeds import engine_of
from inventory.models import Cluster, HardwareType, InventoryVersion, RoleSpec, Service
from inventory.models import Policy as PolicyRow
from inventory.services.policies import KEPT, body_of

Profiles = Mapping[str, Profile]
Kept = Callable[[Collection[str]], Profiles]
"""Gives the profiles people keep of those named; what is not there or unreadable is left out."""

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
    inventory_version: int
    broken: Mapping[str, str]


def read(kept: Kept) -> Snapshot:
    """Read the configuration of all services; at most nine queries however many there are.

    ``kept`` is asked once, and only if a role names a profile that is not built in. A service
    that lacks its SLO, its policy or a role, or whose policy can't be read, is named in
    ``broken`` with a sentence, so that it blocks nobody else (S24).
    """
    specs: list[ServiceSpec] = []
    broken: dict[str, str] = {}
    roles = (
        RoleSpec.objects.select_related("hardware")
        .prefetch_related("alternatives__hardware", "parts__hardware")
        .defer(*UNREAD, *_of("hardware"))
    )
    rows = list(
        Service.objects.select_related("cluster", "slo", "policy")
        .prefetch_related(Prefetch("roles", queryset=roles))
        .defer(*UNREAD, *_of("cluster"), *_of("slo"), *_of("policy"))
        .order_by("slug")
    )
    profiles = _profiles(rows, kept)
    for row in rows:
        try:
            specs.append(service_spec(row, profiles))
        except (ObjectDoesNotExist, KeyError, ValueError) as fault:
            broken[row.slug] = _missing(row, fault)
    clusters = list(Cluster.objects.all())
    return Snapshot(
        specs=specs,
        services={row.slug: row.pk for row in rows},
        clusters={cluster.slug: cluster.pk for cluster in clusters},
        cluster_kinds={cluster.slug: cluster.kind for cluster in clusters},
        hardware=dict(HardwareType.objects.values_list("slug", "pk")),
        inventory_version=newest_version(),
        broken=broken,
    )


def newest_version() -> int:
    """Return the number of the newest inventory version, 0 before the first."""
    newest: int | None = InventoryVersion.objects.aggregate(newest=Max("seq"))["newest"]
    return newest or 0


def _profiles(rows: Sequence[Service], kept: Kept) -> Profiles:
    named = {spec.profile for row in rows for spec in row.roles.all() if spec.profile}
    further = named - PROFILES.keys()
    return {**kept(further), **PROFILES} if further else PROFILES


def _of(part: str) -> list[str]:
    return [f"{part}__{name}" for name in UNREAD]


def service_spec(row: Service, profiles: Profiles = PROFILES) -> ServiceSpec:
    """Return one service as a value; its engine is ``None`` unless both profiles are known.

    Raises ``ObjectDoesNotExist``, ``KeyError`` or ``ValueError`` when its SLO, its policy or a
    role is missing or can't be read.
    """
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
        further={role: found for role, spec in roles.items() if (found := _further(spec))},
        priority=row.priority,
        engine=_engine(profiles.get(prefill.profile), profiles.get(decode.profile)),
    )


def _further(spec: RoleSpec) -> dict[str, float]:
    """Return the other types of a role or of its parts, with what a GPU there stands for.

    A GPU of a part is one of the instance's, whatever its type.
    """
    found = {part.hardware.slug: 1.0 for part in spec.parts.all()}
    for one in () if found else spec.alternatives.all():
        worth = one.throughput * spec.gpus_per_instance / one.gpus_per_instance
        found[one.hardware.slug] = worth
    found.pop(spec.hardware.slug, None)
    return found


def _engine(prefill: Profile | None, decode: Profile | None) -> Engine | None:
    return engine_of(prefill, decode) if prefill and decode else None


def policy_config(row: PolicyRow) -> PolicyConfig:
    """Return a policy row as the value the core reads.

    Raises ``ValueError`` for a schedule or a way to adapt that can't be read.
    """
    return config_of(body_of(row), revision=row.revision)


def config_of(body: Mapping[str, Any], *, revision: int) -> PolicyConfig:
    """Return what a revision kept as the value the core reads.

    A revision older than a field has the field's default. Raises like :func:`policy_config`.
    """
    values = {field: body[field] for field in KEPT if field in body}
    if "adapt" in values:
        values["adapt"] = Adapt(values["adapt"])
    if "schedule" in values:
        values["schedule"] = schedule_from_plain(values["schedule"])
    return PolicyConfig(**values, version=revision)


def _missing(row: Service, fault: Exception) -> str:
    roles = {spec.role for spec in row.roles.all()}
    wanted = [name for name in RoleSpec.RoleName.values if name not in roles]
    if wanted:
        return f"The {' and '.join(wanted)} role is not configured: add it to the service."
    for part in ("slo", "policy"):
        if not hasattr(row, part):
            return f"The service has no {part.upper() if part == 'slo' else part}: add one."
    return f"The configuration can't be read: {fault}."
