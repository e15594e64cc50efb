"""What a placement cycle makes of decisions: growth that has no room is not decided."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from controller.core.placement.values import Plan, Request, Tenant, Unplaced
from controller.core.placement.weaker import counts_of, placed_of, speeds_of, within, work
from controller.core.reasons import Code
from controller.core.sentences import arrows
from controller.core.types import Decision, Gate, Instances, Limits, Move, Role, Step
from controller.core.words import capitalised

PLACED: Final = frozenset({Gate.ACT, Gate.PROPOSE})
"""What is carried out or proposed; what is only recorded asks for no GPU."""

NO_ROOM: Final = frozenset({Code.NO_CAPACITY_SKU, Code.NO_CAPACITY_DOMAIN, Code.FRAGMENTED})


def requests_of(decisions: Sequence[Decision], refused: Mapping[str, int]) -> list[Request]:
    """Return what decisions ask of placement; ``refused`` is how often in a row each was."""
    return [
        Request(one.service, difference(one), refused.get(one.service, 0))
        for one in decisions
        if one.gate in PLACED and one.changes
    ]


def difference(one: Decision) -> Instances:
    """Return what a decision adds of each role."""
    return Instances(*(one.final.of(role) - one.current.of(role) for role in Role))


def unplanned(requests: Sequence[Request], wrong: Mapping[str, str]) -> list[Unplaced]:
    """Return the growth of services that can't be placed because something is wrong with them.

    What only shrinks needs no place: it goes on.
    """
    return [
        Unplaced(
            request.service,
            Instances(*(max(count, 0) for count in request.change)),
            Instances(0, 0),
            Code.EXECUTOR_ERROR,
            f"Where it would go can't be worked out ({wrong[request.service]}).",
            "",
        )
        for request in requests
        if request.service in wrong and max(request.change) > 0
    ]


def limited(decisions: Sequence[Decision], plan: Plan) -> list[Decision]:
    """Return the decisions with no more growth than was placed, in their order.

    A pair that was reduced keeps its ratio; where nothing of a growth found room nothing changes,
    whatever else the decision would have removed.
    """
    found = {one.service: one for one in plan.unplaced}
    return [
        _limited(one, found[one.service]) if one.service in found else one for one in decisions
    ]


def hardened(one: Decision, plan: Plan, tenant: Tenant, limits: Limits) -> tuple[Decision, Plan]:
    """Return a decision with the counts of what was placed for it, and the plan within its limits.

    More instances on weaker hardware do the work of those that were decided (HeteroScale §7).
    They stay within the service's limits: the weakest are left out first (S2).
    """
    if not speeds_of(tenant) or one.gate not in PLACED:
        return one, plan
    shrunk = Instances(*(min(one.current.of(r), one.final.of(r)) for r in Role))
    kept = within(plan, tenant, shrunk, limits)
    placed = placed_of(kept, tenant.name)
    final = Instances(*(shrunk.of(r) + counts_of(placed).of(r) for r in Role))
    if final == one.final:
        return one, kept
    said = work(placed, tenant) or "on other hardware it would take more than the limits allow"
    step = Step("hardware", one.final, final, Code.WEAKER_HARDWARE, said)
    return _cut(one, step, f", and {said}.", f"{capitalised(said)}."), kept


def _limited(one: Decision, unplaced: Unplaced) -> Decision:
    grown = unplaced.placed != Instances(0, 0)
    final = (
        Instances(
            *(
                one.current.of(role) + min(difference(one).of(role), 0) + unplaced.placed.of(role)
                for role in Role
            )
        )
        if grown
        else one.current
    )
    said = unplaced.sentence
    if unplaced.would_fit_if:
        said += f" It would fit with {unplaced.would_fit_if}."
    step = Step("placement", one.final, final, unplaced.code, said.rstrip("."))
    return _cut(one, step, f", {_but(unplaced.code)}: {said}", f"Limited by placement: {said}")


def _cut(one: Decision, step: Step, but: str, because: str) -> Decision:
    """Return the decision with what a step left of it: ``but`` says why nothing was left."""
    *steps, gate = one.steps
    if step.after == one.current:
        return replace(
            one,
            steps=(*steps, step),
            final=step.after,
            then=None,
            move=Move.BLOCKED,
            gate=Gate.NONE,
            code=step.code,
            sentence=f"Wanted {arrows(one.current, one.final)}{but}",
        )
    return replace(
        one,
        steps=(*steps, step, replace(gate, before=step.after, after=step.after)),
        final=step.after,
        then=None,
        sentence=_reduced(one, step.after, because),
    )


def _but(code: Code) -> str:
    return "and there is no room" if code in NO_ROOM else "and nothing grows"


def _reduced(one: Decision, final: Instances, said: str) -> str:
    """Return the sentence with the counts there is room for, and why they are fewer."""
    _, _, rest = one.sentence.partition(". ")
    what = ", ".join(
        f"{role.value} {one.current.of(role)} → {final.of(role)}"
        + (f" (wanted {one.final.of(role)})" if one.final.of(role) != final.of(role) else "")
        for role in Role
        if one.final.of(role) != one.current.of(role)
    )
    start = f"Proposes {what}" if one.gate is Gate.PROPOSE else capitalised(what)
    return f"{start}. {said} {rest}".strip()
