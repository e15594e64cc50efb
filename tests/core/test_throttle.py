"""How long wrong answers shut a door."""

import pytest

from controller.core.throttle import ACCOUNT, ADDRESS, PAIR, Rule


@pytest.mark.parametrize(
    ("rule", "failures", "shut_s"),
    [
        pytest.param(PAIR, 4, 0.0, id="pair: 4 of 5 are free"),
        pytest.param(PAIR, 5, 30.0, id="pair: the fifth shuts for 30"),
        pytest.param(PAIR, 6, 60.0, id="pair: 30*2"),
        pytest.param(PAIR, 9, 480.0, id="pair: 30*2^4"),
        pytest.param(PAIR, 12, 3600.0, id="pair: 30*2^7=3840, at most an hour"),
        pytest.param(PAIR, 10**9, 3600.0, id="pair: no number is too large"),
        pytest.param(ADDRESS, 49, 0.0, id="address: an office of ten mistypes"),
        pytest.param(ADDRESS, 52, 240.0, id="address: 60*2^2"),
        pytest.param(ADDRESS, 54, 900.0, id="address: 60*2^4=960, at most 15 minutes"),
        pytest.param(ACCOUNT, 99, 0.0, id="account: 99 of 100 are free"),
        pytest.param(ACCOUNT, 100_000, 5.0, id="account: it slows and never shuts for longer"),
    ],
)
def test_the_door_shuts_for_longer_each_time(rule: Rule, failures: int, shut_s: float) -> None:
    assert rule.shut_s(failures) == shut_s
