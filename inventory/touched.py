"""What of the nodes a plan rests on: a digest that changes when they do (S20, I01)."""

import json
from collections.abc import Collection
from hashlib import sha256
from typing import Final

from django.db.models import Count, Q, Value
from django.db.models.functions import Concat

from inventory.models import Health, Node

COLUMNS: Final = (
    *("cluster__slug", "name", "s2_domain__name", "s1_domain__name"),
    *("hardware__slug", "gpus", "gpus_allocatable", "schedulable", "taints"),
)
FAILED: Final = Q(gpu_rows__health=Health.FAILED, gpu_rows__missing_since=None)


def touched(names: Collection[str]) -> str:
    """Return a digest of what matters of the S1 domains that nodes "cluster/name" are in (S20).

    A node whose S1 is unknown stands for itself. It differs when a node of these domains comes,
    goes, moves, may hold another number of GPUs or repels others than before; one query, none
    without names.
    """
    if not names:
        return ""
    named = Node.objects.alias(full=Concat("cluster__slug", Value("/"), "name")).filter(
        full__in=names
    )
    rows = (
        Node.objects.filter(
            Q(pk__in=named.values("pk")) | Q(s1_domain__in=named.values("s1_domain"))
        )
        .order_by()
        .annotate(failed=Count("gpu_rows", filter=FAILED))
        .values_list(*COLUMNS, "failed")
    )
    return sha256(json.dumps(sorted(rows, key=str)).encode()).hexdigest()
