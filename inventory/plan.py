"""What an import would do to the inventory, and the summary a person checks before it is done."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from inventory.absence import Shrink, gone, shrinks
from inventory.differences import Planned
from inventory.domains import Domain, Domains, Severity, derive
from inventory.importers.found import Fault, Found
from inventory.joining import joined
from inventory.kept import PLANNED_KINDS, Stored, Value
from inventory.matching import match
from inventory.objects import Objects
from inventory.places import places
from inventory.summaries import Holders, holders, moves, summary_of

OPERATIONS: Final = ("create", "change", "unchanged", "conflict", "missing")
FIRST: Final = ("hardware", "switch")
"""New ones of these are looked at first: they may be known by another name."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the person who imports chose about the plan.

    ``part`` says that the files list a part of the fleet, so that nothing is missing for not
    being there; ``merges`` that new hardware types are existing ones; ``level_keys`` are label
    keys to remember for the cluster, ``cluster`` that of things whose file names none.
    """

    part: bool = False
    merges: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    level_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an import would do, how much of each, and what stands against it."""

    objects: tuple[Planned, ...]
    counts: Mapping[str, int]
    errors: tuple[Fault, ...]
    warnings: tuple[str, ...]
    summary: tuple[str, ...]
    notes: tuple[str, ...] = ()
    impact: tuple[str, ...] = ()
    shrink: Mapping[str, Shrink] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()
    further_errors: int = 0
    base_version: int = 0
    form: str = ""
    clusters: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Planned, ...]:
        """Return what applying it would change."""
        return tuple(one for one in self.objects if one.differs)

    @property
    def digest(self) -> str:
        """Return the same text for plans that do the same."""
        told = [
            [one.operation, one.kind, one.key, one.before, one.after, one.held]
            for one in self.objects
            if one.operation != "unchanged"
        ]
        told += [[one.field, one.message] for one in self.errors]
        # What is asked about before it is done is more than what is written.
        told += [[name, asdict(one)] for name, one in sorted(self.shrink.items())]
        plain = json.dumps(told, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(plain.encode()).hexdigest()


def plan_against(
    stored: Stored,
    found: Found,
    options: PlanOptions = PlanOptions(),
    services: Holders | None = None,
) -> Plan:
    """Return what importing would do to what is stored, the same for the same input.

    ``services`` names those with instances on a node. Findings that refuse are errors without a
    line; a plan with errors is not to be applied.
    """
    found, names = joined(found, stored, options.merges)
    where = places(found, stored)
    matches = match(found, stored, names)
    making = Objects(found, stored, matches, where, options.cluster, options.level_keys)
    objects = making.all()
    absent = gone(found, stored, matches, part=options.part)
    after = making.after(absent)
    domains = derive(after)
    refusals = [one for one in domains.findings if one.severity is Severity.REFUSE]
    derived = _derived(stored, domains)
    everything = _in_order([*objects, *absent, *derived])
    counted = Counter(one.operation for one in everything)
    held = services or {}
    called = {(cluster, old): new for (kind, cluster, old), new in matches.renamed.items()}
    return Plan(
        objects=everything,
        counts={operation: counted[operation] for operation in OPERATIONS},
        errors=(
            *found.faults,
            *matches.faults,
            *making.faults,
            *(Fault(None, one.code, one.sentence) for one in refusals),
        ),
        warnings=(
            *matches.warnings,
            *making.warnings,
            *(one.sentence for one in domains.findings if one.severity is Severity.WARN),
        ),
        summary=summary_of(found, domains),
        notes=(*found.notes, *making.notes),
        impact=(*_lost(absent, held), *moves(stored.domains, domains.domains, called, held)),
        shrink=shrinks(stored, absent),
        domains=domains.domains,
        further_errors=found.further_faults,
        base_version=stored.version,
        form=found.format,
        clusters=tuple(one.slug for one in found.clusters),
    )


def plan_for_empty(found: Found) -> Plan:
    """Return the plan for an inventory that holds nothing."""
    return plan_against(Stored(), found)


def _in_order(objects: Sequence[Planned]) -> tuple[Planned, ...]:
    """Return new hardware types and switches first, then all things that others rest on first."""
    kinds = {kind: place for place, kind in enumerate((*PLANNED_KINDS, "domain"))}

    def rank(one: Planned) -> tuple[int, int]:
        is_first = one.operation == "create" and one.kind in FIRST
        return (FIRST.index(one.kind) if is_first else len(FIRST), kinds[one.kind])

    return tuple(sorted(objects, key=rank))


def _lost(absent: Sequence[Planned], services: Holders) -> tuple[str, ...]:
    nodes = [one for one in absent if one.kind == "node"]
    there = holders(((one.key[0], one.key[1]) for one in nodes), services)
    if not there:
        return ()
    word = "node that is" if len(nodes) == 1 else "nodes that are"
    return (f"{len(nodes):,} {word} no longer listed{there}.",)


def _derived(stored: Stored, domains: Domains) -> list[Planned]:
    """Return the domains that come of it beside those there are."""
    old = {(one.cluster.lower(), one.level, one.name): one for one in stored.domains}
    made = []
    for domain in domains.domains:
        before = old.pop((domain.cluster.lower(), domain.level, domain.name), None)
        made.append(_domain(domain, before))
    return made + [_domain_gone(one) for one in old.values()]


def _domain(domain: Domain, before: Domain | None) -> Planned:
    after = _fields(domain)
    one = Planned(
        operation="create",
        kind="domain",
        key=(domain.cluster.lower(), str(domain.level), domain.name.lower()),
        name=f"{domain.level} {domain.name}",
        cluster=domain.cluster,
        after=after,
        at="derived",
    )
    if before is None:
        return one
    was = _fields(before)
    names = [name for name in {**was, **after} if was.get(name) != after.get(name)]
    return replace(
        one,
        operation="change" if names else "unchanged",
        before={name: was.get(name) for name in names},
        after={name: after.get(name) for name in names},
    )


def _domain_gone(domain: Domain) -> Planned:
    """Return that a domain is derived no more; unlike what a source brought, it goes."""
    return replace(_domain(domain, domain), operation="remove", before=_fields(domain))


def _fields(domain: Domain) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "level": str(domain.level),
        "name": domain.name,
        "nodes": list(domain.nodes),
        "switches": list(domain.switches),
        "hardware": list(domain.hardware),
    }
    if domain.parent:
        fields["parent"] = domain.parent
    if domain.subgroup:
        fields |= {"subgroup": str(domain.subgroup), "priority": domain.subgroup.priority}
    return fields
