"""The room there is to grow: the GPU budgets, and what the pools have free."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.core.pairs import Pairing, larger, smaller, whole_down
from controller.core.prediction import apart
from controller.core.reasons import Code
from controller.core.types import ROLES, Context, Instances, Reason, Role, Target
from controller.core.words import DECODE_FIRST


def gpu_budget(target: Target, ctx: Context) -> Target:
    """Keep the service and the fleet within their GPUs, what drains included (S2).

    What a shrinking role gives back counts as held until it is gone, so that no state between two
    writes exceeds the budget.
    """
    if target.blocked or not grows(target.want, ctx.state.desired):
        return target
    per_instance = ctx.spec.gpus_per_instance
    draining = Instances(ctx.state.prefill.draining, ctx.state.decode.draining)
    held = ctx.state.desired.gpus(per_instance) + draining.gpus(per_instance)
    budget = ctx.spec.limits.max_gpus
    room, text = max(0, budget - held), f"the service may hold {budget} GPUs and holds {held}"
    if ctx.gpus_left is not None and ctx.gpus_left < room:
        room = max(0, ctx.gpus_left)
        text = f"the fleet's budget has {room} GPUs left"
    want = _largest_fit(target.want, ctx, _Room(room, room, shared=True))
    if want == target.want:
        return target
    return stopped(target, ctx, want, ("gpu_budget", Reason(Code.BUDGET_EXHAUSTED, text)))


def capacity(target: Target, ctx: Context) -> Target:
    """Grow only where the pools of each role's hardware types have free GPUs (HeteroScale §7).

    The pair is placed whole, or reduced to the largest one that keeps the ratio. A pool that is
    absent could not be read and gives nothing. Of further types all that is free counts, as much
    as it stands for on the first: which instance goes where is for placement to settle.
    """
    if target.blocked or not grows(target.want, ctx.state.desired):
        return target
    kinds = {role: ctx.spec.kinds(role) for role in ROLES}
    prefill, decode = kinds[Role.PREFILL], kinds[Role.DECODE]
    room = _Room(_free(prefill, ctx), _free(decode, ctx), shared=prefill.keys() == decode.keys())
    want = _largest_fit(target.want, ctx, room)
    if want == target.want:
        return target
    text = " and ".join(
        _pool_words(kind, ctx)
        for kind in dict.fromkeys(
            kind
            for role in DECODE_FIRST
            if target.want.of(role) > ctx.state.desired.of(role)
            for kind in kinds[role]
        )
    )
    code = Code.NO_CAPACITY_SKU
    if grows_alone(want, target.want, ctx):
        code, text = Code.RATIO_EXCEPTION, f"{text}, and the other role grows alone"
    return stopped(target, ctx, want, ("capacity", Reason(code, text)))


def grows(want: Instances, current: Instances) -> bool:
    """Return whether any role would gain instances."""
    return want.prefill > current.prefill or want.decode > current.decode


def shrinks(want: Instances, current: Instances) -> bool:
    """Return whether any role would lose instances."""
    return want.prefill < current.prefill or want.decode < current.decode


def stopped(
    target: Target,
    ctx: Context,
    want: Instances,
    said: tuple[str, Reason],
    override: int | None = None,
) -> Target:
    """Return the target at ``want`` by the guard named: blocked if no change is left."""
    name, reason = said
    if want == ctx.state.desired:
        return target.blocked_at(want, name, reason.code, reason.text, override)
    return target.moved_to(want, name, reason.code, reason.text, override)


def grows_alone(want: Instances, wanted: Instances, ctx: Context) -> bool:
    """Return whether a role grows beyond the ratio because its partner was cut."""
    pairing = Pairing.of(ctx.spec.policy)
    lead, follow = pairing.split(want)
    now_lead, now_follow = pairing.split(ctx.state.desired)
    want_lead, want_follow = pairing.split(wanted)
    if lead > pairing.most_leading(follow):
        return lead > now_lead and follow < want_follow
    return follow > pairing.most(lead) and follow > now_follow and lead < want_lead


def _free(kinds: Mapping[str, float], ctx: Context) -> int:
    """Return the free GPUs of a role's types, each as the GPUs of the first it stands for."""
    return sum(
        whole_down(max(0, ctx.gpus_free.get(kind, 0)) * worth) for kind, worth in kinds.items()
    )


def _pool_words(kind: str, ctx: Context) -> str:
    if kind not in ctx.gpus_free:
        return f"the {kind} pool cannot be read"
    return f"only {max(0, ctx.gpus_free[kind])} {kind} GPUs are free"


@dataclass(frozen=True, slots=True)
class _Room:
    """GPUs each role could still take; ``shared`` when both take from the same ones."""

    prefill: int
    decode: int
    shared: bool


def _largest_fit(want: Instances, ctx: Context, room: _Room) -> Instances:
    """Return the largest pair from the present one to ``want`` that fits and keeps the ratio.

    Only growth needs room, and only growth is reduced. Minimums come first: where the room does
    not suffice for both, nothing grows beyond its own, and a part of the repair is better than
    none. Where the follower's own hardware is full the leader grows alone: its driver asks for it.
    """
    current, minimum = ctx.state.desired, ctx.spec.limits.minimum
    if apart(ctx):
        return _fit_apart(want, minimum, ctx, room)
    pairing = Pairing.of(ctx.spec.policy)
    found = _fit(want, minimum, ctx, room)
    if found is None:
        repair = smaller(want, larger(current, minimum))
        return _fit(repair, current, ctx, room) or smaller(want, current)
    if room.shared:
        return found
    lead, _ = pairing.split(want)
    _, follow = pairing.split(found)
    return _fit_apart(pairing.join(lead, follow), minimum, ctx, room)


def _fit_apart(want: Instances, minimum: Instances, ctx: Context, room: _Room) -> Instances:
    """Return the most of each role that fits, each for itself.

    Floors come first. Roles that share their hardware are cut to the same share of their growth.
    """
    current, per = ctx.state.desired, ctx.spec.gpus_per_instance
    least = smaller(want, larger(current, minimum))
    if not room.shared:
        top = Instances(
            current.prefill + room.prefill // per.prefill,
            current.decode + room.decode // per.decode,
        )
        return smaller(want, larger(top, smaller(current, want)))
    repair = larger(least, current).gpus(per) - current.gpus(per)
    if repair > room.decode:
        return _fit(least, current, ctx, room) or smaller(want, current)
    grown = larger(want, current)
    asked = grown.gpus(per) - current.gpus(per)
    part = 1.0 if asked <= room.decode else room.decode / asked
    cut = Instances(
        *(
            max(current.of(r) + whole_down(part * (grown.of(r) - current.of(r))), least.of(r))
            for r in ROLES
        )
    )
    while larger(cut, current).gpus(per) - current.gpus(per) > room.decode:
        cut = _one_less(cut, least, current)
    for role in DECODE_FIRST:
        more = cut._replace(**{role.value: cut.of(role) + 1})
        fits = larger(more, current).gpus(per) - current.gpus(per) <= room.decode
        if cut.of(role) < want.of(role) and fits:
            cut = more
    return smaller(want, cut)


def _one_less(pair: Instances, least: Instances, current: Instances) -> Instances:
    """Return the pair with one instance less of the role that grew most beyond its least."""
    spare = [pair.of(r) - max(least.of(r), current.of(r)) for r in ROLES]
    if spare[0] >= spare[1]:
        return Instances(pair.prefill - 1, pair.decode)
    return Instances(pair.prefill, pair.decode - 1)


def _fit(want: Instances, least: Instances, ctx: Context, room: _Room) -> Instances | None:
    """Return the largest pair that fits, no role under ``least`` or its wish if that is lower.

    Tries leading counts from the top, each with the most followers that fit; fewer than the
    ratio's tolerance allows is no fit.
    """
    pairing = Pairing.of(ctx.spec.policy)
    now_lead, now_follow = pairing.split(ctx.state.desired)
    want_lead, want_follow = pairing.split(want)
    least_lead, least_follow = (
        max(pair) for pair in zip(pairing.split(least), (now_lead, now_follow), strict=True)
    )
    gpus_lead, gpus_follow = pairing.split(ctx.spec.gpus_per_instance)
    room_lead, room_follow = pairing.split(Instances(room.prefill, room.decode))
    top = min(want_lead, now_lead + room_lead // gpus_lead)
    for lead in range(top, min(want_lead, least_lead) - 1, -1):
        taken = gpus_lead * max(0, lead - now_lead) if room.shared else 0
        most = now_follow + (room_follow - taken) // gpus_follow
        if lead < want_lead:
            most = min(most, max(least_follow, pairing.ideal(lead)))
        follow = min(want_follow, most)
        enough = pairing.least(lead) if lead > now_lead else 0
        if follow >= min(want_follow, max(least_follow, enough)):
            return pairing.join(lead, follow)
    return None
