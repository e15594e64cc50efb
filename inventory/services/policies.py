"""Every saved change of a policy is a new revision that stays readable."""

from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from controller.core.schedule import schedule_plain
from controller.core.types import PolicyConfig
from inventory.models import Policy, PolicyRevision

KEPT: Final = (
    "name",
    "driver",
    "target",
    "pd_ratio",
    "ratio_tolerance",
    "theta_out",
    "theta_in",
    "cooldown_out_s",
    "cooldown_in_s",
    "stabilisation_s",
    "step_abs",
    "step_frac",
    "step_out_frac",
    "damp_frac",
    "coverage_in_frac",
    "proposal_ttl_s",
    "proposal_ttl_in_s",
    "force_driver",
    "latency_severe",
    "latency_moderate",
    "latency_idle",
    "schedule",
    "time_zone",
    "adapt",
    "ratio_band",
    "hold_s",
    "lead_s",
    "margin_frac",
    "drain_s",
    "slo_margin_frac",
)


def body_of(policy: Policy) -> dict[str, Any]:
    """Return what a revision keeps of the policy."""
    return {field: getattr(policy, field) for field in KEPT}


def values_of(config: PolicyConfig) -> dict[str, Any]:
    """Return the policy as the values of a row: what :func:`body_of` gives of it."""
    body = {field: getattr(config, field) for field in KEPT}
    return body | {"adapt": config.adapt.value, "schedule": schedule_plain(config.schedule)}


@transaction.atomic
def save_policy(policy: Policy, *, user: AbstractBaseUser | None) -> dict[str, Any] | None:
    """Write the policy as its next revision; returns the body it replaced.

    An equal body changes nothing and returns ``None``; a new policy replaces ``{}``.
    """
    before = Policy.objects.select_for_update().filter(pk=policy.pk).first()
    if before is not None and body_of(before) == body_of(policy):
        return None
    policy.revision = before.revision + 1 if before else 1
    policy.version = before.version + 1 if before else 1
    policy.save()
    if before is not None:
        # A policy that was made in one go with its service has no row for its first revision.
        PolicyRevision.objects.get_or_create(
            service_id=before.service_id,
            revision=before.revision,
            defaults={"body": body_of(before)},
        )
    PolicyRevision.objects.create(
        service_id=policy.service_id,
        revision=policy.revision,
        body=body_of(policy),
        by_id=user.pk if user else None,
    )
    return body_of(before) if before else {}
