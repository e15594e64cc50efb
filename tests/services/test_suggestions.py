"""What people answer to a policy suggestion: counted once, bound to what was seen, audited."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from controller.models import AuditEvent, PolicySuggestion
from controller.services import suggestions
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from inventory.models import Policy, PolicyRevision
from tests.factories import make_service, make_suggestion
from tests.services.people import at_once, person


@pytest.fixture
def pia() -> User:
    """A policy editor."""
    return person("pia", "Policy editor")


@pytest.fixture
def open_one() -> PolicySuggestion:
    """An open suggestion of ratio 0.5 → 0.62, target 1,000 → 1,200."""
    return make_suggestion(make_service(policy={"adapt": "propose"}))


@pytest.mark.django_db
def test_adopting_makes_the_next_revision_and_audits_both(
    pia: User, open_one: PolicySuggestion
) -> None:
    done = suggestions.adopt(open_one.pk, user=pia, version=1)

    policy = Policy.objects.get()
    assert (policy.revision, policy.pd_ratio, policy.target) == (2, 0.62, 1200.0)
    assert policy.adapt == "propose", "nothing else of it changes"
    assert (done.state, done.decided_by) == ("adopted", pia)
    assert PolicyRevision.objects.get(revision=2).by == pia
    seen = AuditEvent.objects.values_list("verb", "service", "reason")
    assert set(seen) == {
        ("changed policy of", "chat", open_one.sentence),
        ("adopted", "chat", open_one.sentence),
    }


@pytest.mark.django_db
def test_adopting_again_counts_once(pia: User, open_one: PolicySuggestion) -> None:
    suggestions.adopt(open_one.pk, user=pia, version=1, reason="seen in traces too")
    assert suggestions.adopt(open_one.pk, user=pia, version=1).state == "adopted"
    assert Policy.objects.get().revision == 2
    event = AuditEvent.objects.get(verb="changed policy of")
    assert event.reason == "seen in traces too"


@pytest.mark.django_db
def test_dismissing_needs_a_reason_and_changes_no_policy(
    pia: User, open_one: PolicySuggestion
) -> None:
    with pytest.raises(InvalidError, match="Give a reason"):
        suggestions.dismiss(open_one.pk, user=pia, version=1, reason=" ")
    done = suggestions.dismiss(open_one.pk, user=pia, version=1, reason="a load test")
    assert (done.state, done.closed_reason) == ("dismissed", "Dismissed by pia: a load test")
    assert Policy.objects.get().revision == 1
    assert AuditEvent.objects.get().verb == "dismissed"


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Operator", "Approver"])
def test_it_takes_the_right_to_edit_policies(role: str, open_one: PolicySuggestion) -> None:
    vic = person("vic", role)
    with pytest.raises(ForbiddenError, match="Policy editor"):
        suggestions.adopt(open_one.pk, user=vic, version=1)
    with pytest.raises(ForbiddenError, match="Policy editor"):
        suggestions.dismiss(open_one.pk, user=vic, version=1, reason="no")
    assert PolicySuggestion.objects.get().state == "open"
    assert AuditEvent.objects.filter(verb="was refused change_policy").count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param(
            {"version": 2, "pd_ratio": 0.7},
            "changed it to P/D ratio 0.5 → 0.7, target 1,000 → 1,200 tok/s per instance",
            id="the figures moved",
        ),
        pytest.param(
            {"state": "superseded", "closed_reason": "No longer wanted."},
            "No longer wanted",
            id="superseded",
        ),
        pytest.param({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired", id="late"),
    ],
)
def test_an_answer_to_what_is_no_longer_so_is_refused_in_words(
    fields: dict[str, object], words: str, pia: User, open_one: PolicySuggestion
) -> None:
    PolicySuggestion.objects.update(**fields)
    with pytest.raises(ConflictError, match=words):
        suggestions.adopt(open_one.pk, user=pia, version=1)
    with pytest.raises(ConflictError, match=words):
        suggestions.dismiss(open_one.pk, user=pia, version=1, reason="no")
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
def test_it_fits_only_the_revision_it_was_made_from(pia: User, open_one: PolicySuggestion) -> None:
    Policy.objects.update(revision=2, target=1500.0)
    with pytest.raises(ConflictError, match="Revision 1 is not in force any more"):
        suggestions.adopt(open_one.pk, user=pia, version=1)
    policy, row = Policy.objects.get(), PolicySuggestion.objects.get()
    assert (policy.revision, policy.target, row.state) == (2, 1500.0, "open")


@pytest.mark.django_db
def test_one_that_is_still_forming_is_nobodys_to_answer(
    pia: User, open_one: PolicySuggestion
) -> None:
    PolicySuggestion.objects.update(state="forming")
    with pytest.raises(MissingError):
        suggestions.adopt(open_one.pk, user=pia, version=1)


@pytest.mark.django_db(transaction=True)
def test_of_two_who_answer_at_once_one_is_told_who_was_faster(
    pia: User, open_one: PolicySuggestion
) -> None:
    ben = person("ben", "Policy editor")
    given = at_once(
        lambda: suggestions.adopt(open_one.pk, user=pia, version=1),
        lambda: suggestions.dismiss(open_one.pk, user=ben, version=1, reason="not now"),
    )
    lost = [each for each in given if isinstance(each, ConflictError)]
    row = PolicySuggestion.objects.get()
    assert len(lost) == 1
    assert str(lost[0]).startswith(
        "pia adopted this" if row.state == "adopted" else "ben dismissed this"
    )
    assert Policy.objects.get().revision == (2 if row.state == "adopted" else 1)
