"""What of the nodes a plan rests on: a digest that changes when they do (S20, I01)."""

import json
from collections.abc import Collection
from hashlib import sha256
from typing import Final

from django.db.models import Q, Value
from django.db.models.functions import Concat

from inventory.models import Node

COLUMNS: Final = (
    *("cluster__slug", "name", "s2_domain__name", "s1_domain__name"),
    *("hardware__slug", "gpus", "gpus_allocatable", "schedulable"),
)


def touched(names: Collection[str]) -> str:
    """Return a digest of what matters of the S1 domains that nodes "cluster/name" are in (S20).

    A node whose S1 is unknown stands for itself. It differs when a node of these domains comes,
    goes, moves, or may hold another number of GPUs; one query, none without names.
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
        .values_list(*COLUMNS)
    )
    return sha256(json.dumps(sorted(rows, key=str)).encode()).hexdigest()
