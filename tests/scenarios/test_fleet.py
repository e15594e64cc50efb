"""A fleet that loses half its load at once: its budget on removals holds it up (S4, M19)."""

from dataclasses import replace

import pytest

from controller.core.budgets import USUAL
from controller.core.reasons import Code
from controller.core.types import Mode
from controller.simulator.demo import DEMO_SERVICES, DemoService, policy_for
from controller.simulator.workload import Workload, read_trace
from tests.scenarios.drive import BEGIN_S, Drive

CHAT = next(service for service in DEMO_SERVICES if service.slug == "chat")
WINDOW_S = 600
HEADER = "t_s,rate_rps,mean_input_tokens,mean_output_tokens\n"


def halved(after: int, windows: int = 12) -> Workload:
    """Return a load that is half of what it was from so many windows of ten minutes on."""
    rows = "".join(f"{at * WINDOW_S},{12 if at < after else 6},800,200\n" for at in range(windows))
    return read_trace((HEADER + rows).encode(), "halved.csv")


def fleet(load: Workload, count: int) -> list[DemoService]:
    """Return equal automatic services, sized for the load of now, of rising priority."""
    sized = replace(
        policy_for(CHAT, load),
        hold_s=0.0,
        margin_frac=0.0,
        stabilisation_s=60.0,
        cooldown_in_s=120.0,
    )
    return [
        replace(CHAT, slug=f"chat-{at}", mode=Mode.AUTOMATIC, policy=sized, priority=at)
        for at in range(count)
    ]


HALVED_S = 2.0 * WINDOW_S
SERVICES = fleet(halved(after=2), 4)


def serving_gpus(drive: Drive) -> int:
    world = drive.engines.world
    return sum(world.ready(each.slug).gpus(each.gpus_per_instance) for each in SERVICES)


@pytest.fixture(scope="module")
def held_up() -> Drive:
    drive = Drive.of(SERVICES, load=halved(after=2))
    drive.rules = USUAL
    return drive.run(2700.0)


def removed_within(drive: Drive, begin_s: float) -> int:
    """Return the GPUs removed automatically in the ten minutes from ``begin_s``."""
    return sum(gpus for at_s, gpus in drive.removed if begin_s <= at_s < begin_s + USUAL.window_s)


def test_no_ten_minutes_take_more_than_a_tenth_s4(held_up: Drive) -> None:
    most = serving_gpus(Drive.of(SERVICES))
    assert most == 4 * (8 + 10)
    found = [removed_within(held_up, at_s) for at_s, _ in held_up.removed]
    assert 0 < max(found) <= 0.1 * most


def test_without_a_budget_the_same_fleet_loses_more_within_minutes() -> None:
    drive = Drive.of(SERVICES, load=halved(after=2)).run(2700.0)
    lost = removed_within(drive, BEGIN_S + HALVED_S)
    assert lost > 0.2 * 4 * (8 + 10)


def test_what_is_beyond_it_is_proposed_and_unusual_agreement_told_m19(held_up: Drive) -> None:
    after = [d for d in held_up.decisions if d.now_s > BEGIN_S + HALVED_S]
    proposed = [d for d in after if d.code is Code.REMOVAL_BUDGET]
    assert {d.service for d in proposed} >= {"chat-3"}, "the highest priority keeps its own"
    assert any("unusual agreement" in d.sentence for d in proposed)


def test_growth_is_carried_out_at_once(held_up: Drive) -> None:
    grown = [d for d in held_up.decisions if d.final.decode > d.current.decode]
    assert {d.code for d in grown} == {Code.ABOVE_TARGET}
