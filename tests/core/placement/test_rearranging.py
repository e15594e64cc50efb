"""What holds of every proposal to move or to shrink, on fleets by chance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.fleet import Level
from controller.core.placement.choose import Choosing
from controller.core.placement.cycle import Placed, choosing_of, wanted_of
from controller.core.placement.defragment import Rearranging, make_room
from controller.core.placement.degrade import Shrinking, shrink_for
from controller.core.placement.layout import Fleet, fleet_of, groups_of, sizes_of
from controller.core.placement.moving import Disruption, pairs_of, widened
from controller.core.placement.together import bring_together
from controller.core.placement.values import Affinity, Held, Request, Spread, Tenant
from controller.core.types import Instances, Role
from tests.core.placement.tenants import World, need, row

SMALL, LARGE = (1, 2, 2, 4), (4, 8)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Return some S1s of two S2s, with services that take much of them in many pieces.

    The first service has large instances and a high priority: it is the one to ask for more.
    """
    nodes = [
        (f"n{at}", f"s2-{s1 // 2}", f"s1-{s1}", draw(st.sampled_from(("H20",) * 5 + ("L20",))))
        for at, s1 in enumerate(draw(st.lists(st.integers(0, 2), min_size=3, max_size=6)))
    ]
    free = dict.fromkeys((name for name, *_ in nodes), 8)
    where = {name: (s1, s2) for name, s2, s1, _ in nodes}
    hardware = {name: kind for name, *_, kind in nodes}
    tenants = [
        _tenant(draw, f"t{at}", free, where, hardware) for at in range(draw(st.integers(3, 6)))
    ]
    down = draw(st.sampled_from([None] * 20 + list(free)))
    rows = [
        row(name, s2, s1, kind, free[name], usable=name != down) for name, s2, s1, kind in nodes
    ]
    fleet = fleet_of(rows, tenants)
    return World(fleet, choosing_of(fleet, []), tuple(tenants))


@st.composite
def broken(draw: st.DrawFn) -> World:
    """Return two or three S1s with a little on many nodes, most of which could lie elsewhere."""
    names = [(f"s1-{at // 2}", f"n{at}") for at in range(2 * draw(st.integers(2, 3)))]
    asker = Tenant(
        "t0", {role: need(8) for role in Role}, affinity=Affinity(Level.S1, required=True)
    )
    tenants = [asker]
    free = {node: 8 for _, node in names}
    for at in range(draw(st.integers(2, 4))):
        held = []
        for number in range(draw(st.integers(1, 3))):
            (_, node), role = draw(st.sampled_from(names)), draw(st.sampled_from(tuple(Role)))
            gpus = draw(st.sampled_from((1, 2, 3)))
            if free[node] >= gpus:
                free[node] -= gpus
                group = f"g{draw(st.integers(1, 2)) if number else 1}"
                held.append(Held(f"t{at + 1}-{number}", role, group, ((node, gpus),)))
        affinity = draw(st.sampled_from([Affinity(level) for level in Level]))
        form = need(held[0].gpus if held else 1)
        held = [one for one in held if one.gpus == (held[0].gpus if held else 1)]
        tenants.append(
            Tenant(f"t{at + 1}", dict.fromkeys(Role, form), tuple(held), affinity=affinity)
        )
    taken = Counter(dict.fromkeys(free, 0))
    for tenant in tenants:
        for one in tenant.held:
            taken.update(dict(one.nodes))
    rows = [row(node, "s2", s1, "H20", 8 - taken[node]) for s1, node in names]
    fleet = fleet_of(rows, tenants)
    return World(fleet, choosing_of(fleet, []), tuple(tenants))


def _tenant(
    draw: st.DrawFn,
    name: str,
    free: dict[str, int],
    where: dict[str, tuple[str, str]],
    hardware: dict[str, str],
) -> Tenant:
    """Return a service that holds what its affinity allows, if it holds anything."""
    asks = name == "t0"
    gpus = {role: draw(st.sampled_from(LARGE if asks else SMALL)) for role in Role}
    kinds = draw(st.sampled_from((("H20",), ("H20",), ("H20",), ("L20", "H20"))))
    affinity = draw(
        st.sampled_from([Affinity(a, required=r) for a in Level for r in (True, True, False)])
    )
    held: list[Held] = []
    for group in range(draw(st.integers(0, 1) if asks else st.integers(1, 4))):
        domains = sorted({_domain(where, node, affinity.level) for node in free})
        domain = draw(st.sampled_from(domains))
        for at in range(draw(st.integers(1, 2))):
            role = draw(st.sampled_from(tuple(Role)))
            fitting = [
                node
                for node, left in free.items()
                if left >= gpus[role]
                and hardware[node] in kinds
                and (not affinity.required or _domain(where, node, affinity.level) == domain)
            ]
            if fitting:
                node = draw(st.sampled_from(fitting))
                free[node] -= gpus[role]
                held.append(
                    Held(f"{name}-{group}-{at}", role, f"{name}-g{group}", ((node, gpus[role]),))
                )
    counts = Tenant(name, {}, tuple(held)).counts
    return Tenant(
        name,
        {role: need(gpus[role], *kinds) for role in Role},
        tuple(held),
        priority=3 if asks else draw(st.integers(0, 4)),
        affinity=affinity,
        pd_ratio=draw(st.sampled_from((None, None, 1.0, 0.5))),
        spread=draw(st.sampled_from((None, None, None, None, Spread(Level.S1, 2)))),
        least=Instances(*(draw(st.integers(0, count // 2)) for count in counts)),
    )


def _domain(where: dict[str, tuple[str, str]], node: str, level: Level) -> str:
    return (*where[node], "c")[level]


changes = st.sampled_from(
    [Instances(*pair) for pair in ((1, 1), (1, 1), (2, 2), (1, 2), (2, 1), (0, 1))]
)
FEW = settings(deadline=None, max_examples=60)


def fits(here: World, choosing: Choosing, request: Request, tenant: Tenant) -> bool:
    """Return whether a cycle would place all of a request."""
    wanted = wanted_of(here.fleet, tenant, request)
    if wanted is None:
        return True
    whole = replace(wanted, other=None)
    _, shares = Placed(widened(here.fleet, choosing, sizes_of(here.tenants))).add(
        here.fleet, whole
    )
    return whole.placed(shares) == whole.change


def moved(here: World, found: Rearranging) -> World:
    """Return the fleet after moves. Fails where a node would hold more than it has at any time."""
    choosing = choosing_of(here.fleet, [])
    of = {tenant.name: tenant for tenant in here.tenants}
    for move in found.moves:
        for node, gpus in move.to_nodes:
            choosing.slots.take(here.fleet.at[node], gpus)
        assert choosing.slots.free.min() >= 0
        held = tuple(
            replace(one, nodes=move.to_nodes) if one.name == move.instance else one
            for one in of[move.service].held
        )
        before = next(one for one in of[move.service].held if one.name == move.instance)
        assert (before.nodes, before.group, before.role) == (
            move.from_nodes,
            move.group,
            move.role,
        )
        of[move.service] = replace(of[move.service], held=held)
    for move in found.moves:
        for node, gpus in move.from_nodes:
            choosing.slots.take(here.fleet.at[node], -gpus)
    assert (choosing.slots.free <= choosing.slots.gpus).all()
    return World(here.fleet, choosing, tuple(of.values()))


def keeps_what_holds(here: World, after: World, found: Rearranging, budget: int) -> None:
    """Fail where a group is farther apart, a service less spread or too much disturbed."""
    assert 0 < len(found.moves) <= budget
    assert len({(one.service, one.instance) for one in found.moves}) == len(found.moves)
    each = Counter((one.service, one.role) for one in found.moves)
    assert max(each.values()) == 1
    for before, now in zip(here.tenants, after.tenants, strict=True):
        was = groups_of(before.held)
        for group, held in groups_of(now.held).items():
            assert level_of(here.fleet, held) <= level_of(here.fleet, was[group])
            if before.affinity.level is Level.S1:
                assert pairs_of(here.fleet, now, group) >= pairs_of(here.fleet, before, group)
        if before.affinity.required:
            for held in groups_of(now.held).values():
                assert level_of(here.fleet, held) <= before.affinity.level
        if before.spread:
            for role in Role:
                assert most_in_one(here.fleet, now, role) <= max(
                    most_in_one(here.fleet, before, role), -(-now.counts.of(role) // 2)
                )


def level_of(fleet: Fleet, held: list[Held]) -> Level:
    where = fleet.nearest([name for one in held for name, _ in one.nodes])
    assert where is not None
    return where.level


def most_in_one(fleet: Fleet, tenant: Tenant, role: Role) -> int:
    counted = Counter(
        fleet.domain_of([name for name, _ in one.nodes], Level.S1)
        for one in tenant.held
        if one.role is role
    )
    return max(counted.values(), default=0)


@FEW
@given(worlds() | broken(), changes, st.integers(0, 4))
def test_what_makes_room_makes_room_and_breaks_nothing(
    here: World, change: Instances, budget: int
) -> None:
    request = Request("t0", change)
    asked = (here.choosing, here.fleet, here.tenants, request)
    found = make_room(*asked, budget=Disruption(budget))
    assert found == make_room(*asked, budget=Disruption(budget))
    if found is None:
        return
    assert not fits(here, here.choosing, request, here.tenants[0])
    after = moved(here, found)
    assert all(move.service != "t0" for move in found.moves)
    keeps_what_holds(here, after, found, budget)
    assert fits(here, after.choosing, request, here.tenants[0])
    assert found.cost == 60.0 * sum(gpus for one in found.moves for _, gpus in one.to_nodes)


@settings(deadline=None, max_examples=40)
@given(broken())
def test_no_one_or_two_moves_that_make_room_are_cheaper(here: World) -> None:
    request = Request("t0", Instances(1, 1))
    if fits(here, here.choosing, request, here.tenants[0]):
        return
    found = make_room(here.choosing, here.fleet, here.tenants, request, budget=Disruption(2))
    # Two of one group are moved at best: one after the other it may be split meanwhile.
    enough = cheapest_by_hand(here, request, of_one_group=False)
    best = cheapest_by_hand(here, request, of_one_group=True)
    if found is None:
        assert enough is None
    else:
        assert best is not None
        assert best <= found.cost
        assert enough is None or found.cost <= enough


def cheapest_by_hand(here: World, request: Request, *, of_one_group: bool) -> float | None:
    """Try every one or two instances of others on every node that has room for them now.

    Two are of different roles, as the budget asks, and of different groups unless both may be
    ``of_one_group``.
    """
    pieces = [(tenant.name, one) for tenant in here.tenants[1:] for one in tenant.held]
    found = None
    for count in (1, 2):
        for chosen in combinations(pieces, count):
            cost = 60.0 * sum(one.gpus for _, one in chosen)
            roles = {(service, one.role) for service, one in chosen}
            groups = {(service, one.group) for service, one in chosen}
            apart = len(groups) == count or of_one_group
            if len(roles) == count and apart and (found is None or cost < found):
                for nodes in product(here.fleet.at, repeat=count):
                    after = after_by_hand(here, chosen, nodes)
                    if after is not None and fits(after, after.choosing, request, here.tenants[0]):
                        found = cost
                        break
    return found


def after_by_hand(
    here: World, chosen: tuple[tuple[str, Held], ...], nodes: tuple[str, ...]
) -> World | None:
    """Return the fleet with instances on other nodes; ``None`` where that is not allowed."""
    choosing, at = here.choosing.copy(), here.fleet.at
    of = {tenant.name: tenant for tenant in here.tenants}
    for (service, one), node in zip(chosen, nodes, strict=True):
        if choosing.slots.free[at[node]] < one.gpus or node == one.nodes[0][0]:
            return None
        choosing.slots.take(at[node], one.gpus)
        moved = replace(one, nodes=((node, one.gpus),))
        held = (moved if each.name == one.name else each for each in of[service].held)
        of[service] = replace(of[service], held=tuple(held))
    for _, one in chosen:
        choosing.slots.take(at[one.nodes[0][0]], -one.gpus)
    for before in here.tenants:
        now, was = of[before.name], groups_of(before.held)
        for group, held in groups_of(now.held).items():
            if level_of(here.fleet, held) > level_of(here.fleet, was[group]):
                return None
            if before.affinity.level is Level.S1 and pairs_of(here.fleet, now, group) < pairs_of(
                here.fleet, before, group
            ):
                return None
    return World(here.fleet, choosing, tuple(of.values()))


@FEW
@given(worlds(), st.integers(0, 4))
def test_what_brings_pairs_together_brings_as_many_as_it_says(here: World, budget: int) -> None:
    for found in bring_together(
        here.choosing, here.fleet, here.tenants, budget=Disruption(budget)
    ):
        after = moved(here, found)
        keeps_what_holds(here, after, found, budget)
        (name,) = {one.service for one in found.moves}
        gained = [
            sum(
                pairs_of(here.fleet, tenant, group)[0]
                for tenant in each.tenants
                if tenant.name == name
                for group in groups_of(tenant.held)
            )
            for each in (here, after)
        ]
        assert gained[1] - gained[0] == found.gain > 0


@FEW
@given(worlds(), st.lists(changes, min_size=1, max_size=3))
def test_only_lower_services_shrink_and_no_more_than_is_needed(
    here: World, wanted: list[Instances]
) -> None:
    requests = [
        Request(tenant.name, change) for tenant, change in zip(here.tenants, wanted, strict=False)
    ]
    asked = (here.choosing, here.fleet, here.tenants, requests)
    found = shrink_for(*asked)
    assert found == shrink_for(*asked)
    if found is None:
        return
    of = {tenant.name: tenant for tenant in here.tenants}
    served = {one.service for one in found.placements}
    for each in found.shrunk:
        tenant = of[each.service]
        assert any(of[name].priority > tenant.priority for name in served)
        assert all(one >= least for one, least in zip(each.after, tenant.least, strict=True))
        gone = {one.instance for one in each.removals}
        assert sum(each.before) - sum(each.after) == len(gone) > 0
        if tenant.pd_ratio:
            prefill, decode = (one - two for one, two in zip(each.before, each.after, strict=True))
            assert prefill == tenant.pd_ratio * decode
    assert_nothing_twice(here, found)


def assert_nothing_twice(here: World, found: Shrinking) -> None:
    choosing = here.choosing.copy()
    usable = here.fleet.view.usable
    for each in found.shrunk:
        for one in each.removals:
            for node, gpus in one.nodes:
                if usable[here.fleet.at[node]]:
                    choosing.slots.take(here.fleet.at[node], -gpus)
    assert (choosing.slots.free <= choosing.slots.gpus).all()
    for placed in found.placements:
        for node, gpus in placed.nodes:
            choosing.slots.take(here.fleet.at[node], gpus)
    assert choosing.slots.free.min() >= 0


@FEW
@given(worlds(), changes)
def test_without_one_of_those_that_give_way_the_request_would_not_fit(
    here: World, change: Instances
) -> None:
    request = Request("t0", change)
    found = shrink_for(here.choosing, here.fleet, here.tenants, [request])
    if found is None or found.unplaced:
        return
    gone = [one for each in found.shrunk for one in each.removals]
    choosing = here.choosing.copy()
    for one in gone:
        for node, gpus in one.nodes:
            if here.fleet.view.usable[here.fleet.at[node]]:
                choosing.slots.take(here.fleet.at[node], -gpus)
    assert fits(here, choosing, request, here.tenants[0])
    assert not fits(here, here.choosing, request, here.tenants[0])
