"""GPUs that one instance takes, by service, role and the hardware it runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from inventory.models import RoleHardware, RoleSpec

RoleOf = tuple[str, str]
"""A service's slug and a role."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """GPUs of one instance: ``own`` on its role's first choice, ``further`` on alternatives."""

    own: Mapping[RoleOf, int]
    further: Mapping[tuple[str, str, str], int]

    def of(self, service: str, role: str, hardware: str) -> int:
        """Return the GPUs of an instance on nodes of a hardware type; 0 for an unknown role."""
        alternative = self.further.get((service, role, hardware))
        return self.own.get((service, role), 0) if alternative is None else alternative


def read_sizes() -> Sizes:
    """Read the sizes of all services; two queries."""
    own = RoleSpec.objects.values_list("service__slug", "role", "gpus_per_instance")
    further = RoleHardware.objects.values_list(
        "role__service__slug", "role__role", "hardware__slug", "gpus_per_instance"
    )
    return Sizes(
        own={(service, role): gpus for service, role, gpus in own},
        further={(service, role, slug): gpus for service, role, slug, gpus in further},
    )


@lru_cache(maxsize=1_000)
def shares(gpus: int, nodes: int) -> tuple[int, ...]:
    """Return how many GPUs an instance takes of each of its nodes; they add up to ``gpus``.

    An instance over several nodes takes whole nodes, so it takes the same of each (HeteroScale
    §7); where that does not come out even the first take one more.
    """
    if not nodes:
        return ()
    each, more = divmod(gpus, nodes)
    return tuple(each + (at < more) for at in range(nodes))
