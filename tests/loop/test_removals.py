"""The fleet's budget on removals through rows: proposed, approved, carried out (S4, M19)."""

from datetime import timedelta

import pytest

from controller.core.fleet import USUAL
from controller.core.lifecycle import ActionState
from controller.core.types import Instances
from controller.models import Action, Decision, Proposal
from controller.models.clock import database_now
from controller.selectors.removals import removed_gpus
from controller.services import actions, approvals
from inventory import snapshot
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import approver, make_action
from tests.loop.test_tick import run
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
