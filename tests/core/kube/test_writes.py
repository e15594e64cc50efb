"""Two counts written one after the other: what holds in between (S1, S2, S5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.kube.writes import WIDE, Between, next_count, steps
from controller.core.types import Instances, Role

ROOMY = (Instances(1, 1), 10_000)
counts = st.builds(Instances, st.integers(0, 40), st.integers(0, 40))
gpus = st.builds(Instances, st.integers(1, 8), st.integers(1, 8))


def ratio(pair: Instances) -> float:
    return max(pair.prefill, 0.5) / max(pair.decode, 0.5)


@pytest.mark.parametrize(
    ("now", "target", "rules", "expected"),
    [
        pytest.param((2, 4), (2, 4), ROOMY, [], id="nothing to write"),
        pytest.param((2, 4), (2, 7), ROOMY, [(2, 7)], id="one role: at once"),
        pytest.param(
            (2, 4),
            (3, 6),
            ROOMY,
            [(3, 4), (3, 6)],
            id="0.5: 3/4 is 1.5 out, and so is 2/6",
        ),
        pytest.param(
            (2, 8),
            (4, 4),
            (Instances(2, 1), 12),
            [(2, 4), (4, 4)],
            id="12 GPUs: 4 and 8 would be 16, so decode gives first",
        ),
        pytest.param(
            (2, 8),
            (4, 4),
            (Instances(2, 1), 16),
            [(4, 8), (4, 4)],
            id="room for both: 2/4 and 4/8 are both within: who grows goes first",
        ),
        pytest.param(
            (1, 1),
            (9, 9),
            ROOMY,
            [(2, 1), (2, 4), (8, 4), (8, 9), (9, 9)],
            id="9/1 is 9 times out: they take turns of twice",
        ),
    ],
)
def test_steps(
    now: tuple[int, int],
    target: tuple[int, int],
    rules: tuple[Instances, int],
    expected: list[tuple[int, int]],
) -> None:
    ends = Instances(*now), Instances(*target)
    assert list(steps(*ends, Between(*rules, ends))) == expected


@given(counts, counts, gpus, st.integers(0, 400))
def test_every_pair_in_between_is_safe_s1_s2_s5(
    now: Instances, target: Instances, each: Instances, room: int
) -> None:
    most = max(room, now.gpus(each), target.gpus(each))
    rules = Between(each, most, (now, target))
    seen = list(steps(now, target, rules))
    assert (seen[-1] if seen else now) == target
    low, high = sorted((ratio(now), ratio(target)))
    before = now
    for pair in seen:
        assert pair.gpus(each) <= most
        for role in Role:
            ends = sorted((now.of(role), target.of(role)))
            assert ends[0] <= pair.of(role) <= ends[1]
        single = sum(abs(pair.of(role) - before.of(role)) for role in Role) == 1
        assert single or low / WIDE <= ratio(pair) <= high * WIDE
        before = pair


@given(counts, counts, gpus)
def test_the_next_step_follows_from_where_the_pair_stands(
    now: Instances, target: Instances, each: Instances
) -> None:
    """Whoever takes over after a crash goes on in the same way (S23)."""
    rules = Between(each, max(now.gpus(each), target.gpus(each)), (now, target))
    seen = list(steps(now, target, rules))
    for at, pair in enumerate(seen):
        assert list(steps(pair, target, rules)) == seen[at + 1 :]


def test_what_can_not_be_within_the_gpus_at_all_still_shrinks_first() -> None:
    ends = Instances(4, 1), Instances(1, 2)
    rules = Between(Instances(8, 8), 8, ends)
    assert next_count(*ends, rules) == (Role.PREFILL, 1)
