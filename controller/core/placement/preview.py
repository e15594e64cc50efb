"""Where changes would go as things stand: the cycle of a tick, of its execution and of what-if."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.core.fleet import NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import NO_FACTS, Facts, Fleet, fleet_of
from controller.core.placement.limiting import (
    difference,
    hardened,
    limited,
    requests_of,
    unplanned,
)
from controller.core.placement.plan_plain import LEVELS, PlainPlacement, placement_of
from controller.core.placement.values import Plan, Request, Tenant
from controller.core.placement.weaker import is_other
from controller.core.types import Decision, Instances, Limits
from controller.core.words import clean


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All nodes and services at one time; ``version`` is the inventory's.

    Services of clusters of which no node is known are not among the tenants: nobody can say where
    they would go, so they are not placed. ``watched`` are those that are only observed: nothing of
    theirs is moved, replaced or shrunk. ``unreadable`` are those that can't be read, with why.
    ``wished`` are the counts last asked of the clusters, where these are known; ``floors`` the
    fewest instances that overrides let services shrink to for others, where any do. ``fixed`` are
    services whose cluster starts what is lost by itself and moves nobody by name.
    """

    rows: Sequence[NodeRow]
    tenants: Mapping[str, Tenant]
    facts: Facts = NO_FACTS
    version: int = 0
    watched: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    wished: Mapping[str, Instances] = field(default_factory=dict)
    floors: Mapping[str, Instances] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    fleets: dict[str, Fleet] = field(default_factory=dict)

    @property
    def fleet(self) -> Fleet:
        """The nodes as arrays, made once."""
        if not self.fleets:
            self.fleets[""] = fleet_of(self.rows, list(self.tenants.values()), self.facts)
        return self.fleets[""]

    def near(self, service: str) -> str:
        """Return how near the groups of a service are meant to be, empty where nobody knows."""
        tenant = self.tenants.get(service)
        return LEVELS[tenant.affinity.level] if tenant else ""

    def plan(self, requests: Sequence[Request]) -> Plan:
        """Return one cycle over the requests of services that are placed.

        Growth that can't be planned takes none of another service along (S24): it is refused as
        ``EXECUTOR_ERROR`` with what went wrong.
        """
        asked = [request for request in requests if request.service in self.tenants]
        wrong = {
            request.service: self.unreadable[request.service]
            for request in requests
            if request.service in self.unreadable
        }
        try:
            plan = self._cycle(asked)
        except Exception:  # noqa: BLE001 - one bad service must not stop the others (S24)
            wrong |= self._failing(asked)
            plan = self._cycle([one for one in asked if one.service not in wrong])
        return replace(plan, unplaced=[*plan.unplaced, *unplanned(requests, wrong)])

    def knows(self, service: str) -> bool:
        """Return whether growth of a service needs a place here."""
        return service in self.tenants or service in self.unreadable

    def _cycle(self, asked: Sequence[Request]) -> Plan:
        return plan_cycle(self.fleet, list(self.tenants.values()), asked)

    def _failing(self, asked: Sequence[Request]) -> dict[str, str]:
        """Return the services whose requests fail even alone, with how."""
        failing = {}
        for request in asked:
            try:
                self._cycle([request])
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is told
                failing[request.service] = clean(f"{type(fault).__name__}: {fault}")
        return failing


def preview(
    decisions: Sequence[Decision],
    situation: Situation,
    refused: Mapping[str, int],
    limits: Mapping[str, Limits],
) -> tuple[list[Decision], dict[str, PlainPlacement]]:
    """Return decisions without the growth there is no room for, and where the rest would go.

    Placements are by service, for those that are carried out or proposed and are placed at all.
    ``limits`` are those of the services decided for.
    """
    asked = [one for one in requests_of(decisions, refused) if situation.knows(one.service)]
    if not asked:
        return list(decisions), {}
    plan = situation.plan(asked)
    fitting = []
    wanted: dict[str, Instances] = {}
    for one in limited(decisions, plan):
        tenant = situation.tenants.get(one.service)
        found = one
        if tenant is not None and one.service in limits:
            found, plan = hardened(one, plan, tenant, limits[one.service])
            if is_other(plan, tenant):
                wanted[one.service] = difference(one)
        fitting.append(found)
    parts = parts_of(plan, [one.service for one in asked], situation.version)
    for service, change in wanted.items():
        parts[service]["asked"] = {"prefill": change.prefill, "decode": change.decode}
    _keep_terms(parts, asked, situation)
    return fitting, parts


def _keep_terms(
    parts: Mapping[str, PlainPlacement], asked: Sequence[Request], situation: Situation
) -> None:
    """Keep with placements what is needed to judge them when they are carried out.

    They are served in the turn they were decided in, and may lie as near as was preferred then.
    """
    for request in asked:
        part = parts[request.service]
        part["near"] = situation.near(request.service)
        if request.refused:
            part["refused"] = request.refused


def parts_of(plan: Plan, services: Collection[str], version: int) -> dict[str, PlainPlacement]:
    """Return the plan's part of each service, with nothing known yet of what it touches."""
    return {
        service: placement_of(plan, service, version=version, touched="") for service in services
    }
