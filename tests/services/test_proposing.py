"""Which proposals are the same to whoever reads them (S18)."""

import pytest

from controller.core.approval import Basis, fingerprint
from controller.core.types import Instances, Mode
from controller.models import Proposal
from controller.services.proposing import nearly_same

Pair = tuple[int, int]


def proposal(now: Pair, to: Pair, then: Pair | None = None) -> tuple[Proposal, Basis]:
    """Return an unsaved proposal from these counts, and what it rests on."""
    basis = Basis("chat", "7", Instances(*now), 1, None, Mode.APPROVE)
    later = None if then is None else Instances(*then)
    row = Proposal(
        from_prefill=now[0],
        from_decode=now[1],
        to_prefill=to[0],
        to_decode=to[1],
        then_prefill=later and later.prefill,
        then_decode=later and later.decode,
        fingerprint=fingerprint(basis, Instances(*to), later),
    )
    return row, basis


@pytest.mark.parametrize(
    ("now", "given", "asked", "same"),
    [
        pytest.param((50, 100), (45, 90), (49, 99), False, id="-5, -10 is bolder than -1, -1"),
        pytest.param((4, 8), (3, 6), (4, 7), False, id="-1, -2 is bolder than 0, -1"),
        pytest.param((50, 100), (50, 91), (50, 92), False, id="-9 is bolder than -8"),
        pytest.param(
            (50, 100), (50, 92), (50, 91), True, id="-8 for -9 takes less: 1 of 3 or more"
        ),
        pytest.param((50, 100), (55, 111), (51, 101), False, id="+5, +11 is not +1, +1"),
        pytest.param((20, 40), (23, 45), (23, 46), True, id="+5 for +6: 1 of 3 or more"),
        pytest.param((20, 40), (23, 45), (23, 47), False, id="+5 for +7: 2 > max(5 // 10, 1)"),
        pytest.param((50, 100), (50, 130), (50, 133), True, id="+30 for +33: 3 = 30 // 10"),
        pytest.param((50, 100), (50, 130), (50, 134), False, id="+30 for +34: 4 > 30 // 10"),
        pytest.param((2, 4), (2, 5), (2, 6), False, id="+1 for +2 is half of it"),
        pytest.param((2, 4), (2, 6), (2, 7), False, id="+2 for +3 is two thirds of it"),
        pytest.param((50, 100), (50, 99), (50, 101), False, id="the other direction"),
        pytest.param((50, 100), (50, 99), (50, 100), False, id="nothing is asked of decode"),
    ],
)
def test_a_trifle_is_small_beside_the_change_and_never_takes_more(
    now: Pair, given: Pair, asked: Pair, *, same: bool
) -> None:
    row, basis = proposal(now, given)
    assert nearly_same(row, proposal(now, asked)[0], basis) == same


@pytest.mark.parametrize(
    ("given", "asked", "same"),
    [
        pytest.param((6, 6), (6, 7), True, id="then +4 for +5"),
        pytest.param((6, 6), (6, 4), False, id="then +4 for +2"),
        pytest.param((6, 6), None, False, id="no second half is asked any more"),
    ],
)
def test_the_second_half_of_an_exchange_is_held_to_the_same(
    given: Pair, asked: Pair | None, *, same: bool
) -> None:
    row, basis = proposal((10, 2), (6, 2), given)
    assert nearly_same(row, proposal((10, 2), (6, 2), asked)[0], basis) == same
