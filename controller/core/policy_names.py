"""A policy's name as its parts: one policy, or several joined by "+" (HeteroScale §4.4)."""

from typing import Final

from controller.core.types import PolicyConfig

JOINT: Final = "+"
LATENCY: Final = "latency"
PERIODIC: Final = "periodic"
PROPORTIONAL: Final = "proportional"


def policy_names(name: str) -> tuple[str, ...]:
    """Return the names joined in one, in their order and without surrounding space."""
    return tuple(part.strip() for part in name.split(JOINT))


def is_alone(config: PolicyConfig, name: str) -> bool:
    """Return whether a service is sized by the policy of this name and no other."""
    return policy_names(config.name) == (name,)
