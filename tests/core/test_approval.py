"""An approval runs once, in time, and only on the basis it was given for."""

from dataclasses import replace

import pytest

from controller.core.approval import Basis, Change, check_runnable, fingerprint, lasts_s
from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code
from controller.core.types import Instances, Mode, PolicyConfig
from tests.core.build import NOW_S

BASIS = Basis("chat", "7", Instances(2, 4), policy_version=3, hold=None, mode=Mode.APPROVE)
BODY = Instances(3, 6)


def code(
    state: ProposalState = ProposalState.APPROVED,
    *,
    left_s: float = 60.0,
    present: Basis = BASIS,
    body: Instances = BODY,
) -> Code | None:
    reason = check_runnable(
        state=state,
        expires_at_s=NOW_S + left_s,
        now_s=NOW_S,
        fingerprint_approved=fingerprint(BASIS, BODY),
        basis=present,
        body=body,
    )
    return reason.code if reason else None


def test_an_approval_on_its_basis_runs() -> None:
    assert code() is None


@pytest.mark.parametrize("state", sorted(set(ProposalState) - {ProposalState.APPROVED}))
def test_only_an_approved_proposal_runs_a02_s18(state: ProposalState) -> None:
    assert code(state) is not None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ProposalState.REJECTED, Code.REJECTED),
        (ProposalState.EXPIRED, Code.EXPIRED),
        (ProposalState.SUPERSEDED, Code.SUPERSEDED),
        (ProposalState.APPLYING, Code.IN_PROGRESS),
        (ProposalState.PENDING, Code.AWAITING_APPROVAL),
    ],
)
def test_the_state_says_why_not(state: ProposalState, expected: Code) -> None:
    assert code(state) is expected


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [
        pytest.param(0.001, None, id="1 ms left"),
        pytest.param(0.0, Code.EXPIRED, id="just expired"),
        pytest.param(-10.0, Code.EXPIRED, id="10 s ago"),
        pytest.param(float("nan"), Code.EXPIRED, id="an expiry that is no time"),
    ],
)
def test_expiry(left_s: float, expected: Code | None) -> None:
    assert code(left_s=left_s) is expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"service": "search"}, Code.CHANGED_OUTSIDE),
        ({"resource_version": "8"}, Code.CHANGED_OUTSIDE),
        ({"current": Instances(2, 5)}, Code.CHANGED_OUTSIDE),
        ({"policy_version": 4}, Code.CHANGED_OUTSIDE),
        ({"mode": Mode.OBSERVE}, Code.CHANGED_OUTSIDE),
        ({"hold": "h1"}, Code.FROZEN),
    ],
)
def test_a_changed_basis_never_runs_a03(changed: dict[str, object], expected: Code) -> None:
    assert code(present=replace(BASIS, **changed)) is expected  # type: ignore[arg-type]


def test_another_body_never_runs_s18() -> None:
    assert code(body=Instances(3, 7)) is Code.CHANGED_OUTSIDE


def test_a_fingerprint_keeps_neighbouring_fields_apart() -> None:
    assert fingerprint(replace(BASIS, service="chat1", resource_version="7"), BODY) != fingerprint(
        replace(BASIS, service="chat", resource_version="17"), BODY
    )
    assert fingerprint(BASIS, Instances(1, 11)) != fingerprint(BASIS, Instances(11, 1))
    assert len(fingerprint(BASIS, BODY)) == 64


@pytest.mark.parametrize(
    ("after", "lasts"),
    [
        pytest.param(Instances(3, 6), 600.0, id="2/4 -> 3/6 grows"),
        pytest.param(Instances(1, 3), 1800.0, id="2/4 -> 1/3 only takes away"),
        pytest.param(Instances(2, 3), 1800.0, id="2/4 -> 2/3 takes from one role"),
        pytest.param(Instances(1, 5), 600.0, id="2/4 -> 1/5 moves from role to role"),
    ],
)
def test_a_proposal_waits_by_policy_and_direction(after: Instances, lasts: float) -> None:
    config = PolicyConfig("p", "decode_tps", 1000.0, 0.5)
    change = Change(Instances(2, 4), after, Instances(2, 2))
    assert lasts_s(change, config) == lasts


def test_an_exchange_waits_as_what_grows_does() -> None:
    config = PolicyConfig("p", "decode_tps", 1000.0, 0.5)
    change = Change(Instances(2, 4), Instances(2, 3), Instances(2, 2), then=Instances(3, 3))
    assert lasts_s(change, config) == config.proposal_ttl_s
