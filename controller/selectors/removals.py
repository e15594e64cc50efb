"""What automatic actions took away lately, by the rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.db.models.functions import Coalesce

from controller.core.budgets import FleetRules, removed_between
from controller.core.lifecycle import ActionState
from controller.core.types import Instances, ServiceSpec
from controller.models import Action


def removed_gpus(specs: Sequence[ServiceSpec], now: datetime, rules: FleetRules) -> int:
    """Return the GPUs automatic actions removed within the window, those under way included.

    One query. An action that failed may have reached the cluster and counts; one that was never
    sent does not. What was approved by a person is no automatic removal; what a rule approved is.
    """
    per_instance = {spec.key: spec.gpus_per_instance for spec in specs}
    rows = (
        Action.objects.filter(Q(proposal=None) | Q(proposal__rule__isnull=False))
        .exclude(state=ActionState.CANCELLED)
        .annotate(at=Coalesce("sent_at", "recorded_at"))
        .filter(at__gt=now - timedelta(seconds=rules.window_s))
        .values_list("service__slug", "from_prefill", "from_decode", "to_prefill", "to_decode")
    )
    return sum(
        removed_between(Instances(*row[1:3]), Instances(*row[3:5]), per_instance[row[0]])
        for row in rows
        if row[0] in per_instance
    )
