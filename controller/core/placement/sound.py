"""What of a service can't be reckoned with: such a row holds its own service only (S24)."""

from collections.abc import Iterator
from math import inf

from controller.core.placement.layout import needs_of
from controller.core.placement.values import RoleNeed, Tenant


def fault_of(tenant: Tenant) -> str:
    """Return what makes placing a service impossible, with the figure; empty if nothing."""
    return next(_faults(tenant), "")


def _faults(tenant: Tenant) -> Iterator[str]:
    ratio = tenant.pd_ratio
    if ratio is not None and not 0 <= ratio < inf:
        yield f"its P/D ratio is {ratio}"
    if tenant.spread is not None and tenant.spread.domains < 1:
        yield f"it is to be spread over {tenant.spread.domains} domains"
    for form in tenant.roles.values():
        for part in form.parts:
            if part.pods < 1:
                yield f"its part {part.name} has {part.pods} pods"
    for need in needs_of(tenant):
        yield from _of_need(need)


def _of_need(need: RoleNeed) -> Iterator[str]:
    if need.nodes < 1:
        yield f"an instance is to take {need.nodes} nodes"
    for choice in need.hardware:
        if choice.gpus < 1:
            yield f"an instance is to take {choice.gpus} {choice.type} GPUs"
        if not 0 < choice.throughput < inf:
            yield f"the throughput of its {choice.type} instances is {choice.throughput}"
