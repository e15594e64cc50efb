"""Bindings follow what clusters report: claimed, named, bound where they run, released (S19)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import NumericRange
from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Coalesce

from inventory.holdings import Holding, Instance, Report, Steps, follow, lapsed, live
from inventory.models import Binding, DeploymentGroup, LocalityDomain, Service
from inventory.models.services import Nearness
from inventory.services import bulk
from inventory.services.locks import lock_bindings
from inventory.services.spots import Spot, spots_of
from inventory.sizes import read_sizes, shares

ENDS_AFTER: Final = timedelta(minutes=10)
"""How long a group is kept open that nothing is left of: its instances may come back."""

GroupOf = tuple[str, str]
"""A service's slug and a group's name."""

LONGEST_GROUP: Final = 100
"""A cluster's longer names are cut: one of them must not hold up all services (S24)."""


@dataclass(slots=True)
class Settled:
    """What was brought in line: instances by what happened to their bindings.

    ``conflicts`` are instances that could not be bound, each with why.
    """

    claimed: int = 0
    changed: int = 0
    bound: int = 0
    released: int = 0
    lapsed: int = 0
    groups: int = 0
    conflicts: list[str] = field(default_factory=list)


def settle(reports: Sequence[Report], ended: Collection[UUID], now: datetime) -> Settled:
    """Bring bindings in line with what clusters reported since; nothing is raised for conflicts.

    ``ended`` are the actions that will start nothing more: what they promised and nobody took up
    is let go. The number of queries does not depend on the fleet.
    """
    with transaction.atomic():
        lock_bindings()
        holdings = live()
        own: dict[str, list[Holding]] = defaultdict(list)
        for holding in holdings:
            own[holding.service].append(holding)
        steps = {one.service: follow(own[one.service], one, now) for one in reports}
        old = lapsed(holdings, steps.values(), ended)
        settled = Settled(lapsed=len(old))
        _release([*old, *(one for each in steps.values() for one in each.gone)], now)
        settled.released = sum(len(each.gone) for each in steps.values())
        groups = _groups_of(steps, now)
        _name(steps, groups, settled)
        _bind_new(reports, steps, groups, settled, now)
        settled.groups = _settle_groups(now)
    return settled


def _release(holdings: Iterable[Holding], now: datetime) -> None:
    rows = [piece.row for holding in holdings for piece in holding.pieces]
    if rows:
        Binding.objects.filter(pk__in=rows).update(released_at=now)


def _groups_of(steps: Mapping[str, Steps], now: datetime) -> dict[GroupOf, int]:
    """Return the groups that instances are in by service and name, those made that are missing."""
    wanted = {
        (service, _group_of(service, one))
        for service, each in steps.items()
        for one in (*(named for _, named in each.named), *each.new)
    }
    if not wanted:
        return {}
    services = {service for service, _ in wanted}
    rows = DeploymentGroup.objects.filter(service__slug__in=services)
    known = {
        (slug, name): pk for slug, name, pk in rows.values_list("service__slug", "name", "pk")
    }
    owners = dict(Service.objects.filter(slug__in=services).values_list("slug", "pk"))
    missing = sorted(wanted - known.keys())
    made = DeploymentGroup.objects.bulk_create(
        DeploymentGroup(service_id=owners[service], name=name, made_at=now)
        for service, name in missing
    )
    return known | dict(zip(missing, [group.pk for group in made], strict=True))


def _group_of(service: str, one: Instance) -> str:
    """Return the group an instance is in; all together where its cluster knows no groups."""
    return (one.group or f"{service}-g1")[:LONGEST_GROUP]


def _name(steps: Mapping[str, Steps], groups: Mapping[GroupOf, int], settled: Settled) -> None:
    """Give bindings the names, states and groups of their instances."""
    rows: list[tuple[int, str, str, int]] = []
    for service, each in steps.items():
        for holding, one in each.named:
            group = groups[service, one.group or holding.group]
            rows += [(piece.row, one.name, one.bound_state, group) for piece in holding.pieces]
            settled.claimed += not holding.instance
            settled.changed += bool(holding.instance)
    bulk.update(Binding, "id", ("instance", "state", "group_id"), rows)


def _bind_new(
    reports: Sequence[Report],
    steps: Mapping[str, Steps],
    groups: Mapping[GroupOf, int],
    settled: Settled,
    now: datetime,
) -> None:
    """Bind instances that nobody promised anything where they run, as far as GPUs are free."""
    new = [(report, one) for report in reports for one in steps[report.service].new]
    if not new:
        return
    spots = spots_of({(report.cluster, spot) for report, one in new for spot in one.spots})
    sizes = read_sizes()
    made: list[Binding] = []
    for report, one in new:
        here = [spots.get((report.cluster, spot)) for spot in sorted(one.spots)]
        hardware = next((spot.hardware for spot in here if spot), "")
        gpus = shares(sizes.of(report.service, one.role, hardware), len(here))
        problem = _problem(sorted(one.spots), here, gpus)
        if problem:
            settled.conflicts.append(f"{one.name}: {problem}")
            continue
        settled.bound += 1
        made += [
            Binding(
                group_id=groups[report.service, _group_of(report.service, one)],
                role=one.role,
                instance=one.name,
                place=one.name[:100],
                node_id=spot.row,
                gpus=NumericRange(*part),
                state=one.bound_state,
                bound_at=now,
            )
            for spot, share in zip(here, gpus, strict=True)
            if spot
            for part in spot.take(share) or ()
        ]
    Binding.objects.bulk_create(made)


def _problem(names: Sequence[str], spots: Sequence[Spot | None], gpus: Sequence[int]) -> str:
    """Return why an instance can't be bound where it runs; empty where it can."""
    for name, spot, share in zip(names, spots, gpus, strict=True):
        if spot is None:
            return f"{name} is not in the inventory."
        if spot.left < share:
            return f"{name} has {spot.left} free GPUs, not {share}."
    return ""


def _settle_groups(now: datetime) -> int:
    """Write the nearest domain of each group, and which have ended; returns how many changed."""
    shared = _shared()
    rows = list(
        DeploymentGroup.objects.filter(Q(ended_at=None) | Q(pk__in=shared)).values_list(
            "pk", "level", "domain", "ended_at"
        )
    )
    empty = [pk for pk, *_ in rows if pk not in shared]
    left = _left(empty) if empty else {}
    changed = []
    for pk, level, domain, ended in rows:
        is_over = pk in left and now - left[pk] >= ENDS_AFTER
        wanted = (*shared.get(pk, (level, domain)), now if is_over else None)
        if wanted != (level, domain, ended):
            changed.append((pk, *wanted))
    return bulk.update(DeploymentGroup, "id", ("level", "domain", "ended_at"), changed)


def _left(groups: Collection[int]) -> dict[int, datetime]:
    """Return since when groups without instances have none."""
    rows = DeploymentGroup.objects.filter(pk__in=groups).annotate(
        left=Coalesce(Max("bindings__released_at"), "made_at")
    )
    return dict(rows.values_list("pk", "left"))


def _shared() -> dict[int, tuple[str, str]]:
    """Return the level and name of the nearest domain that each group's bindings share."""
    rows = (
        Binding.objects.filter(released_at=None)
        .order_by()
        .values_list("group_id")
        .annotate(
            Count("pk"),
            *(kind("node__s1_domain") for kind in (Count, Min, Max)),
            *(kind("node__s2_domain") for kind in (Count, Min, Max)),
            *(kind("node__cluster__slug") for kind in (Count, Min, Max)),
        )
    )
    names = dict(LocalityDomain.objects.values_list("pk", "name"))
    shared: dict[int, tuple[str, str]] = {}
    for group, count, *figures in rows:
        s1, s2, cluster = (_one(count, figures[at : at + 3]) for at in (0, 3, 6))
        if s1 is not None:
            shared[group] = (Nearness.S1.value, names[s1])
        elif s2 is not None:
            shared[group] = (Nearness.S2.value, names[s2])
        else:
            shared[group] = (Nearness.CLUSTER.value, cluster) if cluster else ("", "")
    return shared


def _one(count: int, figures: Sequence[Any]) -> Any | None:  # noqa: ANN401 - a number or a name
    """Return what all of ``count`` rows have; ``None`` if not one and the same."""
    known, least, most = figures
    return least if known == count and least == most else None
