"""Proposals of a look at a Prometheus: kept until the next look, and accepted by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Model
from django.db.models.functions import Now

from controller.core.config_check import validate_policy
from controller.core.readings.attach import Attach
from controller.core.readings.attach_plain import PlainError, attach_of, attach_plain
from controller.core.readings.detection import NEW_HARDWARE, UNKNOWN_GPU, Detection, slug_of
from controller.core.readings.detection_plain import detection_plain
from controller.core.types import ROLES, Role
from controller.models import Detected
from controller.services import audit, people, policies
from controller.services.errors import ConflictError, InvalidError
from controller.services.people import Person
from inventory.models import (
    Cluster,
    HardwareType,
    InventoryVersion,
    MetricsEndpoint,
    Policy,
    Region,
    RoleSpec,
    Service,
    ServiceMetrics,
    Slo,
)
from inventory.services.locks import lock_for_edit
from inventory.services.policies import body_of
from inventory.services.versions import stamp
from inventory.snapshot import config_of

USUAL_REGION: Final = "default"


@dataclass(frozen=True, slots=True)
class RoleWish:
    """One role: a type's slug, or ``NEW_HARDWARE`` and a model; GPUs and numbers of instances."""

    hardware: str
    gpus: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Wish:
    """One proposal as a person accepts it.

    ``proposed`` is its name in what was found. With ``connect`` a service that is there reads
    from the endpoint from then on, and nothing else of it changes. Without ``cluster`` one is
    made, called ``new_cluster``.
    """

    proposed: str
    slug: str
    connect: bool
    cluster: str
    new_cluster: str
    roles: Mapping[Role, RoleWish]
    priority: int
    ttft_s: float
    tbt_s: float
    target: float
    pd_ratio: float


def keep(row: MetricsEndpoint, found: Detection, *, took_ms: float, user: Person) -> Detected:
    """Keep what a look found in the place of the last one. Raises :class:`ForbiddenError`."""
    people.require(user, people.EDIT_SOURCES)
    given = {
        "at": Now(),
        "by_name": user.get_username(),
        "took_ms": took_ms,
        "found": detection_plain(found),
    }
    kept, _ = Detected.objects.update_or_create(endpoint=row, defaults=given)
    return kept


def accept(
    row: MetricsEndpoint, seen: str, wishes: Sequence[Wish], *, user: User
) -> Sequence[Service]:
    """Set up or connect all that is wished for, or nothing; returns the services.

    ``seen`` is when the proposals were made that the person saw. Raises
    :class:`ForbiddenError`, :class:`InvalidError` whose field is that of a wish behind the name
    of its proposal and a hyphen, and :class:`ConflictError` when others were found meanwhile.
    """
    people.require(user, people.EDIT_SOURCES)
    with transaction.atomic():
        lock_for_edit()
        endpoint = MetricsEndpoint.objects.select_for_update().get(pk=row.pk)
        kept = Detected.objects.filter(endpoint=endpoint).first()
        if kept is None or kept.at.isoformat() != seen:
            who = f"{kept.by_name} looked again" if kept else "What was found is gone"
            raise ConflictError(f"{who}: nothing was set up, these are the newer proposals.")
        proposals = {each["slug"]: each for each in kept.found["services"]}
        return [_accepted(endpoint, proposals.get(each.proposed), each, user) for each in wishes]


def _accepted(
    row: MetricsEndpoint, proposal: Mapping[str, Any] | None, wish: Wish, user: User
) -> Service:
    if proposal is None:
        raise ConflictError(f"{wish.proposed} is not among the proposals: look again.")
    if proposal["attach"] is None or proposal["blockers"]:
        said = " ".join(proposal["blockers"]) or "Nothing tells its roles."
        raise InvalidError(f"{wish.proposed}-accept", said)
    service = Service.objects.filter(slug=wish.slug).first()
    if service and not wish.connect:
        said = (
            f"There is a service {wish.slug} already: tick that it is meant, or rename this one."
        )
        raise InvalidError(f"{wish.proposed}-slug", said)
    if service is None:
        if wish.connect:
            said = f"There is no service {wish.slug} any more: untick that it is meant."
            raise InvalidError(f"{wish.proposed}-connect", said)
        service = _made(wish, proposal, row, user)
    connect(service, row, proposal, field=f"{wish.proposed}-slug", user=user)
    return service


def connect(
    service: Service,
    row: MetricsEndpoint,
    proposal: Mapping[str, Any],
    *,
    field: str,
    user: Person,
) -> None:
    """Let a service read from an endpoint by what was found there.

    Raises :class:`InvalidError` with ``field`` where it does so already.
    """
    endpoint = _endpoint_for(row, attach_of(proposal["attach"]), user)
    known_as = proposal["known_as"]
    use, is_new = ServiceMetrics.objects.get_or_create(
        service=service,
        endpoint=endpoint,
        defaults={
            "presets": proposal["presets"],
            "known_as": "" if known_as == service.slug else known_as,
            "rank": service.metrics.count() + 1,
        },
    )
    if not is_new:
        name = use.known_as or service.slug
        said = f"{service.slug} reads from {endpoint.slug} already, as {name}."
        raise InvalidError(field, said)
    after = {"endpoint": endpoint.slug, "known_as": known_as, "presets": proposal["presets"]}
    audit.record(
        actor=user.get_username(), verb="let read from a source", obj=service, after=after
    )


def _endpoint_for(row: MetricsEndpoint, attach: Attach, user: Person) -> MetricsEndpoint:
    """Return an endpoint of this address by which series are known so; one is made if need be."""
    there = MetricsEndpoint.objects.filter(kind=row.kind, url=row.url, login=row.login)
    for each in sorted(there.filter(tenant=row.tenant), key=lambda one: one.pk != row.pk):
        if each.enabled and _attach(each) == attach:
            return each
    plain = attach_plain(attach)
    if not row.uses.exists():
        before = {"attach": row.attach}
        MetricsEndpoint.objects.filter(pk=row.pk).update(
            attach=plain, version=F("version") + 1, updated=Now()
        )
        row.refresh_from_db()
        _record(user, "changed", row, before, {"attach": plain})
        return row
    kept = ("kind", "url", "scrape_s", "login", "user", "secret", "tenant", "ca", "certificate")
    values = {name: getattr(row, name) for name in (*kept, "key")}
    slug = _free(f"{row.slug[:50]}-{plain['by']}")
    made = MetricsEndpoint.objects.create(slug=slug, attach=plain, **values)
    _record(user, "added", made, {}, {"slug": slug, "like": row.slug, "attach": plain})
    return made


def _attach(row: MetricsEndpoint) -> Attach | None:
    try:
        return attach_of(row.attach)
    except PlainError:
        return None


def _free(slug: str) -> str:
    taken = set(
        MetricsEndpoint.objects.filter(slug__startswith=slug).values_list("slug", flat=True)
    )
    numbered = (f"{slug}-{at}" for at in range(2, len(taken) + 3))
    return next(each for each in (slug, *numbered) if each not in taken)


def _made(wish: Wish, proposal: Mapping[str, Any], row: MetricsEndpoint, user: User) -> Service:
    """Return a new service that is observed only, with roles, goals and a first policy."""
    cluster = _cluster(wish, user)
    hardware = {role: _hardware(wish, role, row, user) for role in ROLES}
    service = Service(
        slug=wish.slug,
        name=wish.slug,
        model_name=(proposal["models"] or [wish.slug])[0][:120],
        cluster=cluster,
        mode=Service.Mode.OBSERVE,
        priority=wish.priority,
        max_gpus=max(1, sum(one.maximum * one.gpus for one in wish.roles.values())),
    )
    _save(service, wish, {})
    for role, one in wish.roles.items():
        spec = RoleSpec(
            service=service,
            role=role.value,
            hardware=hardware[role],
            gpus_per_instance=one.gpus,
            minimum=one.minimum,
            maximum=one.maximum,
        )
        names = {"gpus_per_instance": "gpus", "minimum": "minimum", "maximum": "maximum"}
        _save(spec, wish, {name: f"{role}_{field}" for name, field in names.items()})
    _save(Slo(service=service, ttft_s=wish.ttft_s, tbt_s=wish.tbt_s), wish, {})
    _policy(service, wish, user)
    after = {"cluster": cluster.slug, "mode": service.mode, "found at": row.slug}
    audit.record(actor=user.get_username(), verb="set up as detected", obj=service, after=after)
    return service


def _policy(service: Service, wish: Wish, user: User) -> None:
    policy = Policy(service=service, target=wish.target, pd_ratio=wish.pd_ratio)
    for problem in validate_policy(config_of(body_of(policy), revision=0)):
        raise InvalidError(f"{wish.proposed}-{problem.field}", problem.message)
    policies.save_policy(policy, user=user)


def _save(row: Model, wish: Wish, names: Mapping[str, str]) -> None:
    try:
        row.full_clean()
    except ValidationError as fault:
        told = getattr(fault, "message_dict", {"slug": fault.messages})
        for name, texts in told.items():
            field = names.get(name, name)
            raise InvalidError(f"{wish.proposed}-{field}", " ".join(texts)) from None
    row.save()


def _cluster(wish: Wish, user: User) -> Cluster:
    if wish.cluster:
        found = Cluster.objects.filter(slug=wish.cluster, kind=Cluster.Kind.RECORD).first()
        if found is None:
            said = f"{wish.cluster} is no cluster that only records: choose another."
            raise InvalidError(f"{wish.proposed}-cluster", said)
        return found
    there = Cluster.objects.filter(slug=wish.new_cluster).first()
    if there is not None and there.kind == Cluster.Kind.RECORD:
        return there
    region = Region.objects.order_by("slug").first()
    if region is None:
        region = Region.objects.create(slug=USUAL_REGION, name=USUAL_REGION)
    made = Cluster(slug=wish.new_cluster, name=wish.new_cluster, region=region)
    _save(made, wish, {"slug": "new_cluster", "name": "new_cluster"})
    _record(user, "added", made, {}, {"slug": made.slug, "region": region.slug, "kind": made.kind})
    stamp(InventoryVersion.Cause.EDIT, user.get_username())
    return made


def _hardware(wish: Wish, role: Role, row: MetricsEndpoint, user: User) -> HardwareType:
    chosen = wish.roles[role].hardware
    if chosen.startswith(NEW_HARDWARE):
        model = chosen.removeprefix(NEW_HARDWARE)[:60] or UNKNOWN_GPU
        made, is_new = HardwareType.objects.get_or_create(
            slug=slug_of(model),
            defaults={"gpu_model": model, "source": f"DCGM at {row.slug}"},
        )
        if is_new:
            _record(user, "added", made, {}, {"slug": made.slug, "gpu_model": model})
            stamp(InventoryVersion.Cause.EDIT, user.get_username())
        return made
    found = HardwareType.objects.filter(slug=chosen).first()
    if found is None:
        said = f"There is no hardware type {chosen}: choose another."
        raise InvalidError(f"{wish.proposed}-{role}_hardware", said)
    return found


def _record(
    user: Person, verb: str, row: Model, before: dict[str, Any], after: dict[str, Any]
) -> None:
    audit.record(actor=user.get_username(), verb=verb, obj=row, before=before, after=after)
