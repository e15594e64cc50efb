"""What somebody else wrote is told once, and answered once by a person who may (S25)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from controller.core.types import Instances
from controller.models import (
    Action,
    AuditEvent,
    Freeze,
    OutsideChange,
    Override,
    Proposal,
    ServiceStatus,
)
from controller.selectors import by_hand
from controller.services import actions, freezes, outside_answers
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
    SteeringError,
)
from tests import factories
from tests.clusters import Cluster
from tests.services.people import at_once, person

ANSWERS = ("adopt", "restore", "freeze")


def changed(*, mode: str = "approve", **fields: object) -> OutsideChange:
    """Return chat, just seen at prefill 2, decode 4, which somebody else had made of decode 5."""
    service = factories.make_service(mode=mode)
    now = timezone.now()
    ServiceStatus.objects.update(observed_at=now)
    factories.make_pools(service.cluster, factories.make_hardware(), at=now)
    return factories.make_outside(service, **fields)


def answer(row: OutsideChange, how: str, user: User, reason: str = "a test") -> object:
    look = {"look": by_hand.ground} if how == "restore" else {}
    return getattr(outside_answers, how)(row.pk, user=user, reason=reason, **look)


def effects() -> tuple[int, int, int]:
    """Return how many overrides, proposals and freezes there are."""
    return Override.objects.count(), Proposal.objects.count(), Freeze.objects.count()


@pytest.mark.django_db
def test_to_adopt_pins_the_new_counts_for_an_hour() -> None:
    row, olga = changed(), person("olga", "Operator")

    made = answer(row, "adopt", olga, "a load test")

    assert isinstance(made, Override)
    assert (made.kind, made.values) == ("pin", {"prefill": 2, "decode": 4})
    assert made.ends_at - made.starts_at == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=5)
    )
    row.refresh_from_db()
    assert (row.answer, row.answered_by_name, row.answer_reason) == (
        "adopted",
        "olga",
        "a load test",
    )
    event = AuditEvent.objects.get(verb="outside change adopted")
    assert (event.actor, event.service, event.reason) == ("olga", "chat", "a load test")


@pytest.mark.django_db
def test_to_restore_proposes_the_former_counts_to_another_person_a04() -> None:
    row, olga = changed(), person("olga", "Operator")

    made = answer(row, "restore", olga)

    assert isinstance(made, Proposal)
    assert (made.state, made.requested_by) == ("pending", olga)
    assert (made.from_decode, made.to_prefill, made.to_decode) == (4, 2, 5)
    row.refresh_from_db()
    assert row.answer == "restored"


@pytest.mark.django_db
def test_to_freeze_stops_the_service_s16() -> None:
    row = changed()

    made = answer(row, "freeze", person("olga", "Operator"))

    assert isinstance(made, Freeze)
    assert (made.scope, made.by_name, made.ended_at) == ("chat", "olga", None)
    row.refresh_from_db()
    assert row.answer == "frozen"


@pytest.mark.django_db
def test_what_is_refused_answers_nothing() -> None:
    # A pin of decode 41 is above the maximum of 40; so is going back to it; frozen is frozen.
    olga = person("olga", "Operator")
    row = changed(to_decode=41, from_decode=41)
    with pytest.raises(InvalidError, match="41 decode is above 40") as refused:
        answer(row, "adopt", olga)
    assert refused.value.field == "decode"
    with pytest.raises(InvalidError, match="above the maximum"):
        answer(row, "restore", olga)
    freezes.freeze(about=row.service, user=person("ana"), reason="an incident")
    with pytest.raises(ConflictError, match="ana already froze chat"):
        answer(row, "freeze", olga)
    row.refresh_from_db()
    assert (row.answer, effects()) == ("", (0, 0, 1))
    assert not AuditEvent.objects.filter(verb__startswith="outside change").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("how", ANSWERS)
def test_each_answer_needs_the_right_a_reason_and_a_change(how: str) -> None:
    row = changed()
    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        answer(row, how, person("vera", "Viewer"))
    assert AuditEvent.objects.filter(verb__startswith="was refused").count() == 1
    with pytest.raises(InvalidError, match="Give a reason"):
        answer(row, how, person("olga", "Operator"), "  ")
    row.delete()
    row.pk = 7
    with pytest.raises(MissingError, match="no change from outside 7"):
        answer(row, how, User.objects.get(username="olga"))
    assert effects() == (0, 0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("how", ANSWERS)
def test_who_comes_later_is_told_who_was_faster(how: str) -> None:
    row, olga = changed(), person("olga", "Operator")
    answer(row, "adopt", olga, "a load test")
    with pytest.raises(ConflictError, match=r"olga kept the new counts .*: a load test"):
        answer(row, how, person("ana"))
    assert AuditEvent.objects.get(verb="was too late to decide").actor == "ana"
    assert effects() == (1, 0, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "hows",
    [
        pytest.param(("adopt", "adopt"), id="both keep it"),
        pytest.param(("restore", "freeze"), id="one goes back, one stops"),
        pytest.param(("adopt", "restore"), id="one keeps it, one goes back"),
    ],
)
def test_of_two_answers_at_once_one_counts(hows: tuple[str, str]) -> None:
    row, people = changed(), (person("olga", "Operator"), person("otto", "Operator"))

    given = at_once(
        *(
            lambda how=how, who=who: answer(row, how, who)
            for how, who in zip(hows, people, strict=True)
        )
    )

    lost = [one for one in given if isinstance(one, SteeringError)]
    assert len(lost) == 1, given
    assert isinstance(lost[0], ConflictError)
    assert str(lost[0]) != "It was answered meanwhile."
    assert AuditEvent.objects.filter(verb="was too late to decide").count() == 1
    assert sum(effects()) == 1
    row.refresh_from_db()
    winner = people[1 - given.index(lost[0])]
    assert row.answered_by_name == winner.username


@pytest.mark.django_db
def test_a_change_of_ours_that_is_applied_afterwards_ends_it() -> None:
    row = changed(mode="automatic")
    action = factories.make_action(
        row.service,
        state="recorded",
        recorded_at=timezone.now(),
        resource_version="1",
        to_prefill=3,
        to_decode=6,
        decision=None,
    )
    cluster = Cluster(desired=Instances(2, 4))

    assert actions.run(action.pk, actuator_of=cluster.of) == "applied"

    row.refresh_from_db()
    assert (row.answer, row.answered_by_name) == ("overtaken", Action.objects.get().actor)
    assert "decode 4 → 6" in row.answer_reason
    assert AuditEvent.objects.get(verb="outside change overtaken").service == "chat"
    with pytest.raises(ConflictError, match=r"overtaken .* decode 4 → 6"):
        answer(row, "adopt", person("olga", "Operator"))
