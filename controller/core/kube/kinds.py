"""The kinds of objects that hold a role's instances, and what each of them can express."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class WorkloadKind(StrEnum):
    """What kind of object says how many instances there are."""

    DEPLOYMENT = "deployment"
    STATEFUL_SET = "statefulset"
    LEADER_WORKER_SET = "leaderworkerset"
    ROLE_BASED_GROUP = "rolebasedgroup"
    DYNAMO = "dynamo"
    SCALE = "scale"


class Gate(StrEnum):
    """What keeps an instance out of service discovery."""

    NONE = "none"
    LABEL = "label"
    READINESS = "readiness"


class Victims(StrEnum):
    """Who goes when the count falls: those with the lowest cost, the highest ordinals, unknown."""

    COST = "cost"
    ORDINAL = "ordinal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its API and plural, whose count is written, and how victims are chosen."""

    api: str
    plural: str
    victims: Victims
    words: str
    part_word: str = ""
    has_template: bool = False

    @property
    def needs_part(self) -> bool:
        """Whether an object of it holds several roles, so that one must be named."""
        return bool(self.part_word)


KINDS: Final[Mapping[WorkloadKind, Kind]] = {
    WorkloadKind.DEPLOYMENT: Kind(
        "apps/v1", "deployments", Victims.COST, "Deployment", has_template=True
    ),
    WorkloadKind.STATEFUL_SET: Kind(
        "apps/v1", "statefulsets", Victims.ORDINAL, "StatefulSet", has_template=True
    ),
    WorkloadKind.LEADER_WORKER_SET: Kind(
        "leaderworkerset.x-k8s.io/v1", "leaderworkersets", Victims.ORDINAL, "LeaderWorkerSet"
    ),
    WorkloadKind.ROLE_BASED_GROUP: Kind(
        "workloads.x-k8s.io/v1alpha1",
        "rolebasedgroupscalingadapters",
        Victims.UNKNOWN,
        "RoleBasedGroupScalingAdapter",
        part_word="role",
    ),
    WorkloadKind.DYNAMO: Kind(
        "nvidia.com/v1alpha1",
        "dynamographdeployments",
        Victims.UNKNOWN,
        "DynamoGraphDeployment",
        part_word="component",
    ),
    WorkloadKind.SCALE: Kind("", "", Victims.UNKNOWN, "object with a scale subresource"),
}

DYNAMO_ADAPTERS: Final = "dynamographdeploymentscalingadapters"


def adapter_of(name: str, part: str) -> str:
    """Return the name of the object that scales one part of a group: ``<group>-<part>``."""
    return f"{name}-{part}".lower()
