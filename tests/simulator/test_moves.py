"""Where instances go: spots, deployment groups, who leaves first, who changes place."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.ports import ConflictError, MoveTo, ScaleOrder, Spot
from controller.core.registration import InStep
from controller.core.types import Instances, Role, RoleState
from controller.simulator.decode import DRAINING
from controller.simulator.engines import Engines
from controller.simulator.fleet import Fleet
from controller.simulator.instances import Instance, Phase, Terms
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.ports import SimulatedCluster
from controller.simulator.world import Setup, World
from tests.simulator.examples import NODES, SERVICE, SLOW_SERVICE, START_S

DRAIN_S: Mapping[Role, float] = {Role.PREFILL: 1.0, Role.DECODE: 40.0}
SAME = SERVICE.initial
LATE_S = 2000.0


def fleet(service: ServiceModel = SERVICE, nodes: Sequence[NodeSpec] = NODES) -> Fleet:
    made = Fleet(nodes, seed=7)
    made.add(service, 0.0)
    return made


def drain_s(_key: str, role: Role) -> float:
    return DRAIN_S[role]


def spot(*nodes: tuple[str, int], role: Role = Role.DECODE, group: str = "apart") -> Spot:
    return Spot(role, group, nodes)


def move(serial: int, *nodes: tuple[str, int], group: str = "apart") -> MoveTo:
    return MoveTo(f"chat-decode-{serial}", spot(*nodes, group=group))


def by_serial(made: Fleet, role: Role = Role.DECODE) -> dict[int, Instance]:
    return {i.serial: i for i in made.of("chat", role)}


def phases(made: Fleet, role: Role = Role.DECODE) -> dict[int, str]:
    return {serial: str(i.phase) for serial, i in by_serial(made, role).items()}


def groups(made: Fleet, key: str = "chat") -> dict[str, str]:
    return {ref.name.removeprefix(f"{key}-"): ref.group for ref in made.refs(key)}


def stored(
    made: Fleet, service: ServiceModel = SERVICE, nodes: Sequence[NodeSpec] = NODES
) -> Fleet:
    again = Fleet(nodes, seed=7)
    again.load(json.loads(json.dumps(made.dump())), {service.key: service}, 50.0)
    return again


def until_up(made: Fleet, service: ServiceModel, serial: int) -> Iterator[float]:
    """Go on a second at a time until an instance is up."""
    now_s = 0.0
    while by_serial(made)[serial].phase is not Phase.READY:
        assert now_s < LATE_S
        now_s += 1.0
        made.advance({"chat": service}, now_s, drain_s)
        yield now_s


# Spots. By itself everybody goes to h-0, where the service is.


@pytest.mark.parametrize(
    ("told", "goes"),
    [
        pytest.param([("h-5", 1)], {"h-5": 1}, id="free: there"),
        pytest.param([("h-4", 1)], {"h-0": 1}, id="full"),
        pytest.param([("h-off", 1)], {"h-0": 1}, id="in maintenance: as if nothing was said"),
        pytest.param([("l-0", 1)], {"h-0": 1}, id="other hardware"),
        pytest.param([("gone", 1)], {"h-0": 1}, id="no such node"),
        pytest.param([("h-5", 2)], {"h-0": 1}, id="2 GPUs for an engine of 1"),
        pytest.param([("h-5", 2), ("h-1", -1)], {"h-0": 1}, id="2 - 1 GPUs are not 1"),
        pytest.param([], {"h-0": 1}, id="no nodes at all"),
    ],
)
def test_a_new_instance_takes_its_spot_or_looks_for_itself(
    told: list[tuple[str, int]], goes: dict[str, int]
) -> None:
    made = fleet()
    made.free["h-4"] = 0
    made.scale(SERVICE, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(spot(*told),)))
    assert by_serial(made)[6].nodes == goes
    assert groups(made)["decode-6"] == "apart"


def test_an_engine_may_be_sent_to_gpus_of_two_nodes() -> None:
    made = fleet(SLOW_SERVICE)
    over = spot(("l-1", 1), ("l-2", 1))
    made.scale(SLOW_SERVICE, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(over,)))
    assert made.of("documents", Role.DECODE)[-1].nodes == {"l-1": 1, "l-2": 1}


def test_spots_are_taken_in_order_by_role_and_those_without_look_for_themselves() -> None:
    made = fleet()
    told = (spot(("h-2", 1)), spot(("h-3", 1), role=Role.PREFILL), spot(("h-4", 1)))
    made.scale(SERVICE, Instances(4, 5), 0.0, DRAIN_S, Terms(spots=told))
    assert [list(i.nodes) for i in by_serial(made, Role.PREFILL).values()][2:] == [
        ["h-3"],
        ["h-0"],
    ]
    assert [list(i.nodes) for i in by_serial(made).values()][3:] == [["h-2"], ["h-4"]]


def test_who_cant_have_its_spot_leaves_the_others_theirs() -> None:
    made = fleet()
    # 5 of the 8 GPUs of h-0 are taken; the first, sent to none, would take the sixth.
    told = (spot(("gone", 1)), *[spot(("h-0", 1))] * 3)
    made.scale(SERVICE, Instances(2, 7), 0.0, DRAIN_S, Terms(spots=told))
    assert [next(iter(by_serial(made)[n].nodes)) for n in (6, 7, 8, 9)] == [
        "h-1", "h-0", "h-0", "h-0",
    ]  # fmt: skip


def test_nor_does_it_take_that_of_one_that_moves() -> None:
    made = fleet()
    terms = Terms(
        spots=(spot(("gone", 1)),), moves=tuple(move(serial, ("h-0", 1)) for serial in (3, 4, 5))
    )
    made.scale(SERVICE, Instances(2, 4), 0.0, DRAIN_S, terms)
    assert [next(iter(by_serial(made)[n].nodes)) for n in (6, 7, 8, 9)] == [
        "h-1", "h-0", "h-0", "h-0",
    ]  # fmt: skip


def test_who_was_up_once_is_bound_to_no_spot() -> None:
    made = fleet()
    made.scale(SERVICE, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(spot(("h-5", 1)),)))
    made.advance({"chat": SERVICE}, LATE_S)
    made = stored(made, nodes=[node for node in NODES if node.name != "h-5"])
    made.advance({"chat": SERVICE}, LATE_S)
    assert groups(made)["decode-6"] == "chat-g1"


def test_a_spot_that_is_there_only_after_a_restart_is_taken() -> None:
    one, none = (NodeSpec(s1, "here", "l40s", s1, "s2", 1) for s1 in "ab")
    alone = replace(SLOW_SERVICE, initial=Instances(0, 0))
    made = fleet(alone, [one, replace(none, gpus=0)])
    over = spot(("a", 1), ("b", 1))
    made.scale(alone, Instances(0, 1), 0.0, DRAIN_S, Terms(spots=(over,)))
    made = stored(made, alone, [one, none])
    made.advance({"documents": alone}, 55.0)
    # By itself no engine spans two S1.
    assert [i.nodes for i in made.all()] == [{"a": 1, "b": 1}]


def test_who_waits_tries_its_spot_first_again() -> None:
    two = [NodeSpec(name, "here", "h800", "s1", "s2", 5) for name in "ab"]
    full, late = replace(SERVICE, initial=Instances(5, 4)), replace(SERVICE, key="late")
    made = fleet(full, two)
    made.add(replace(late, initial=Instances(1, 0)), 0.0)
    made.scale(late, Instances(1, 1), 0.0, DRAIN_S, Terms(spots=(spot(("b", 1)),)))
    (waiting,) = made.of("late", Role.DECODE)
    assert (waiting.phase, waiting.group) == (Phase.PENDING, "apart")
    # One GPU of each node comes free; by name it would be a's.
    made.scale(full, Instances(4, 3), 0.0, dict.fromkeys(Role, 1.0))
    for at_s in (1.0, 6.0):
        made.advance({"chat": full, "late": late}, at_s)
    assert waiting.nodes == {"b": 1}


def test_a_failed_start_is_tried_again_at_the_spot() -> None:
    flaky = replace(SERVICE, start_failure_frac=0.7)
    made = fleet(flaky)
    made.scale(flaky, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(spot(("h-5", 1)),)))
    seen = Counter[tuple[Phase, tuple[str, ...]]]()
    for _ in until_up(made, flaky, 6):
        seen[by_serial(made)[6].phase, tuple(by_serial(made)[6].nodes)] += 1
    assert set(seen) == {
        (Phase.STARTING, ("h-5",)), (Phase.FAILED, ()), (Phase.READY, ("h-5",)),
    }  # fmt: skip


# Deployment groups


def test_a_service_that_is_placed_by_itself_is_one_group_per_s2() -> None:
    # 8 GPUs per node, 4 nodes under s2-0: of 33 instances one is under s2-1.
    made = fleet(replace(SERVICE, initial=Instances(16, 17)))
    assert Counter(groups(made).values()) == {"chat-g1": 32, "chat-g2": 1}


@pytest.mark.parametrize(
    ("group", "node", "next_one"),
    [
        pytest.param("apart", "h-5", "apart", id="under the S2 of a spot: its group"),
        pytest.param("chat-g2", "h-1", "chat-g3", id="elsewhere: the smallest number left"),
        pytest.param("chat-g3", "h-1", "chat-g2", id="a number left out is taken"),
    ],
)
def test_without_a_spot_one_joins_the_group_under_its_s2(
    group: str, node: str, next_one: str
) -> None:
    made = fleet()
    made.scale(
        SERVICE, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(spot((node, 1), group=group),))
    )
    for name in ("h-0", "h-1", "h-2", "h-3"):
        made.free[name] = 0
    made.scale(SERVICE, Instances(2, 5), 0.0, DRAIN_S)
    assert groups(made)["decode-6"] == group
    assert groups(made)["decode-7"] == next_one


def test_who_has_no_place_yet_has_no_group() -> None:
    made = fleet(replace(SERVICE, initial=Instances(1, 1)), [replace(NODES[0], gpus=1)])
    assert groups(made) == {"prefill-1": "chat-g1", "decode-2": ""}


def test_a_fleet_stored_before_there_were_groups_gets_them_by_the_same_rule() -> None:
    many = replace(SERVICE, initial=Instances(16, 17))
    made = fleet(many)
    plain = made.dump()
    for row in plain["instances"]:
        del row["group"], row["returns"]
    again = Fleet(NODES, seed=7)
    again.load(plain, {"chat": many}, 0.0)
    assert groups(again) == groups(made)


# Who leaves first. Decode instances 3, 4 and 5 serve, 6 starts.


@pytest.mark.parametrize(
    ("leave", "want", "stay"),
    [
        pytest.param((), 2, [3, 4], id="as ever: who starts, then the youngest"),
        pytest.param((3,), 3, [4, 5, 6], id="the one named, though it serves"),
        pytest.param((4, 3), 3, [3, 5, 6], id="the first named, where one is to go"),
        pytest.param((3,), 2, [4, 5], id="the one named, then as ever"),
        pytest.param((99, 3), 3, [4, 5, 6], id="nobody is called 99"),
        pytest.param((3, 4), 4, [3, 4, 5, 6], id="nobody is to go"),
        pytest.param((3,), 5, [3, 4, 5, 6, 7], id="the role grows"),
        pytest.param((3, 4, 5, 6), 0, [], id="all"),
    ],
)
def test_those_named_leave_first(leave: tuple[int, ...], want: int, stay: list[int]) -> None:
    made = fleet()
    made.scale(SERVICE, Instances(2, 4), 0.0, DRAIN_S)
    terms = Terms(leave=tuple(f"chat-decode-{serial}" for serial in leave))
    made.scale(SERVICE, Instances(2, want), 1.0, DRAIN_S, terms)
    assert [n for n, phase in phases(made).items() if phase != "draining"] == stay


# Moves


def test_one_starts_elsewhere_and_the_moment_it_is_up_the_other_drains() -> None:
    made = fleet()
    made.scale(SERVICE, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=3, starting=1)
    assert by_serial(made)[6].nodes == {"h-5": 1}
    assert made.held_gpus("chat") == 6
    *_, up_s = until_up(made, SERVICE, 6)
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=3, draining=1)
    assert phases(made) == {3: "ready", 4: "draining", 5: "ready", 6: "ready"}
    assert (groups(made)["decode-6"], made.held_gpus("chat")) == ("apart", 6)
    made.advance({"chat": SERVICE}, up_s + 39)
    assert made.held_gpus("chat") == 6
    made.advance({"chat": SERVICE}, up_s + 40)
    assert (list(phases(made)), made.held_gpus("chat")) == ([3, 5, 6], 5)


def test_several_of_both_roles_move_at_once() -> None:
    made = fleet()
    there = MoveTo("chat-prefill-1", spot(("h-4", 1), role=Role.PREFILL))
    terms = Terms(moves=(there, move(3, ("h-5", 1)), move(5, ("h-5", 1))))
    made.scale(SERVICE, SAME, 0.0, DRAIN_S, terms)
    made.advance({"chat": SERVICE}, LATE_S)
    made.advance({"chat": SERVICE}, LATE_S)
    assert {ref.name: ref.node for ref in made.refs("chat")} == {
        "chat-prefill-2": "h-0",
        "chat-decode-4": "h-0",
        "chat-prefill-6": "h-4",
        "chat-decode-7": "h-5",
        "chat-decode-8": "h-5",
    }


def test_the_other_serves_on_while_starts_fail() -> None:
    flaky = replace(SERVICE, start_failure_frac=0.7)
    made = fleet(flaky)
    made.scale(flaky, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    failed = 0
    for _ in until_up(made, flaky, 6):
        state = made.state("chat", Role.DECODE)
        assert (state.ready, state.starting + state.failed + state.draining) == (3, 1)
        failed += state.failed
    assert failed > 0
    assert phases(made)[4] == "draining"


@pytest.mark.parametrize(
    ("moves", "starts"),
    [
        pytest.param([move(99, ("h-5", 1))], [], id="nobody is called 99"),
        pytest.param([move(4, ("h-4", 1)), move(4, ("h-5", 1))], [7], id="the last word counts"),
        pytest.param([move(4, ("h-5", 1)), move(4, ("h-5", 1))], [6], id="the same said twice"),
        pytest.param([move(4, ("h-off", 1))], [6], id="not to be had: it looks for itself"),
    ],
)
def test_who_starts_for_a_move(moves: list[MoveTo], starts: list[int]) -> None:
    made = fleet()
    made.scale(SERVICE, SAME, 0.0, DRAIN_S, Terms(moves=tuple(moves)))
    assert [n for n, phase in phases(made).items() if phase == "starting"] == starts
    assert made.versions["chat"] == 2


def test_a_move_under_way_can_be_sent_elsewhere_by_either_name() -> None:
    for serial in (4, 6):
        made = fleet()
        made.scale(SERVICE, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
        made.scale(SERVICE, SAME, 1.0, DRAIN_S, Terms(moves=(move(serial, ("h-4", 1)),)))
        assert {n: list(i.nodes) for n, i in by_serial(made).items() if n > 5} == {7: ["h-4"]}
        made.advance({"chat": SERVICE}, LATE_S)
        made.advance({"chat": SERVICE}, LATE_S)
        assert phases(made) == dict.fromkeys((3, 5, 7), "ready")


def test_one_that_does_not_serve_gives_its_place_up_at_once() -> None:
    made = fleet(replace(SERVICE, initial=Instances(1, 1)), [replace(NODES[0], gpus=1)])
    made = stored(made, nodes=[replace(NODES[0], gpus=2)])
    made.scale(SERVICE, Instances(1, 1), 50.0, DRAIN_S, Terms(moves=(move(2, ("h-0", 1)),)))
    assert phases(made) == {2: "pending", 3: "starting"}
    made.advance({"chat": SERVICE}, LATE_S)
    assert phases(made) == {3: "ready"}


def test_who_moved_away_does_not_return_when_the_service_grows() -> None:
    soft = replace(SERVICE, soft_s=300.0)
    made = fleet(soft)
    made.scale(soft, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    *_, up_s = until_up(made, soft, 6)
    made.scale(soft, Instances(2, 4), up_s + 1, DRAIN_S)
    made = stored(made, soft)
    assert (phases(made)[4], phases(made)[7]) == ("draining", "starting")


# While 4 moves and 6 starts in its place, 3 and 5 serve.


@pytest.mark.parametrize(
    ("leave", "want", "stay"),
    [
        pytest.param((), 2, [3, 4, 6], id="-1: who serves and stays, not the pair"),
        pytest.param((), 1, [4, 6], id="-2: so do both others"),
        pytest.param((), 0, [], id="-3: all, and nobody comes after"),
        pytest.param((3,), 2, [4, 5, 6], id="-1: the one named"),
        pytest.param((4,), 2, [3, 5], id="-1: the moving one; two that serve are enough"),
        pytest.param((6,), 2, [3, 4], id="-1: its successor ends the move, and one more goes"),
        pytest.param((4, 3), 2, [5, 6], id="-1: 4, of which 6 takes the place, and 3"),
    ],
)
def test_a_scale_in_counts_a_pair_as_one(
    leave: tuple[int, ...], want: int, stay: list[int]
) -> None:
    made = fleet()
    made.scale(SERVICE, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    terms = Terms(leave=tuple(f"chat-decode-{serial}" for serial in leave))
    made.scale(SERVICE, Instances(2, want), 1.0, DRAIN_S, terms)
    assert [n for n, phase in phases(made).items() if phase != "draining"] == stay
    made.advance({"chat": SERVICE}, LATE_S)
    made.advance({"chat": SERVICE}, LATE_S)
    assert made.state("chat", Role.DECODE) == RoleState(desired=want, ready=want)


def test_a_scale_out_while_one_moves_starts_as_many_as_are_missing() -> None:
    made = fleet()
    made.scale(SERVICE, SAME, 0.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    made.scale(SERVICE, Instances(2, 5), 1.0, DRAIN_S)
    assert made.state("chat", Role.DECODE) == RoleState(desired=5, ready=3, starting=3)


def test_a_move_neither_waits_for_the_other_role_nor_keeps_it_waiting() -> None:
    two_each = InStep(0.5, 0.5, 0.5, Instances(1, 1), 1e6)
    made = fleet(replace(SERVICE, initial=Instances(1, 2)))
    there = MoveTo("chat-prefill-1", spot(("h-5", 1), role=Role.PREFILL))
    want = Instances(1, 4)
    made.scale(SERVICE, want, 0.0, DRAIN_S, Terms(two_each))
    made.scale(SERVICE, want, 40.0, DRAIN_S, Terms(two_each, moves=(there,)))
    seen = set[tuple[int, int]]()
    for at_s in np.arange(40.0, 200.0):
        made.advance({"chat": SERVICE}, float(at_s), drain_s)
        states = [made.state("chat", role) for role in Role]
        assert [state.held for state in states] == [0, 0]
        assert states[0].ready == 1
        seen.add((states[1].ready, states[0].starting))
    assert (4, 1) in seen, "both decode instances are up before the one that moves"
    assert phases(made, Role.PREFILL) == {6: "ready"}


# Orders


def cluster(made: World) -> SimulatedCluster:
    engines = Engines(made)

    @contextmanager
    def lend(_now_s: float) -> Iterator[Engines]:
        yield engines

    return SimulatedCluster(lend)


def test_an_order_that_only_moves_is_taken_once_and_moves_the_version() -> None:
    made = World([SERVICE], NODES, start_s=START_S, seed=7)
    taker = cluster(made)
    moves = (move(4, ("h-5", 1)),)
    order = ScaleOrder("a-1", "chat", 1, SAME, "1", moves=moves)
    for _ in range(2):
        taker.apply(order, now_s=START_S)
    seen = taker.read("chat", now_s=START_S)
    assert (seen.desired, seen.resource_version, seen.last_action) == (SAME, "2", "a-1")
    assert made.state("chat").decode == RoleState(desired=3, ready=3, starting=1)
    with pytest.raises(ConflictError):
        taker.apply(replace(order, action="a-2"), now_s=START_S)


def test_an_order_says_where_and_who() -> None:
    made = World([SERVICE], NODES, start_s=START_S, seed=7)
    order = ScaleOrder(
        "a-1", "chat", 1, Instances(1, 4), "1",
        spots=(spot(("h-5", 1)),), leave=("chat-prefill-1",),
    )  # fmt: skip
    cluster(made).apply(order, now_s=START_S)
    refs = {ref.name: ref for ref in made.observe(["chat"], START_S, 60)["chat"].instances}
    assert refs["chat-prefill-1"].state == "draining"
    assert (refs["chat-decode-6"].node, refs["chat-decode-6"].group) == ("h-5", "apart")


# The world


def moving(fidelity: Literal["auto", "fluid", "exact"] = "auto") -> World:
    made = World([SERVICE], NODES, start_s=START_S, seed=7, setup=Setup(fidelity=fidelity))
    # Up at 395 s, between two samples.
    made.advance(START_S + 304)
    made.scale("chat", SAME, Terms(moves=(move(3, ("h-4", 1)), move(4, ("h-5", 1)))))
    return made


@pytest.mark.parametrize("fidelity", ["exact", "fluid"])
def test_what_a_moving_instance_holds_it_finishes(fidelity: Literal["exact", "fluid"]) -> None:
    made, seen = moving(fidelity), set[tuple[int, int, int]]()
    while made.now_s < START_S + 600:
        made.advance(made.now_s + 1)
        state = made.state("chat").decode
        seen.add((state.ready, state.starting, state.draining))
    assert {(3, 2, 0), (3, 0, 0)} < seen
    assert {ready for ready, _, _ in seen} == {3}
    assert any(draining for _, _, draining in seen)


def test_what_a_moving_instance_holds_goes_with_it() -> None:
    for fidelity, least in (("exact", 1), ("fluid", 1e-3)):
        made = moving(fidelity)
        while not made.state("chat").decode.draining:
            made.advance(made.now_s + 1)
        whole = made._whole.get(0)
        held = whole.decode.instances[1] if whole else made._decode.pool[0, DRAINING, 0]
        assert held >= least, fidelity
    assert made.asked[3] == pytest.approx(made.made + made.in_flight()[1], rel=1e-9)


def test_what_moves_does_not_depend_on_how_time_is_cut() -> None:
    once, often = moving("fluid"), moving("fluid")
    once.advance(START_S + 600)
    for to_s in range(305, 601):
        often.advance(START_S + to_s)
    assert once.dump() == often.dump()


def test_a_world_stored_in_the_middle_of_a_move_goes_on_bit_for_bit() -> None:
    made = moving()
    for to_s in (310, 340, 370, 400, 600):
        made.advance(START_S + to_s)
        again = World.restore([SERVICE], NODES, made.dump(), seed=7)
        for each in (made, again):
            each.advance(START_S + to_s + 15)
        assert made.dump() == again.dump()
        assert np.array_equal(made.gpus, again.gpus)


# A node turns unhealthy under its instances


def broken(*names: str) -> list[NodeSpec]:
    return [
        replace(node, usable=False, state="unhealthy") if node.name in names else node
        for node in NODES
    ]


def test_who_is_up_on_a_node_that_turns_unhealthy_fails_and_stays_i08() -> None:
    made = stored(fleet(), nodes=broken("h-0"))
    made.advance({"chat": SERVICE}, LATE_S)
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=0, failed=3)
    assert {(ref.node, ref.state) for ref in made.refs("chat")} == {("h-0", "failed")}
    assert (made.held_gpus("chat"), made.spread("chat").decode) == (5, {})
    assert made.dump() == stored(made, nodes=broken("h-0")).dump()


def test_a_world_shows_it_i08() -> None:
    made = World([SERVICE], NODES, start_s=START_S, seed=7)
    made.advance(START_S + 60)
    made = World.restore([SERVICE], broken("h-0"), made.dump(), seed=7)
    made.scale("chat", SAME, Terms(moves=(move(4, ("h-5", 1)),)))
    made.advance(START_S + 600)
    assert made.state("chat").decode == RoleState(desired=3, ready=1, failed=2)
    (pool,) = (pool for pool in made.pools(made.now_s) if pool.hardware == "h800")
    # 8 GPUs, of which two prefill and two decode instances hold one each.
    assert (pool.unhealthy, pool.busy + pool.held_idle) == (4, 5)


def test_it_can_be_moved_away() -> None:
    made = stored(fleet(), nodes=broken("h-0"))
    made.scale(SERVICE, SAME, 50.0, DRAIN_S, Terms(moves=(move(4, ("h-5", 1)),)))
    made.advance({"chat": SERVICE}, LATE_S)
    assert phases(made) == {3: "failed", 5: "failed", 6: "ready"}
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=1, failed=2)


def test_it_leaves_first() -> None:
    made = fleet()
    made.scale(SERVICE, Instances(2, 4), 0.0, DRAIN_S, Terms(spots=(spot(("h-5", 1)),)))
    made.advance({"chat": SERVICE}, LATE_S)
    made = stored(made, nodes=broken("h-0"))
    made.scale(SERVICE, Instances(2, 1), LATE_S, DRAIN_S)
    assert phases(made) == {6: "ready"}


def test_it_starts_anew_when_the_node_is_well_again() -> None:
    made = stored(stored(fleet(), nodes=broken("h-0")))
    made.advance({"chat": SERVICE}, 50.0)
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=0, starting=3)
    made.advance({"chat": SERVICE}, LATE_S)
    assert made.state("chat", Role.DECODE) == RoleState(desired=3, ready=3)


def test_who_starts_there_looks_elsewhere_and_who_drains_goes_on() -> None:
    made = fleet()
    made.scale(SERVICE, Instances(1, 4), 0.0, DRAIN_S)
    made = stored(made, nodes=broken("h-0"))
    assert (phases(made, Role.PREFILL)[2], phases(made)[6]) == ("draining", "pending")
    made.advance({"chat": SERVICE}, 50.0)
    assert (list(phases(made, Role.PREFILL)), list(by_serial(made)[6].nodes)) == ([1], ["h-1"])


# Whatever is asked for


@st.composite
def orders(draw: st.DrawFn) -> tuple[Instances, Terms, float]:
    names = [node.name for node in NODES] + ["gone"]
    places = st.lists(st.tuples(st.sampled_from(names), st.integers(1, 2)), max_size=2)
    told = st.builds(Spot, st.sampled_from(Role), st.sampled_from(["a", "b"]), places.map(tuple))
    called = st.builds("chat-{}-{}".format, st.sampled_from(Role), st.integers(1, 20))
    want = Instances(draw(st.integers(0, 20)), draw(st.integers(0, 20)))
    terms = Terms(
        spots=tuple(draw(st.lists(told, max_size=4))),
        leave=tuple(draw(st.lists(called, max_size=4))),
        moves=tuple(draw(st.lists(st.builds(MoveTo, called, told), max_size=4))),
    )
    return want, terms, float(draw(st.integers(0, 150)))


def check(made: Fleet) -> None:
    used = Counter[str]()
    for instance in made.all():
        used.update(instance.nodes)
        assert bool(instance.group) >= bool(instance.nodes)
    for name, node in made.nodes.items():
        assert made.free[name] == node.gpus - used[name]
        assert 0 <= used[name] <= node.gpus
    for role in Role:
        state = made.state("chat", role)
        assert state.ready <= state.desired
        pairs = sum(new.role is role for _, new in made.moves)
        assert state.ready + state.starting + state.failed == state.desired + pairs


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(orders(), min_size=1, max_size=6))
def test_no_node_gives_more_than_it_has_and_what_is_wished_comes(
    asked: list[tuple[Instances, Terms, float]],
) -> None:
    flaky = replace(SERVICE, start_failure_frac=0.3, soft_s=20.0)
    made, now_s = fleet(flaky), 0.0
    for want, terms, wait_s in asked:
        made.scale(flaky, want, now_s, DRAIN_S, terms)
        check(made)
        again = Fleet(NODES, seed=7)
        again.load(json.loads(json.dumps(made.dump())), {"chat": flaky}, now_s)
        for at_s in np.linspace(now_s, now_s + wait_s, 8):
            for each in (made, again):
                each.advance({"chat": flaky}, float(at_s), drain_s)
            check(made)
        assert made.dump() == again.dump()
        now_s += wait_s
    for at_s in np.arange(now_s, now_s + 6000.0, 60.0):
        made.advance({"chat": flaky}, float(at_s), drain_s)
    assert not made.moves
    for role in Role:
        number = made.desired["chat"].of(role)
        assert made.state("chat", role) == RoleState(desired=number, ready=number)
