"""GPUs that move from one role to the other, over simulated engines (S2, S5, L2, L4)."""

from dataclasses import dataclass, replace

import pytest

from controller.core.exchange import DRAIN_S
from controller.core.reasons import Code
from controller.core.types import Decision, Instances, Limits, Mode, Period, PeriodKind
from controller.simulator.demo import DEMO_NODES, DEMO_SERVICES, DemoService
from controller.simulator.engines import Engines
from controller.simulator.workload import read_trace
from controller.simulator.world import World
from tests.scenarios.drive import BEGIN_S, TICK_S, Drive, spec_of

CHAT = next(service for service in DEMO_SERVICES if service.slug == "chat")
WIDE, NARROW, EVEN, MOST = Instances(10, 2), Instances(6, 2), Instances(6, 6), 12
CALM = read_trace(
    b"t_s,rate_rps,mean_input_tokens,mean_output_tokens\n0,1,500,100\n600,1,500,100\n", "calm.csv"
)
CHANGE_S = BEGIN_S + 400.0
"""22:20 UTC: the schedule's windows meet; the drives begin at 22:13:20."""


def scheduled() -> DemoService:
    """Return a service of 12 GPUs, one an instance: (10, 2) until 22:20, then (6, 6)."""
    windows = (
        Period("before", "00:00", "22:20", WIDE, PeriodKind.TARGET),
        Period("after", "22:20", "00:00", EVEN, PeriodKind.TARGET),
    )
    policy = replace(CHAT.policy, name="periodic", schedule=windows, stabilisation_s=0.0)
    limits = Limits(Instances(1, 1), Instances(20, 20), max_gpus=MOST)
    return replace(CHAT, mode=Mode.AUTOMATIC, policy=policy, limits=limits, initial=WIDE)


@dataclass
class Seen:
    """What the change of the schedule led to, and the GPUs held after each tick."""

    decisions: list[Decision]
    held: list[int]


def driven(drain_s: float) -> Seen:
    """Return half an hour in which a draining instance keeps its GPU for at least ``drain_s``."""
    service = scheduled()
    model = replace(service.model(CALM), soft_s=drain_s)
    nodes = [node.spec() for node in DEMO_NODES]
    world = World([model], nodes, start_s=BEGIN_S, seed=1)
    drive, held = Drive([service], {"chat": spec_of(service)}, Engines(world)), []
    drive.on_tick = lambda at: held.append(at.engines.world.held_gpus("chat"))
    drive.run(1800.0)
    return Seen([one for one in drive.decisions if one.now_s >= CHANGE_S], held)


@pytest.fixture(scope="module")
def drained() -> Seen:
    return driven(90.0)


@pytest.fixture(scope="module")
def stuck() -> Seen:
    return driven(4000.0)


def changes(seen: Seen) -> list[tuple[Instances, Instances | None]]:
    return [(one.final, one.then) for one in seen.decisions if one.changes]


def test_it_completes_in_two_halves(drained: Seen) -> None:
    assert changes(drained) == [(NARROW, EVEN), (EVEN, None)]
    first, second = (one for one in drained.decisions if one.changes)
    assert (first.code, second.now_s - first.now_s) == (Code.EXCHANGE, 7 * TICK_S)
    assert "second half of an exchange" in second.sentence
    between = [d for d in drained.decisions if first.now_s < d.now_s < second.now_s]
    assert {one.code for one in between} == {Code.EXCHANGE}
    assert {one.final for one in between} == {NARROW}


def test_no_state_in_between_is_over_the_budget_s2(drained: Seen, stuck: Seen) -> None:
    assert max(drained.held) == max(stuck.held) == MOST


def test_a_drain_that_hangs_ends_the_exchange_and_freezes_nothing_l2(stuck: Seen) -> None:
    first, *rest = stuck.decisions
    assert (first.final, first.then) == (NARROW, EVEN)
    ended = [one for one in rest if one.code is Code.EXCHANGE_ENDED]
    assert [one.now_s - first.now_s for one in ended] == [DRAIN_S]
    assert {d.code for d in rest if d.now_s > ended[0].now_s} == {Code.BUDGET_EXHAUSTED}
