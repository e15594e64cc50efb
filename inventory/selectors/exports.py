"""The inventory as files that can be imported again."""

from inventory.export import write
from inventory.stored import read


class UnknownClusterError(Exception):
    """No cluster has this name."""


def exported(cluster: str = "") -> str:
    """Return the inventory, or one cluster and what it uses, as YAML.

    Raises :class:`UnknownClusterError`.
    """
    stored = read([cluster] if cluster else None)
    if cluster and not stored.of("cluster"):
        raise UnknownClusterError(cluster)
    return write(stored.used() if cluster else stored.found())
