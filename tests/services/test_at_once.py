"""Fifty at once on PostgreSQL, against everything that speaks against an approval (A02-A06)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

from controller.models import Action, Freeze, Proposal, Verdict
from controller.models.clock import database_now
from controller.services import actions
from controller.services.freezes import freeze
from inventory.models import Policy
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import make_action, make_approved
from tests.services.people import at_once, person, waiting

MANY: Final = 50
pytestmark = pytest.mark.django_db(transaction=True)


def carrying(proposal: Proposal, cluster: Cluster) -> Callable[[], object]:
    """Return what a worker does with an approved proposal."""

    def act() -> object:
        started = actions.start_approved(proposal.pk).action
        return started and actions.run(started, actuator_of=cluster.of)

    return act


def policy_edited() -> object:
    return Policy.objects.update(revision=F("revision") + 1)


def approver_disabled() -> object:
    return User.objects.filter(username="ana").update(is_active=False)


def nothing() -> object:
    return None


@pytest.mark.parametrize(
    "against",
    [
        pytest.param(nothing, id="delivered fifty times (A02)"),
        pytest.param(policy_edited, id="the policy changes meanwhile (A03)"),
        pytest.param(approver_disabled, id="the approver is disabled meanwhile (A04)"),
    ],
)
def test_of_fifty_workers_one_carries_an_approval_out_or_none(
    against: Callable[[], object],
) -> None:
    proposal, cluster = make_approved(make_service(mode="approve")), Cluster()
    worker = carrying(proposal, cluster)

    given = at_once(*(against if i == MANY // 2 else worker for i in range(MANY)))

    assert not [one for one in given if isinstance(one, Exception)]
    state, sent = Proposal.objects.get().state, len(cluster.writes)
    assert (state, sent) in {("applied", 1), ("failed", 0), ("stale", 0)}
    assert against is not nothing or sent == 1
    worker()
    assert len(cluster.writes) == sent, "used once"


def test_fifty_forms_of_a_session_that_ended_approve_nothing_a05() -> None:
    proposal = waiting()
    form = {"version": 1, "fingerprint": proposal.fingerprint}
    path = f"/approvals/{proposal.pk}/approve/"

    given = at_once(*(lambda: Client().post(path, form).status_code for _ in range(MANY)))

    assert set(given) <= {302, 401, 403}
    assert (Proposal.objects.get().state, Verdict.objects.count()) == ("pending", 0)


def test_a_freeze_among_fifty_workers_lets_nothing_go_afterwards_a06_s16() -> None:
    cluster, lea = Cluster(), person("lea")
    rows = [make_action(make_service(f"s{i}")) for i in range(7)]
    clusters = {row.pk: Cluster() for row in rows}

    def work(i: int) -> object:
        row = rows[i % len(rows)]
        return actions.run(row.pk, actuator_of=clusters[row.pk].of)

    def stop() -> object:
        return freeze(about=None, user=lea, reason="incident")

    given = at_once(*(stop if i == 2 else lambda i=i: work(i) for i in range(MANY)))

    assert not [one for one in given if isinstance(one, Exception)]
    since = Freeze.objects.get().since
    states = dict(Action.objects.values_list("pk", "state"))
    assert set(states.values()) <= {"applied", "cancelled"}
    for pk, one in clusters.items():
        assert len(one.writes) == (states[pk] == "applied")
    late = Action.objects.filter(sent_at__gt=since).values_list("sent_at", flat=True)
    assert all((at - since).total_seconds() < 5 for at in late)
    fresh = make_action(make_service("late"), recorded_at=database_now())
    assert actions.run(fresh.pk, actuator_of=cluster.of) == "cancelled"
    assert cluster.writes == []
