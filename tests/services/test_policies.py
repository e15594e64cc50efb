"""A saved policy is a new revision that stays readable."""

from __future__ import annotations

import pytest

from controller.models import AuditEvent
from controller.services.policies import save_policy
from inventory.models import Policy, PolicyRevision
from tests import factories
from tests.services.people import at_once, person


@pytest.mark.django_db
def test_a_change_is_the_next_revision_and_keeps_the_one_before() -> None:
    policy = factories.make_service("chat").policy
    policy.target = 1200.0

    assert save_policy(policy, user=person("ana"))

    assert list(
        PolicyRevision.objects.values_list("revision", "body__target", "by__username")
    ) == [
        (2, 1200.0, "ana"),
        (1, 1000.0, None),
    ]
    event = AuditEvent.objects.get()
    assert (event.before["target"], event.after["target"]) == (1000.0, 1200.0)
    assert event.service == "chat"


@pytest.mark.django_db
def test_an_equal_body_changes_nothing() -> None:
    policy = factories.make_service("chat").policy

    assert not save_policy(policy, user=person("ana"))

    assert Policy.objects.get().revision == 1
    assert not PolicyRevision.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_editors_at_once_make_two_revisions() -> None:
    pk = factories.make_service("chat").policy.pk
    ana, ben = person("ana"), person("ben")

    def save(target: float, user: object) -> bool:
        policy = Policy.objects.get(pk=pk)
        policy.target = target
        return save_policy(policy, user=user)  # type: ignore[arg-type]

    given = at_once(lambda: save(1100.0, ana), lambda: save(1200.0, ben))

    assert given == [True, True]
    assert Policy.objects.get().revision == 3
    assert PolicyRevision.objects.count() == 3
