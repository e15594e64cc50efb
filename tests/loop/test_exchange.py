"""An exchange through rows: approved once, remembered, carried out in two halves (S18, S23)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from django.contrib.auth.models import User

from controller.core.lifecycle import ActionState
from controller.core.ports import Pool
from controller.core.types import Instances, Observation, Stage
from controller.models import Action, AuditEvent, Decision, Freeze, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.selectors import memory
from controller.services import actions, approvals, freezes
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import approver
from tests.loop.test_tick import run
from tests.services.people import person
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
    agree(proposal)
    started = actions.start_approved(proposal.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED
    return proposal


def agree(proposal: Proposal) -> None:
    """Let as many people approve a proposal as it needs: ana, and ben as well."""
    for name in ("ana", "ben")[: proposal.needs]:
        approvals.approve(
            proposal.pk,
            user=User.objects.filter(username=name).first() or approver(name),
            version=proposal.version,
            fingerprint=proposal.fingerprint,
            reason="agreed",
            typed_gpus=proposal.change().gpus,
        )


def stage() -> Stage | None:
    """Return what the rows remember of the exchange of chat."""
    return memory.read(database_now(), keep_s=60.0).of("chat").history.stage


def first_half() -> tuple[Draining, Cluster]:
    """Return a source and a cluster that stand at (6, 2), with decode 2 → 6 approved to come."""
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    approved(source, cluster)
    source.counts, source.versions = {"chat": NARROW}, {"chat": "2"}
    return source, cluster


def states() -> list[str]:
    """Return the states of all proposals, oldest first."""
    return list(Proposal.objects.order_by("pk").values_list("state", flat=True))


def carry(cluster: Cluster) -> list[str]:
    """Carry out all that is approved; returns what became of it."""
    done = []
    for pk in Proposal.objects.filter(state="approved").values_list("pk", flat=True):
        action = actions.start_approved(pk).action
        done.append(
            "refused" if action is None else str(actions.run(action, actuator_of=cluster.of))
        )
    return done


def wish(service: Service, want: Instances) -> None:
    """Let the schedule ask for other counts from now on, under the same revision."""
    service.policy.schedule = [ALL_DAY | want._asdict()]
    service.policy.save()


def new_policy(source: Draining, cluster: Cluster) -> None:
    """Make another revision that asks for one decode instance less."""
    del source, cluster
    policy = Service.objects.get().policy
    policy.revision += 1
    policy.schedule = [ALL_DAY | Instances(6, 5)._asdict()]
    policy.save()


def freeze_and_resume(source: Draining, cluster: Cluster) -> None:
    """Freeze and resume between two ticks."""
    del source, cluster
    user = person("olga", "Operator")
    freezes.freeze(about=Service.objects.get(), user=user, reason="look first")
    Freeze.objects.update(ended_at=database_now())


def frozen_tick(source: Draining, cluster: Cluster) -> None:
    """Freeze in the row alone, and resume after a tick that waits for a drain."""
    del cluster
    Freeze.objects.create(service=None, by_name="ana", reason="stop", since=database_now())
    source.draining = {"chat": 4}
    run(source)
    source.draining = {}
    Freeze.objects.update(ended_at=database_now())


def observed_tick(source: Draining, cluster: Cluster) -> None:
    """Observe for one tick only."""
    del cluster
    Service.objects.update(mode="observe")
    run(source)
    Service.objects.update(mode="approve")


def changed_outside(source: Draining, cluster: Cluster) -> None:
    """Let somebody else add a decode instance, and a tick see it."""
    cluster.version, cluster.desired = 9, Instances(6, 3)
    source.counts, source.versions = {"chat": cluster.desired}, {"chat": "9"}
    run(source)


Change = Callable[[Draining, Cluster], None]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(new_policy, id="policy revision 1 is 2 now (A03)"),
        pytest.param(freeze_and_resume, id="frozen and resumed between two ticks (A09)"),
        pytest.param(frozen_tick, id="frozen while a tick waited for its drain (A09)"),
        pytest.param(observed_tick, id="approve, observe, approve"),
        pytest.param(changed_outside, id="decode 2 is 3 by somebody else"),
    ],
)
@pytest.mark.django_db
def test_what_was_not_agreed_to_is_asked_for_s18(change: Change) -> None:
    source, cluster = first_half()
    change(source, cluster)
    before = cluster.desired
    run(source)
    assert (stage(), states()) == (None, ["applied", "pending"])
    assert (carry(cluster), cluster.desired) == ([], before)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(new_policy, id="policy revision 1 is 2 now (A03)"),
        pytest.param(freeze_and_resume, id="frozen and resumed between two ticks (A09)"),
        pytest.param(observed_tick, id="approve, observe, approve"),
        pytest.param(changed_outside, id="decode 2 is 3 by somebody else"),
    ],
)
@pytest.mark.django_db
def test_an_approved_second_half_goes_with_its_exchange_s18(change: Change) -> None:
    source, cluster = first_half()
    run(source)
    assert states() == ["applied", "approved"]
    change(source, cluster)
    run(source)
    assert (stage(), states()) == (None, ["applied", "superseded", "pending"])
    assert carry(cluster) == []


@pytest.mark.django_db
def test_growth_that_is_no_longer_wanted_takes_its_approval_along_l2() -> None:
    source, cluster = first_half()
    policy = Service.objects.get().policy
    policy.proposal_ttl_s = 86_400.0
    policy.save()
    run(source)
    waiting, begun = Proposal.objects.get(state="approved"), stage()
    assert begun is not None
    assert waiting.expires_at.timestamp() == pytest.approx(begun.until_s), "600 s, not 86,400"
    policy.schedule = [ALL_DAY | NARROW._asdict()]
    policy.save()
    run(source)
    assert (stage(), states()) == (None, ["applied", "superseded"])
    assert (carry(cluster), cluster.desired) == ([], NARROW)


@pytest.mark.django_db
def test_an_approval_of_both_halves_is_used_once_s18() -> None:
    source, cluster = first_half()
    attempts = []
    for _ in range(5):
        cluster.trouble = ["refused"]
        run(source)
        attempts += carry(cluster)
    assert attempts == ["failed"]
    assert states() == ["applied", "failed", "pending"]


@pytest.mark.django_db
def test_a_second_exchange_counts_what_the_first_was_given_as_its_own_s2() -> None:
    """(10, 2) → (7, 2) and then (7, 5); before its GPUs are free (6, 6) is wanted."""
    service = scheduled(want=Instances(7, 5))
    source, cluster = quiet(), Cluster(desired=WIDE)
    approved(source, cluster)
    source.counts, source.versions = {"chat": Instances(7, 2)}, {"chat": "2"}
    source.draining = {"chat": 3}
    wish(service, EVEN)
    ServiceStatus.objects.update(last_scale_in_at=None)
    run(source)
    asked = Proposal.objects.get(state="pending")
    assert (asked.to_prefill, asked.to_decode, asked.then_decode) == (6, 2, 6)
    agree(asked)
    assert carry(cluster) == ["applied"]
    found = stage()
    assert found is not None
    assert (found.before, found.first, found.then) == (WIDE, NARROW, EVEN)
    assert found.proposal == asked.pk


@pytest.mark.django_db
def test_whoever_rejects_what_would_grow_ends_the_exchange() -> None:
    source, _ = first_half()
    wish(Service.objects.get(), Instances(5, 7))
    ServiceStatus.objects.update(last_scale_in_at=None)
    run(source)
    more = Proposal.objects.get(state="pending")
    assert stage() is not None
    approvals.reject(more.pk, user=approver("cy"), version=more.version, reason="not now")
    assert stage() is None


@pytest.mark.django_db
def test_the_rest_of_a_second_half_is_asked_for_s18() -> None:
    source, cluster = first_half()
    source.draining = {"chat": 2}
    run(source)
    assert (carry(cluster), cluster.desired) == (["applied"], Instances(6, 4))
    source.counts, source.versions, source.draining = {"chat": Instances(6, 4)}, {"chat": "3"}, {}
    run(source)
    rest = Proposal.objects.get(state="pending")
    assert (rest.to_decode, states()) == (6, ["applied", "applied", "pending"])
    assert "Needs approval" in rest.sentence


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
        "Follows from the approval of both halves by ana and ben. "
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
    run(source)
    run(source)
    assert states() == ["applied", "stale", "pending"], "somebody else is asked"


@pytest.mark.django_db
def test_a_first_half_that_no_cluster_took_promises_nothing() -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    cluster.trouble = ["refused"]
    run(source)
    proposal = Proposal.objects.get()
    agree(proposal)
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


@pytest.mark.django_db
def test_a_row_that_does_not_say_what_it_rests_on_promises_nothing_s18() -> None:
    source, _ = first_half()
    row = ServiceStatus.objects.get()
    row.exchange.pop("policy_version")
    row.save()
    run(source)
    assert (stage(), states()) == (None, ["applied", "pending"])
