"""Domains follow the inventory: derived from its rows, and written where they differ."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from django.db.models import QuerySet
from django.db.models.functions import Lower

from inventory.domains import Domain, Domains, Level, derive
from inventory.models import Cluster, LocalityDomain, Node
from inventory.services import bulk
from inventory.services.writing import chunks
from inventory.stored import TO_DERIVE, read

RANKS: Final = {"low": 0, "medium": 1, "high": 2}
_COLUMNS: Final = ("parent_id", "subgroup", "rank", "switches", "hardware")
Place = tuple[str, str, str]
"""A cluster's slug, a level, and a domain's name."""


def derive_domains(clusters: Collection[str], version: int) -> Domains:
    """Derive the domains of some clusters anew and write what differs; returns them.

    Call it inside the transaction of the change that ``version`` stamps. Domains keep their rows
    as long as they keep their names.
    """
    stored = read(clusters, TO_DERIVE)
    domains = derive(stored.found())
    ids = _write(clusters, domains.domains, version)
    _place(clusters, domains.domains, ids)
    kept = {ids[_place_of(one)] for one in domains.domains}
    _of(clusters).exclude(pk__in=kept).delete()
    return domains


def _of(clusters: Collection[str]) -> QuerySet[LocalityDomain]:
    wanted = {slug.lower() for slug in clusters}
    return LocalityDomain.objects.alias(place=Lower("cluster__slug")).filter(place__in=wanted)


def _write(clusters: Collection[str], domains: Sequence[Domain], version: int) -> dict[Place, int]:
    """Make and change rows; returns the row of each domain."""
    names = ("cluster__slug", "level", "name", "id", *_COLUMNS)
    rows = {
        (cluster, level, name): (row, cells)
        for cluster, level, name, row, *cells in _of(clusters).values_list(*names)
    }
    keys = set(_of(clusters).values_list("cluster__slug", "level", "key"))
    ids = {place: row for place, (row, _) in rows.items()}
    owners = dict(Cluster.objects.values_list("slug", "pk"))
    new = [domain for domain in domains if _place_of(domain) not in ids]
    # What is further out first, as others are within it.
    for made in (
        [domain for domain in new if domain.level is Level.S2],
        [domain for domain in new if domain.level is not Level.S2],
    ):
        rows_made = LocalityDomain.objects.bulk_create(
            LocalityDomain(
                cluster_id=owners[domain.cluster],
                level=domain.level.value,
                key=_key(domain, keys),
                name=domain.name,
                inventory_version=version,
                **dict(zip(_COLUMNS, _cells(domain, ids), strict=True)),
            )
            for domain in made
        )
        ids |= {_place_of(domain): row.pk for domain, row in zip(made, rows_made, strict=True)}
    changed = []
    for domain in domains:
        row, cells = rows.get(_place_of(domain), (None, []))
        if row is not None and cells != (wanted := _cells(domain, ids)):
            changed.append((row, *wanted, version))
    bulk.update(LocalityDomain, "id", (*_COLUMNS, "inventory_version"), changed)
    return ids


def _place_of(domain: Domain) -> Place:
    return domain.cluster, domain.level.value, domain.name


def _key(domain: Domain, keys: set[Place]) -> str:
    """Return the name in small letters, or as it is where that is taken."""
    key = domain.name.lower()
    if (domain.cluster, domain.level.value, key) in keys:
        key = domain.name
    keys.add((domain.cluster, domain.level.value, key))
    return key


def _cells(domain: Domain, ids: Mapping[Place, int]) -> list[object]:
    above = (domain.cluster, Level.S2.value, domain.parent or "")
    return [
        ids.get(above) if domain.parent else None,
        str(domain.subgroup) if domain.subgroup else "",
        RANKS[domain.subgroup.priority] if domain.subgroup else 0,
        list(domain.switches),
        list(domain.hardware),
    ]


def _place(clusters: Collection[str], domains: Sequence[Domain], ids: Mapping[Place, int]) -> None:
    """Give nodes the domains they are in; one that is missing keeps what it had."""
    wanted: dict[tuple[str, str], list[int | None]] = defaultdict(lambda: [None, None])
    for domain in domains:
        if domain.level is not Level.NVLINK:
            for node in domain.nodes:
                at = 0 if domain.level is Level.S1 else 1
                wanted[domain.cluster, node][at] = ids[_place_of(domain)]
    nodes = Node.objects.alias(place=Lower("cluster__slug")).filter(
        place__in={slug.lower() for slug in clusters}, missing_since=None
    )
    names = ("pk", "cluster__slug", "name", "s1_domain_id", "s2_domain_id")
    moved = []
    for row, cluster, name, s1, s2 in nodes.values_list(*names):
        near, far = wanted.get((cluster, name), (None, None))
        if (s1, s2) != (near, far):
            moved.append((row, near, far))
    for some in chunks(moved):
        bulk.update(Node, "id", ("s1_domain_id", "s2_domain_id"), some)
