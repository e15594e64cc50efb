"""What a person decides about a policy suggestion: adopted as a revision, or dismissed."""

from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.lifecycle import SuggestionState
from controller.core.suggestion import Figures, told
from controller.models import PolicySuggestion
from controller.models.clock import database_now
from controller.services import audit, people, policy_edits
from controller.services.errors import ConflictError, MissingError
from inventory.services.policies import body_of

ENDED: Final = {
    SuggestionState.ADOPTED: "adopted",
    SuggestionState.DISMISSED: "dismissed",
}


def adopt(pk: int, *, user: User, version: int, reason: str = "") -> PolicySuggestion:
    """Save the suggested ratio and target as the next policy revision; returns it as adopted.

    Counts only while the suggestion is open in exactly the ``version`` the person saw and the
    revision it was made from is in force. Without a ``reason`` the suggestion's own sentence is
    kept. The same person's second request changes nothing. Raises :class:`ForbiddenError`,
    :class:`InvalidError`, :class:`ConflictError`, :class:`MissingError`.
    """
    found = _find(pk)
    people.require(user, people.EDIT_POLICY, found)
    reason = people.reason_text(reason, needed=False) or found.sentence
    with transaction.atomic():
        # The suggestion before the service, as a tick takes them: else they deadlock.
        if _decide(pk, SuggestionState.ADOPTED, user=user, version=version, reason=reason):
            service = found.service
            policy_edits.adopt(
                service,
                body_of(service.policy) | {"pd_ratio": found.pd_ratio, "target": found.target},
                opened=found.revision,
                user=user,
                reason=reason,
            )
            _record(found, user, "adopted", reason)
            return _find(pk)
    return _answered(pk, SuggestionState.ADOPTED, user=user, version=version)


def dismiss(pk: int, *, user: User, version: int, reason: str) -> PolicySuggestion:
    """Let the policy be; about the same is not suggested again for a day. Returns it dismissed.

    The same person's second request changes nothing. Raises :class:`InvalidError` without a
    reason, :class:`ForbiddenError`, :class:`ConflictError`, :class:`MissingError`.
    """
    found = _find(pk)
    people.require(user, people.EDIT_POLICY, found)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        if _decide(pk, SuggestionState.DISMISSED, user=user, version=version, reason=reason):
            _record(found, user, "dismissed", reason)
            return _find(pk)
    return _answered(pk, SuggestionState.DISMISSED, user=user, version=version)


def _find(pk: int) -> PolicySuggestion:
    found = (
        PolicySuggestion.objects.exclude(state=SuggestionState.FORMING)
        .select_related("service__policy", "decided_by")
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise MissingError(f"There is no suggestion {pk}.")
    return found


def _decide(pk: int, state: SuggestionState, *, user: User, version: int, reason: str) -> bool:
    waiting = PolicySuggestion.objects.filter(
        pk=pk, state=SuggestionState.OPEN, version=version, expires_at__gt=Now()
    )
    return bool(
        waiting.update(
            state=state,
            decided_at=Now(),
            decided_by=user,
            decided_reason=reason,
            closed_at=Now(),
            closed_reason=f"{state.value.capitalize()} by {user.get_username()}: {reason}",
        )
    )


def _record(found: PolicySuggestion, user: User, verb: str, reason: str) -> None:
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=found,
        before={"pd_ratio": found.from_pd_ratio, "target": found.from_target},
        after={"pd_ratio": found.pd_ratio, "target": found.target, "version": found.version},
        reason=reason,
    )


def _answered(pk: int, state: SuggestionState, *, user: User, version: int) -> PolicySuggestion:
    """Return the suggestion if this person gave this very answer before; else say what is so."""
    found = _find(pk)
    if (found.state, found.version, found.decided_by_id) == (state, version, user.pk):
        return found
    text = _ended_words(found) or _open_words(found, version)
    audit.too_late(found, user.get_username(), text)
    raise ConflictError(text)


def _ended_words(found: PolicySuggestion) -> str:
    state = SuggestionState(found.state)
    if state in ENDED and found.decided_at is not None:
        who = found.decided_by.get_username() if found.decided_by else "Someone"
        since_s = (database_now() - found.decided_at).total_seconds()
        return f"{who} {ENDED[state]} this {phrases.ago(since_s)}."
    return found.closed_reason


def _open_words(found: PolicySuggestion, version: int) -> str:
    if found.expires_at is not None and found.expires_at <= database_now():
        return f"This suggestion expired at {found.expires_at:%H:%M} UTC."
    if found.version != version:
        before = Figures(found.from_pd_ratio, found.from_target)
        change = told(before, Figures(found.pd_ratio, found.target), found.driver)
        return f"The controller changed it to {change}: look again."
    return "It changed while you pressed: look again."
