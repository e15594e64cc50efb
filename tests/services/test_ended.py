"""What has ended runs no more, whichever way it is applied: every state, every way (S18, A02)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Final

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from controller import tasks
from controller.core.approval_rules import Rule
from controller.core.lifecycle import (
    LIVE_SUGGESTIONS,
    TERMINAL_ACTIONS,
    TERMINAL_PROPOSALS,
    ActionState,
    SuggestionState,
)
from controller.core.types import Instances
from controller.models import Action, PolicySuggestion, Proposal, Rearrangement, Verdict
from controller.selectors import by_hand
from controller.services import actions, approval_rules, manual, rearranging, suggestions
from controller.services.approval_rules import Named
from controller.services.errors import ConflictError
from inventory.models import Policy
from tests import factories
from tests.clusters import Cluster
from tests.loop.test_by_hand import busy
from tests.loop.test_tick import run
from tests.pages.test_deciding import signed_in
from tests.services.people import person, waiting
from tests.sources import ArraySource

pytestmark = pytest.mark.django_db
SEEN: Final = "0" * 64
GPUS: Final = "6"
BODY: Final = {"version": 1, "fingerprint": SEEN, "reason": "now", "typed": GPUS}


@pytest.fixture(autouse=True)
def queue_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers at the queue: what runs, runs here."""
    monkeypatch.setattr(actions, "enqueue_approved", lambda _pk: None)


def page(row: Proposal, ana: Client) -> None:
    assert ana.post(f"/approvals/{row.pk}/approve/", BODY).status_code in {302, 409}


def glass(row: Proposal, ana: Client) -> None:
    assert ana.post(f"/approvals/{row.pk}/break-glass/", BODY).status_code in {302, 409}


def bulk(row: Proposal, ana: Client) -> None:
    given = {"verb": "approve", "confirm": "1", "item": [f"{row.pk}:1:{SEEN}"]}
    assert ana.post("/approvals/bulk/", given).status_code == 200


def command(row: Proposal, _ana: Client, *more: str) -> None:
    with pytest.raises(CommandError):
        call_command("approve", str(row.pk), "--seen", "1", "--reason", "now", *more)


def command_glass(row: Proposal, ana: Client) -> None:
    command(row, ana, "--break-glass", "--gpus", GPUS)


def rule(row: Proposal, _ana: Client) -> None:
    """Let a rule approve whatever the next ticks propose of the same service."""
    root = person("root", "Admin")
    approval_rules.save(Named("all", Rule(most_gpus=400)), user=root, reason="trial")
    for source in (busy(), ArraySource(), busy()):
        run(source)
    # What it approves is another proposal: of this one nothing is left.
    assert not Proposal.objects.filter(pk=row.pk, rule__isnull=False).exists()


def worker(row: Proposal, _ana: Client) -> None:
    assert tasks.run_proposal(row.pk)
    assert row.pk not in actions.due(timezone.now()).approved


def counter(row: Proposal, _ana: Client) -> None:
    with pytest.raises(ConflictError):
        manual.counter(
            row.pk,
            user=person("olga", "Operator"),
            version=1,
            want=Instances(2, 5),
            reason="fewer",
            look=by_hand.ground,
        )


def back(row: Proposal, _ana: Client) -> None:
    """Roll back what it led to: at most another person is asked."""
    action = Action.objects.filter(proposal=row).first()
    if action is None:
        action = factories.make_action(row.service, proposal=row, state="cancelled")
    try:
        asked = manual.roll_back(
            action.pk, user=person("otto", "Operator"), reason="undo", look=by_hand.ground
        )
    except ConflictError:
        return
    assert (asked.state, asked.pk == row.pk) == ("pending", False)


WAYS: Final = (page, glass, bulk, command, command_glass, worker, counter, back, rule)


@pytest.mark.parametrize("state", sorted(TERMINAL_PROPOSALS))
def test_no_way_leads_from_an_ended_proposal_to_a_cluster_s18(state: str) -> None:
    client = signed_in("ana")
    ana = User.objects.get(username="ana")
    row = waiting(state=state, origin="person", decided_by=ana)
    Verdict.objects.create(
        proposal=row, version=1, fingerprint=SEEN, user=ana, by_name="ana", at=timezone.now()
    )
    run(ArraySource())

    for way in WAYS:
        way(row, client)

        assert tasks.run_proposal(row.pk), "a worker says why nothing is sent"
        row.refresh_from_db()
        assert row.state == state, way.__name__
        led_to = Action.objects.filter(proposal=row).exclude(state="cancelled")
        assert not led_to.exists(), way.__name__


CARRY: Final[Mapping[str, Callable[[Action], object]]] = {
    "run": lambda action: tasks.run_action(str(action.pk)),
    "resolve": lambda action: tasks.resolve_action(str(action.pk)),
    "call off": lambda action: actions.call_off(action, "late"),
    "tick": lambda _action: run(ArraySource()),
}


@pytest.mark.parametrize(("state", "way"), [*product(sorted(TERMINAL_ACTIONS), CARRY)])
def test_no_way_leads_from_an_ended_action_to_a_cluster_s18(
    state: ActionState, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    action = factories.make_action(
        factories.make_service(), state=state, recorded_at=timezone.now()
    )

    CARRY[way](action)

    due = actions.due(timezone.now())
    action.refresh_from_db()
    assert (action.state, cluster.writes) == (state, [])
    assert action.pk not in (*due.recorded, *due.unanswered)


@pytest.mark.parametrize("state", sorted(TERMINAL_PROPOSALS))
def test_ended_moves_are_neither_approved_nor_carried_on_s18(state: str) -> None:
    now, ana = timezone.now(), person("ana")
    row = Rearrangement.objects.create(
        service=factories.make_service(), state=state, kind="room", sentence="Move 1.", key="1",
        body={"moves": [], "shrinks": []},
        inventory_version=1, touched="x",
        created_at=now, evidence_at=now, expires_at=now,
    )  # fmt: skip

    with pytest.raises(ConflictError):
        rearranging.approve(row.pk, user=ana, version=1)
    rearranging.advance()

    row.refresh_from_db()
    assert (row.state, Action.objects.count()) == (state, 0)


@pytest.mark.parametrize("state", sorted(set(SuggestionState) - LIVE_SUGGESTIONS))
def test_an_ended_suggestion_changes_no_policy_s18(state: str) -> None:
    row = factories.make_suggestion(factories.make_service(), state=state)

    with pytest.raises(ConflictError):
        suggestions.adopt(row.pk, user=person("pia", "Policy editor"), version=row.version)

    assert PolicySuggestion.objects.get().state == state
    assert Policy.objects.get().revision == 1
