"""How many: what several policies want together, and which of them decided."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.config_check import validate_spec
from controller.core.decide import decide
from controller.core.pairs import larger, smaller
from controller.core.policies import POLICIES, asked_without_driver, needs_no_metric, recommend
from controller.core.reasons import Code
from controller.core.types import (
    Context,
    Instances,
    Period,
    PeriodKind,
    Quality,
    ServiceSpec,
    Signals,
)
from tests.core.build import NOW_S, context, graded, healthy, policy, valued, without
from tests.core.strategies import FAULTS

# NOW_S is 1970-01-12 13:46:40 UTC; goals are TTFT 1 s and TBT 0.05 s, the target 1000 tok/s.
FLOOR = Period("day", "08:00", "20:00", Instances(3, 3))
TARGET = Period("fixed", "13:00", "14:00", Instances(7, 9), PeriodKind.TARGET)
NIGHT = Period("night", "22:00", "06:00", Instances(50, 50))
EIGHT = Instances(4, 8)


def service(name: str, *periods: Period) -> ServiceSpec:
    spec = policy(name=name, schedule=periods)
    assert validate_spec(spec) == []
    return spec


def at(spec: ServiceSpec, tps: float, ttft_s: float = 0.7, current: Instances = EIGHT) -> Context:
    return context(current, 0.0, spec=spec, signals=valued(healthy(tps, current), ttft_s=ttft_s))


@pytest.mark.parametrize(
    ("name", "tps", "ttft_s", "want", "code", "policy_name"),
    [
        pytest.param(
            "proportional+latency",
            4000.0,
            0.7,
            Instances(2, 4),
            Code.BELOW_TARGET,
            "proportional",
            id="load asks for (2, 4), TTFT 0.7 agrees",
        ),
        pytest.param(
            "proportional+latency",
            4000.0,
            0.1,
            Instances(2, 4),
            Code.BELOW_TARGET,
            "proportional",
            id="an idle latency adds nothing to it",
        ),
        pytest.param(
            "proportional+latency",
            4000.0,
            1.2,
            Instances(5, 9),
            Code.LATENCY_HIGH,
            "latency",
            id="TTFT 1.2: ceil(4.4)=5, ceil(8.8)=9 over (2, 4)",
        ),
        pytest.param(
            "proportional+latency",
            12_000.0,
            1.2,
            Instances(6, 12),
            Code.ABOVE_TARGET,
            "proportional",
            id="load asks for (6, 12), TTFT for (5, 9)",
        ),
        pytest.param(
            "proportional+latency",
            8000.0,
            0.7,
            EIGHT,
            Code.WITHIN_TOLERANCE,
            "proportional",
            id="load on target, latency within its goal",
        ),
        pytest.param(
            "proportional+latency",
            8000.0,
            1.6,
            Instances(5, 10),
            Code.LATENCY_HIGH,
            "latency",
            id="TTFT 1.6: ceil(4.8)=5, ceil(9.6)=10 over what is there",
        ),
        pytest.param(
            "latency+proportional",
            4000.0,
            1.2,
            Instances(5, 9),
            Code.LATENCY_HIGH,
            "latency",
            id="the order of the names counts for nothing",
        ),
    ],
)
def test_the_largest_wish_counts(  # noqa: PLR0913 - columns of the table
    *, name: str, tps: float, ttft_s: float, want: Instances, code: Code, policy_name: str
) -> None:
    found = recommend(at(service(name), tps, ttft_s))
    assert (found.want, found.reason.code, found.policy) == (want, code, policy_name)
    assert found.reason.text.endswith(f" (policy {policy_name})")
    assert (found.driver, found.load) == ("decode_tps", tps / 8000.0)


@pytest.mark.parametrize(
    ("periods", "tps", "ttft_s", "want", "policy_name"),
    [
        pytest.param(
            (FLOOR,), 4000.0, 0.7, Instances(3, 4), "periodic", id="(2, 4) over a floor of (3, 3)"
        ),
        pytest.param(
            (FLOOR,), 4000.0, 1.2, Instances(5, 9), "latency", id="(5, 9) is over the floor"
        ),
        pytest.param(
            (FLOOR,), 12_000.0, 0.7, Instances(6, 12), "proportional", id="(6, 12) is over it"
        ),
        pytest.param((FLOOR, TARGET), 4000.0, 0.7, Instances(7, 9), "periodic", id="a target"),
        pytest.param(
            (TARGET,), 90_000.0, 9.0, Instances(7, 9), "periodic", id="a target against a breach"
        ),
        pytest.param(
            (NIGHT,), 4000.0, 0.7, Instances(2, 4), "proportional", id="no window in force"
        ),
    ],
)
def test_the_schedule_bounds_the_result(
    periods: tuple[Period, ...],
    tps: float,
    ttft_s: float,
    want: Instances,
    policy_name: str,
) -> None:
    found = recommend(at(service("proportional+latency+periodic", *periods), tps, ttft_s))
    assert (found.want, found.policy) == (want, policy_name)
    assert found.driver == "decode_tps"


def test_a_target_that_is_met_is_still_the_reason() -> None:
    spec = service("proportional+periodic", TARGET)
    found = recommend(at(spec, 9000.0, current=Instances(7, 9)))
    assert (found.want, found.reason.code) == (Instances(7, 9), Code.SCHEDULED)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_one_policy_alone_is_itself(name: str) -> None:
    spec = service(name, *([FLOOR] if name == "periodic" else []))
    ctx = at(spec, 12_000.0, 1.2)
    assert recommend(ctx) == replace(POLICIES[name](ctx), policy=name)


def test_every_wish_stays_with_the_result() -> None:
    ctx = at(service("latency+periodic+proportional", FLOOR), 4000.0, 1.2)
    found = recommend(ctx)
    assert found.parts == tuple(
        replace(POLICIES[name](ctx), policy=name)
        for name in ("latency", "periodic", "proportional")
    )
    assert [part.want for part in found.parts] == [Instances(5, 9), EIGHT, Instances(2, 4)]


def test_latency_drives_where_nothing_else_reads_metrics() -> None:
    found = recommend(at(service("periodic+latency", FLOOR), 4000.0, 1.2))
    assert (found.want, found.driver, found.load) == (Instances(5, 9), "ttft_s", 1.2)
    calm = recommend(at(service("periodic+latency", FLOOR), 4000.0, 0.1))
    assert (calm.want, calm.policy) == (EIGHT, "latency")


def test_nothing_goes_while_latency_is_unknown() -> None:
    spec = service("proportional+latency")
    for quality in sorted(set(Quality) - {Quality.OK}):
        signals = graded(healthy(4000.0, EIGHT), "tbt_s", quality)
        found = recommend(context(EIGHT, 0.0, spec=spec, signals=signals))
        assert (found.want, found.policy) == (EIGHT, "latency")


def test_an_idle_service_may_shrink_without_latencies() -> None:
    signals = without(healthy(0.0, EIGHT), "ttft_s", "tbt_s")
    found = recommend(context(EIGHT, 0.0, spec=service("proportional+latency"), signals=signals))
    assert (found.want, found.policy) == (Instances(0, 0), "proportional")


def test_nothing_goes_while_the_answer_to_a_breach_starts() -> None:
    ctx = at(service("proportional+latency"), 4000.0, 1.2)
    half = replace(ctx.state, decode=replace(ctx.state.decode, ready=4, starting=4))
    found = recommend(replace(ctx, state=half))
    assert (found.want, found.reason.code) == (EIGHT, Code.LATENCY_HIGH)


def test_a_breach_may_ask_although_the_driver_is_unknown_s6() -> None:
    signals = without(valued(healthy(8000.0, EIGHT), ttft_s=1.2), "decode_tps")
    found = recommend(context(EIGHT, 0.0, spec=service("proportional+latency"), signals=signals))
    assert (found.want, found.policy) == (Instances(5, 9), "latency")
    assert (found.driver, found.load) == ("decode_tps", None)


@pytest.mark.parametrize("name", ["latency", "latency+proportional", "proportional"])
def test_a_service_nobody_reports_on_is_kept_s7(name: str) -> None:
    found = recommend(context(EIGHT, 0.0, spec=service(name), signals={}))
    assert (found.want, found.reason.code) == (EIGHT, Code.METRIC_MISSING)


@pytest.mark.parametrize(
    ("name", "periods", "want"),
    [
        pytest.param("periodic", (FLOOR,), Instances(3, 3), id="alone"),
        pytest.param("proportional+periodic", (TARGET,), Instances(7, 9), id="a target"),
        pytest.param(
            "latency+periodic",
            (replace(FLOOR, counts=Instances(9, 1)),),
            Instances(9, 8),
            id="a floor raises one role",
        ),
    ],
)
def test_the_schedule_is_kept_when_nothing_can_be_read(
    name: str, periods: tuple[Period, ...], want: Instances
) -> None:
    found = recommend(context(EIGHT, 0.0, spec=service(name, *periods), signals={}))
    assert (found.want, found.reason.code) == (want, Code.SCHEDULED)


@pytest.mark.parametrize(
    ("name", "periods", "free", "floor"),
    [
        ("proportional", (), False, Instances(0, 0)),
        ("periodic", (NIGHT,), True, Instances(0, 0)),
        ("periodic", (FLOOR,), True, Instances(3, 3)),
        ("proportional+periodic", (FLOOR,), False, Instances(3, 3)),
        ("proportional+periodic", (NIGHT,), False, Instances(0, 0)),
        ("proportional+periodic", (FLOOR, TARGET), True, Instances(7, 9)),
    ],
    ids=["no schedule", "alone, none", "alone, floor", "floor", "none in force", "target"],
)
def test_what_needs_no_metric(
    name: str,
    periods: tuple[Period, ...],
    free: bool,  # noqa: FBT001 - a column of the table
    floor: Instances,
) -> None:
    spec = service(name, *periods)
    assert needs_no_metric(spec.policy, NOW_S) is free
    assert asked_without_driver(at(spec, 4000.0)) == floor


@pytest.mark.parametrize(
    ("name", "lost", "ttft_s", "final"),
    [
        pytest.param("proportional+periodic", "decode_tps", 0.7, (5, 9), id="floor (5, 9)"),
        pytest.param(
            "proportional+latency+periodic", "decode_tps", 1.2, (5, 9), id="TTFT: 1.1 · (4, 8)"
        ),
        pytest.param(
            "proportional+latency", "decode_tps", 1.2, (5, 9), id="1.1 · (4, 8) = (4.4, 8.8)"
        ),
        pytest.param("latency", "decode_tps", 1.2, (5, 9), id="latency alone: 1.1 · (4, 8)"),
        pytest.param("proportional+latency", "decode_tps", 1.0, (4, 8), id="TTFT at its goal"),
        pytest.param("proportional", "decode_tps", 1.2, (4, 8), id="nobody reads TTFT"),
        pytest.param("proportional+latency", "ttft_s", 1.2, (4, 8), id="TTFT lost, load met"),
    ],
)
def test_what_asks_for_more_need_not_be_the_driver_s6(
    name: str, lost: str, ttft_s: float, final: tuple[int, int]
) -> None:
    floors = (replace(FLOOR, counts=Instances(5, 9)),) if "periodic" in name else ()
    ctx = at(service(name, *floors), 8000.0, ttft_s)
    assert decide(replace(ctx, signals=without(ctx.signals, lost))).final == Instances(*final)


def test_a_target_window_keeps_its_own_ratio_on_the_way() -> None:
    """(7, 9) is 0.78 and ± 25 % of 0.5 ends at 0.63: decode does not become 12 for it."""
    ctx = at(service("proportional+periodic", TARGET), 8000.0, current=Instances(2, 9))
    assert decide(ctx).final == Instances(6, 9)
    assert [step.name for step in decide(ctx).steps] == ["policy", "step", "gate"]


@pytest.mark.parametrize("lost", [(), ("tbt_s",), ("tbt_s", "ttft_s", "decode_tps")])
def test_a_target_window_is_kept_alike_with_and_without_latencies_s7(
    lost: tuple[str, ...],
) -> None:
    """TBT of 0.05 s leaves no room for fewer, yet nothing that can't be read lets more go."""
    ctx = at(service("periodic", TARGET), 8000.0, current=Instances(7, 11))
    signals = without(valued(ctx.signals, tbt_s=0.05), *lost)
    assert decide(replace(ctx, signals=signals)).final == Instances(7, 9)


NAMES = st.sampled_from(
    ["+".join(names) for n in (2, 3) for names in permutations(sorted(POLICIES), n)]
)
COUNTS = st.builds(Instances, st.integers(1, 40), st.integers(1, 40))
LOADS = st.floats(0.0, 60_000.0)
LATENCIES = st.floats(0.0, 3.0)


def with_schedule(name: str, *periods: Period) -> ServiceSpec:
    return service(name, *(periods if "periodic" in name else ()))


def seen(tps: float, ttft_s: float, current: Instances, faults: dict[str, Quality]) -> Signals:
    found = valued(healthy(tps, current), ttft_s=ttft_s)
    for name, quality in sorted(faults.items()):
        found = graded(found, name, quality)
    return found


@settings(max_examples=80, deadline=None)
@given(NAMES, LOADS, LATENCIES, COUNTS, FAULTS)
def test_the_result_is_the_largest_of_the_parts_or_agreed(
    name: str, tps: float, ttft_s: float, current: Instances, faults: dict[str, Quality]
) -> None:
    signals = seen(tps, ttft_s, current, faults)
    found = recommend(context(current, 0.0, spec=with_schedule(name, FLOOR), signals=signals))
    highest, lowest = found.parts[0].want, found.parts[0].want
    for part in found.parts[1:]:
        highest, lowest = larger(highest, part.want), smaller(lowest, part.want)
    assert smaller(found.want, highest) == found.want
    assert larger(found.want, lowest) == found.want
    assert larger(found.want, current) != found.want or found.want == larger(current, highest)
    latencies = [part.want for part in found.parts if part.policy == "latency"]
    assert all(larger(want, current) == want for want in latencies)


@settings(max_examples=80, deadline=None)
@given(NAMES, st.tuples(LOADS, LOADS), st.tuples(LATENCIES, LATENCIES), COUNTS)
def test_more_load_and_more_latency_never_ask_for_fewer(
    name: str, loads: tuple[float, float], latencies: tuple[float, float], current: Instances
) -> None:
    spec = with_schedule(name, FLOOR)
    lower = recommend(at(spec, min(loads), min(latencies), current)).want
    higher = recommend(at(spec, max(loads), max(latencies), current)).want
    assert larger(lower, higher) == higher


@settings(max_examples=80, deadline=None)
@given(NAMES, LOADS, LATENCIES, COUNTS, FAULTS)
def test_unknown_never_lowers_what_is_there_s7(
    name: str, tps: float, ttft_s: float, current: Instances, faults: dict[str, Quality]
) -> None:
    spec = with_schedule(name, FLOOR)
    clear = recommend(context(current, 0.0, spec=spec, signals=seen(tps, ttft_s, current, {})))
    unseen = {fault: quality for fault, quality in faults.items() if quality is Quality.MISSING}
    dim = recommend(context(current, 0.0, spec=spec, signals=seen(tps, ttft_s, current, unseen)))
    assert larger(dim.want, smaller(clear.want, current)) == dim.want


@settings(max_examples=50, deadline=None)
@given(st.permutations(sorted(POLICIES)), LOADS, LATENCIES, COUNTS)
def test_the_order_of_the_names_changes_no_count(
    names: list[str], tps: float, ttft_s: float, current: Instances
) -> None:
    wants = {
        recommend(at(service("+".join(order), FLOOR), tps, ttft_s, current)).want
        for order in (names, sorted(POLICIES))
    }
    assert len(wants) == 1
