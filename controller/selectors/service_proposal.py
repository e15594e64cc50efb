"""What a service out of two workloads is proposed to be, and what that rests on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.core.readings.survey import OUTPUT, PREFILLED, REQUESTS
from controller.core.types import ROLES, Role
from controller.models import Detected
from controller.simulator.quick_stress import Lengths
from inventory.models import HardwareType, MetricsEndpoint, Node, Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.core.kube.offers import Offer
    from inventory.models import Cluster

USUAL: Final[Mapping[str, float]] = {"ttft_s": 1.0, "tbt_s": 0.05, "target": 1000.0}
"""What is filled in where nothing was measured."""
ROOM: Final = 2
"""The ceiling is so many times what runs now."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """Values of the form by field, and in sentences what they rest on.

    ``measured_at`` is the source that showed goals and target, empty where none did; ``lengths``
    are those of requests there, if it told them.
    """

    values: Mapping[str, Any]
    basis: tuple[str, ...]
    measured_at: str = ""
    lengths: Lengths | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be chosen: hardware types and sources of metrics."""

    hardware: Sequence[tuple[str, str]]
    sources: Sequence[tuple[str, str]]


def choices() -> Choices:
    """Return what there is to choose of; two queries."""
    types = HardwareType.objects.order_by("slug").values_list("slug", "gpu_model")
    sources = MetricsEndpoint.objects.filter(enabled=True).order_by("slug")
    return Choices(
        [(slug, f"{slug} ({model})" if model else slug) for slug, model in types],
        [(slug, slug) for slug in sources.values_list("slug", flat=True)],
    )


def propose(
    cluster: Cluster,
    name: str,
    offers: Mapping[Role, Offer],
    under: Mapping[Role, Mapping[str, int]],
) -> Proposed:
    """Return what is filled in for a service of that name; five queries.

    ``under`` are pods by node of each role's workload, empty where that is unknown.
    """
    values: dict[str, Any] = {"slug": _free(name), "model": name, **USUAL}
    basis: list[str] = []
    for role in ROLES:
        offer = offers[role]
        hardware, said = _hardware(cluster, under.get(role, {}))
        values |= {
            f"{role}_hardware": hardware,
            f"{role}_gpus": offer.gpus or 1,
            f"{role}_minimum": min(1, offer.count) or 1,
            f"{role}_maximum": max(ROOM * offer.count, ROOM),
        }
        basis.append(_role_said(role, offer, said))
    counts = {role: offers[role].count for role in ROLES}
    values["pd_ratio"] = 0.5
    if all(counts.values()):
        values["pd_ratio"] = round(counts[Role.PREFILL] / counts[Role.DECODE], 3)
    found = _measured(offers, values["slug"])
    if found is None:
        return Proposed(values | _unmeasured(offers), tuple(basis))
    each, source = found
    measured = {**_found(each), "source": source}
    return Proposed(values | measured, tuple(basis), source, _lengths(each))


def _role_said(role: Role, offer: Offer, hardware: str) -> str:
    gpus = f"{offer.gpus} GPUs each, by its pods" if offer.gpus else "how many GPUs is not told"
    guess = f" ({role} by {offer.why})" if offer.role is role else ""
    return f"{offer.words}{guess}: {offer.count} now, {gpus}; {hardware}."


def _hardware(cluster: Cluster, under: Mapping[str, int]) -> tuple[str, str]:
    """Return the hardware type of most pods, else of most nodes, and which of both it is."""
    rows = Node.objects.filter(cluster=cluster, missing_since=None, hardware__isnull=False)
    if under:
        by: Counter[str] = Counter()
        for name, slug in rows.filter(name__in=list(under)).values_list("name", "hardware__slug"):
            by[slug] += under[name]
        if by:
            slug = by.most_common(1)[0][0]
            return slug, f"on {slug}, by the nodes they run on"
    every = Counter(rows.values_list("hardware__slug", flat=True))
    if not every:
        return "", "its hardware is unknown until nodes are brought in"
    slug = every.most_common(1)[0][0]
    return slug, f"on {slug}, as most nodes of {cluster.slug} are"


def _measured(offers: Mapping[Role, Offer], slug: str) -> tuple[Mapping[str, Any], str] | None:
    """Return what a Prometheus showed of these workloads, and its name."""
    for kept in Detected.objects.select_related("endpoint").order_by("-at"):
        for each in kept.found.get("services", ()):
            if each.get("attach") and not each.get("blockers") and _fits(each, offers, slug):
                return each, kept.endpoint.slug
    return None


def _unmeasured(offers: Mapping[Role, Offer]) -> dict[str, Any]:
    """Return where to read from, and the engines by their images."""
    engine = next((offer.engine for offer in offers.values() if offer.engine), "")
    presets = {"presets": [engine]} if engine in {"vllm", "sglang", "trtllm", "dynamo"} else {}
    endpoint = MetricsEndpoint.objects.filter(enabled=True).order_by("slug").first()
    return {**presets, **({"source": endpoint.slug} if endpoint else {})}


def _fits(found: Mapping[str, Any], offers: Mapping[Role, Offer], slug: str) -> bool:
    """Return whether a proposal is of these workloads: by its pods, else by its name."""
    decode = offers[Role.DECODE]
    if found.get("namespace") not in {None, "", decode.namespace}:
        return False
    names = found.get("roles", {}).get(Role.DECODE.value, {}).get("names", ())
    if any(str(name).startswith(f"{decode.name}-") for name in names):
        return True
    return bool({slug, decode.stem, decode.name} & {found.get("slug"), found.get("known_as")})


def _found(each: Mapping[str, Any]) -> dict[str, Any]:
    goals = {name: (each["slo"].get(name) or {}).get("goal") for name in ("ttft_s", "tbt_s")}
    told = {**goals, "target": each.get("target"), "pd_ratio": each.get("pd_ratio")}
    models = each.get("models") or []
    return {
        **{name: value for name, value in told.items() if value},
        **({"model": models[0]} if models else {}),
        "found": each["slug"],
    }


def _lengths(each: Mapping[str, Any]) -> Lengths | None:
    """Return the mean lengths of requests, where all that they follow from was counted."""
    load = each.get("load") or {}
    requests, prompt, answer = (
        (load.get(what) or {}).get("mean") or 0.0 for what in (REQUESTS, PREFILLED, OUTPUT)
    )
    if not (requests and prompt and answer):
        return None
    return Lengths(max(prompt / requests, 1.0), max(answer / requests, 1.0))


def _free(name: str) -> str:
    taken = set(Service.objects.filter(slug__startswith=name).values_list("slug", flat=True))
    numbered = (f"{name}-{at}" for at in range(2, len(taken) + 3))
    return next(each for each in (name, *numbered) if each not in taken)
