"""When the controller stops itself: every threshold from both sides."""

from __future__ import annotations

import pytest

from controller.core.breaker import Attempt, Sight, judge, reversals
from controller.core.types import Instances

NOW_S = 10_000.0
CALM = Sight(10, 10)
OUT, IN = Instances(0, 2), Instances(0, -2)


def tried(service: str, ended: str, *, age_s: float = 60.0) -> list[Attempt]:
    """Return attempts of a service, "x" for those that failed; the newest is ``age_s`` old."""
    ages = [age_s + 30.0 * i for i in range(len(ended))]
    return [
        Attempt(service, NOW_S - age, OUT, failed=end == "x")
        for age, end in zip(reversed(ages), ended, strict=True)
    ]


def scopes(attempts: list[Attempt], now: Sight = CALM, *before: Sight) -> list[str | None]:
    return [trip.service for trip in judge(attempts, now, before, now_s=NOW_S)]


@pytest.mark.parametrize(
    ("attempts", "trips"),
    [
        pytest.param(tried("chat", "xx."), [], id="2 of 3 failed < 3"),
        pytest.param(tried("chat", "x.x.x"), ["chat"], id="3 of 5"),
        pytest.param(tried("chat", "xx..x."), [], id="last 5 hold 2 of 3"),
        pytest.param(tried("chat", "xxx", age_s=1_741), [], id="oldest is 1,801 s old"),
        pytest.param(tried("chat", "xxx", age_s=1_739), ["chat"], id="all < 1,800 s"),
        pytest.param([*tried("chat", "xx"), *tried("far", "xx")], [], id="2 each, not 4"),
    ],
)
def test_a_service_stops_after_three_failures_of_its_last_five(
    attempts: list[Attempt], trips: list[str | None]
) -> None:
    assert scopes(attempts) == trips


@pytest.mark.parametrize(
    ("failing", "services", "trips"),
    [
        pytest.param(4, 100, [], id="4 < 5 and 4 < 30"),
        pytest.param(5, 100, [None], id="5 services"),
        pytest.param(3, 10, [None], id="3 of 10 is 30 %"),
        pytest.param(2, 3, [], id="2 of 3 is 67 % but fewer than three"),
        pytest.param(3, 11, [], id="3 < 0.3 x 11 = 3.3"),
    ],
)
def test_the_fleet_stops_when_many_services_fail(
    failing: int, services: int, trips: list[str | None]
) -> None:
    attempts = [one for i in range(failing) for one in tried(f"s{i}", "x")]
    old = [one for i in range(50) for one in tried(f"old{i}", "x", age_s=601)]
    assert scopes([*old, *attempts], Sight(services, services)) == trips


@pytest.mark.parametrize(
    ("deltas", "count"),
    [
        pytest.param([OUT, IN, OUT, IN, OUT], 4, id="decode out in out in out"),
        pytest.param([OUT, OUT, IN, IN], 1, id="one turn"),
        pytest.param([Instances(1, 1), Instances(-1, -1)], 1, id="both roles at once are one"),
        pytest.param([Instances(1, 0), Instances(0, -1)], 0, id="different roles"),
        pytest.param([Instances(1, 0), OUT, Instances(-1, 0)], 1, id="a rest is no turn"),
    ],
)
def test_turns_are_counted_by_role(deltas: list[Instances], count: int) -> None:
    assert reversals(deltas) == count


@pytest.mark.parametrize(("turns", "trips"), [(3, []), (4, ["chat"])])
def test_a_service_stops_when_it_turns_back_too_often(turns: int, trips: list[str | None]) -> None:
    deltas = [OUT if i % 2 else IN for i in range(turns + 1)]
    attempts = [
        Attempt("chat", NOW_S - 600 + 60 * i, one, failed=False) for i, one in enumerate(deltas)
    ]
    assert scopes(attempts) == trips


@pytest.mark.parametrize(
    ("fresh", "before", "trips"),
    [
        pytest.param(4, [8], [None], id="80 % to 40 %"),
        pytest.param(5, [10], [], id="50 % is not below"),
        pytest.param(4, [7], [], id="70 % was poor before"),
        pytest.param(4, [7, 8], [None], id="80 % two ticks ago"),
        pytest.param(4, [4, 4, 10], [], id="three ticks ago is old: no second trip after a reset"),
        pytest.param(0, [], [], id="the first tick"),
    ],
)
def test_the_fleet_stops_when_it_goes_blind(
    fresh: int, before: list[int], trips: list[str | None]
) -> None:
    assert scopes([], Sight(10, fresh), *(Sight(10, one) for one in before)) == trips


@pytest.mark.parametrize(
    ("was", "now", "trips"),
    [
        pytest.param([10, 10, 10], [3, 4, 4.9], [None], id="30 to 11.9 is -60.3 % (M19)"),
        pytest.param([10, 10, 10], [4, 4, 4], [], id="30 to 12 is -60 %"),
        pytest.param([10, 10], [0, 0], [], id="two services are few"),
        pytest.param([0.5, 0.5, 0.5], [0, 0, 0], [], id="1.5 instances are few"),
    ],
)
def test_the_fleet_stops_when_its_load_is_gone_at_once(
    was: list[float], now: list[float], trips: list[str | None]
) -> None:
    def seen(loads: list[float]) -> Sight:
        return Sight(3, 3, {f"s{i}": load for i, load in enumerate(loads)})

    assert scopes([], seen(now), seen(was)) == trips


def test_a_service_that_is_not_seen_now_has_not_lost_its_load() -> None:
    was = Sight(4, 4, {"a": 5.0, "b": 5.0, "c": 5.0, "d": 100.0})
    assert scopes([], Sight(4, 3, {"a": 5.0, "b": 5.0, "c": 5.0}), was) == []
