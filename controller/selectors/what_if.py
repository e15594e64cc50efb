"""What if: the fleet that is asked about, and the answer as the page tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from django.db.models import Max

from controller.core.fleet import NodeRow
from controller.core.phrases import plural
from controller.core.placement.advice import Advice
from controller.core.placement.fitting import Fitting, fittings, in_turn
from controller.core.placement.fragments import Fragmentation
from controller.core.placement.losing import Losing, Loss, Pool
from controller.core.placement.plan_plain import PlainMove, own_names, placement_of
from controller.core.placement.preview import Situation
from controller.core.placement.values import Tenant
from controller.core.placement.what_if import Answer, WhatIf, consequences
from controller.core.types import Instances, Role
from controller.models import ServiceStatus
from controller.selectors.placed import Placed, counts_words, placed_from
from controller.selectors.situation import situation
from controller.selectors.switch_page import nodes_under, switch_names

WOULD: Final = "Would now go to"
MOST_SERVICES: Final = 2000
"""So many services are told of where nothing is asked, by priority."""
KINDS: Final = {
    "node": "node",
    "rack": "rack",
    "s1": "S1",
    "s2": "S2",
    "switch": "all under a switch",
    "hardware": "hardware type",
}
"""What can be taken away, as a person says it."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """All that is there when something is asked; ``reported_at`` is the newest report."""

    situation: Situation
    reported_at: datetime | None

    @property
    def tenants(self) -> Mapping[str, Tenant]:
        """The services that can be placed, by name."""
        return self.situation.tenants

    @property
    def clusters(self) -> list[str]:
        """The clusters of which nodes are known."""
        return sorted({row.cluster for row in self.situation.rows})

    @property
    def hardware(self) -> dict[str, set[str]]:
        """The hardware types of known nodes, each with the clusters that have any."""
        found: dict[str, set[str]] = {}
        for row in self.situation.rows:
            if row.hardware:
                found.setdefault(row.hardware, set()).add(row.cluster)
        return dict(sorted(found.items()))

    def find(self, kind: str, name: str) -> dict[str, set[str]]:
        """Return by cluster the nodes of what is called so, in any case; of a switch, those under.

        Only switches take queries, the same few for any fleet.
        """
        known = {row.name for row in self.situation.rows}
        if kind == "switch":
            found = nodes_under(name)
            return {
                cluster: known & {f"{cluster}/{node}" for node in nodes}
                for cluster, nodes in found.items()
            }
        there: dict[str, set[str]] = {}
        for row in self.situation.rows:
            if _name_of(kind, row).lower() == name.lower():
                there.setdefault(row.cluster, set()).add(row.name)
        return there

    def names(self, kind: str, cluster: str) -> list[str]:
        """Return what can be taken away of a kind in a cluster."""
        if kind == "switch":
            return switch_names(cluster)
        names = {_name_of(kind, row) for row in self.situation.rows if row.cluster == cluster}
        return sorted(filter(None, names))


def _name_of(kind: str, row: NodeRow) -> str:
    names = {
        "node": row.name.partition("/")[2],
        "rack": row.rack,
        "s1": row.s1,
        "s2": row.s2,
        "hardware": row.hardware,
    }
    return names[kind]


@dataclass(frozen=True, slots=True)
class FitLine:
    """How many more units of one service fit now, and why not one more."""

    service: str
    priority: int
    unit: str
    units: int
    is_more: bool
    code: str
    sentence: str
    would_fit_if: str
    query: str


@dataclass(frozen=True, slots=True)
class ShapeLine:
    """One common shape of instance: what fits before and after."""

    shape: str
    largest: tuple[int, int]
    fits: tuple[int, int]


@dataclass(frozen=True, slots=True)
class FreeTold:
    """What is free before and after."""

    whole_nodes: tuple[int, int]
    shapes: Sequence[ShapeLine]


@dataclass(frozen=True, slots=True)
class Help:
    """What would make fit what does not: a sentence and who would move or go."""

    word: str
    sentence: str
    who: Sequence[str]


@dataclass(frozen=True, slots=True)
class LossLine:
    """One service that loses something or gives way."""

    service: str
    priority: int
    had: str
    lost: str
    stays: str
    least: str
    back: str
    placed: str
    shrunk: str
    ends: str
    tone: str
    verdict: str
    why: Sequence[str]
    moves: Sequence[str]


@dataclass(frozen=True, slots=True)
class LostTold:
    """What a loss leads to."""

    headline: str
    pools: Sequence[str]
    lines: Sequence[LossLine]
    unplaced: Sequence[str]


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to a question; ``service`` is the one that changes, empty where none does.

    ``is_watched`` is whether that one is only observed.
    """

    service: str
    change: str
    placed: Placed | None
    most: Sequence[str]
    helps: Sequence[Help]
    lost: LostTold | None
    free: FreeTold
    headline: str
    tone: str
    is_watched: bool


def read_ground() -> Ground:
    """Read everything that is asked about; the same number of queries for any fleet."""
    newest = ServiceStatus.objects.aggregate(newest=Max("observed_at"))["newest"]
    return Ground(situation(), newest)


def read_fits(ground: Ground) -> list[FitLine]:
    """Return how many more units of each service fit now, the highest priority first."""
    tenants = in_turn(ground.tenants)[:MOST_SERVICES]
    found = fittings(ground.situation.fleet, tenants)
    return [_fit_line(one, ground.tenants[one.service]) for one in found]


def _fit_line(one: Fitting, tenant: Tenant) -> FitLine:
    refused = one.refused
    asked = {"ask": "grow", "service": one.service, **_signed(one.unit)}
    return FitLine(
        service=one.service,
        priority=tenant.priority,
        unit=_plus(one.unit),
        units=one.units,
        is_more=one.is_more,
        code=refused.code.value if refused else "",
        sentence=refused.sentence if refused else "",
        would_fit_if=refused.would_fit_if if refused else "",
        query=urlencode(asked),
    )


def _signed(change: Instances) -> dict[str, str]:
    return {role.value: f"{change.of(role):+d}" for role in Role if change.of(role)}


def _plus(unit: Instances) -> str:
    return " + ".join(f"{unit.of(role)} {role.value}" for role in Role if unit.of(role))


def told(ground: Ground, question: WhatIf, what: str) -> Told:
    """Return what would follow, in words; ``what`` says what is gone."""
    found = consequences(ground.situation, question)
    service = question.changes[0].service if question.changes else ""
    tenants = {**ground.tenants, **{one.name: one for one in question.added}}
    placed = _placed(ground, found, tenants[service]) if service else None
    lost = _lost(found.lost, what) if found.lost else None
    tone, headline = _headline(found, question)
    return Told(
        service=service,
        change=_change_words(question.changes[0].change) if service else "",
        placed=placed,
        most=[_most(one) for one in found.most if one.units],
        helps=[_help(one) for one in found.helps],
        lost=lost,
        free=_free(found.before, found.ended),
        headline=lost.headline if lost else headline,
        tone=_worst(lost.lines) if lost else tone,
        is_watched=service in ground.situation.watched,
    )


def _placed(ground: Ground, found: Answer, tenant: Tenant) -> Placed | None:
    version = ground.situation.version
    plain = placement_of(found.plan, tenant.name, version=version, touched="")
    return placed_from(plain, tenant.cluster, WOULD)


def _change_words(change: Instances) -> str:
    return ", ".join(f"{role.value} {change.of(role):+d}" for role in Role if change.of(role))


def _headline(found: Answer, question: WhatIf) -> tuple[str, str]:
    if not question.changes:
        return "ok", ""
    asked = f"{question.changes[0].service} {_change_words(question.changes[0].change)}"
    short = found.plan.unplaced
    if not short:
        return "ok", f"{asked}: all of it has room."
    placed = short[0].placed
    if any(placed):
        return "warn", f"{asked}: there is room for {counts_words(*placed)} of it."
    return "crit", f"{asked}: there is no room."


def _most(one: Fitting) -> str:
    if one.is_more:
        return f"At least {one.units:,} × ({_plus(one.unit)}) fit at once."
    told = _plus(Instances(*(count * one.units for count in one.unit)))
    return f"The most that fits at once is {one.units:,} × ({_plus(one.unit)}): {told}."


def _help(one: Advice) -> Help:
    word = "Moves" if one.moves else "Lower priorities"
    who = [_move_words(move) for move in one.moves]
    return Help(word, one.sentence, who)


def _move_words(move: PlainMove) -> str:
    way = f"{_on(move['from_nodes'])} → {_on(move['to_nodes'])}"
    return f"{move['service']} {move['instance']}: {way}"


def _on(nodes: Mapping[str, int]) -> str:
    return ", ".join(sorted(nodes))


def _free(before: Fragmentation, ended: Fragmentation) -> FreeTold:
    return FreeTold(
        (before.whole_nodes, ended.whole_nodes),
        [
            ShapeLine(
                _shape(was.hardware, was.gpus, was.nodes),
                (was.largest, now.largest),
                (was.fits, now.fits),
            )
            for was, now in zip(before.shapes, ended.shapes, strict=True)
        ],
    )


def _shape(hardware: Sequence[str], gpus: int, nodes: int) -> str:
    each = f"{nodes} whole nodes" if nodes > 1 else plural(gpus, "GPU")
    return f"{each} of {' or '.join(hardware)}"


def _lost(found: Losing, what: str) -> LostTold:
    gpus, held = (sum(getattr(one, name) for one in found.pools) for name in ("gpus", "held"))
    nodes = sum(one.nodes for one in found.pools)
    hit = sum(any(one.lost) for one in found.losses)
    below = sum(one.is_below_least for one in found.losses)
    said = f"{plural(nodes, 'node')} with {plural(gpus, 'GPU')} would be gone with {what}"
    who = f"; instances hold {held:,} of these GPUs. {_who(hit, below)}"
    return LostTold(
        headline=said + who,
        pools=[_pool_words(one) for one in found.pools],
        lines=[_loss_line(one) for one in found.losses],
        unplaced=[f"{one.service}: {one.sentence}" for one in found.unplaced],
    )


def _pool_words(one: Pool) -> str:
    of = one.hardware or "GPUs of unknown type"
    return f"{one.gpus:,} {of} on {plural(one.nodes, 'node')}, {one.held:,} of them held"


def _who(hit: int, below: int) -> str:
    if not hit:
        return "No service has an instance there."
    end = f"{below:,} would end below the minimum" if below else "none ends below its minimum"
    return f"{plural(hit, 'service')} would lose instances; {end}."


def _loss_line(one: Loss) -> LossLine:
    tone, verdict = _verdict(one)
    why = [said.sentence for said in one.refused]
    if one.whole_group:
        moved = plural(len(one.whole_group), "instance")
        why.append(f"The whole group could move instead: {moved}, as a proposal.")
    return LossLine(
        service=one.service,
        priority=one.priority,
        had=_pair(one.had),
        lost=_pair(one.lost),
        stays=_pair(one.stays),
        least=_pair(one.least),
        back=_pair(one.replaced),
        placed=_pair(one.placed),
        shrunk=_pair(one.shrunk),
        ends=_pair(one.ends),
        tone=tone,
        verdict=verdict,
        why=why,
        moves=[
            f"{move.instance}: {_on(own_names(move.from_nodes))} → {_on(own_names(move.to_nodes))}"
            for move in one.moves
        ],
    )


def _pair(pair: Instances) -> str:
    """Return prefill and decode in one cell, on one line."""
    return f"{pair.prefill}\u00a0P,\u00a0{pair.decode}\u00a0D" if any(pair) else "none"


def _verdict(one: Loss) -> tuple[str, str]:
    shrinks = "shrinks to its minimum" if one.ends == one.least else "shrinks for others"
    told = (
        (one.is_watched, "warn", "is only observed: nothing is done"),
        (one.is_below_least, "crit", "below its minimum"),
        (one.is_whole, "ok", "as many as before"),
        (any(one.shrunk), "warn", shrinks),
        (True, "warn", "fewer, not below its minimum"),
    )
    return next((tone, verdict) for holds, tone, verdict in told if holds)


def _worst(lines: Iterable[LossLine]) -> str:
    tones = {line.tone for line in lines}
    return next((tone for tone in ("crit", "warn") if tone in tones), "ok")
