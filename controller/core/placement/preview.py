"""Where changes would go as things stand: the cycle of a tick, of its execution and of what-if."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from controller.core.fleet import NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import NO_FACTS, Facts, Fleet, fleet_of
from controller.core.placement.limiting import limited, requests_of
from controller.core.placement.plan_plain import PlainPlacement, placement_of
from controller.core.placement.values import Plan, Request, Tenant
from controller.core.types import Decision


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All nodes and services at one time; ``version`` is the inventory's.

    Services of clusters of which no node is known are not among the tenants: nobody can say where
    they would go, so they are not placed. ``watched`` are those that are only observed: nothing of
    theirs is moved, replaced or shrunk.
    """

    rows: Sequence[NodeRow]
    tenants: Mapping[str, Tenant]
    facts: Facts = NO_FACTS
    version: int = 0
    watched: frozenset[str] = frozenset()
    fleets: dict[str, Fleet] = field(default_factory=dict)

    @property
    def fleet(self) -> Fleet:
        """The nodes as arrays, made once."""
        if not self.fleets:
            self.fleets[""] = fleet_of(self.rows, list(self.tenants.values()), self.facts)
        return self.fleets[""]

    def plan(self, requests: Sequence[Request]) -> Plan:
        """Return one cycle over the requests of services that are placed."""
        asked = [request for request in requests if request.service in self.tenants]
        return plan_cycle(self.fleet, list(self.tenants.values()), asked)


def preview(
    decisions: Sequence[Decision], situation: Situation, refused: Mapping[str, int]
) -> tuple[list[Decision], dict[str, PlainPlacement]]:
    """Return decisions without the growth there is no room for, and where the rest would go.

    Placements are by service, for those that are carried out or proposed and are placed at all.
    """
    asked = [one for one in requests_of(decisions, refused) if one.service in situation.tenants]
    if not asked:
        return list(decisions), {}
    plan = situation.plan(asked)
    fitting = limited(decisions, plan)
    return fitting, parts_of(plan, [one.service for one in asked], situation.version)


def parts_of(plan: Plan, services: Collection[str], version: int) -> dict[str, PlainPlacement]:
    """Return the plan's part of each service, with nothing known yet of what it touches."""
    return {
        service: placement_of(plan, service, version=version, touched="") for service in services
    }
