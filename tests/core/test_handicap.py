"""Weaker instances count for what they do, so that more of them are not let go again (§7)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.decide import decide
from controller.core.handicap import as_held, at_full_speed, handicap_of
from controller.core.reasons import Code
from controller.core.types import Context, Instances, Move, Role
from tests.core.build import SPEC, context, policy
from tests.core.strategies import contexts


@pytest.mark.parametrize(
    ("decode_tps", "handicap", "want"),
    [
        pytest.param(8_000.0, 0, Instances(4, 8), id="10 do the work of 10: 8 are enough"),
        pytest.param(8_000.0, 2, Instances(4, 10), id="10 do the work of 8: they stay"),
        pytest.param(8_700.0, 2, Instances(4, 10), id="8.7 over 8 is within 10 percent"),
        pytest.param(9_300.0, 0, Instances(4, 10), id="9.3 over 10 is within 10 percent"),
        pytest.param(9_300.0, 2, Instances(4, 12), id="9.3 over 8 are 10, which is 12 held"),
    ],
)
def test_policies_count_what_instances_do(
    decode_tps: float, handicap: int, want: Instances
) -> None:
    ctx = replace(
        context(Instances(4, 10), decode_tps, spec=policy(ratio_tolerance=0.9, step_out_frac=1.0)),
        handicap=Instances(0, handicap),
    )
    found = decide(ctx)
    assert found.raw.decode == want.decode
    assert found.final.decode == want.decode


def test_a_hold_on_weaker_hardware_is_no_blocked_change() -> None:
    ctx = replace(
        context(Instances(4, 10), 8_000.0, spec=policy(ratio_tolerance=0.9)),
        handicap=Instances(0, 2),
    )
    found = decide(ctx)
    assert (found.move, found.code) == (Move.HOLD, Code.WITHIN_TOLERANCE)
    assert found.sentence.endswith("10 decode count as 8 by the hardware they run on.")


HANDICAPS = st.builds(Instances, st.integers(0, 6), st.integers(0, 6))


@given(contexts(), HANDICAPS)
def test_the_wish_is_that_of_full_speed_and_what_all_lack(ctx: Context, pair: Instances) -> None:
    """S8, S9: the same is added whatever is wanted, so no change turns round or grows by it."""
    ctx = replace(ctx, handicap=pair)
    reckoned, less = at_full_speed(ctx), handicap_of(ctx)
    found = decide(ctx)
    for role in Role:
        now, then = ctx.state.desired.of(role), reckoned.state.desired.of(role)
        assert now - less.of(role) == then
        assert then >= min(now, 1)
        wanted = found.raw.of(role)
        assert wanted >= 0
        if found.code is not Code.CONFIG_INVALID and found.raw != found.current:
            full = wanted - less.of(role)
            assert (full > then) == (wanted > now)
            assert (full < then) == (wanted < now)


@given(contexts(), HANDICAPS, st.integers(0, 40), st.integers(0, 40))
def test_more_wanted_is_never_less_held(
    ctx: Context, pair: Instances, less: int, more: int
) -> None:
    """S8: monotone."""
    ctx = replace(ctx, handicap=pair)
    low, high = sorted((less, more))
    one, two = as_held(Instances(low, low), ctx), as_held(Instances(high, high), ctx)
    assert one.prefill <= two.prefill
    assert one.decode <= two.decode


@pytest.mark.parametrize(
    ("free", "further", "final"),
    [
        pytest.param({"H20": 0}, {}, 10, id="full"),
        pytest.param({"H20": 0, "L40S": 8}, {}, 10, id="the other type is none of the role's"),
        pytest.param({"H20": 0, "L40S": 8}, {"L40S": 0.5}, 11, id="8 of half the worth: 4 GPUs"),
        pytest.param({"H20": 4, "L40S": 8}, {"L40S": 0.5}, 12, id="4 and 4"),
        pytest.param({"H20": 0}, {"L40S": 0.5}, 10, id="a pool that can't be read gives nothing"),
    ],
)
def test_all_types_of_a_role_are_room(
    free: dict[str, int], further: dict[str, float], final: int
) -> None:
    spec = replace(
        policy(ratio_tolerance=0.9, step_out_frac=1.0),
        further={Role.DECODE: further} if further else {},
    )
    ctx = context(Instances(4, 10), 12_000.0, spec=spec, gpus_free={"H800": 99} | free)
    found = decide(ctx)
    assert found.final.decode == final
    if final < 12:
        assert Code.NO_CAPACITY_SKU in {step.code for step in found.steps}


def test_roles_of_the_same_types_share_what_is_free() -> None:
    kinds = {Role.PREFILL: {"H20": 1.0}, Role.DECODE: {"H800": 1.0}}
    spec = replace(SPEC, further=kinds, gpus_per_instance=Instances(4, 4))
    ctx = context(Instances(4, 8), 16_000.0, spec=spec, gpus_free={"H800": 8, "H20": 4})
    assert sum(decide(ctx).final) <= 12 + 3
