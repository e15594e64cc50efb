"""The services an override would hold for, as they stand now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controller.core.consequences import Standing, Steps
from controller.core.overrides import OverrideKind, ruling, told
from controller.core.types import Instances, Mode
from controller.models import ServiceStatus, orders
from controller.models.clock import database_now
from controller.models.orders import Orders
from controller.models.scopes import About, within

SHOWN: Final = 5


def read_standings(about: About) -> tuple[Sequence[Standing], int]:
    """Return the first services in a scope and how many it has.

    Five queries for any fleet, and one more while an override covers a region or a cluster.
    A service without a policy or a role can't be told about and is counted only.
    """
    found = ServiceStatus.objects.filter(within(about)).order_by("service__slug")
    rows = found.select_related("service__policy").prefetch_related("service__roles")
    known, now_s = orders.read(), database_now().timestamp()
    seen = (_standing(row, known, now_s) for row in rows[:SHOWN])
    return [one for one in seen if one is not None], found.count()


def _standing(row: ServiceStatus, known: Orders, now_s: float) -> Standing | None:
    service = row.service
    policy = getattr(service, "policy", None)
    roles = {one.role: one for one in service.roles.all()}
    if policy is None or roles.keys() != {"prefill", "decode"}:
        return None
    in_force = ruling(known.over(service.slug), now_s)
    advisory = next((one for one in in_force if one.kind is OverrideKind.ADVISORY), None)
    prefill, decode = roles["prefill"], roles["decode"]
    return Standing(
        service=service.slug,
        mode=Mode(service.mode),
        current=Instances(row.prefill_desired, row.decode_desired),
        minimum=Instances(prefill.minimum, decode.minimum),
        maximum=Instances(prefill.maximum, decode.maximum),
        steps=Steps(policy.step_abs, policy.step_out_frac, policy.step_frac),
        advisory=told(advisory, now_s) if advisory else "",
    )
