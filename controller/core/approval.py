"""What an approval was given for, and whether it may still be carried out."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code
from controller.core.types import ROLES, Instances, Mode, PolicyConfig, Reason, Role
from controller.core.words import counts, seconds


@dataclass(frozen=True, slots=True)
class Basis:
    """What a proposal rests on. Metrics are not part of it: they move while a person reads.

    ``overrides`` tells one set of overrides from another; empty without any.
    """

    service: str
    resource_version: str
    current: Instances
    policy_version: int
    hold: str | None
    mode: Mode
    overrides: str = ""


SECOND_FROM_GPUS: Final = 64
SECOND_FROM_FRAC: Final = 0.5
"""Changes of more than this take a second approver (product: approvals)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What people are asked to approve; ``then`` is the second half of an exchange.

    ``is_breaching`` is whether the service is over its SLO now.
    """

    before: Instances
    after: Instances
    gpus_per_instance: Instances
    is_breaching: bool = False
    then: Instances | None = None

    def moved(self, role: Role) -> int:
        """Return the most instances of a role that change, either way, in both halves."""
        ends = (self.after, self.then or self.after)
        return max(abs(end.of(role) - self.before.of(role)) for end in ends)

    def most(self, role: Role) -> int:
        """Return the most instances a role has before it or after."""
        return max(pair.of(role) for pair in (self.before, self.after, self.then or self.after))

    @property
    def gpus(self) -> int:
        """The GPUs that change hands, taken or given back."""
        return sum(self.moved(role) * self.gpus_per_instance.of(role) for role in ROLES)

    @property
    def gained_and_lost(self) -> tuple[int, int]:
        """The GPUs of roles that grow and of roles that shrink, in both halves."""
        end = self.then or self.after
        steps = (
            (end.of(role) - self.before.of(role)) * self.gpus_per_instance.of(role)
            for role in ROLES
        )
        found = list(steps)
        return sum(one for one in found if one > 0), -sum(one for one in found if one < 0)

    @property
    def shrinks(self) -> bool:
        """Whether any role loses instances."""
        return any(self.after.of(role) < self.before.of(role) for role in ROLES)

    @property
    def grows(self) -> bool:
        """Whether any role gains instances, in either half."""
        end = self.then or self.after
        return any(end.of(role) > self.before.of(role) for role in ROLES)


def lasts_s(change: Change, policy: PolicyConfig) -> float:
    """Return how long a proposal waits for an answer [s]: by policy and direction.

    What only takes instances away may wait longer than what the load asks for.
    """
    only_in = change.shrinks and not change.grows
    return policy.proposal_ttl_in_s if only_in else policy.proposal_ttl_s


def approvers_needed(
    change: Change, *, most_gpus: int | None = SECOND_FROM_GPUS
) -> tuple[int, str]:
    """Return how many people must approve, one or two, and why it takes a second (product 1.5).

    Two for more than ``most_gpus`` GPUs (``None``: however many), for more than half of what a
    role has before or after, whichever is more (doubling is half), for taking instances away while
    the service is over its SLO, and for the last instance of a role. All reasons are named.
    """
    why = [*_why_second(change, most_gpus)]
    return (2, "; ".join(why)) if why else (1, "")


def must_type(change: Change, needs: int) -> bool:
    """Return whether approving takes the GPUs typed out: a large step that takes away."""
    return change.shrinks and needs > 1


def _why_second(change: Change, most_gpus: int | None) -> Iterator[str]:
    if most_gpus is not None and change.gpus > most_gpus:
        yield f"it changes {change.gpus:,} GPUs, more than {most_gpus:,}"
    for role in ROLES:
        moved, most = change.moved(role), change.most(role)
        if moved > SECOND_FROM_FRAC * most:
            yield f"it changes {role.value} by {moved:,} of {most:,}, more than half"
        if change.after.of(role) == 0 < change.before.of(role):
            yield f"it takes the last {role.value} instance"
    if change.is_breaching and change.shrinks:
        yield "it takes instances away while the service is over its SLO"


_SPENT: Final = {
    ProposalState.PENDING: Reason(Code.AWAITING_APPROVAL, "nobody has approved this yet"),
    ProposalState.APPLYING: Reason(Code.IN_PROGRESS, "this is being applied already"),
    ProposalState.APPLIED: Reason(
        Code.UNCHANGED, "this was applied already; approve once, run once"
    ),
    ProposalState.FAILED: Reason(Code.EXECUTOR_ERROR, "this was tried and failed"),
    ProposalState.REJECTED: Reason(Code.REJECTED, "this was rejected"),
    ProposalState.EXPIRED: Reason(Code.EXPIRED, "this expired"),
    ProposalState.SUPERSEDED: Reason(Code.SUPERSEDED, "a newer proposal replaced this"),
    ProposalState.WITHDRAWN: Reason(Code.SUPERSEDED, "this was withdrawn"),
    ProposalState.STALE: Reason(Code.CHANGED_OUTSIDE, "what this rested on has changed"),
}


def fingerprint(basis: Basis, body: Instances, then: Instances | None = None) -> str:
    """Return the SHA-256 [hex] of a proposal's basis and body in a canonical form (S18).

    ``then`` is the second half of an exchange, which is approved with the first.
    """
    parts = (
        basis.service,
        basis.resource_version,
        basis.current.prefill,
        basis.current.decode,
        basis.policy_version,
        basis.hold,
        basis.mode.value,
        body.prefill,
        body.decode,
        *(then or ()),
        *([basis.overrides] if basis.overrides else ()),
    )
    # JSON keeps "1" and 1 apart and quotes what could run two neighbouring fields together.
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_runnable(  # noqa: PLR0913 - what a proposal's row holds, and what it is held against
    *,
    state: ProposalState,
    expires_at_s: float,
    now_s: float,
    fingerprint_approved: str,
    basis: Basis,
    body: Instances,
    then: Instances | None = None,
) -> Reason | None:
    """Return ``None`` if an approved proposal may run now, else why it never will (A02, A03).

    To be called when it is executed, in the transaction that claims it, with the present
    ``basis``: expiry, refusal, replacement and a changed basis are all looked at again there.
    """
    if state is not ProposalState.APPROVED:
        return _SPENT[state]
    if not now_s < expires_at_s:
        return Reason(Code.EXPIRED, f"this expired {seconds(now_s - expires_at_s)} ago")
    return None if fingerprint(basis, body, then) == fingerprint_approved else _changed(basis)


def _changed(present: Basis) -> Reason:
    """Return what is said of a proposal whose basis is no longer the present one."""
    if present.hold is not None:
        return Reason(Code.FROZEN, "the service was frozen after this was proposed")
    return Reason(
        Code.CHANGED_OUTSIDE,
        "the counts, the policy, the mode, an override or the cluster's object changed since it "
        "was proposed; "
        f"the service now stands at {counts(present.current)}",
    )
