"""What is the matter with an instance: its node may not be used, or it doesn't serve (§7)."""

from collections.abc import Iterable

from controller.core.placement.layout import Fleet
from controller.core.placement.values import Held


def trouble_of(fleet: Fleet, pods: Iterable[Held]) -> str:
    """Return why pods of one instance are no use where they are; empty where nothing is wrong."""
    is_up = True
    for pod in pods:
        is_up = is_up and pod.is_up
        for name, _ in pod.nodes:
            said = trouble_at(fleet, name)
            if said:
                return f"on {fleet.told(name)}, which {said}"
    return "" if is_up else "not serving"


def trouble_at(fleet: Fleet, name: str) -> str:
    """Return why a node may not be used, after its name; empty where it may."""
    at = fleet.at.get(name)
    if at is None:
        return "is not known"
    if name in fleet.barred:
        return f"is {fleet.barred[name]}"
    return "" if fleet.view.usable[at] else "may not be used"
