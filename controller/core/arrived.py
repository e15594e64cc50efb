"""How much of an order a cluster shows: nothing, a part, all, or anything else (S14, K04)."""

from enum import StrEnum

from controller.core.ports import ScaleView
from controller.core.types import ROLES, Instances


class Arrived(StrEnum):
    """What became of an order, by what the cluster holds."""

    NOTHING = "nothing"
    PART = "part"
    ALL = "all"
    UNDONE = "undone"
    ELSE = "else"


def arrived(
    view: ScaleView, action: str, *, before: Instances, to: Instances, version: str
) -> Arrived:
    """Return how much of an action that goes from ``before`` to ``to`` has arrived.

    ``version`` is what it was decided on. What carries the action and holds counts that it never
    asked for was changed by somebody else since.
    """
    if action in view.overwritten or not view.carries(action):
        untouched = view.resource_version == version and action not in view.overwritten
        return Arrived.NOTHING if untouched else Arrived.ELSE
    if action in view.undone and action not in view.actions:
        return Arrived.UNDONE if view.desired == before else Arrived.ELSE
    if view.desired == to:
        return Arrived.ALL
    return Arrived.PART if _is_between(view.desired, before, to) else Arrived.ELSE


def _is_between(here: Instances, before: Instances, to: Instances) -> bool:
    return all(
        min(before.of(role), to.of(role)) <= here.of(role) <= max(before.of(role), to.of(role))
        for role in ROLES
    )
