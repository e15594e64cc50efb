"""A service set up from workloads of a cluster: observed only, until a person lets it act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction

from controller.core.config_check import validate_policy
from controller.core.types import ROLES, Role
from controller.models import Detected
from controller.services import audit, detecting, people, policies, profiles
from controller.services.errors import ConflictError, InvalidError
from inventory.models import (
    Cluster,
    HardwareType,
    MetricsEndpoint,
    Policy,
    RoleSpec,
    Service,
    ServiceMetrics,
    Slo,
    Workload,
)
from inventory.services.locks import lock_for_edit
from inventory.services.policies import body_of
from inventory.snapshot import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import Model

    from controller.core.kube.offers import Offer
    from controller.services.people import Person

_NAMES: Final = {
    "gpus_per_instance": "gpus",
    "minimum": "minimum",
    "maximum": "maximum",
    "profile": "profile",
}


@dataclass(frozen=True, slots=True)
class RoleWish:
    """One role: the workload that holds its instances, its hardware type, GPUs and limits.

    ``profile`` is the name of an engine profile, empty for none.
    """

    workload: Offer
    hardware: str
    gpus: int
    minimum: int
    maximum: int
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """A service as a person wants it. ``source`` is an endpoint of metrics, empty for none.

    ``found`` is the name of a proposal that was found there; else ``presets`` say what is read.
    """

    slug: str
    model: str
    roles: Mapping[Role, RoleWish]
    ttft_s: float
    tbt_s: float
    target: float
    pd_ratio: float
    source: str = ""
    found: str = ""
    presets: tuple[str, ...] = ()


def set_up(cluster: Cluster, wish: Wish, *, user: Person) -> Service:
    """Return a new service in mode observe, with its workloads.

    Raises :class:`ForbiddenError`, and :class:`InvalidError` naming the field and how to mend it;
    fields of a role begin with its name.
    """
    people.require(user, people.SET_UP)
    with transaction.atomic():
        lock_for_edit()
        if Service.objects.filter(slug=wish.slug).exists():
            raise InvalidError("slug", f"There is a service {wish.slug} already.")
        service = Service(
            slug=wish.slug,
            name=wish.slug,
            model_name=wish.model[:120],
            cluster=cluster,
            mode=Service.Mode.OBSERVE,
            max_gpus=max(1, sum(one.maximum * one.gpus for one in wish.roles.values())),
        )
        _save(service, {"name": "slug", "model_name": "model"})
        for role in ROLES:
            _role(service, role, wish.roles[role])
        _save(Slo(service=service, ttft_s=wish.ttft_s, tbt_s=wish.tbt_s), {})
        _policy(service, wish, user)
        after = {"cluster": cluster.slug, "mode": service.mode, **_told(wish)}
        audit.record(actor=user.get_username(), verb="set up", obj=service, after=after)
        _metrics(service, wish, user)
    return service


def _role(service: Service, role: Role, wish: RoleWish) -> None:
    hardware = HardwareType.objects.filter(slug=wish.hardware).first()
    if hardware is None:
        named = f"There is no hardware type {wish.hardware}" if wish.hardware else "None is known"
        said = f"{named}: bring in the nodes of the cluster first."
        raise InvalidError(f"{role}_hardware", said)
    if wish.profile and not profiles.is_known(wish.profile):
        said = f"There is no engine profile {wish.profile}: choose one that is kept, or none."
        raise InvalidError(f"{role}_profile", said)
    spec = RoleSpec(
        service=service,
        role=role.value,
        hardware=hardware,
        gpus_per_instance=wish.gpus,
        minimum=wish.minimum,
        maximum=wish.maximum,
        profile=wish.profile,
    )
    _save(spec, {name: f"{role}_{field}" for name, field in _NAMES.items()})
    offer = wish.workload
    row = Workload(
        service=service,
        role=role.value,
        kind=offer.kind.value,
        api=offer.api,
        plural=offer.plural,
        namespace=offer.namespace,
        name=offer.name,
        part=offer.part,
    )
    _save(row, dict.fromkeys(("name", "namespace", "part", "api"), f"{role}_workload"))


def _policy(service: Service, wish: Wish, user: Person) -> None:
    policy = Policy(service=service, target=wish.target, pd_ratio=wish.pd_ratio)
    for problem in validate_policy(config_of(body_of(policy), revision=0)):
        raise InvalidError(problem.field, problem.message)
    policies.save_policy(policy, user=user)


def _metrics(service: Service, wish: Wish, user: Person) -> None:
    if not wish.source:
        return
    endpoint = MetricsEndpoint.objects.filter(slug=wish.source).first()
    if endpoint is None:
        raise InvalidError("source", f"There is no metrics source {wish.source}.")
    if wish.found:
        kept = Detected.objects.filter(endpoint=endpoint).first()
        known = {each["slug"]: each for each in kept.found["services"]} if kept else {}
        if wish.found not in known:
            said = (
                f"{wish.found} is not among what was found at {wish.source} any more: look again."
            )
            raise ConflictError(said)
        detecting.connect(service, endpoint, known[wish.found], field="source", user=user)
        return
    ServiceMetrics.objects.create(
        service=service, endpoint=endpoint, presets=list(wish.presets), rank=1
    )
    after = {"endpoint": endpoint.slug, "presets": list(wish.presets)}
    audit.record(
        actor=user.get_username(), verb="let read from a source", obj=service, after=after
    )


def _told(wish: Wish) -> dict[str, Any]:
    told = {role.value: wish.roles[role].workload.key for role in ROLES}
    engines = {f"{role}_profile": wish.roles[role].profile for role in ROLES}
    return told | {name: profile for name, profile in engines.items() if profile}


def _save(row: Model, names: Mapping[str, str]) -> None:
    try:
        row.full_clean()
    except ValidationError as fault:
        told = getattr(fault, "message_dict", {"slug": fault.messages})
        for name, texts in told.items():
            raise InvalidError(names.get(name, name), " ".join(texts)) from None
    row.save()
