"""Which nodes of each cluster report their GPUs to which Prometheus, by what was asked now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.core.readings.node_match import NodeMatch, matched, strangers
from inventory.models import Cluster, MetricsEndpoint, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    Told = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence of the match, and whether it is as it should be."""

    subject: str
    said: str
    is_fine: bool

    @property
    def tone(self) -> str:
        """The icon of it."""
        return "ok" if self.is_fine else "warn"


def sources() -> Sequence[MetricsEndpoint]:
    """Return every Prometheus that is asked; one query."""
    kind = MetricsEndpoint.Kind.PROMETHEUS
    return list(MetricsEndpoint.objects.filter(enabled=True, kind=kind).order_by("slug"))


def lines(answers: Mapping[str, Told | str]) -> Sequence[Line]:
    """Return what is found of each cluster by what each Prometheus answered.

    An answer is the labels of its hosts, or a sentence why there is none. One query.
    """
    told = [labels for each in answers.values() if not isinstance(each, str) for labels in each]
    failed = [
        Line(name, f"can't be asked: {why}", is_fine=False)
        for name, why in answers.items()
        if isinstance(why, str)
    ]
    if len(failed) == len(answers):
        return failed
    nodes = _nodes()
    found = {slug: matched(names, told) for slug, names in nodes.items()}
    counted = [Line(slug, one.sentence, not one.unmatched) for slug, one in found.items()]
    strange = _strange(found.values())
    rest = [Line("Unknown", strangers(strange), is_fine=False)] if strange else []
    return [*counted, *rest, *failed]


def _strange(found: Collection[NodeMatch]) -> Sequence[str]:
    """Return the hosts that are nodes of none of the clusters."""
    names = [{*each.strange} for each in found]
    return sorted(set.intersection(*names)) if names else []


def _nodes() -> Mapping[str, Sequence[str]]:
    """Return the nodes with GPUs that are there, by cluster; simulated ones report nowhere."""
    rows = (
        Node.objects.filter(missing_since=None)
        .exclude(gpus=0)
        .exclude(cluster__kind=Cluster.Kind.SIMULATED)
        .order_by("cluster__slug", "name")
    )
    found: dict[str, list[str]] = defaultdict(list)
    for slug, name in rows.values_list("cluster__slug", "name"):
        found[slug].append(name)
    return found
