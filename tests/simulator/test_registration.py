"""Simulated instances that are up wait to be registered while the other role catches up."""

from dataclasses import replace

import pytest

from controller.core.registration import InStep, Starts, registered
from controller.core.types import Instances, Role
from controller.simulator.instances import Phase, Terms
from controller.simulator.world import World
from tests.simulator.examples import NODES, SERVICE, START_S, world

BEGUN, WISHED = Instances(2, 4), Instances(8, 16)
SPREAD_OUT = replace(SERVICE, initial=BEGUN, start_sigma=0.8)
LATE_S = START_S + 900.0
TWO_DECODE_EACH = InStep(0.5, 0.5, 0.5, Instances(1, 1), LATE_S)


def grown(rule: InStep | None = TWO_DECODE_EACH) -> World:
    made = world(SPREAD_OUT)
    made.scale("chat", WISHED, Terms(rule))
    return made


def advanced(made: World, to_s: float) -> list[tuple[Instances, Instances]]:
    """Return who serves and who is held at each second up to ``to_s`` [s after the start]."""
    found = []
    while made.now_s < START_S + to_s:
        made.advance(made.now_s + 1)
        state = made.state("chat")
        found.append((state.ready, Instances(state.prefill.held, state.decode.held)))
    return found


def first_held(made: World) -> None:
    while not any(made.state("chat").of(role).held for role in Role):
        made.advance(made.now_s + 1)


def test_without_a_rule_whoever_is_up_serves_at_once() -> None:
    assert {held for _, held in advanced(grown(None), 600)} == {Instances(0, 0)}


def test_serving_instances_stay_in_step_until_all_serve() -> None:
    made = grown()
    seen = advanced(made, 890)
    assert max(sum(held) for _, held in seen) > 0, "starts as spread out as these hold somebody"
    while made.state("chat").ready != WISHED:
        made.advance(made.now_s + 1)
    assert made.now_s < LATE_S
    for ready, held in seen:
        if held.decode:
            assert ready.decode == 2 * ready.prefill
        if held.prefill:
            assert ready.prefill == -(-ready.decode // 2)


def test_every_second_it_is_what_the_rule_says() -> None:
    made = grown()
    fleet = made._fleet
    for _ in range(600):
        made.advance(made.now_s + 1)
        counts = [
            Instances(*(sum(i.phase is phase for i in fleet.of("chat", role)) for role in Role))
            for phase in (Phase.READY, Phase.HELD, Phase.STARTING)
        ]
        serve = registered(Starts(*counts), TWO_DECODE_EACH, now_s=made.now_s)
        assert serve == made.state("chat").ready


def test_at_the_end_of_the_pause_all_register() -> None:
    probe = grown()
    first_held(probe)
    held_s = probe.now_s
    made = grown(replace(TWO_DECODE_EACH, until_s=held_s + 3))
    made.advance(held_s + 2)
    assert sum(made.state("chat").of(role).held for role in Role) > 0
    made.advance(held_s + 4)  # what happens at a second shows in the bin after it
    assert sum(made.state("chat").of(role).held for role in Role) == 0
    assert sum(made.state("chat").of(role).starting for role in Role) > 0


def test_a_held_instance_has_its_gpu_and_serves_nobody() -> None:
    made = grown()
    first_held(made)
    state = made.state("chat")
    counted = (state.prefill, state.decode)
    assert made.held_gpus("chat") == sum(r.ready + r.held + r.starting for r in counted)
    assert tuple(made.serving[:, 0]) == state.ready
    refs = made.observe(["chat"], made.now_s, 60)["chat"].instances
    assert sum(one.state == "held" for one in refs) == sum(r.held for r in counted)


def test_an_order_without_a_rule_lets_everybody_in_at_the_next_step() -> None:
    made = grown()
    first_held(made)
    made.scale("chat", Instances(8, 17))
    made.advance(made.now_s + 1)
    assert sum(made.state("chat").of(role).held for role in Role) == 0


def test_who_is_held_goes_before_who_serves_and_after_who_starts() -> None:
    made = grown()
    first_held(made)
    state = made.state("chat")
    role = Role.DECODE if state.decode.held else Role.PREFILL
    before = state.of(role)
    fewer = before.ready + 1
    made.scale("chat", WISHED._replace(**{role.value: fewer}), Terms(TWO_DECODE_EACH))
    after = made.state("chat").of(role)
    assert (after.ready, after.starting, after.ready + after.held) == (before.ready, 0, fewer)


def test_who_cannot_start_is_not_waited_for() -> None:
    made = world(replace(SPREAD_OUT, start_failure_frac=0.4))
    made.scale("chat", WISHED, Terms(replace(TWO_DECODE_EACH, until_s=START_S + 1e6)))
    made.advance(START_S + 3_000)
    assert made.state("chat").ready == WISHED


def test_a_pause_ends_by_the_clock_while_engines_rest() -> None:
    made = grown()
    first_held(made)
    made.skip(LATE_S)
    made.advance(LATE_S + 1)
    assert sum(made.state("chat").of(role).held for role in Role) == 0


@pytest.mark.parametrize("more_s", [0, 1, 7])
def test_a_stored_world_goes_on_bit_for_bit_while_somebody_is_held(more_s: int) -> None:
    made = grown()
    first_held(made)
    made.advance(made.now_s + more_s)
    again = World.restore([SPREAD_OUT], NODES, made.dump(), seed=7)
    assert again.state("chat") == made.state("chat")
    for each in (made, again):
        each.advance(START_S + 400)
    assert again.dump() == made.dump()


def test_the_cut_of_time_changes_nothing() -> None:
    whole, cut = grown(), grown()
    whole.advance(START_S + 500)
    advanced(cut, 500)
    assert whole.dump() == cut.dump()
