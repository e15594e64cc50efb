"""An exchange through rows: approved once, remembered, carried out in two halves (S18, S23)."""

from dataclasses import dataclass, field, replace

import pytest

from controller.core.lifecycle import ActionState
from controller.core.ports import Pool
from controller.core.types import Instances, Observation, Stage
from controller.models import Action, AuditEvent, Decision, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.selectors import memory
from controller.services import actions, approvals
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import approver
from tests.loop.test_tick import run
from tests.sources import HEALTHY, ArraySource

WIDE, NARROW, EVEN = Instances(10, 2), Instances(6, 2), Instances(6, 6)
ALL_DAY = {"begin": "00:00", "end": "00:00", "kind": "target", "name": "all day"}


@dataclass
class Draining(ArraySource):
    """A source whose services still drain so many prefill instances."""

    draining: dict[str, int] = field(default_factory=dict)

    def _one(self, key: str, now_s: float) -> Observation:
        seen = super()._one(key, now_s)
        assert seen.state is not None
        prefill = replace(seen.state.prefill, draining=self.draining.get(key, 0))
        return replace(seen, state=replace(seen.state, prefill=prefill))


def quiet() -> Draining:
    """Return a source in which chat has more prefill than its latency needs."""
    calm = HEALTHY | {"prefill_util": 0.3, "prefill_sm": 0.3}
    return Draining(counts={"chat": WIDE}, values={"chat": calm})


def scheduled(name: str = "chat", *, mode: str = "approve", want: Instances = EVEN) -> Service:
    """Return a service of at most 24 GPUs, 2 an instance, with a schedule that asks for counts."""
    window = ALL_DAY | want._asdict()
    policy = {"name": "periodic", "schedule": [window], "stabilisation_s": 0.0}
    return make_service(name, mode=mode, max_gpus=24, policy=policy)


def approved(source: ArraySource, cluster: Cluster) -> Proposal:
    """Return the proposal of the first half after a person approved it and the cluster took it."""
    run(source)
    proposal = Proposal.objects.get()
    approvals.approve(
        proposal.pk,
        user=approver(),
        version=proposal.version,
        fingerprint=proposal.fingerprint,
        reason="",
    )
    started = actions.start_approved(proposal.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED
    return proposal


def stage() -> Stage | None:
    """Return what the rows remember of the exchange of chat."""
    return memory.read(database_now(), keep_s=60.0).of("chat").history.stage


@pytest.mark.django_db
def test_one_approval_is_of_both_halves_and_remembered_s18_s23() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    first = approved(source, cluster)
    assert (first.to_prefill, first.to_decode, first.then_decode) == (6, 2, 6)
    assert cluster.desired == NARROW
    found = stage()
    assert found is not None
    assert (found.before, found.first, found.then) == (WIDE, NARROW, EVEN)
    assert (found.proposal, found.until_s - found.since_s) == (first.pk, 600.0)


@pytest.mark.django_db
def test_the_second_half_runs_under_the_approval_of_the_first_s18() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    first = approved(source, cluster)
    source.counts, source.versions, source.draining = {"chat": NARROW}, {"chat": "2"}, {"chat": 4}
    run(source)
    waiting = Decision.objects.latest("seq")
    assert (waiting.code, Proposal.objects.count()) == ("EXCHANGE", 1)
    assert "decode 2 → 6 waits for 8 GPUs of draining prefill instances" in waiting.sentence

    source.draining = {}
    run(source)
    second = Proposal.objects.get(state="approved")
    assert (second.decided_by, second.to_decode) == (
        Proposal.objects.get(pk=first.pk).decided_by,
        6,
    )
    assert f"Approved with proposal {first.pk}" in second.sentence
    told = AuditEvent.objects.get(actor="controller", verb="approved")
    assert (told.object_id, told.service, told.before) == (str(second.pk), "chat", {})
    assert told.after["to"] == {"prefill": 6, "decode": 6}
    assert told.reason == (
        "Follows from the approval of both halves by ana. "
        f"The second half of proposal {first.pk}, approved with the first."
    )
    started = actions.start_approved(second.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED
    assert cluster.desired == EVEN

    source.counts, source.versions = {"chat": EVEN}, {"chat": "3"}
    run(source)
    assert stage() is None


@pytest.mark.django_db
def test_who_lost_the_right_carries_no_second_half_s18() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    first = approved(source, cluster)
    first.refresh_from_db()
    assert first.decided_by is not None
    first.decided_by.user_permissions.clear()
    source.counts, source.versions = {"chat": NARROW}, {"chat": "2"}
    run(source)
    start = actions.start_approved(Proposal.objects.get(state="approved").pk)
    assert (start.action, cluster.desired) == (None, NARROW)
    assert "no longer has the right" in start.refused


@pytest.mark.django_db
def test_a_first_half_that_no_cluster_took_promises_nothing() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    cluster.trouble = ["refused"]
    run(source)
    proposal = Proposal.objects.get()
    approvals.approve(
        proposal.pk,
        user=approver(),
        version=proposal.version,
        fingerprint=proposal.fingerprint,
        reason="",
    )
    started = actions.start_approved(proposal.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.FAILED
    assert stage() is None


@pytest.mark.django_db
def test_a_second_half_nobody_wants_any_more_is_forgotten_l2() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    approved(source, cluster)
    service = Service.objects.get()
    service.policy.schedule = [ALL_DAY | NARROW._asdict()]
    service.policy.save()
    source.counts, source.versions = {"chat": NARROW}, {"chat": "2"}
    run(source)
    assert (stage(), Proposal.objects.count()) == (None, 1)


@pytest.mark.parametrize(
    ("priority", "taken"),
    [
        pytest.param(0, Instances(2, 4), id="the same priority: 8 of 8 free GPUs are kept"),
        pytest.param(1, Instances(2, 8), id="a higher priority: 4 · 2 of 8 GPUs"),
    ],
)
@pytest.mark.django_db
def test_the_freed_gpus_are_kept_against_the_same_priority(
    priority: int, taken: Instances
) -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    approved(source, cluster)
    other = scheduled("able", mode="automatic", want=Instances(2, 8))
    Service.objects.filter(pk=other.pk).update(priority=priority)
    source.counts, source.versions = {"chat": NARROW}, {"chat": "2"}
    source.pools = (Pool("eu-1-a", "h800", 40, 32, 0, 8, 0, 0, 0, 0, 8),)
    run(source)
    found = Decision.objects.filter(service=other).latest("seq")
    assert (found.final_prefill, found.final_decode) == taken
    assert Action.objects.filter(service=other).exists() == (taken.decode == 8)
    mine = Decision.objects.filter(service__slug="chat").latest("seq")
    assert mine.final_decode == (2 if priority else 6)


@pytest.mark.django_db
def test_a_status_that_can_t_be_read_promises_nothing_s24() -> None:
    scheduled()
    ServiceStatus.objects.update(exchange={"first": "nonsense"})
    assert stage() is None
