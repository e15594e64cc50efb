"""What of a plan a cluster of Kubernetes can be told, workload by workload, and where pods are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models.functions import Lower

from controller.core import phrases
from controller.core.kube import affinity
from controller.core.kube.affinity import Wanted
from controller.core.kube.kinds import Gate, Victims
from controller.core.kube.plain import from_plain
from controller.core.kube.values import WorkloadRef, WorkloadSeen
from controller.models import ServiceSight
from controller.selectors.placement_seen import Instance, Seen, Spot
from inventory.models import Cluster, Nearness, Node, Service

LEVELS: Final = {Nearness.S1.value: "S1", Nearness.S2.value: "S2"}


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence about a workload or a group, and whether somebody should know."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Expressed:
    """What the cluster can be told of placement; ``unread`` says why that is not known."""

    told: Sequence[Told] = ()
    unread: str = ""


def of_service(service: Service, seen: Seen) -> Expressed | None:
    """Return what can be expressed of a service's plan, ``None`` outside of Kubernetes.

    Two queries, and none elsewhere.
    """
    if service.cluster.kind != Cluster.Kind.KUBERNETES:
        return None
    row = ServiceSight.objects.filter(service=service).first()
    if row is None:
        return Expressed(unread="Its workloads were not seen yet.")
    try:
        found = from_plain(row.body)
    except ValueError as fault:
        return Expressed(unread=f"What was seen of its workloads can't be read: {fault}.")
    groups = _domains(service, seen)
    read = [
        (ref, one, len(pods))
        for ref, one, pods in found.workloads
        if isinstance(one, WorkloadSeen)
    ]
    return Expressed(
        (
            *(Told(text, is_warning=True) for _, _, text in groups.values() if text),
            *(told for ref, one, _ in read for told in _workload(ref, one, groups)),
        )
    )


def _workload(
    ref: WorkloadRef, seen: WorkloadSeen, groups: Mapping[str, tuple[Wanted | None, bool, str]]
) -> Iterator[Told]:
    wanted, is_wanted, _ = affinity.of_group(groups, ref.group) or (None, True, "")
    if is_wanted:
        is_kept = wanted is not None and affinity.is_kept(seen, wanted)
        yield Told(affinity.sentence(ref, seen, wanted), is_warning=not is_kept)
    if ref.about.victims is Victims.ORDINAL:
        yield Told(f"{ref.words}: the highest ordinals go first, whoever a plan names.")
    if ref.about.victims is Victims.UNKNOWN:
        yield Told(f"{ref.words}: its operator chooses who goes, whoever a plan names.")
    if ref.gate is Gate.NONE:
        yield Told(
            f"{ref.words}: nothing keeps its pods out of service discovery, so that they join as"
            " they come up and go without being watched first."
        )


def _domains(service: Service, seen: Seen) -> dict[str, tuple[Wanted | None, bool, str]]:
    """Return for each group the label of its domain, whether it needs one, and who is outside."""
    level = service.affinity_level
    if level not in LEVELS:
        return {one.group: (None, False, "") for one in seen.instances}
    by_group: dict[str, list[Instance]] = defaultdict(list)
    for one in seen.instances:
        by_group[one.group].append(one)
    labels = _labels(service, seen)
    return {
        name: _domain(service, name, _spots(seen, own), labels) for name, own in by_group.items()
    }


def _spots(seen: Seen, instances: Sequence[Instance]) -> list[list[Spot | None]]:
    return [[seen.spot(node) for node in one.nodes] for one in instances if one.nodes]


def _domain(
    service: Service,
    group: str,
    spots: Sequence[Sequence[Spot | None]],
    labels: Mapping[str, Mapping[str, str]],
) -> tuple[Wanted | None, bool, str]:
    """Return the domain that most of a group is in, as a label, and how many are not in it."""
    level = service.affinity_level
    at = [{_name(spot, level) for spot in each} for each in spots]
    counted = Counter(name for names in at for name in names if name)
    if not counted:
        return None, True, ""
    domain = min(counted, key=lambda name: (-counted[name], name))
    told = f"{LEVELS[level]} {domain}"
    outside = sum(names != {domain} for names in at)
    inside = [spot for each in spots for spot in each if spot and _name(spot, level) == domain]
    wanted = affinity.wanted_of(
        level,
        told,
        service.cluster.level_keys,
        [labels.get(spot.name.lower(), {}) for spot in inside],
    )
    which = f" of group {group}" if group else ""
    many = phrases.plural(len(at), "instance")
    verb = "is" if outside == 1 else "are"
    text = f"{outside} of {many}{which} {verb} outside {told}." if outside else ""
    return wanted, True, text


def _name(spot: Spot | None, level: str) -> str:
    if spot is None:
        return ""
    return spot.s1 if level == Nearness.S1 else spot.s2


def _labels(service: Service, seen: Seen) -> dict[str, Mapping[str, str]]:
    rows = Node.objects.filter(cluster=service.cluster_id).alias(low=Lower("name"))
    found = rows.filter(low__in=sorted(seen.spots)).values_list("name", "labels")
    return {name.lower(): labels for name, labels in found}
