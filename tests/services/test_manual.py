"""A change by hand is judged like the controller's own, and decided by another (S3, S17)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from controller.core.types import Instances
from controller.models import Action, AuditEvent, Override, Proposal, ServiceStatus
from controller.selectors import by_hand
from controller.services import actions, approvals, freezes, manual
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from controller.services.manual import Asked
from inventory.models import Service
from tests import factories
from tests.services.people import person


def served(*, mode: str = "approve", free: int = 10, **fields: object) -> Service:
    """Return chat at prefill 2, decode 4, just seen, with so many GPUs free."""
    service = factories.make_service(mode=mode, **fields)
    now = timezone.now()
    ServiceStatus.objects.update(observed_at=now)
    factories.make_pools(service.cluster, factories.make_hardware(), at=now)
    if free != 10:
        pool = factories.PoolSample.objects
        pool.update(free=free, busy=20 - free)
    return service


def propose(service: Service, user: User, want: tuple[int, int], **other: object) -> Proposal:
    asked = Asked(**{"want": Instances(*want), "reason": "launch at noon"} | other)
    return manual.propose(service, asked, user=user, look=by_hand.ground)


@pytest.mark.django_db
def test_a_person_proposes_and_another_approves() -> None:
    service, olga = served(), person("olga", "Operator")

    made = propose(service, olga, (3, 6))

    assert (made.state, made.origin, made.requested_by) == ("pending", "person", olga)
    assert (made.to_prefill, made.to_decode, made.decision) == (3, 6, None)
    assert made.sentence.startswith("Proposes decode 4 → 6, prefill 2 → 3. olga asked for it")
    event = AuditEvent.objects.get(verb="proposed")
    assert (event.actor, event.reason) == ("olga", "launch at noon")
    done = approvals.approve(made.pk, user=person("ana"), version=1, fingerprint=made.fingerprint)
    assert done.state == "approved"


@pytest.mark.django_db
def test_nobody_approves_their_own_a04() -> None:
    ana = person("ana")
    ana.is_superuser = True
    ana.save()
    made = propose(served(), ana, (3, 6))

    with pytest.raises(ForbiddenError, match="another person approves it"):
        approvals.approve(made.pk, user=ana, version=1, fingerprint=made.fingerprint)

    made.refresh_from_db()
    assert made.state == "pending"
    assert AuditEvent.objects.filter(verb="was refused their own").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("want", "words"),
    [
        pytest.param((2, 9), "as far as decode 8", id="S3: decode +5 with +4 the most of a step"),
        pytest.param((2, 41), "above the maximum", id="S1: maximum 40"),
        pytest.param((0, 4), "below the minimum", id="S1: minimum 1"),
        pytest.param((4, 8), "Only 10 h800 GPUs are free", id="(2 + 4) x 2 = 12 of 10 free"),
    ],
)
def test_what_can_not_be_is_refused_with_the_most_that_can(
    want: tuple[int, int], words: str
) -> None:
    with pytest.raises(InvalidError, match=words):
        propose(served(), person("olga", "Operator"), want)
    assert not Proposal.objects.exists()


@pytest.mark.django_db
def test_the_budget_of_the_service_holds_s2() -> None:
    service, olga = served(max_gpus=16), person("olga", "Operator")

    with pytest.raises(InvalidError, match="18 GPUs are more than 16"):
        propose(service, olga, (3, 6))
    ServiceStatus.objects.update(prefill_draining=1)
    with pytest.raises(InvalidError, match="may hold 16 GPUs and holds 14"):
        propose(service, olga, (2, 6))


@pytest.mark.django_db
def test_old_figures_of_free_gpus_promise_nothing() -> None:
    service = served()
    factories.PoolSample.objects.all().delete()
    factories.make_pools(
        service.cluster, factories.make_hardware(), at=timezone.now() - timedelta(minutes=5)
    )

    with pytest.raises(InvalidError, match="h800 pool cannot be read"):
        propose(service, person("olga", "Operator"), (2, 5))


@pytest.mark.django_db
def test_an_observed_service_is_changed_by_nobody_s17() -> None:
    with pytest.raises(ConflictError, match="only observed"):
        propose(served(mode="observe"), person("olga", "Operator"), (3, 6))


@pytest.mark.django_db
def test_nothing_is_proposed_while_frozen_s16() -> None:
    service, olga = served(), person("olga", "Operator")
    freezes.freeze(about=None, user=olga, reason="incident")

    with pytest.raises(ConflictError, match="The fleet is frozen by olga"):
        propose(service, olga, (3, 6))


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Policy editor"])
def test_proposing_needs_the_right(role: str) -> None:
    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        propose(served(), person("eve", role), (3, 6))


@pytest.mark.django_db
def test_a_proposal_needs_a_reason() -> None:
    with pytest.raises(InvalidError, match="reason"):
        propose(served(), person("olga", "Operator"), (3, 6), reason=" ")


@pytest.mark.django_db
def test_what_moved_since_it_was_seen_is_looked_at_again() -> None:
    with pytest.raises(ConflictError, match="changed meanwhile"):
        propose(served(), person("olga", "Operator"), (3, 6), seen="0")


@pytest.mark.django_db
def test_it_takes_the_place_of_what_the_controller_proposed() -> None:
    service, olga = served(), person("olga", "Operator")
    first = factories.make_proposal(service, expires_at=timezone.now() + timedelta(minutes=5))

    made = propose(service, olga, (2, 5))

    first.refresh_from_db()
    assert first.state == "superseded"
    assert first.closed_reason == "olga proposed decode 4 → 5 instead: launch at noon"
    assert made.state == "pending"
    assert AuditEvent.objects.get(verb="superseded").object_id == str(first.pk)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "who"),
    [
        pytest.param({"state": "approved"}, "The controller", id="approved"),
        pytest.param({"state": "applying"}, "The controller", id="applying"),
        pytest.param({"origin": "person"}, "The command line", id="somebody else's"),
    ],
)
def test_one_change_of_a_service_at_a_time(fields: dict[str, object], who: str) -> None:
    service = served()
    first = factories.make_proposal(service, **fields)

    with pytest.raises(ConflictError, match=f"{who} proposed .*proposal {first.pk}"):
        propose(service, person("olga", "Operator"), (2, 5))

    first.refresh_from_db()
    assert first.state == fields.get("state", "pending")


@pytest.mark.django_db
def test_a_ratio_outside_its_band_is_warned_of_and_not_refused() -> None:
    made = propose(served(), person("olga", "Operator"), (2, 2))

    assert "1.00 prefill per decode is outside the band of 0.38 to 0.62." in made.sentence


@pytest.mark.django_db
def test_a_counter_proposal_supersedes_the_first_at_once() -> None:
    service, olga, ben = served(), person("olga", "Operator"), person("ben")
    first = propose(service, olga, (3, 6))

    made = manual.counter(
        first.pk, user=ben, version=1, want=Instances(2, 5), reason="less", look=by_hand.ground
    )

    first.refresh_from_db()
    assert (first.state, made.origin, made.answers_id) == ("superseded", "counter", first.pk)
    with pytest.raises(ForbiddenError):
        approvals.approve(made.pk, user=ben, version=1, fingerprint=made.fingerprint)


@pytest.mark.django_db
def test_a_counter_proposal_of_what_was_decided_comes_too_late() -> None:
    service, olga, ana = served(), person("olga", "Operator"), person("ana")
    first = propose(service, olga, (3, 6))
    approvals.reject(first.pk, user=ana, version=1, reason="no")

    with pytest.raises(ConflictError, match="ana rejected this"):
        manual.counter(
            first.pk, user=olga, version=1, want=Instances(2, 5), reason="less",
            look=by_hand.ground,
        )  # fmt: skip

    assert Proposal.objects.count() == 1
    assert AuditEvent.objects.filter(verb="was too late to decide").count() == 1


def applied(service: Service, **fields: object) -> Action:
    """Return an action of decode 4 → 6, prefill 2 → 3 that the cluster took."""
    now = timezone.now()
    given = {"state": "ready", "applied_at": now, "recorded_at": now, "ended_at": now} | fields
    ServiceStatus.objects.update(prefill_desired=3, decode_desired=6, resource_version="2")
    return factories.make_action(service, **given)


@pytest.mark.django_db
def test_a_roll_back_goes_back_to_where_the_action_began() -> None:
    service, olga = served(), person("olga", "Operator")
    action = applied(service)

    made = manual.roll_back(action.pk, user=olga, reason="too much", look=by_hand.ground)

    assert (made.origin, made.undoes_id) == ("roll_back", action.pk)
    assert (made.from_decode, made.to_decode, made.to_prefill) == (6, 4, 2)


@pytest.mark.django_db
def test_a_roll_back_over_a_later_change_is_asked_for_twice() -> None:
    service, olga = served(), person("olga", "Operator")
    first = applied(service, applied_at=timezone.now() - timedelta(minutes=2))
    applied(service, actor="ben", from_prefill=3, from_decode=5)

    with pytest.raises(ConflictError, match=r"ben changed decode 5 → 6 after it"):
        manual.roll_back(first.pk, user=olga, reason="too much", look=by_hand.ground)

    made = manual.roll_back(
        first.pk, user=olga, reason="too much", look=by_hand.ground, anyway=True
    )
    assert made.state == "pending"


@pytest.mark.django_db
def test_what_was_never_applied_is_not_rolled_back() -> None:
    service, olga = served(), person("olga", "Operator")
    action = factories.make_action(service)

    with pytest.raises(ConflictError, match="never applied"):
        manual.roll_back(action.pk, user=olga, reason="x", look=by_hand.ground)
    with pytest.raises(MissingError):
        manual.roll_back(service.pk, user=olga, reason="x", look=by_hand.ground)


def ruled(service: Service, kind: str, **values: object) -> None:
    """Let an override of ana rule the service for an hour."""
    now = timezone.now()
    Override.objects.create(
        service=service, kind=kind, values=values, reason="load test", by_name="ana",
        made_at=now, starts_at=now, ends_at=now + timedelta(hours=1),
    )  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        pytest.param("pin", {"prefill": 2, "decode": 4}, "pinned by ana", id="pin"),
        pytest.param("out_only", {}, "(?i)scale-out only, set by ana", id="out only"),
        pytest.param("bounds", {"decode_min": 4}, "below the minimum", id="bounds"),
    ],
)
def test_overrides_in_force_hold_for_people_too(
    kind: str, values: dict[str, object], words: str
) -> None:
    service = served()
    ruled(service, kind, **values)

    with pytest.raises(InvalidError, match=words):
        propose(service, person("olga", "Operator"), (2, 3))


@pytest.mark.django_db
def test_a_change_under_an_override_is_started_while_that_rules_a03() -> None:
    service = served()
    ruled(service, "out_only")
    made = propose(service, person("olga", "Operator"), (2, 5))
    approvals.approve(made.pk, user=person("ben"), version=1, fingerprint=made.fingerprint)
    Override.objects.update(ended_at=timezone.now())
    start = actions.start_approved(made.pk)

    assert (start.action, Proposal.objects.get().state) == (None, "stale")
