"""The switches of a cluster, tier by tier."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Count, Sum

from inventory.models import Cluster, Link, Switch
from inventory.models.base import Health

PAGE: Final = 100
TONES: Final[Mapping[str, str]] = {Health.OK: "ok", Health.DEGRADED: "warn", Health.FAILED: "crit"}


@dataclass(frozen=True, slots=True)
class SwitchLine:
    """A switch in the list of a cluster."""

    name: str
    page: str
    tier: int | None
    rail: int | None
    fabric: str
    model: str
    tone: str
    health: str
    nodes: int
    cables: int


@dataclass(frozen=True, slots=True)
class SwitchList:
    """The switches of a cluster, some of them; ``tiers`` are those there are with counts."""

    cluster: str
    clusters: tuple[tuple[str, int], ...]
    tier: str
    tiers: tuple[tuple[int | None, int], ...]
    lines: tuple[SwitchLine, ...]
    page: int
    pages: int
    total: int


def read_switches(cluster: str, tier: str, page: int) -> SwitchList | None:
    """Return the switches of a cluster and tier; ``None`` when there is no such cluster.

    Without a cluster, that with the most switches; ``tier`` is a number or ``unknown``. Six
    queries for any number.
    """
    clusters = tuple(
        Cluster.objects.annotate(total=Count("switches"))
        .order_by("-total", "slug")
        .values_list("slug", "total")
    )
    slugs = [slug for slug, _ in clusters]
    chosen = cluster.lower() or next(iter(slugs), "")
    if chosen and chosen not in slugs:
        return None
    here = Switch.objects.filter(cluster__slug=chosen)
    tiers = tuple(here.order_by().values_list("tier").annotate(total=Count("pk")).order_by("tier"))
    some = here.filter(tier=int(tier)) if tier.isdecimal() else here
    some = some.filter(tier=None) if tier == "unknown" else some
    total = some.count()
    pages = max(1, -(-total // PAGE))
    page = min(max(1, page), pages)
    rows = some.select_related("fabric").order_by("tier", "name")[(page - 1) * PAGE : page * PAGE]
    return SwitchList(
        chosen, clusters, tier, tiers, _lines(chosen, list(rows)), page, pages, total
    )


def _lines(cluster: str, rows: Sequence[Switch]) -> tuple[SwitchLine, ...]:
    keys = [row.pk for row in rows]
    nodes: Counter[UUID | None] = Counter()
    cables: Counter[UUID | None] = Counter()
    for end in ("switch", "peer"):
        # A cable between two switches is written down once, at either.
        found = Link.objects.filter(**{f"{end}__in": keys, "missing_since": None}).order_by()
        for pk, under, summed in found.values_list(end).annotate(
            under=Count("node", distinct=True), summed=Sum("count")
        ):
            nodes[pk] += under
            cables[pk] += summed
    return tuple(
        SwitchLine(
            name=row.name,
            page=f"/fleet/switches/{cluster}/{row.name}/",
            tier=row.tier,
            rail=row.rail,
            fabric=row.fabric.name,
            model=row.model,
            tone=TONES.get(row.health, "muted"),
            health=row.get_health_display(),
            nodes=nodes[row.pk],
            cables=cables[row.pk],
        )
        for row in rows
    )
