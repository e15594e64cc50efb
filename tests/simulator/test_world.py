"""The world: time, actuation, GPUs and persistence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.types import Instances, Role, RoleState
from controller.simulator.demo import DEMO_NODES, DEMO_SERVICES
from controller.simulator.model import Fault, NodeSpec, ServiceModel
from controller.simulator.pools import holdings
from controller.simulator.workload import read_trace
from controller.simulator.world import Setup, World
from tests.simulator.examples import NODES, SERVICE, SLOW_SERVICE, START_S, STEADY, world


def test_prefill_is_exact_where_single_prompts_outlast_half_a_bin() -> None:
    # p99 prompts: 800 x 4.7 = 3,700 tokens on H800 take 0.26 s, 5,000 x 4.7 on L40S 7 s.
    made = world()
    assert made.keys == {"chat", "documents"}
    assert (made.fidelity("chat"), made.fidelity("documents")) == ("fluid", "exact prefill")


def test_time_advances_in_whole_seconds() -> None:
    made = world()
    made.advance(START_S + 10.9)
    assert made.now_s == START_S + 10
    made.advance(START_S + 3)
    assert made.now_s == START_S + 10


def test_the_same_seed_makes_the_same_world_and_another_seed_another() -> None:
    first, same, other = world(), world(), world(seed=8)
    for made in (first, same, other):
        made.advance(START_S + 300)
    assert first.dump() == same.dump()
    assert first.dump() != other.dump()


@pytest.mark.parametrize(
    ("stream", "same"),
    [
        pytest.param("", False, id="each draws its own"),
        pytest.param("one", True, id="one stream"),
    ],
)
def test_services_have_the_same_luck_in_one_stream_alone(stream: str, *, same: bool) -> None:
    pair = [replace(SERVICE, key=key, cluster=key, stream=stream) for key in ("a", "b")]
    nodes = [NodeSpec(f"{key}-{at}", key, "h800", "s1", "s2", 8) for key in "ab" for at in (0, 1)]
    made = World(pair, nodes, start_s=START_S, seed=7)
    for service in pair:
        made.scale(service.key, Instances(6, 7))
    ready = []
    for at_s in range(15, 300, 15):
        made.advance(START_S + at_s)
        ready.append([made.ready(service.key) for service in pair])
    one, other = made.windows(["a", "b"], START_S + 285, 60.0)
    assert all(a == b for a, b in ready) is same
    assert np.array_equal(one.values, other.values, equal_nan=True) is same


def test_the_cut_of_time_does_not_matter() -> None:
    once, often = world(), world()
    once.advance(START_S + 1_000)
    for second in range(7, 1_008, 7):
        often.advance(min(START_S + second, START_S + 1_000))
    assert once.dump() == often.dump()


def test_tokens_asked_for_are_made_or_in_flight_through_every_change() -> None:
    made = world()
    for at, want in enumerate([Instances(1, 1), Instances(3, 5), Instances(1, 2)]):
        made.scale("chat", want)
        made.scale("documents", want)
        made.advance(START_S + 400 * (at + 1))
    assert made.asked[3] == pytest.approx(made.made + made.in_flight()[1], rel=1e-9)
    assert made.asked[3].min() > 100_000


@pytest.mark.parametrize(
    ("rps", "instances"),
    [
        pytest.param(5.0, Instances(2, 3), id="5/s x 3.0 s"),
        pytest.param(20.0, Instances(4, 4), id="20/s x 3.1 s"),
        pytest.param(35.0, Instances(6, 5), id="35/s x 3.3 s"),
    ],
)
def test_what_is_in_flight_is_the_rate_times_the_time_it_takes(
    rps: float, instances: Instances
) -> None:
    load = replace(STEADY, low_rps=rps, peak_rps=rps)
    service = replace(SERVICE, workload=load, initial=instances)
    made = World([service], NODES, start_s=0.0, seed=7, setup=Setup("fluid"))
    made.advance(300)
    before = made.asked.copy()
    inside, step_s = [], []
    for second in range(301, 1_201):
        made.advance(second)
        inside.append(made.in_flight()[0, 0])
        step_s.append(made._decode.step_s[0])
    requests, _, _, tokens = (made.asked - before)[:, 0] / 900
    # Requests of a second come together at its begin and leave together at its end, where what
    # is left is counted: those that leave were inside as well.
    assert requests + np.mean(inside) == pytest.approx(tokens * np.mean(step_s), rel=0.02)


def test_the_fluid_holds_as_many_requests_as_the_exact_engine_does() -> None:
    load = replace(STEADY, low_rps=20.0, peak_rps=20.0)
    service = replace(SERVICE, workload=load, initial=Instances(4, 4))
    means = {}
    for fidelity in ("exact", "fluid"):
        made = World([service], NODES, start_s=0.0, seed=7, setup=Setup(fidelity))
        made.advance(300)
        inside = []
        for second in range(301, 1_201):
            made.advance(second)
            inside.append(made.in_flight()[0, 0])
        means[fidelity] = float(np.mean(inside))
    assert means["fluid"] + 20 == pytest.approx(means["exact"], rel=0.05)


# Actuation


def test_a_new_instance_serves_after_its_start_and_counts_one_sample_later() -> None:
    made = world()
    made.advance(START_S + 60)
    made.scale("chat", Instances(2, 4))
    assert made.state("chat").decode == RoleState(desired=4, ready=3, starting=1)
    ready_at = 60
    while made.ready("chat").decode < 4:
        ready_at += 1
        made.advance(START_S + ready_at)
    # 5-30 s until it is scheduled, then a log-normal start of median 60 s.
    assert 60 + 5 + 30 < ready_at < 60 + 30 + 120
    sample_s = START_S + 15 * (ready_at // 15)
    made.advance(sample_s + 45)
    seen = made.observe(["chat"], sample_s + 45, 60)["chat"].window
    expected = dict(zip(seen.times_s - sample_s, seen.expected[1], strict=True))
    assert expected[0.0] == 3
    assert expected[45.0] == 4
    assert (seen.reporting == seen.expected).all()


def test_the_version_moves_with_the_counts_and_only_with_them() -> None:
    made = world()
    assert made.desired("chat") == (Instances(2, 3), 1)
    made.scale("chat", Instances(2, 3))
    assert made.desired("chat") == (Instances(2, 3), 1)
    made.scale("chat", Instances(2, 4))
    assert made.desired("chat") == (Instances(2, 4), 2)
    assert made.state("chat").resource_version == "2"


def test_a_draining_instance_leaves_at_once_and_keeps_its_gpu_for_a_while() -> None:
    made = world()
    made.advance(START_S + 120)
    before = made.free_gpus("here", "h800")
    made.scale("chat", Instances(2, 2))
    assert made.state("chat").decode == RoleState(desired=2, ready=2, draining=1)
    assert made.free_gpus("here", "h800") == before
    made.advance(START_S + 180)
    assert made.state("chat").decode == RoleState(desired=2, ready=2)
    assert made.free_gpus("here", "h800") == before + 1


def test_scale_in_takes_back_what_has_not_started_first() -> None:
    made = world()
    made.scale("chat", Instances(2, 6))
    made.scale("chat", Instances(2, 4))
    assert made.state("chat").decode == RoleState(desired=4, ready=3, starting=1)


def test_without_room_an_instance_stays_starting_until_there_is() -> None:
    made = world()
    # Documents hold 2 x 2 + 3 x 2 of 24 GPUs on L40S: room for 7 more of 2 GPUs, not for 9.
    made.scale("documents", Instances(2, 12))
    made.advance(START_S + 600)
    assert made.state("documents").decode == RoleState(desired=12, ready=10, starting=2)
    assert made.free_gpus("here", "l40s") == 0
    made.scale("documents", Instances(1, 12))
    made.advance(START_S + 1_200)
    assert made.state("documents").decode == RoleState(desired=12, ready=11, starting=1)


def test_a_failed_start_gives_its_gpu_back_and_tries_again() -> None:
    made = world(replace(SERVICE, start_failure_frac=0.5))
    made.scale("chat", Instances(2, 15))
    failed, held = [], []
    for second in range(5, 1_500, 5):
        made.advance(START_S + second)
        failed.append(made.state("chat").decode.failed)
        held.append(made.held_gpus("chat"))
    assert max(failed) > 0
    assert min(held) == 17 - max(failed)
    assert made.state("chat").decode == RoleState(desired=15, ready=15)


def test_instances_stay_near_each_other() -> None:
    made = world(SERVICE)
    made.scale("chat", Instances(4, 4))
    made.advance(START_S + 200)
    nodes = {name for i in made._fleet.instances["chat"] for name in i.nodes}
    assert nodes == {"h-0"}
    made.scale("chat", Instances(8, 8))
    nodes = {name for i in made._fleet.instances["chat"] for name in i.nodes}
    assert nodes == {"h-0", "h-1"}


def test_an_instance_larger_than_a_node_takes_whole_nodes_under_one_s1() -> None:
    large = replace(SERVICE.decode, tp=16)
    made = world(replace(SERVICE, decode=large, initial=Instances(1, 2)))
    taken = [sorted(i.nodes) for i in made._fleet.instances["chat"] if i.gpus == 16]
    assert made.ready("chat") == Instances(1, 2)
    assert taken == [["h-2", "h-3"], ["h-4", "h-5"]]


@settings(max_examples=15, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 14), st.integers(1, 200)), max_size=6
    )
)
def test_gpus_always_add_up(moves: list[tuple[int, int, int]]) -> None:
    made = world(replace(SERVICE, start_failure_frac=0.2), SLOW_SERVICE)
    for prefill, decode, wait_s in moves:
        made.scale("chat", Instances(prefill, decode))
        made.scale("documents", Instances(decode // 2, prefill))
        made.advance(made.now_s + wait_s)
        pools = made.pools(made.now_s)
        for pool in pools:
            parts = (
                pool.busy,
                pool.held_idle,
                pool.free,
                pool.reserved,
                pool.maintenance,
                pool.unhealthy,
                pool.unknown,
            )
            assert min(parts) >= 0
            assert sum(parts) == pool.total
            assert pool.free == made.free_gpus(pool.cluster, pool.hardware)
            assert pool.largest_free <= pool.free
        held = sum(pool.busy + pool.held_idle for pool in pools)
        assert held == made.held_gpus("chat") + made.held_gpus("documents")
        assert [pool.total for pool in pools] == [64, 24]


# Persistence


def restored(made: World, *services: ServiceModel) -> World:
    chosen = services or (SERVICE, SLOW_SERVICE)
    return World.restore(chosen, NODES, made.dump(), seed=7)


def test_a_restored_world_goes_on_bit_for_bit() -> None:
    made = world()
    made.advance(START_S + 887)
    made.scale("chat", Instances(3, 2))
    made.scale("documents", Instances(1, 4))
    made.inject("documents", Fault.PARTIAL)
    made.advance(START_S + 901)
    again = restored(made)
    for second in (903, 1_130, 2_000):
        made.advance(START_S + second)
        again.advance(START_S + second)
        assert again.dump() == made.dump()
    seen, other = (w.observe(["chat"], w.now_s, 60)["chat"] for w in (made, again))
    assert seen.window.values.tobytes() == other.window.values.tobytes()
    assert seen.state == other.state


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\x03\x04 not really", id="a broken archive"),
        pytest.param(b"{}", id="something else"),
    ],
)
def test_bytes_that_are_no_world_are_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="no stored world"):
        World.restore([SERVICE], NODES, blob, seed=7)


def test_a_pause_moves_the_clock_and_nothing_else() -> None:
    made, paused = world(), world()
    for w in (made, paused):
        w.advance(START_S + 300)
        w.scale("chat", Instances(2, 4))
    paused.skip(START_S + 300 + 3_600)
    made.advance(START_S + 400)
    paused.advance(START_S + 400 + 3_600)
    assert paused.now_s == made.now_s + 3_600
    assert paused.state("chat") == made.state("chat")
    assert paused.made.tolist() == made.made.tolist()
    fresh = paused.observe(["chat"], paused.now_s, 60)["chat"].window
    assert fresh.times_s.min() > START_S + 3_900


@pytest.mark.parametrize("rest_s", [1, 7, 11, 14, 3_601])
def test_a_pause_in_the_middle_of_a_sample_leaves_the_next_one_whole(rest_s: int) -> None:
    """4 s into a sample; after the pause the next round time may be 14 s away."""
    paused = world()
    paused.advance(START_S + 304)
    paused.skip(START_S + 304 + rest_s)
    paused.advance(START_S + 304 + rest_s + 60)
    seen = paused.observe(["chat"], paused.now_s, 45)["chat"].window
    assert (seen.times_s % 15 == 0).all()
    assert seen.present[0].all()


def test_services_come_and_go_between_dump_and_restore() -> None:
    made = world()
    made.advance(START_S + 300)
    alone = restored(made, SERVICE)
    assert alone.keys == {"chat"}
    assert alone.free_gpus("here", "l40s") == 24
    joined = restored(alone)
    joined.advance(START_S + 330)
    assert joined.ready("documents") == SLOW_SERVICE.initial
    seen = joined.observe(["chat", "documents"], joined.now_s, 120)
    assert len(seen["chat"].window.times_s) == 8
    assert len(seen["documents"].window.times_s) == 2


def test_instances_on_a_vanished_node_start_again_elsewhere() -> None:
    made = world()
    made.advance(START_S + 60)
    without = [node for node in NODES if node.name != "h-0"]
    again = World.restore([SERVICE, SLOW_SERVICE], without, made.dump(), seed=7)
    assert again.state("chat").decode == RoleState(desired=3, ready=0, starting=3)
    again.advance(START_S + 300)
    assert again.ready("chat") == Instances(2, 3)


def test_another_load_begins_at_its_own_beginning() -> None:
    made = world(SERVICE)
    made.advance(START_S + 500)
    rows = "".join(f"{t},400,60\n" for t in range(100))
    trace = read_trace(f"t_s,input_tokens,output_tokens\n{rows}".encode(), "trace")
    again = World.restore([replace(SERVICE, workload=trace)], NODES, made.dump(), seed=7)
    before = again.asked[0, 0]
    again.advance(START_S + 550)
    assert again.asked[0, 0] - before == pytest.approx(50, abs=1)


# Speed


@pytest.mark.parametrize("speed", [1.0, 6.0])
def test_speed_moves_the_day_and_leaves_the_rate(speed: float) -> None:
    day = replace(STEADY, low_rps=2.0, peak_rps=10.0, day_s=3_600.0)
    made = world(replace(SERVICE, workload=day), speed=speed)
    made.advance(START_S + 3_600 / speed)
    # One load day passes in 3,600 s / speed, with 6 requests a second on average.
    count = 6 * 3_600 / speed
    assert made.asked[0, 0] == pytest.approx(count, abs=4 * count**0.5)


def test_another_speed_goes_on_from_the_same_load_time() -> None:
    day = replace(STEADY, low_rps=0.0, peak_rps=20.0, day_s=4_000.0)
    service = replace(SERVICE, workload=day)
    made = World([service], NODES, start_s=START_S, seed=7)
    made.advance(START_S + 2_000)
    faster = World.restore([service], NODES, made.dump(), seed=7, speed=10.0)
    before = faster.asked[0, 0]
    faster.advance(START_S + 2_020)
    # Load time 2,000 to 2,200 is the peak of the day: 20 requests a second.
    assert faster.asked[0, 0] - before == pytest.approx(400, abs=80)


def test_an_unknown_load_is_missing_not_zero() -> None:
    rows = "0,5,500,50\n60,,,\n120,5,500,50\n"
    text = f"t_s,rate_rps,mean_input_tokens,mean_output_tokens\n{rows}"
    made = world(replace(SERVICE, workload=read_trace(text.encode(), "gaps")))
    made.advance(START_S + 180)
    seen = made.observe(["chat"], START_S + 180, 180)["chat"].window
    known = seen.present.any(axis=0)
    assert known.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert np.isnan(seen.values[:, 4:8]).all()


def test_pools_and_instance_names_follow_every_change() -> None:
    chat = next(service for service in DEMO_SERVICES if service.slug == "chat")
    world = World([chat.model()], [node.spec() for node in DEMO_NODES], start_s=0.0, seed=3)
    for second, want in ((60, Instances(9, 12)), (300, Instances(4, 6)), (900, Instances(4, 6))):
        world.advance(second)
        world.scale("chat", want)
        for later in range(second, second + 240, 15):
            world.advance(later)
            fresh = [
                holding.total - sum(holding.parts.values()) for holding in holdings(world._fleet)
            ]
            assert [p.busy + p.held_idle for p in world.pools(later)] == fresh
            named = world.observe(["chat"], later, 60.0)["chat"].instances
            state = world.state("chat")
            for role in Role:
                mine = [one for one in named if one.role is role]
                assert sum(one.state == "ready" for one in mine) == state.of(role).ready
            assert len({one.name for one in named}) == len(named)
