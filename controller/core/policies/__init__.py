"""The policies by name, one file and one line each, and what several of them want together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from controller.core import overdue
from controller.core.pairs import larger
from controller.core.policies.latency import latency
from controller.core.policies.periodic import periodic
from controller.core.policies.proportional import proportional
from controller.core.policy_names import LATENCY, PERIODIC, is_alone, policy_names
from controller.core.ports import Policy
from controller.core.reasons import Code
from controller.core.schedule import Ruling, ruling_at
from controller.core.types import Context, Instances, PolicyConfig, Reason, Recommendation
from controller.core.words import DECODE_FIRST

POLICIES: Final[Mapping[str, Policy]] = {
    "proportional": proportional,
    "latency": latency,
    "periodic": periodic,
}


def recommend(ctx: Context) -> Recommendation:
    """Return what the policies of a service want together (HeteroScale §4.4).

    Per role the largest count any of those that read metrics asks for, so that they all must
    agree before anything goes; a latency policy that finds nothing wrong agrees to what the
    others say. Floors of the schedule bound the result from below and a target fixes it.

    The reason is that of the policy that decided and names it; ``driver`` and ``load`` are those
    of ``proportional``, or else of the first policy that reads metrics. ``parts`` are the
    policies' own wishes, in the order of the name; a single policy has no parts. Who is not
    counted on is told with the wish of each policy that counts supply. Raises ``KeyError`` for a
    name that :mod:`controller.core.config_check` refuses.
    """
    parts = tuple(
        replace(_told(POLICIES[name](ctx), ctx, name), policy=name)
        for name in policy_names(ctx.spec.policy.name)
    )
    if len(parts) == 1:
        return parts[0]
    measured = [part for part in parts if part.policy != PERIODIC]
    voters = _voters(measured)
    agreed = _agreed(voters)
    ruling = _ruling(ctx.spec.policy, ctx.now_s)
    want = _bounded(agreed, ruling)
    decider = _decider(voters, agreed, ctx.state.desired)
    if want != agreed or (ruling is not None and ruling.fixed):
        decider = next(part for part in parts if part.policy == PERIODIC)
    drives = next((part for part in measured if part.policy == "proportional"), measured[0])
    said = Reason(decider.reason.code, f"{decider.reason.text} (policy {decider.policy})")
    return Recommendation(want, said, drives.driver, drives.load, decider.policy, parts)


def _told(wanted: Recommendation, ctx: Context, name: str) -> Recommendation:
    said = "" if name == PERIODIC else overdue.told(ctx)
    if not said:
        return wanted
    reason = wanted.reason
    return replace(wanted, reason=Reason(reason.code, f"{reason.text}; {said}"))


def needs_no_metric(config: PolicyConfig, now_s: float) -> bool:
    """Return whether the counts are the schedule's alone now, whatever the signals say.

    True while a target window is in force, and always where ``periodic`` is the only policy.
    """
    if is_alone(config, PERIODIC):
        return True
    ruling = _ruling(config, now_s)
    return ruling is not None and ruling.fixed


def asked_without_driver(ctx: Context) -> Instances:
    """Return what is asked for whether or not the driver can be read (S6).

    The floor of the schedule, which reads no signal, and what ``latency`` wants: it reads the
    latencies alone and asks for nothing where they can't be read.
    """
    config = ctx.spec.policy
    ruling = _ruling(config, ctx.now_s)
    asked = Instances(0, 0) if ruling is None else ruling.counts
    if LATENCY in policy_names(config.name):
        asked = larger(asked, latency(ctx).want)
    return asked


def _ruling(config: PolicyConfig, now_s: float) -> Ruling | None:
    named = PERIODIC in policy_names(config.name)
    return ruling_at(config, now_s) if named else None


def _voters(measured: Sequence[Recommendation]) -> Sequence[Recommendation]:
    """Return the policies whose wish counts: a safety net at rest has none of its own."""
    awake = [
        part
        for part in measured
        if part.policy != LATENCY or part.reason.code is not Code.WITHIN_TOLERANCE
    ]
    return awake or measured


def _agreed(voters: Sequence[Recommendation]) -> Instances:
    want = voters[0].want
    for part in voters[1:]:
        want = larger(want, part.want)
    return want


def _bounded(want: Instances, ruling: Ruling | None) -> Instances:
    if ruling is None:
        return want
    return ruling.counts if ruling.fixed else larger(want, ruling.counts)


def _decider(
    voters: Sequence[Recommendation], want: Instances, current: Instances
) -> Recommendation:
    """Return the policy the agreed pair comes from; the first that found something if several.

    Growth counts before anything else, then the decode role.
    """
    grown = [role for role in DECODE_FIRST if want.of(role) > current.of(role)]
    role = [*grown, *DECODE_FIRST][0]
    asking = [part for part in voters if part.want.of(role) == want.of(role)]
    whole = [part for part in asking if part.want == want] or asking
    return min(whole, key=lambda part: part.reason.code is Code.WITHIN_TOLERANCE)
