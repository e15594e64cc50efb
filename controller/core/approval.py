"""What an approval was given for, and whether it may still be carried out."""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code
from controller.core.types import Instances, Mode, Reason
from controller.core.words import counts, seconds


@dataclass(frozen=True, slots=True)
class Basis:
    """What a proposal rests on. Metrics are not part of it: they move while a person reads."""

    service: str
    resource_version: str
    current: Instances
    policy_version: int
    hold: str | None
    mode: Mode


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
        "the counts, the policy, the mode or the cluster's object changed since it was proposed; "
        f"the service now stands at {counts(present.current)}",
    )
