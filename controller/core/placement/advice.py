"""What would help, as proposals for a person: moves and shrunk services, with gain and cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from controller.core.fleet import Level
from controller.core.pairs import larger
from controller.core.placement.choose import Ask
from controller.core.placement.cycle import choosing_of, wanted_of
from controller.core.placement.defragment import Rearranging, make_room
from controller.core.placement.degrade import Shrinking, Shrunk, shrink_for
from controller.core.placement.layout import groups_of, sizes_of
from controller.core.placement.moving import USUAL_START_S, Disruption, widened
from controller.core.placement.plan_plain import (
    PlainMove,
    PlainRemoval,
    cluster_of,
    own_names,
)
from controller.core.placement.preview import Situation
from controller.core.placement.replace import Replacing, lost_of, replacements
from controller.core.placement.together import bring_together
from controller.core.placement.values import Held, Move, Request, Tenant, Unplaced
from controller.core.sentences import arrows
from controller.core.types import Instances, Role
from controller.core.words import seconds

USUAL: Final = Disruption(instances=8)
"""No more instances than this are disturbed by one proposal."""

LOOKED_AT: Final = 5
"""So many refused requests are looked at each time."""

NOBODY: Final = Instances(0, 0)


@dataclass(frozen=True, slots=True)
class Advice:
    """One proposal: what kind, for whom, which moves and which services shrink.

    ``gain`` and ``cost`` are figures by name; ``moves`` and ``shrinks`` plain values that are kept
    and later carried out. Two with the same ``key`` ask for the same thing. ``is_repair`` is
    whether it only brings back what is lost, beside its partners: that needs nobody's leave.
    """

    kind: str
    service: str
    sentence: str
    moves: tuple[PlainMove, ...] = ()
    shrinks: tuple[Mapping[str, object], ...] = ()
    gain: Mapping[str, object] = field(default_factory=dict, hash=False)
    cost: Mapping[str, object] = field(default_factory=dict, hash=False)
    is_repair: bool = False

    @property
    def key(self) -> str:
        """What it is told apart by from others."""
        return f"{self.kind}:{self.service}"

    @property
    def asks(self) -> bool:
        """Whether there is anything to be carried out; without, it only tells."""
        return bool(self.moves or self.shrinks)

    @property
    def body(self) -> dict[str, Any]:
        """What is kept and carried out."""
        return {"moves": list(self.moves), "shrinks": list(self.shrinks)}


def advise(
    situation: Situation, refused: Sequence[Request], *, budget: Disruption = USUAL
) -> list[Advice]:
    """Return what would help now: replacements first, then room, then shrinking, then nearness.

    ``refused`` are requests that found no room.
    """
    fleet, tenants = situation.fleet, list(situation.tenants.values())
    lost = lost_of(fleet, tenants)
    answers = _replaced(situation, lost)
    found = [
        _replacement(situation, name, answer, budget)
        for name, answer in answers.items()
        if answer.moves or answer.refused
    ]
    # What was lost and finds no room is as much wanted as any growth, by who has survived.
    missing = [*refused, *(_again(name, answer) for name, answer in answers.items())]
    found += _helping(_without(situation, lost), _added(missing), budget)
    if not found:
        # Nearness is worth a disturbance only while nothing is missing.
        choosing = choosing_of(fleet, _asks(situation, _known(situation, refused)))
        found += map(_together, bring_together(choosing, fleet, tenants, budget=budget))
    return _allowed(situation, found)


def helping(
    situation: Situation, refused: Sequence[Request], *, budget: Disruption = USUAL
) -> list[Advice]:
    """Return what would make refused requests fit: moves of others, else shrunk lower priorities.

    What moves would make fit is not asked of lower priorities as well.
    """
    return _allowed(situation, _helping(situation, refused, budget))


def _allowed(situation: Situation, found: Iterable[Advice]) -> list[Advice]:
    """Return what changes nothing of services that are only observed, or can't be moved."""
    return [
        one
        for one in found
        if situation.watched.isdisjoint(services_of(one.body))
        and situation.fixed.isdisjoint(move["service"] for move in one.moves)
    ]


def _helping(situation: Situation, refused: Sequence[Request], budget: Disruption) -> list[Advice]:
    fleet, tenants = situation.fleet, list(situation.tenants.values())
    known = _known(situation, refused)
    choosing = choosing_of(fleet, _asks(situation, known))
    found: list[Advice] = []
    for request in known[:LOOKED_AT]:
        room = make_room(choosing, fleet, tenants, request, budget=budget)
        if room is not None:
            found.append(_room(room))
    helped = {advice.service for advice in found}
    short = [one for one in known if one.service not in helped]
    shrinking = shrink_for(choosing, fleet, steered(situation), short) if short else None
    if shrinking is not None:
        found.append(_shrunk(_in_full(shrinking, situation), short, situation))
    return found


def _in_full(shrinking: Shrinking, situation: Situation) -> Shrinking:
    """Return the shrinking with what services have lost counted too, as their clusters do."""
    shrunk = []
    for one in shrinking.shrunk:
        extra = [
            situation.wished.get(one.service, one.before).of(role) - one.before.of(role)
            for role in Role
        ]
        before, after = (
            Instances(*(counts.of(role) + more for role, more in zip(Role, extra, strict=True)))
            for counts in (one.before, one.after)
        )
        shrunk.append(replace(one, before=before, after=after))
    return replace(shrinking, shrunk=tuple(shrunk))


def _known(situation: Situation, refused: Sequence[Request]) -> list[Request]:
    return [one for one in refused if one.service in situation.tenants]


def _asks(situation: Situation, requests: Sequence[Request]) -> list[Ask]:
    return [
        wanted.ask
        for one in requests
        if (wanted := wanted_of(situation.fleet, situation.tenants[one.service], one)) is not None
    ]


def steered(situation: Situation) -> list[Tenant]:
    """Return the services with no more to give than people let them; the observed with nothing."""
    return [
        replace(
            tenant,
            least=tenant.counts
            if name in situation.watched
            else larger(tenant.least, situation.floors.get(name, NOBODY)),
        )
        for name, tenant in situation.tenants.items()
    ]


def services_of(body: Mapping[str, Any]) -> list[str]:
    """Return the services a body changes, each once."""
    named = [one["service"] for one in (*body["moves"], *body["shrinks"])]
    return list(dict.fromkeys(named))


def _replaced(situation: Situation, lost: Mapping[str, Sequence[Held]]) -> Mapping[str, Replacing]:
    """Return what replaces what services lost, in the order of their priority."""
    sizes = sizes_of(situation.tenants[name] for name in lost)
    choosing = widened(situation.fleet, choosing_of(situation.fleet, []), sizes)
    first = sorted(lost, key=lambda name: (-situation.tenants[name].priority, name))
    return {
        name: replacements(choosing, situation.fleet, situation.tenants[name], lost[name])
        for name in first
    }


def _again(name: str, answer: Replacing) -> Request:
    """Return what nothing replaces as a request."""
    missing = Instances(
        *(sum(one.asked.of(role) - one.placed.of(role) for one in answer.refused) for role in Role)
    )
    return Request(name, missing)


def _added(requests: Iterable[Request]) -> list[Request]:
    """Return the requests of each service as one."""
    found: dict[str, Request] = {}
    for one in requests:
        known = found.get(one.service, Request(one.service, Instances(0, 0)))
        both = (known.change.of(role) + one.change.of(role) for role in Role)
        found[one.service] = Request(
            one.service, Instances(*both), max(known.refused, one.refused)
        )
    return [one for one in found.values() if any(one.change)]


def _without(situation: Situation, lost: Mapping[str, Sequence[Held]]) -> Situation:
    """Return the situation in which services hold only what they have not lost."""
    left = {
        name: replace(tenant, held=tuple(one for one in tenant.held if one not in lost[name]))
        if name in lost
        else tenant
        for name, tenant in situation.tenants.items()
    }
    return replace(situation, tenants=left)


def _replacement(situation: Situation, name: str, answer: Replacing, budget: Disruption) -> Advice:
    moves = answer.moves or answer.whole_group
    refused = " ".join(
        f"{one.sentence} It would fit with {one.would_fit_if}." for one in answer.refused
    )
    where = sorted({node for move in moves for node in own_names(move.from_nodes)})
    apart = _groups_apart(situation, name, answer.moves)
    if answer.moves:
        far = f", farther apart than {', '.join(apart)} was" if apart else " within their domain"
        said = f"Replace {_counted(answer.moves)} of {name} on {', '.join(where)}{far}. {refused}"
    elif moves:
        said = f"{refused} Move the whole group of {name} instead: {_counted(moves)}."
    else:
        said = f"Nothing replaces what {name} lost: {refused}"
    return Advice(
        "replace",
        name,
        said.strip(),
        moves=tuple(map(plain_move, moves)),
        gain={"instances": len(moves)},
        cost=_cost(
            moves,
            sum(
                gpus * budget.start_up_s.get(move.service, USUAL_START_S)
                for move in moves
                for _, gpus in move.to_nodes
            ),
        ),
        # What would split a group is for a person to say.
        is_repair=bool(answer.moves) and not apart,
    )


def _groups_apart(situation: Situation, name: str, moves: Sequence[Move]) -> list[str]:
    """Return the groups that moves would leave farther apart than they are and prefer to be."""
    fleet, tenant = situation.fleet, situation.tenants[name]
    moved = {move.instance for move in moves}
    apart = []
    for group, held in groups_of(tenant.held).items():
        came = {node for move in moves if move.group == group for node, _ in move.to_nodes}
        stays = {node for one in held if one.name not in moved for node, _ in one.nodes}
        if not came or not stays:
            continue
        before, now = fleet.nearest(sorted(stays)), fleet.nearest(sorted(stays | came))
        least = max(tenant.affinity.level, before.level if before else Level.CLUSTER)
        if now is None or now.level > least:
            apart.append(group)
    return apart


def _room(found: Rearranging) -> Advice:
    return Advice(
        "room",
        found.service,
        f"Move {_counted(found.moves)} of {_services(found.moves)}, so that {found.gain} more"
        f" instances of {found.service} fit. It takes {seconds(found.cost)} of GPU time.",
        moves=tuple(map(plain_move, found.moves)),
        gain={"instances": found.gain} | _fragments(found),
        cost=_cost(found.moves, found.cost),
    )


def _together(found: Rearranging) -> Advice:
    return Advice(
        "together",
        found.service,
        f"Move {_counted(found.moves)} of {found.service}, so that {found.gain} more P/D pairs"
        f" share an S1. It takes {seconds(found.cost)} of GPU time.",
        moves=tuple(map(plain_move, found.moves)),
        gain={"pairs": found.gain} | _fragments(found),
        cost=_cost(found.moves, found.cost),
    )


def _shrunk(found: Shrinking, asked: Sequence[Request], situation: Situation) -> Advice:
    placed = sorted({one.service for one in found.placements})
    askers = [one.service for one in asked if one.service in placed] or [asked[0].service]
    gone = [removal for one in found.shrunk for removal in one.removals]
    gpus = sum(gpus for removal in gone for _, gpus in removal.nodes)
    what = "; ".join(f"{one.service} {arrows(one.before, one.after)}" for one in found.shrunk)
    short = ", ".join(f"{one.service} ({_lacking(one)})" for one in found.unplaced)
    left = f"Even then there is no room for {short}." if short else ""
    first = max(askers, key=lambda name: situation.tenants[name].priority)
    return Advice(
        "shrink",
        first,
        f"Shrink {what}, so that {', '.join(askers)} of higher priority "
        f"{'fit' if len(askers) > 1 else 'fits'}: {gpus} GPUs go back. {left}".strip(),
        shrinks=tuple(map(_plain_shrunk, found.shrunk)),
        gain={"services": askers, "instances": len({p.instance for p in found.placements})},
        cost={"instances": len({one.instance for one in gone}), "gpus": gpus},
    )


def _lacking(one: Unplaced) -> str:
    return ", ".join(
        f"{role.value} {count}"
        for role in Role
        if (count := one.asked.of(role) - one.placed.of(role))
    )


def _plain_shrunk(one: Shrunk) -> dict[str, object]:
    removals: list[PlainRemoval] = [
        {
            "instance": gone.instance,
            "role": gone.role.value,
            "group": gone.group,
            "nodes": own_names(gone.nodes),
            "why": gone.why,
        }
        for gone in one.removals
    ]
    return {
        "service": one.service,
        "before": one.before._asdict(),
        "after": one.after._asdict(),
        "removals": removals,
    }


def plain_move(move: Move) -> PlainMove:
    """Return a move as it is kept."""
    return {
        "service": move.service,
        "instance": move.instance,
        "role": move.role.value,
        "group": move.group,
        "from_nodes": own_names(move.from_nodes),
        "to_nodes": own_names(move.to_nodes),
        "cluster": cluster_of(move.to_nodes),
    }


def _fragments(found: Rearranging) -> dict[str, object]:
    return {
        "whole_nodes": {"before": found.before.whole_nodes, "after": found.after.whole_nodes},
        "shapes": [
            {
                "hardware": list(before.hardware),
                "gpus": before.gpus,
                "nodes": before.nodes,
                "largest": {"before": before.largest, "after": after.largest},
                "fits": {"before": before.fits, "after": after.fits},
            }
            for before, after in zip(found.before.shapes, found.after.shapes, strict=True)
        ],
    }


def _cost(moves: Sequence[Move], gpu_s: float) -> dict[str, object]:
    return {
        "instances": len(moves),
        "gpus": sum(gpus for move in moves for _, gpus in move.to_nodes),
        "gpu_s": round(gpu_s, 1),
    }


def _counted(moves: Sequence[Move]) -> str:
    counts = Instances(*(sum(move.role is role for move in moves) for role in Role))
    words = [
        f"{counts.of(role)} {role.value} instance{'s' if counts.of(role) > 1 else ''}"
        for role in Role
        if counts.of(role)
    ]
    return " and ".join(words)


def _services(moves: Sequence[Move]) -> str:
    return ", ".join(sorted({move.service for move in moves}))
