"""What of a cluster's topology is worth a look, from what is stored about it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from controller.core.phrases import NAMED
from controller.selectors.node_seen import NodeSeen
from controller.selectors.topology_rows import Rows, SwitchRow
from controller.selectors.topology_uplinks import Uplinks
from inventory.domains import FEWEST_FOR_OUTLIERS, OUTLIER


@dataclass(frozen=True, slots=True)
class Named:
    """A thing a finding is about, and its page."""

    name: str
    page: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong: a sentence, the first things it is about, a list of all."""

    tone: str
    sentence: str
    named: tuple[Named, ...] = ()
    more: int = 0
    address: str = ""


def find(rows: Rows, uplinks: Uplinks) -> tuple[Finding, ...]:
    """Return what is worth a look, the worst first."""
    found = (
        *_switches(rows),
        *_cables(rows),
        *_nodes(rows),
        *_uneven(rows, uplinks.reached),
        *_sizes(rows),
    )
    return tuple(sorted(found, key=lambda one: one.tone != "crit"))


def _nodes(rows: Rows) -> Iterable[Finding]:
    lists = f"/fleet/?cluster={rows.cluster}"
    if rows.domains:
        yield from _about(
            [node for node in rows.nodes if node.s1 is None],
            ("is under no S1 domain", "are under no S1 domain"),
            f"{lists}&s1=none",
        )
    yield from _about(
        [node for node in rows.nodes if node.word == "missing"],
        ("is no longer listed by its source", "are no longer listed by their source"),
        f"{lists}&listed=no",
    )
    yield from _about(
        [node for node in rows.nodes if not node.hardware],
        ("has no known hardware type", "have no known hardware type"),
        f"{lists}&hardware=none",
    )
    yield from _about(
        [node for node in rows.nodes if node.gpus is None],
        ("has GPUs that nobody counted", "have GPUs that nobody counted"),
        lists,
    )


def _about(
    nodes: Sequence[NodeSeen], predicates: tuple[str, str], address: str
) -> Iterable[Finding]:
    if nodes:
        one, many = predicates
        told = f"1 node {one}" if len(nodes) == 1 else f"{len(nodes):,} nodes {many}"
        named = tuple(Named(node.name, node.address) for node in nodes[:NAMED])
        yield Finding("warn", told, named, len(nodes) - len(named), address)


def _switches(rows: Rows) -> Iterable[Finding]:
    switches = rows.switches.values()
    failed = [one for one in switches if one.tone == "crit"]
    unwell = [one for one in switches if one.tone == "warn"]
    untold = [one for one in switches if one.tier is None]
    yield from _of_switches(rows, "crit", failed, "failed", "failed")
    yield from _of_switches(
        rows,
        "warn",
        unwell,
        "is degraded or has an open event",
        "are degraded or have open events",
    )
    yield from _of_switches(rows, "warn", untold, "has no known tier", "have no known tier")


def _of_switches(
    rows: Rows, tone: str, switches: Sequence[SwitchRow], one: str, many: str
) -> Iterable[Finding]:
    if switches:
        told = f"1 switch {one}" if len(switches) == 1 else f"{len(switches):,} switches {many}"
        named = tuple(
            Named(each.name, f"/fleet/switches/{rows.cluster}/{each.name}/")
            for each in switches[:NAMED]
        )
        yield Finding(tone, told, named, len(switches) - len(named))


def _cables(rows: Rows) -> Iterable[Finding]:
    bad = sum(one.cables.bad for one in rows.uplinks)
    bad += sum(one.bad for some in rows.downlinks.values() for one in some)
    if bad:
        yield Finding("warn", f"{bad:,} cable{' is' if bad == 1 else 's are'} not well")


def _uneven(rows: Rows, reached: Mapping[int, set[str]]) -> Iterable[Finding]:
    """Tell the S1 domains that reach fewer of the switches above than their neighbours do."""
    above: dict[int | None, set[str]] = defaultdict(set)
    for pk, names in reached.items():
        above[rows.by_pk[pk].parent] |= names
    short = [
        (rows.by_pk[pk].name, len(names), len(above[rows.by_pk[pk].parent]))
        for pk, names in reached.items()
        if rows.by_pk[pk].parent is not None and names != above[rows.by_pk[pk].parent]
    ]
    for name, has, of in sorted(short)[:NAMED]:
        yield Finding("warn", f"S1 {name} reaches {has} of the {of} switches above it")
    if len(short) > NAMED:
        yield Finding("warn", f"{len(short) - NAMED} more S1 domains have uneven uplinks")


def _sizes(rows: Rows) -> Iterable[Finding]:
    names = {one.pk: one.name for one in rows.domains if one.level == "S1"}
    sizes = Counter(s1 for node in rows.nodes if (s1 := node.s1) is not None and s1 in names)
    if len(sizes) < FEWEST_FOR_OUTLIERS:
        return
    usual = median(sizes.values())
    odd = sorted(
        f"{names[pk]} ({many})"
        for pk, many in sizes.items()
        if not usual / OUTLIER <= many <= usual * OUTLIER
    )
    if odd:
        told = ", ".join(odd[:NAMED]) + (f" and {len(odd) - NAMED} more" if odd[NAMED:] else "")
        yield Finding(
            "warn", f"S1 domains have {usual:g} nodes in the median; far from it: {told}"
        )
