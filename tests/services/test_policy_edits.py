"""A policy is adopted by those who may, with a reason, and never over a change unseen."""

from __future__ import annotations

from typing import Any

import pytest

from controller.models import AuditEvent
from controller.services import policy_edits
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from inventory.models import Policy, PolicyRevision, Service
from inventory.services.policies import body_of
from tests import factories
from tests.services.people import at_once, person


def adopted(service: Service, who: object, opened: int = 1, **changes: Any) -> Policy:
    """Adopt the policy in force with changes."""
    body = body_of(Policy.objects.get(service=service)) | changes
    return policy_edits.adopt(
        service,
        body,
        opened=opened,
        user=who,  # type: ignore[arg-type]
        reason="more room",
    )


@pytest.mark.django_db(transaction=True)
def test_of_two_who_opened_the_same_revision_one_is_told_of_the_other() -> None:
    service = factories.make_service("chat")
    pia, ben = person("pia", "Policy editor"), person("ben", "Policy editor")

    given = at_once(
        lambda: adopted(service, pia, target=1100.0), lambda: adopted(service, ben, target=1200.0)
    )

    assert sorted(type(each).__name__ for each in given) == ["ConflictError", "Policy"]
    assert Policy.objects.get().revision == 2
    assert PolicyRevision.objects.count() == 2
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Operator", "Approver"])
def test_who_may_not_is_refused_and_recorded(role: str) -> None:
    service = factories.make_service("chat")

    with pytest.raises(ForbiddenError, match="needs the role Policy editor"):
        adopted(service, person("eve", role), target=1200.0)

    event = AuditEvent.objects.get()
    assert (event.actor, event.verb, event.service) == (
        "eve",
        "was refused change_policy",
        "chat",
    )
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"target": -1.0}, "target", id="a target below zero"),
        pytest.param({"hold_s": "soon"}, "hold_s", id="a text for a number"),
        pytest.param({"adapt": "perhaps"}, "adapt", id="no such way to adapt"),
        pytest.param({"schedule": [{"name": "x"}]}, "schedule", id="half a window"),
    ],
)
def test_a_body_no_controller_can_use_is_never_saved(changes: dict[str, Any], field: str) -> None:
    service = factories.make_service("chat")

    with pytest.raises(InvalidError) as refused:
        adopted(service, person("pia", "Policy editor"), **changes)

    assert refused.value.field.startswith(field)
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
def test_only_a_revision_that_was_is_gone_back_to() -> None:
    service, pia = factories.make_service("chat"), person("pia", "Policy editor")
    adopted(service, pia, target=1200.0)
    with pytest.raises(ConflictError, match="you had opened revision 1"):
        policy_edits.revert(service, 1, opened=1, user=pia, reason="back")
    with pytest.raises(MissingError, match="chat has no revision 7"):
        policy_edits.revert(service, 7, opened=2, user=pia, reason="back")

    assert policy_edits.revert(service, 1, opened=2, user=pia, reason="back").target == 1000.0
    assert list(AuditEvent.objects.order_by("pk").values_list("reason", "after__revision")) == [
        ("more room", 2),
        ("back", 3),
    ]
