"""What uses a hardware type, and what stands in the way of a merge."""

from inventory.models import Cluster, HardwareType, Node, RoleSpec

MOST_NAMED = 5


def users_of(row: HardwareType) -> tuple[str, ...]:
    """Return what uses a type, in words; empty where nothing does."""
    found = []
    if nodes := Node.objects.filter(hardware=row).count():
        found.append(f"{nodes} node{'' if nodes == 1 else 's'}")
    roles = RoleSpec.objects.filter(hardware=row).order_by("service__slug")
    services = list(dict.fromkeys(roles.values_list("service__slug", flat=True)))
    if services:
        more = "" if len(services) <= MOST_NAMED else " …"
        found.append(
            f"{len(services)} service{'' if len(services) == 1 else 's'} "
            f"({', '.join(services[:MOST_NAMED])}{more})"
        )
    return tuple(found)


def gpus_of(row: HardwareType) -> int:
    """Return the GPUs of the nodes of a type, as far as they were counted."""
    counts = Node.objects.filter(hardware=row, gpus__isnull=False).values_list("gpus", flat=True)
    return sum(count or 0 for count in counts)


def merge_refusal(row: HardwareType) -> str:
    """Return in a sentence why a type can't be merged into another; empty if it can."""
    simulated = Node.objects.filter(hardware=row, cluster__kind=Cluster.Kind.SIMULATED)
    if simulated.exists():
        return f"The simulator plays nodes of {row.slug} by this name, so it has to stay."
    return ""
