"""Small fleets and services for tests of placement cycles, by hand and by chance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from hypothesis import strategies as st

from controller.core.fleet import Level, NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import Fleet, fleet_of
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    Plan,
    Request,
    RoleForm,
    RoleNeed,
    Tenant,
)
from controller.core.types import Instances, Role

IN_S2: Final = Affinity(Level.S2, required=True)
TYPES: Final = ("h20", "h800", "l40s")


def node(
    name: str, hardware: str, place: str = "s2-1/s1-1", *, free: int = 8, usable: bool = True
) -> NodeRow:
    """Return a machine of eight GPUs; ``place`` is its S2 and S1."""
    s2, _, s1 = place.partition("/")
    return NodeRow(name, "c", s2, s1, "", hardware, gpus=8, free=free, usable=usable)


def need(hardware: str, gpus: int, *more: Choice, nodes: int = 1) -> RoleForm:
    return RoleForm(RoleNeed((Choice(hardware, gpus), *more), nodes=nodes))


def tenant(  # noqa: PLR0913 - what a service is
    name: str = "chat",
    prefill: RoleForm | None = None,
    decode: RoleForm | None = None,
    *,
    affinity: Affinity = IN_S2,
    held: Sequence[Held] = (),
    priority: int = 0,
    pd_ratio: float | None = None,
) -> Tenant:
    return Tenant(
        name,
        {
            Role.PREFILL: prefill or need("h800", 4),
            Role.DECODE: decode or need("h20", 4),
        },
        held=tuple(held),
        priority=priority,
        affinity=affinity,
        pd_ratio=pd_ratio,
    )


def plan(
    rows: Sequence[NodeRow], tenants: Sequence[Tenant], *asked: tuple[str, int, int]
) -> tuple[Fleet, Plan]:
    fleet = fleet_of(rows, tenants)
    requests = [Request(name, Instances(prefill, decode)) for name, prefill, decode in asked]
    return fleet, plan_cycle(fleet, tenants, requests)


def taken(plan: Plan) -> Counter[str]:
    """Return the GPUs a plan takes by node."""
    counted: Counter[str] = Counter()
    for placement in plan.placements:
        counted.update(dict(placement.nodes))
    return counted


def placed(plan: Plan, service: str = "chat") -> Instances:
    return Instances(
        *(
            len({p.instance for p in plan.placements if (p.service, p.role) == (service, role)})
            for role in Role
        )
    )


def free_of(rows: Sequence[NodeRow]) -> Mapping[str, int]:
    return {row.name: row.free if row.usable else 0 for row in rows}


@st.composite
def fleets(draw: st.DrawFn, most_nodes: int = 24) -> list[NodeRow]:
    """Machines of three types under up to three S2 of up to three S1, part-used, some unusable."""
    count = draw(st.integers(1, most_nodes))
    return [
        node(
            f"n{at:02}",
            draw(st.sampled_from(TYPES)),
            draw(st.sampled_from([f"s2-{a}/s1-{a}{b}" for a in range(3) for b in range(3)])),
            free=draw(st.sampled_from((0, 1, 2, 4, 6, 8, 8, 8))),
            usable=draw(st.integers(0, 9)) > 0,
        )
        for at in range(count)
    ]


@st.composite
def roles(draw: st.DrawFn) -> RoleForm:
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True))
    gpus, nodes = draw(st.sampled_from(((1, 1), (2, 1), (4, 1), (8, 1), (3, 1), (16, 2))))
    return RoleForm(RoleNeed(tuple(Choice(kind, gpus) for kind in kinds), nodes=nodes))


@st.composite
def services(draw: st.DrawFn, most: int = 5) -> list[Tenant]:
    count = draw(st.integers(1, most))
    return [
        tenant(
            f"s{at}",
            draw(roles()),
            draw(roles()),
            affinity=Affinity(draw(st.sampled_from(list(Level))), required=draw(st.booleans())),
            priority=draw(st.integers(0, 2)),
            pd_ratio=draw(st.sampled_from((None, 0.5, 1.0, 2.0))),
        )
        for at in range(count)
    ]
