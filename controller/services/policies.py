"""A policy changes: the revision and the audit in one transaction."""

from django.db import transaction

from controller.services import audit, people
from controller.services.people import Person
from inventory.models import Policy
from inventory.services import policies


def save_policy(policy: Policy, *, user: Person, reason: str = "") -> bool:
    """Write the policy as its next revision; returns False when nothing differs."""
    with transaction.atomic():
        before = policies.save_policy(policy, user=people.account_of(user))
        if before is None:
            return False
        audit.record(
            actor=user.get_username(),
            verb="changed policy of",
            obj=policy,
            before=before,
            after=policies.body_of(policy) | {"revision": policy.revision},
            reason=reason,
        )
    return True
