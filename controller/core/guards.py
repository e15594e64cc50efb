"""What a recommendation must pass: each guard may hold or shorten a change and says why."""

from collections.abc import Callable, Sequence
from typing import Final

from controller.core.exchange import exchange, granted
from controller.core.handicap import as_held, at_full_speed, at_full_speed_of
from controller.core.orders import banned, floor_of, pin, set_by
from controller.core.overdue import overdue_of, told, with_replacements, working
from controller.core.overrides import Override, OverrideKind
from controller.core.pairs import Pairing, larger, other, smaller, whole_up
from controller.core.policies import asked_without_driver, needs_no_metric
from controller.core.prediction import apart, stands_alone, too_slow
from controller.core.reasons import Code
from controller.core.room import capacity, gpu_budget, grows, grows_alone, shrinks, stopped
from controller.core.trust import driver_total, scale_in_bar, scale_out_bar
from controller.core.types import ROLES, Context, Instances, Reason, Role, Target, Wish
from controller.core.words import DECODE_FIRST, changed_roles, counts, percent, seconds

Guard = Callable[[Target, Context], Target]

# How much of the stabilisation window may be unseen: a restart or an outage longer than this
# begins the window anew.
BLIND_S: Final = 60.0


def ratio(target: Target, ctx: Context) -> Target:
    """Grow the role that is short, up to the edge of the ratio's tolerance (HeteroScale §4.5).

    The follower must suffice for the leading instances the load needs; those that only a floor
    holds need no partner. The leader grows for a follower beyond the tolerance unless that one
    already stands at its minimum, where the surplus is the operator's wish. Roles that stand at
    their own measured needs are at the ratio the mix of tokens asks for, whatever it was before;
    a target window of the schedule names both counts itself.
    """
    total = driver_total(ctx)
    if target.blocked or total is None or stands_alone(ctx):
        return target
    if needs_no_metric(ctx.spec.policy, ctx.now_s):
        return target
    held, ctx = ctx, at_full_speed(ctx)
    wanted = at_full_speed_of(target.want, held)
    pairing = Pairing.of(ctx.spec.policy)
    lead, follow = pairing.split(wanted)
    most_lead, most_follow = pairing.split(ctx.spec.limits.maximum)
    _, least_follow = pairing.split(ctx.spec.limits.minimum)
    serving = working(ctx, other(pairing.lead), follow)
    if serving > least_follow:
        lead = max(lead, min(pairing.fewest_leading(serving), most_lead))
    least = pairing.least(min(lead, whole_up(total / ctx.spec.policy.target)))
    if serving < least:
        least = with_replacements(ctx, other(pairing.lead), least)
        follow = max(follow, min(least, most_follow))
    found = pairing.join(lead, follow)
    if found == wanted:
        return target
    want = as_held(found, held)
    low, high = _band(ctx)
    shown = Instances(*(working(ctx, role, wanted.of(role)) for role in ROLES)).pd_ratio
    now = "no decode instance" if shown is None else f"{shown:.2f} prefill per decode"
    by, key = set_by(ctx, ctx.spec.override(OverrideKind.RATIO))
    said = f"{now} is outside {low:.2f} to {high:.2f}{by}, so {_becomes(target.want, want)}"
    return target.moved_to(want, "ratio", Code.RATIO_CORRECTION, said, key)


def freshness(target: Target, ctx: Context) -> Target:
    """Return to the present pair when the signals do not allow the change (S6, S7, M04 to M15).

    Growth that the driver can't be asked for goes as far as a floor of the schedule, which needs
    no metric, or as a breached latency asks by itself. Comes before the limits and does not
    block: a pool below its floor is repaired whatever the metrics say (S1, L3).
    """
    current, want = ctx.state.desired, target.want
    if target.blocked or want == current or needs_no_metric(ctx.spec.policy, ctx.now_s):
        return target
    bars = []
    if shrinks(want, current):
        bars.append(scale_in_bar(ctx))
        want = want if bars[-1] is None else larger(want, current)
    if grows(want, current):
        bars.append(scale_out_bar(ctx))
        if bars[-1] is not None:
            want = smaller(
                want, larger(current, as_held(asked_without_driver(at_full_speed(ctx)), ctx))
            )
    if want == target.want:
        return target
    bar = next(bar for bar in bars if bar is not None)
    return target.moved_to(want, "freshness", bar.code, bar.text)


def starting(target: Target, ctx: Context) -> Target:
    """Let instances go only as far as those that are ready suffice without the starting ones.

    Those held out of service discovery serve nobody yet either. Overdue ones are not waited for.
    """
    current, state = ctx.state.desired, ctx.state
    if target.blocked or not shrinks(target.want, current):
        return target
    coming = Instances(*(_coming(ctx, role, target.want.of(role)) for role in ROLES))
    counted = Instances(target.want.prefill + coming.prefill, target.want.decode + coming.decode)
    want = larger(target.want, smaller(current, counted))
    if want == target.want:
        return target
    which = " and ".join(
        f"{coming.of(role)} {role.value}" for role in changed_roles(target.want, want)
    )
    waits = any(state.of(role).held for role in changed_roles(target.want, want))
    are = "still starting or held back" if waits else "still starting"
    said = f"{which} instances are {are} and can't stand in for others yet"
    return target.moved_to(want, "starting", Code.STARTING, said)


def _coming(ctx: Context, role: Role, want: int) -> int:
    """Return how many to keep beyond ``want`` because they don't serve yet.

    Where those that start in time are needed the overdue stay too: a cluster that takes the
    youngest first would take the former.
    """
    state = ctx.state.of(role)
    in_time = max(state.starting + state.held + state.lost - overdue_of(ctx).of(role), 0)
    if in_time and state.up < want:
        return state.starting + state.held + state.lost
    return in_time


def slo(target: Target, ctx: Context) -> Target:
    """Let instances go only while latency is predicted to stay within its goal, with a margin.

    The load is moved onto those that would be left (see :mod:`controller.core.prediction`); each
    role keeps as many as that takes. Counts that are the schedule's alone are the operator's: what
    can't be read must not let go what could be read would hold (S7).
    """
    current = ctx.state.desired
    if target.blocked or not shrinks(target.want, current):
        return target
    if needs_no_metric(ctx.spec.policy, ctx.now_s):
        return target
    kept, why = {}, []
    for role in ROLES:
        kept[role], said = _fast_enough(target.want.of(role), current.of(role), role, ctx)
        why.extend(said)
    want = Instances(kept[Role.PREFILL], kept[Role.DECODE])
    # A partner that shrank beyond the ratio would be grown again at the next look (L1).
    want = larger(want, _shrunk_in_ratio(want, target.want, ctx))
    if want == target.want:
        return target
    return target.moved_to(want, "slo", Code.SLO_AT_RISK, " and ".join(why))


def _fast_enough(want: int, current: int, role: Role, ctx: Context) -> tuple[int, list[str]]:
    """Return the fewest from ``want`` to ``current`` that are fast enough, and why not fewer."""
    if want >= current:
        return want, []
    why = too_slow(ctx, role, want)
    if why is None:
        return want, []
    low, high = want, current
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if too_slow(ctx, role, middle) is None else (middle, high)
    return high, [why]


def limits(target: Target, ctx: Context) -> Target:
    """Raise to the minimum, then lower to the maximum; the partner of a capped role keeps ratio.

    A role found above its maximum never grows, and shrinks only when the signals allow it. An
    overdue instance holds no floor: it is replaced.
    """
    if target.blocked:
        return target
    return _ceiling(_floor(target, ctx), ctx)


def damping(target: Target, ctx: Context) -> Target:
    """Make each role's change ``damp_frac`` of what it was, at least one instance (§5).

    A floor repair is not damped.
    """
    current, part = ctx.state.desired, ctx.spec.policy.damp_frac
    if target.blocked or part >= 1.0 or target.want == current:
        return target
    damped = Instances(*(_damped(target.want.of(r), current.of(r), part) for r in ROLES))
    want = larger(damped, smaller(target.want, ctx.spec.limits.minimum))
    if want == target.want:
        return target
    return target.moved_to(want, "damping", Code.DAMPED, f"changes are damped to {percent(part)}")


def _damped(want: int, current: int, part: float) -> int:
    change = whole_up(part * abs(want - current))
    return current + change if want > current else current - change


def step(target: Target, ctx: Context) -> Target:
    """Bound one action per role (S3).

    Growth to ``max(step_abs, ceil(step_out_frac · n))`` instances, shrinking to ``max(step_abs,
    ceil(step_frac · n))``. A floor repair is not bounded: a written count is never below the
    minimum (S1).
    """
    current = ctx.state.desired
    if target.blocked or target.want == current:
        return target
    out, into = steps(ctx)
    top = Instances(current.prefill + out.prefill, current.decode + out.decode)
    bottom = Instances(current.prefill - into.prefill, current.decode - into.decode)
    lowered = smaller(target.want, larger(top, ctx.spec.limits.minimum))
    clamped = larger(lowered, bottom)
    if clamped == target.want:
        return target
    want = _grown_in_ratio(clamped, target.want, ctx)
    if clamped != lowered:
        want = larger(want, _shrunk_in_ratio(clamped, target.want, ctx))
    which = " and ".join(
        f"{role.value} by at most "
        f"{(out if target.want.of(role) > current.of(role) else into).of(role)}"
        for role in changed_roles(target.want, clamped)
    )
    return target.moved_to(want, "step", Code.STEP_LIMITED, f"one action may change {which}")


def steps(ctx: Context) -> tuple[Instances, Instances]:
    """Return how many instances of each role one action may add, and how many take away (S3)."""
    current, config = ctx.state.desired, ctx.spec.policy
    out, into = (
        Instances(*(max(config.step_abs, whole_up(part * current.of(r))) for r in ROLES))
        for part in (config.step_out_frac, config.step_frac)
    )
    return out, into


def stabilisation(target: Target, ctx: Context) -> Target:
    """Scale in only to the highest recommendation of the last ``stabilisation_s`` (S9, M18).

    The memory must reach back over the window without a gap; otherwise nothing shrinks.
    """
    current = ctx.state.desired
    window_s = ctx.spec.policy.stabilisation_s
    if target.blocked or window_s <= 0.0 or not shrinks(target.want, current):
        return target
    watched_s = _watched_s(ctx.history.wishes, ctx.now_s, window_s)
    if watched_s < window_s - min(window_s / 2.0, BLIND_S):
        text = f"only {seconds(watched_s)} of the last {seconds(window_s)} were watched"
        said = ("stabilisation", Reason(Code.FLAP_PREVENTED, text))
        return stopped(target, ctx, larger(target.want, current), said)
    highest = _highest(target.want, ctx)
    kept = larger(target.want, smaller(current, highest))
    if kept == target.want:
        return target
    want = larger(kept, _shrunk_in_ratio(kept, target.want, ctx))
    text = f"{counts(highest)} was wanted within the last {seconds(window_s)}"
    return stopped(target, ctx, want, ("stabilisation", Reason(Code.FLAP_PREVENTED, text)))


def cooldown(target: Target, ctx: Context) -> Target:
    """Keep the least time between actions; scale-in waits after a scale-out as well.

    A scale-out waits ``cooldown_out_s`` after the last one and never for a scale-in, so that a
    mistaken scale-in is undone at once. A floor repair does not wait, nor does the second half of
    an exchange.
    """
    current, config, past = ctx.state.desired, ctx.spec.policy, ctx.history
    if target.blocked or target.want == current:
        return target
    out_s = _left_s(past.last_scale_out_s, config.cooldown_out_s, ctx.now_s)
    in_s = _left_s(past.last_scale_in_s, config.cooldown_in_s, ctx.now_s)
    in_after_out_s = _left_s(past.last_scale_out_s, config.cooldown_in_s, ctx.now_s)
    want, said = target.want, []
    if out_s > 0.0:
        allowed = larger(granted(ctx), ctx.spec.limits.minimum)
        want = smaller(want, allowed)
        if want != target.want:
            said.append(f"{seconds(out_s)} of the cooldown after a scale-out are left")
    if max(in_s, in_after_out_s) > 0.0 and shrinks(want, current):
        want = larger(want, current)
        kind = "scale-in" if in_s >= in_after_out_s else "scale-out"
        left = seconds(max(in_s, in_after_out_s))
        said.append(f"scale-in waits another {left} after the last {kind}")
    if want == target.want:
        return target
    return stopped(target, ctx, want, ("cooldown", Reason(Code.COOLDOWN, " and ".join(said))))


def refusal(target: Target, ctx: Context) -> Target:
    """Hold what a person rejected: the same direction, and no further than the rejected body."""
    current = ctx.state.desired
    if target.blocked or target.want == current:
        return target
    for refused in ctx.history.refusals:
        if ctx.now_s < refused.until_s and _no_further(target.want, refused.want, current):
            left = seconds(refused.until_s - ctx.now_s)
            why = f"{refused.by} rejected {counts(refused.want)} ({refused.reason})"
            return target.blocked_at(
                current, "refusal", Code.REJECTED, f"{why}, for another {left}"
            )
    return target


def outside(target: Target, ctx: Context) -> Target:
    """Hold one tick when somebody else changed the counts: never overwritten unseen (S25)."""
    before, current = ctx.history.changed_from, ctx.state.desired
    if target.blocked or target.want == current or before is None:
        return target
    said = f"the counts were changed outside, from {counts(before)} to {counts(current)}"
    return target.blocked_at(current, "outside", Code.CHANGED_OUTSIDE, said)


def unsettled(target: Target, ctx: Context) -> Target:
    """Hold while what the cluster shows is not settled: wholly, or what takes instances away."""
    bar, current = ctx.bar, ctx.state.desired
    if target.blocked or target.want == current or bar is None:
        return target
    if not bar.growth:
        want = larger(target.want, current)
        return target.moved_to(want, "unsettled", Code.UNSETTLED, bar.text)
    return target.blocked_at(current, "unsettled", Code.UNSETTLED, bar.text)


def in_flight(target: Target, ctx: Context) -> Target:
    """Hold while an action of this service is under way: one at a time (S11)."""
    action, current = ctx.history.in_flight, ctx.state.desired
    if target.blocked or target.want == current or action is None:
        return target
    said = f"action {action} is still in progress"
    return target.blocked_at(current, "in_flight", Code.IN_PROGRESS, said)


def freeze(target: Target, ctx: Context) -> Target:
    """Hold everything, floor repairs too, while a person's freeze is in force (S16)."""
    hold, current = ctx.hold, ctx.state.desired
    if target.blocked or target.want == current or hold is None:
        return target
    if hold.is_breaker or not hold.binds(ctx.now_s):
        return target
    left = "until resumed"
    if hold.until_s is not None:
        left = f"for another {seconds(hold.until_s - ctx.now_s)}"
    said = f"{hold.by} froze {hold.scope} {left} ({hold.reason})"
    return target.blocked_at(current, "freeze", Code.FROZEN, said)


def breaker(target: Target, ctx: Context) -> Target:
    """Hold everything, floor repairs too, while the controller does not trust itself."""
    hold, current = ctx.hold, ctx.state.desired
    if target.blocked or target.want == current or hold is None or not hold.is_breaker:
        return target
    said = f"the circuit breaker of {hold.scope} is open until a person resets it: {hold.reason}"
    return target.blocked_at(current, "breaker", Code.BREAKER_OPEN, said.rstrip("."))


GUARDS: Final[tuple[Guard, ...]] = (
    pin,
    ratio,
    freshness,
    starting,
    slo,
    limits,
    damping,
    step,
    stabilisation,
    cooldown,
    banned,
    exchange,
    gpu_budget,
    capacity,
    refusal,
    outside,
    unsettled,
    in_flight,
    freeze,
    breaker,
)
WAIVED: Final = frozenset({ratio, freshness, starting, slo, damping, stabilisation, cooldown})
"""What a pin isn't asked: it rests on no signal, and on the person who set it."""

PINNED_GUARDS: Final = tuple(guard for guard in GUARDS if guard not in WAIVED)
STEP_NAMES: Final = (
    "policy",
    "override",
    "ratio",
    "freshness",
    "starting",
    "slo",
    "limits",
    "damping",
    "step",
    "stabilisation",
    "cooldown",
    "exchange",
    "gpu_budget",
    "capacity",
    "refusal",
    "outside",
    "unsettled",
    "in_flight",
    "freeze",
    "breaker",
    "fleet",
    "gate",
)


def hard_limits(target: Target, ctx: Context) -> Target:
    """Hold at the present pair if the result breaks a limit, whatever the guards did (S8).

    A role that is already outside its limits may only stand still or move towards them.
    """
    current, bounds = ctx.state.desired, ctx.spec.limits
    if target.want == current:
        return target
    low, high = smaller(current, bounds.minimum), larger(current, bounds.maximum)
    gpus = larger(current, target.want).gpus(ctx.spec.gpus_per_instance)
    most_gpus = max(bounds.max_gpus, current.gpus(ctx.spec.gpus_per_instance))
    asked, by = counts(target.want), set_by(ctx, ctx.spec.override(OverrideKind.BOUNDS))[0]
    if smaller(target.want, low) != low:
        code, said = Code.AT_MIN, f"{asked} is below the minimum of {counts(bounds.minimum)}{by}"
    elif larger(target.want, high) != high:
        code, said = Code.AT_MAX, f"{asked} is above the maximum of {counts(bounds.maximum)}{by}"
    elif gpus > most_gpus:
        code, said = Code.BUDGET_EXHAUSTED, f"{gpus} GPUs are more than {bounds.max_gpus}"
    else:
        return target
    return target.blocked_at(current, "limits", code, said.rstrip(","))


def _band(ctx: Context) -> tuple[float, float]:
    config = ctx.spec.policy
    return (
        config.pd_ratio * (1.0 - config.ratio_tolerance),
        config.pd_ratio * (1.0 + config.ratio_tolerance),
    )


def _becomes(before: Instances, after: Instances) -> str:
    return " and ".join(
        f"{role.value} {before.of(role)} becomes {after.of(role)}"
        for role in changed_roles(before, after)
    )


def _floor(target: Target, ctx: Context) -> Target:
    minimum = ctx.spec.limits.minimum
    want = larger(target.want, Instances(*(floor_of(target.want, role, ctx) for role in ROLES)))
    if want == target.want:
        return target
    roles = changed_roles(target.want, want)
    by, key = set_by(ctx, _bounds(ctx, "min", minimum, roles))
    said = f"the minimum is {counts(minimum, roles)}{by}"
    if want != larger(target.want, minimum):
        said = f"{said}; {told(ctx)}"
    return target.moved_to(want, "limits", Code.AT_MIN, said, key)


def _bounds(ctx: Context, edge: str, limit: Instances, roles: Sequence[Role]) -> Override | None:
    """Return the override that set the limit of one of the roles, if one did."""
    one = ctx.spec.override(OverrideKind.BOUNDS)
    if one is None:
        return None
    mine = (one.values.get(f"{role.value}_{edge}") == limit.of(role) for role in roles)
    return one if any(mine) else None


def _ceiling(target: Target, ctx: Context) -> Target:
    current, maximum = ctx.state.desired, ctx.spec.limits.maximum
    capped = smaller(target.want, maximum)
    if capped == target.want:
        return target
    want = _capped_in_ratio(capped, target.want, ctx)
    code, roles = Code.AT_MAX, changed_roles(target.want, capped)
    by, key = set_by(ctx, _bounds(ctx, "max", maximum, roles))
    said = f"the maximum is {counts(maximum, roles)}{by}"
    if grows_alone(want, target.want, ctx):
        code, said = Code.RATIO_EXCEPTION, f"{said}, and its partner grows without it"
    bar = scale_in_bar(ctx)
    if bar is not None and shrinks(want, current):
        want = larger(want, smaller(current, target.want))
        said = f"{said}, and what is above it stays while {bar.text}"
    if want == target.want:
        return target
    return target.moved_to(want, "limits", code, said, key)


def _capped_in_ratio(capped: Instances, wanted: Instances, ctx: Context) -> Instances:
    """Return the capped pair with the follower's growth trimmed to a leader that was cut.

    The leader is not trimmed: its own driver asks for it, and a role that can't grow must not
    freeze the other. Nor is a follower that was beyond the ratio before. A leader above its
    maximum still counts in full, for it comes down slowly or, when the signals bar it, not at
    all: that is no growth cut short.
    """
    if apart(ctx):
        return capped
    pairing = Pairing.of(ctx.spec.policy)
    lead, follow = pairing.split(capped)
    now_lead, now_follow = pairing.split(ctx.state.desired)
    _, min_follow = pairing.split(ctx.spec.limits.minimum)
    want_lead, _ = pairing.split(wanted)
    paired = pairing.most(max(lead, min(now_lead, want_lead)))
    if lead < want_lead > now_lead and paired >= now_follow:
        follow = min(follow, max(now_follow, min_follow, paired))
    return pairing.join(lead, follow)


def _grown_in_ratio(cut: Instances, wanted: Instances, ctx: Context) -> Instances:
    """Return a pair whose growth was cut short, with the other role's growth at the target ratio.

    Only the partner of a role that was cut is trimmed, so that a larger wish never ends lower.
    """
    if apart(ctx):
        return cut
    pairing = Pairing.of(ctx.spec.policy)
    lead, follow = pairing.split(cut)
    now_lead, now_follow = pairing.split(ctx.state.desired)
    min_lead, min_follow = pairing.split(ctx.spec.limits.minimum)
    want_lead, want_follow = pairing.split(wanted)
    follow_cut = now_follow < follow < want_follow
    if now_lead < lead < want_lead:
        follow = min(follow, max(now_follow, min_follow, pairing.ideal(lead)))
    if follow_cut:
        lead = min(lead, max(now_lead, min_lead, pairing.paired_leading(follow)))
    return pairing.join(lead, follow)


def _shrunk_in_ratio(want: Instances, wanted: Instances, ctx: Context) -> Instances:
    """Return the least each role may shrink to while the other, cut short, is still large.

    Only a role whose shrinking was cut holds its partner, so that a larger wish never ends lower.

    A role at its minimum holds nobody up, and none is held above its maximum: such a surplus is
    the operator's wish.
    """
    if apart(ctx):
        return want
    pairing = Pairing.of(ctx.spec.policy)
    lead, follow = pairing.split(want)
    now_lead, now_follow = pairing.split(ctx.state.desired)
    min_lead, min_follow = pairing.split(ctx.spec.limits.minimum)
    want_lead, want_follow = pairing.split(wanted)
    least_follow = pairing.least(lead) if lead > max(min_lead, want_lead) else 0
    least_lead = pairing.fewest_leading(follow) if follow > max(min_follow, want_follow) else 0
    least = pairing.join(min(now_lead, least_lead), min(now_follow, least_follow))
    return smaller(least, ctx.spec.limits.maximum)


def _watched_s(wishes: Sequence[Wish], now_s: float, window_s: float) -> float:
    """Return how far back [s] the memory of wishes reaches without a gap."""
    gap_s = max(window_s / 2.0, BLIND_S)
    seen_s = now_s
    for wish in reversed(wishes):
        if wish.at_s > now_s:
            continue
        if seen_s - wish.at_s > gap_s:
            break
        seen_s = min(seen_s, wish.at_s if wish.since_s is None else wish.since_s)
    return now_s - seen_s


def _highest(want: Instances, ctx: Context) -> Instances:
    """Return the highest wish of the window, within the maximum that holds now."""
    since_s = ctx.now_s - ctx.spec.policy.stabilisation_s
    highest = want
    for wish in ctx.history.wishes:
        if wish.at_s >= since_s:
            highest = larger(highest, smaller(wish.want, ctx.spec.limits.maximum))
    return highest


def _left_s(last_s: float | None, wait_s: float, now_s: float) -> float:
    return 0.0 if last_s is None else last_s + wait_s - now_s


def _no_further(want: Instances, refused: Instances, current: Instances) -> bool:
    """Return whether each role of ``want`` lies between the present and the refused count."""
    return all(
        min(current.of(role), refused.of(role))
        <= want.of(role)
        <= max(current.of(role), refused.of(role))
        for role in DECODE_FIRST
    )
