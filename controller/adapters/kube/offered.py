"""What a cluster holds that may become a service, and its nodes for the inventory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from controller.core.kube.access import Res
from controller.core.kube.errors import ForbiddenError, MissingError
from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.offers import Offer, Offered, offers_of
from controller.core.kube.rights import NODES, PODS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from controller.adapters.kube.api import Api

MOST: Final = 5_000
"""More workloads than a person chooses from are not listed."""
_KEPT_META: Final = ("name", "uid", "labels")
_KEPT_SPEC: Final = ("providerID", "unschedulable", "taints")
_KEPT_STATUS: Final = ("capacity", "allocatable", "conditions")


def offered(api: Api, namespaces: Sequence[str], *, until: float) -> Offered:
    """Return the workloads of the known kinds that have GPUs or do not tell.

    A kind that is not there or may not be listed leaves the others. Raises the other
    :class:`KubeError`.
    """
    found: list[Offer] = []
    told: list[str] = []
    for kind, about in KINDS.items():
        if kind is WorkloadKind.SCALE:
            continue
        try:
            for obj in _listed(api, Res(about.api, about.plural), namespaces, until=until):
                found += offers_of(kind, about.api, about.plural, obj)
        except MissingError:
            # Its operator is not installed.
            continue
        except ForbiddenError as fault:
            told.append(f"{about.words}s may not be listed: {fault.verb} {fault.what} lacks.")
    usable = [offer for offer in found if offer.gpus != 0]
    usable.sort(key=lambda offer: (offer.namespace, offer.name, offer.part))
    if len(usable) > MOST:
        told.append(f"Of {len(usable):,} workloads the first {MOST:,} are shown.")
    return Offered(tuple(usable[:MOST]), tuple(told))


def nodes(api: Api, *, until: float) -> bytes:
    """Return all nodes as ``kubectl get nodes -o json`` prints them, less what nobody reads."""
    items = [_kept(obj) for obj in _listed(api, NODES, (), until=until)]
    return orjson.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def nodes_under(api: Api, offer: Offer, *, until: float) -> Counter[str]:
    """Return how many pods of a workload run on each node; empty where its pods are not known."""
    if not offer.selector:
        return Counter()
    selector = ",".join(f"{key}={value}" for key, value in offer.selector.items())
    pages = api.pages(PODS, offer.namespace, selector=selector, until=until)
    specs = (obj.get("spec") for page in pages for obj in page.items)
    names = (spec.get("nodeName") for spec in specs if isinstance(spec, dict))
    return Counter(name for name in names if isinstance(name, str))


def _listed(
    api: Api, res: Res, namespaces: Sequence[str], *, until: float
) -> Iterator[dict[str, Any]]:
    for namespace in namespaces or (None,):
        for page in api.pages(res, namespace, until=until):
            yield from page.items


def _kept(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without its images and reports, which are most of it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        **{
            part: {key: body[key] for key in keys if key in body}
            for part, keys in (
                ("metadata", _KEPT_META),
                ("spec", _KEPT_SPEC),
                ("status", _KEPT_STATUS),
            )
            if isinstance(body := node.get(part), dict)
        },
    }
