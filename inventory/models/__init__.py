"""What exists and what is configured."""

from inventory.models.base import AdminState, Health, Lifecycle
from inventory.models.control import ClusterAccess, Workload
from inventory.models.groups import Binding, DeploymentGroup
from inventory.models.hardware import HardwareAlias, HardwareType
from inventory.models.imports import ImportChange, ImportFile, ImportRun, InventoryVersion
from inventory.models.machines import Gpu, Node
from inventory.models.metrics import MetricsEndpoint, ServiceMetrics, WrittenQuery
from inventory.models.network import Fabric, Link, LocalityDomain, Nic, NvlinkDomain, Switch
from inventory.models.places import Cluster, Rack, Region, Site
from inventory.models.services import (
    Nearness,
    Policy,
    PolicyRevision,
    RoleHardware,
    RolePart,
    RoleSpec,
    Service,
    Slo,
)
from inventory.models.upkeep import HealthEvent, Reservation, ReservedNode

__all__ = [
    "AdminState",
    "Binding",
    "Cluster",
    "ClusterAccess",
    "DeploymentGroup",
    "Fabric",
    "Gpu",
    "HardwareAlias",
    "HardwareType",
    "Health",
    "HealthEvent",
    "ImportChange",
    "ImportFile",
    "ImportRun",
    "InventoryVersion",
    "Lifecycle",
    "Link",
    "LocalityDomain",
    "MetricsEndpoint",
    "Nearness",
    "Nic",
    "Node",
    "NvlinkDomain",
    "Policy",
    "PolicyRevision",
    "Rack",
    "Region",
    "Reservation",
    "ReservedNode",
    "RoleHardware",
    "RolePart",
    "RoleSpec",
    "Service",
    "ServiceMetrics",
    "Site",
    "Slo",
    "Switch",
    "Workload",
    "WrittenQuery",
]
