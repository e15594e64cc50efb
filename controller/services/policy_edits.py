"""A person adopts a policy or goes back to an earlier one, never over a change unseen."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from controller.core import phrases
from controller.core.config_check import validate_policy
from controller.core.policy_fields import plain_default
from controller.core.schedule import ScheduleError
from controller.models.clock import database_now
from controller.services import people, policies
from controller.services.errors import ConflictError, InvalidError, MissingError
from inventory.models import Policy, PolicyRevision, Service
from inventory.services.policies import KEPT
from inventory.snapshot import config_of


def adopt(
    service: Service, body: Mapping[str, Any], *, opened: int, user: User, reason: str
) -> Policy:
    """Save ``body`` as the next revision and return the policy in force.

    ``opened`` is the revision the person saw, 0 where there was none. Raises
    :class:`ForbiddenError`, :class:`InvalidError` for a body no controller can use or a lacking
    reason, and :class:`ConflictError` when another revision is in force or nothing differs.
    """
    people.require(user, people.EDIT_POLICY, service)
    reason = people.reason_text(reason, needed=True)
    _check(body)
    with transaction.atomic():
        # The service is locked, not its policy: there may be none yet.
        Service.objects.select_for_update(of=("self",)).get(pk=service.pk)
        policy = Policy.objects.filter(service=service).first()
        if (policy.revision if policy else 0) != opened:
            raise ConflictError(_overtaken(service, opened))
        policy = policy or Policy(service=service)
        for name in KEPT:
            setattr(policy, name, body.get(name, plain_default(name)))
        if not policies.save_policy(policy, user=user, reason=reason):
            raise ConflictError(
                f"Nothing differs from revision {opened}: no new revision was made."
            )
    return policy


def revert(service: Service, revision: int, *, opened: int, user: User, reason: str) -> Policy:
    """Save the body of an earlier revision as the next one and return the policy in force.

    Raises :class:`MissingError` for a revision that never was, and what :func:`adopt` raises.
    """
    people.require(user, people.EDIT_POLICY, service)
    row = PolicyRevision.objects.filter(service=service, revision=revision).first()
    if row is None:
        raise MissingError(f"{service.slug} has no revision {revision}.")
    return adopt(service, row.body, opened=opened, user=user, reason=reason)


def _check(body: Mapping[str, Any]) -> None:
    try:
        config = config_of(body, revision=0)
    except ScheduleError as fault:
        raise InvalidError(fault.field, str(fault)) from fault
    except ValueError as fault:
        raise InvalidError("adapt", str(fault)) from fault
    for problem in validate_policy(config):
        raise InvalidError(problem.field, problem.message)


def _overtaken(service: Service, opened: int) -> str:
    last = PolicyRevision.objects.filter(service=service).select_related("by").first()
    if last is None or last.revision == opened:
        return f"Revision {opened} is not in force any more: look at what is."
    who = last.by.get_username() if last.by else "The system"
    since_s = (database_now() - last.at).total_seconds()
    return (
        f"{who} saved revision {last.revision}, {phrases.ago(since_s)}; you had opened "
        f"revision {opened}."
    )
