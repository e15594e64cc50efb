"""What exists and what is configured."""

from inventory.models.hardware import HardwareType
from inventory.models.services import Policy, PolicyRevision, RoleSpec, Service, Slo
from inventory.models.topology import Cluster, Node, Rack, Region, Switch

__all__ = [
    "Cluster",
    "HardwareType",
    "Node",
    "Policy",
    "PolicyRevision",
    "Rack",
    "Region",
    "RoleSpec",
    "Service",
    "Slo",
    "Switch",
]
