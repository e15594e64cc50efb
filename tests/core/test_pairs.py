"""Rounding and the P/D ratio."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.pairs import Pairing, whole_down, whole_up
from controller.core.types import Instances, PolicyConfig, Role
from tests.core.build import POLICY


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        pytest.param(4.0000000001, 4, 4, id="an excess of 1e-10 is noise"),
        pytest.param(3.9999999999, 4, 4, id="a lack of 1e-10 is noise"),
        pytest.param(4.001, 5, 4, id="an excess of 0.001 is an instance"),
        pytest.param(0.1 * 30, 3, 3, id="0.1 * 30 is 3.0000000000000004"),
        pytest.param(0.0, 0, 0, id="nothing is nothing"),
    ],
)
def test_whole_numbers(value: float, up: int, down: int) -> None:
    assert (whole_up(value), whole_down(value)) == (up, down)


def test_decode_leads_prefill_at_its_ratio() -> None:
    pairing = Pairing.of(POLICY)
    assert pairing.lead is Role.DECODE
    assert pairing.join(8, pairing.ideal(8)) == Instances(4, 8)
    # ± 25 % of 0.5 is 0.375 to 0.625: 3 to 5 of 8.
    assert (pairing.least(8), pairing.most(8)) == (3, 5)


def test_prefill_leads_decode_at_its_ratio() -> None:
    pairing = Pairing.of(PolicyConfig("proportional", "prefill_util", 0.7, pd_ratio=0.5))
    assert pairing.lead is Role.PREFILL
    assert pairing.join(4, pairing.ideal(4)) == Instances(4, 8)
    assert pairing.split(Instances(4, 8)) == (4, 8)


@given(
    ratio=st.floats(0.01, 100.0),
    tolerance=st.floats(0.0, 0.9),
    lead=st.integers(1, 500),
    driver=st.sampled_from(["decode_tps", "prefill_tps_uncached"]),
)
def test_what_rounding_gives_is_inside_the_band(
    ratio: float, tolerance: float, lead: int, driver: str
) -> None:
    config = PolicyConfig("proportional", driver, 1.0, ratio, ratio_tolerance=tolerance)
    pairing = Pairing.of(config)
    ideal = pairing.ideal(lead)
    assert pairing.least(lead) <= ideal <= pairing.most(lead)
    assert pairing.fewest_leading(ideal) <= lead


def test_the_most_that_may_lead_are_never_fewer_than_the_fewest_that_must() -> None:
    # 21 decode at 0.1 prefill per decode, no tolerance: 2.1 prefill, so 3 are needed and allowed.
    exact = PolicyConfig("proportional", "prefill_sm", 0.6, pd_ratio=0.1, ratio_tolerance=0.0)
    pairing = Pairing.of(exact)
    assert (pairing.fewest_leading(21), pairing.most_leading(21)) == (3, 3)
