"""The epoch of the database beside those that clusters were last written under (D04)."""

from dataclasses import dataclass
from typing import Any

from controller.models import ControllerLease, ServiceSight


@dataclass(frozen=True, slots=True)
class Stamped:
    """The newest epoch seen on an object of one cluster, and on which."""

    cluster: str
    epoch: int
    on: str


@dataclass(frozen=True, slots=True)
class Epochs:
    """What the database gave out last, and what clusters carry."""

    database: int
    stamped: tuple[Stamped, ...]

    @property
    def needed(self) -> int | None:
        """The least epoch under which every cluster takes writes again; ``None``: the present."""
        newest = max((one.epoch for one in self.stamped), default=0)
        return newest + 1 if newest > self.database else None


def read_epochs() -> Epochs:
    """Return both, as the watcher saw the clusters last."""
    leases = ControllerLease.objects.values_list("epoch", flat=True)
    sights = ServiceSight.objects.order_by("service__cluster__slug").values_list(
        "service__cluster__slug", "body"
    )
    newest: dict[str, Stamped] = {}
    for cluster, body in sights:
        for one in _stamps(cluster, body):
            if one.epoch > newest.get(cluster, one).epoch or cluster not in newest:
                newest[cluster] = one
    return Epochs(max(leases, default=0), tuple(newest.values()))


def _stamps(cluster: str, body: Any) -> list[Stamped]:  # noqa: ANN401 - what a row may hold
    found = []
    workloads = body.get("workloads", ()) if isinstance(body, dict) else ()
    for one in workloads:
        seen, ref = one.get("seen"), one.get("ref", {})
        # A workload that can't be read is a sentence there.
        epoch = seen.get("epoch") if isinstance(seen, dict) else None
        if isinstance(epoch, int) and epoch > 0:
            where = f"{ref.get('plural', '')} {ref.get('namespace', '')}/{ref.get('name', '')}"
            found.append(Stamped(cluster, epoch, where))
    return found
