"""How many: the window in force says so, and no metric is asked."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.policies.periodic import periodic
from controller.core.reasons import Code
from controller.core.types import (
    Context,
    Instances,
    Period,
    PeriodKind,
    Reason,
    Recommendation,
    ServiceSpec,
)
from tests.core.build import LIMITS, context, healthy, policy

# NOW_S is 1970-01-12 13:46:40 UTC, a Monday.
DAY = Period("day", "08:00", "20:00", Instances(4, 8))
HOUR = Period("hour", "13:00", "14:00", Instances(1, 9))
FIXED = Period("fixed", "13:30", "15:00", Instances(2, 3), PeriodKind.TARGET)
NIGHT = Period("night", "22:00", "06:00", Instances(3, 3))
FOUR = Instances(2, 4)


def service(*periods: Period, name: str = "periodic", zone: str = "UTC") -> ServiceSpec:
    return policy(name=name, schedule=periods, time_zone=zone)


def unseen(current: Instances, spec: ServiceSpec) -> Context:
    """Return a context of which no signal is known."""
    return context(current, 0.0, spec=spec, signals={})


@pytest.mark.parametrize(
    ("periods", "current", "alone", "beside"),
    [
        pytest.param(
            (DAY,), FOUR, Instances(4, 8), Instances(4, 8), id="floor (4, 8) over (2, 4)"
        ),
        pytest.param(
            (DAY,), Instances(9, 9), Instances(4, 8), Instances(9, 9), id="(9, 9) over the floor"
        ),
        pytest.param(
            (DAY, HOUR), FOUR, Instances(4, 9), Instances(4, 9), id="floors: max(4,1), max(8,9)"
        ),
        pytest.param(
            (DAY, FIXED), Instances(9, 9), Instances(2, 3), Instances(2, 3), id="target (2, 3)"
        ),
        pytest.param(
            (NIGHT,), FOUR, Instances(1, 1), FOUR, id="no window: the minimum (1, 1), or as is"
        ),
    ],
)
def test_the_window_in_force_asks(
    periods: tuple[Period, ...], current: Instances, alone: Instances, beside: Instances
) -> None:
    assert periodic(unseen(current, service(*periods))).want == alone
    spec = service(*periods, name="proportional+periodic")
    assert periodic(unseen(current, spec)).want == beside


def test_a_floor_below_the_minimum_leaves_the_minimum() -> None:
    spec = replace(service(DAY), limits=replace(LIMITS, minimum=Instances(6, 6)))
    assert periodic(unseen(FOUR, spec)).want == Instances(6, 8)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param(
            service(DAY, zone="Asia/Kathmandu"),
            Reason(
                Code.SCHEDULED,
                "Window 'day' (until 1970-01-12 20:00 Asia/Kathmandu) asks for at least "
                "decode 8, prefill 4",
            ),
            id="a floor, in the service's zone",
        ),
        pytest.param(
            service(DAY, HOUR),
            Reason(
                Code.SCHEDULED,
                "Windows 'day' (until 1970-01-12 20:00 UTC) and 'hour' (until 1970-01-12 14:00 "
                "UTC) ask for at least decode 9, prefill 4",
            ),
            id="two floors",
        ),
        pytest.param(
            service(DAY, FIXED),
            Reason(
                Code.SCHEDULED,
                "Window 'fixed' (until 1970-01-12 15:00 UTC) asks for exactly decode 3, prefill 2",
            ),
            id="a target",
        ),
        pytest.param(
            service(NIGHT),
            Reason(
                Code.SCHEDULED,
                "No window is in force, so the minimum of decode 1, prefill 1 holds; "
                "the next is 'night' from 1970-01-12 22:00 UTC",
            ),
            id="none in force, alone",
        ),
        pytest.param(
            service(NIGHT, name="proportional+periodic"),
            Reason(
                Code.UNCHANGED,
                "No window is in force; the next is 'night' from 1970-01-12 22:00 UTC",
            ),
            id="none in force, beside another policy",
        ),
        pytest.param(
            service(replace(DAY, dates=("1969-12-24",)), name="proportional+periodic"),
            Reason(Code.UNCHANGED, "No window is in force; none is to come"),
            id="none to come",
        ),
    ],
)
def test_the_sentence_names_the_window_and_its_end(spec: ServiceSpec, reason: Reason) -> None:
    found = periodic(unseen(FOUR, spec))
    assert found == Recommendation(found.want, reason, "decode_tps", None, "periodic")


COUNTS = st.builds(Instances, st.integers(1, 60), st.integers(1, 60))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([DAY, HOUR, FIXED, NIGHT]), min_size=1), COUNTS)
def test_no_signal_moves_it(periods: list[Period], current: Instances) -> None:
    spec = service(*periods)
    known = context(current, 0.0, spec=spec, signals=healthy(9000.0, current))
    assert periodic(known) == periodic(unseen(current, spec))
