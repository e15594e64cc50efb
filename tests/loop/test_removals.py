"""The fleet's budgets through rows: removals proposed, approved, carried out (S4); growth (S2)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from controller import loop
from controller.core.budgets import USUAL, FleetRules
from controller.core.lifecycle import ActionState
from controller.core.types import Instances
from controller.models import Action, Decision, Proposal, Tick
from controller.models.clock import database_now
from controller.selectors.removals import removed_gpus
from controller.services import actions, approvals
from inventory import snapshot
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import approver, make_action
from tests.loop.test_tick import lead, run
from tests.sources import ArraySource

SIX = Instances(6, 12)
HALF = {"decode_tps": 6000.0, "prefill_util": 0.3, "prefill_sm": 0.3}


def fleet_that_lost_half_its_load() -> ArraySource:
    """Return three services of 2 · (6 + 12) GPUs that may shrink at once."""
    source = ArraySource()
    for name in ("a", "b", "c"):
        make_service(name, policy={"stabilisation_s": 0.0, "step_frac": 1.0})
        source = source.now_reports(name, **HALF)
        source.counts[name] = SIX
    return source


@pytest.mark.django_db
def test_what_goes_beyond_a_tenth_is_proposed_m19() -> None:
    source = fleet_that_lost_half_its_load()
    run(source)
    run(source)
    # Each would remove 2 · (3 + 6) = 18 of 108 GPUs; 10.8 may go by themselves.
    assert not Action.objects.exists()
    assert Proposal.objects.filter(state="pending").count() == 3
    found = Decision.objects.filter(code="REMOVAL_BUDGET").first()
    assert found is not None
    assert "unusual agreement: 3 of 3 services want to shrink" in found.sentence


@pytest.mark.django_db
def test_a_person_may_let_it_happen() -> None:
    source = fleet_that_lost_half_its_load()
    run(source)
    run(source)
    proposal = Proposal.objects.get(service__slug="a")
    approvals.approve(
        proposal.pk,
        user=approver(),
        version=proposal.version,
        fingerprint=proposal.fingerprint,
        reason="it is real",
    )
    started = actions.start_approved(proposal.pk).action
    assert started is not None
    cluster = Cluster(desired=SIX)
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED


@pytest.mark.django_db
def test_only_automatic_removals_of_the_last_ten_minutes_count() -> None:
    service = make_service("a")
    specs, now = snapshot.read(dict).specs, database_now()
    shrunk = {"from_prefill": 6, "from_decode": 12, "to_prefill": 4, "to_decode": 13}
    make_action(service, state="ready", **shrunk)
    make_action(service, state="ready", recorded_at=now - timedelta(minutes=11), **shrunk)
    make_action(service, state="cancelled", **shrunk)
    assert Service.objects.count() == 1
    # 2 prefill of 2 GPUs; decode grew.
    assert removed_gpus(specs, now, USUAL) == 4


def run_with_at_most(gpus: int, source: ArraySource) -> dict[str, Instances]:
    """Run a tick of a fleet that may hold so many GPUs; returns the final counts."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    settings = loop.LoopSettings(tick_s=15, max_age_s=45, rules=FleetRules(max_gpus=gpus))
    loop.run(lead(), source_of=lambda _: source, settings=settings)
    return {
        row.service.slug: Instances(row.final_prefill, row.final_decode)
        for row in Decision.objects.select_related("service").order_by("seq")
    }


@pytest.mark.django_db
def test_all_services_together_stay_within_the_fleet_s_gpus_s2() -> None:
    make_service("a", priority=1)
    make_service("b")
    source = ArraySource().now_reports("a", decode_tps=6000.0)
    # 2 · 12 GPUs are held; a takes 2 · 3 more and leaves none of 30.
    found = run_with_at_most(30, source.now_reports("b", decode_tps=6000.0))
    assert found == {"a": Instances(3, 6), "b": Instances(2, 4)}
    assert Decision.objects.get(service__slug="b").code == "BUDGET_EXHAUSTED"


@pytest.mark.django_db
def test_what_is_on_its_way_and_what_is_silent_count_s2() -> None:
    busy, quiet = make_service("busy"), make_service("quiet", mode="observe")
    make_service("c")
    run(ArraySource())
    make_action(busy)
    source = replace(ArraySource(), silent=frozenset({quiet.slug}))
    # busy was promised 3 · 2 + 6 · 2 = 18, quiet was last seen at 12, c holds 12: of 48 GPUs 6
    # are left, which is what c wants.
    found = run_with_at_most(48, source.now_reports("c", decode_tps=6000.0))
    assert found["c"] == Instances(3, 6)
    Action.objects.filter(service__slug="c").delete()
    found = run_with_at_most(47, source.now_reports("c", decode_tps=6000.0))
    assert found["c"] == Instances(3, 5)


@pytest.mark.django_db
@pytest.mark.parametrize("services", [1, 3])
def test_what_was_removed_is_one_query(
    services: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for at in range(services):
        make_action(make_service(f"s{at}"), state="ready")
    specs, now = snapshot.read(dict).specs, database_now()
    with django_assert_num_queries(1):
        assert removed_gpus(specs, now, USUAL) == 0
