"""Instances that have failed or never come up are neither supply nor waited for (L4, L8)."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.core import guards, starts
from controller.core.decide import decide
from controller.core.outlook import Learnt, Outlook, Started
from controller.core.reasons import Code
from controller.core.types import (
    SIGNALS,
    Adapt,
    Context,
    Decision,
    Forecast,
    History,
    Instances,
    RoleState,
    ServiceSpec,
    ServiceState,
    Target,
    Wish,
)
from tests.core.build import (
    NOW_S,
    SPEC,
    context,
    healthy,
    limits,
    policy,
    valued,
    wishes,
    without,
)
from tests.core.test_engine import ENGINE

TICK_S = 15.0
EVERYTHING = tuple(kind.name for kind in SIGNALS)
LATE_S = 301.0  # nothing is known of start-up times: 2 · 120 s, but at least 300 s


def role(up: int, starting: int = 0, failed: int = 0) -> RoleState:
    return RoleState(up + starting + failed, up, starting, failed=failed)


def seen(
    ctx: Context, prefill: RoleState, decode: RoleState, *, waited_s: float = LATE_S
) -> Context:
    """Return the context in these counts, in which what starts has been starting for so long."""

    def learnt(of: RoleState) -> Learnt:
        waits = (Started(NOW_S - waited_s, of.starting),) if of.starting else ()
        return Learnt(waits=waits, wished=of.up + of.starting, ready=of.up)

    outlook = Outlook(at_s=NOW_S - TICK_S, prefill=learnt(prefill), decode=learnt(decode))
    return replace(
        ctx,
        state=ServiceState(prefill, decode, "7"),
        history=replace(ctx.history, outlook=outlook),
    )


def at(decode_tps: float, up: Instances, spec: ServiceSpec = SPEC, **values: float) -> Context:
    return context(up, decode_tps, spec=spec, signals=valued(healthy(decode_tps, up), **values))


# who is overdue


@pytest.mark.parametrize(
    ("state_", "waited_s", "count"),
    [
        pytest.param(role(8, starting=2), 300.0, 0, id="2 start for 300 s: not over 300"),
        pytest.param(role(8, starting=2), 301.0, 2, id="2 start for 301 s"),
        pytest.param(role(8, starting=1, failed=1), 15.0, 1, id="1 of 2 has failed"),
        pytest.param(role(8, starting=1, failed=1), 301.0, 2, id="1 has failed, 1 is late"),
        pytest.param(RoleState(8, 8, failed=2), 301.0, 0, id="8 of 8 up: 2 failed were replaced"),
        pytest.param(RoleState(10, 8, 2, failed=2), 15.0, 0, id="2 start in place of 2 failed"),
        pytest.param(RoleState(10, 8), 301.0, 2, id="10 wished, 8 up, of 2 nothing is seen"),
    ],
)
def test_failed_and_late_instances_are_overdue(
    state_: RoleState, waited_s: float, count: int
) -> None:
    waits = (Started(NOW_S - waited_s, state_.coming),)
    assert starts.overdue(Learnt(waits=waits), state_, NOW_S, 300.0) == count


@pytest.mark.parametrize(
    ("lead_s", "limit_s"),
    [
        pytest.param(45.0, 300.0, id="2 · 45 = 90: at least 300"),
        pytest.param(200.0, 400.0, id="2 · 200 = 400"),
    ],
)
def test_a_start_may_take_twice_the_usual_time(lead_s: float, limit_s: float) -> None:
    assert starts.limit_s(lead_s) == limit_s


def test_the_decision_tells_who_is_overdue() -> None:
    ctx = seen(at(8000.0, Instances(5, 8)), role(4, failed=1), role(8, starting=2))
    found = decide(ctx)
    assert found.forecast is not None
    assert found.forecast.overdue == (1, 2)
    said = "2 of 10 decode have been starting for over 300 s and are not counted on"
    assert f"{said} and 1 of 5 prefill has failed and is not counted on" in found.sentence


def test_whoever_starts_in_time_is_counted_on() -> None:
    ctx = seen(at(8000.0, Instances(5, 8)), role(5), role(8, starting=2), waited_s=285.0)
    found = decide(ctx)
    assert found.forecast is not None
    assert found.forecast.overdue == (0, 0)
    assert "not counted on" not in found.sentence


# growing


@pytest.mark.parametrize(
    ("decode_tps", "prefill", "decode", "want"),
    [
        pytest.param(
            6500.0, role(5), role(5, starting=5), Instances(5, 12), id="6.5 > 1.1·5: 7 + 5 = 12"
        ),
        pytest.param(
            6500.0, role(5), role(5, failed=5), Instances(5, 12), id="5 failed: 7 + 5 = 12"
        ),
        pytest.param(
            11_000.0,
            role(5),
            role(9, starting=1),
            Instances(6, 12),
            id="11 > 1.1·9: 11 + 1 = 12, prefill ceil(5.5) = 6",
        ),
        pytest.param(
            9500.0, role(5), role(9, starting=1), Instances(5, 10), id="9.5 < 1.1·9 = 9.9: held"
        ),
        pytest.param(
            2000.0,
            role(5),
            role(1, starting=9),
            Instances(5, 10),
            id="2 > 1.1·1: 2 + min(9, 2) = 4 are fewer than 10: held",
        ),
        pytest.param(
            8000.0,
            role(2, failed=6),
            role(8),
            Instances(8, 8),
            id="8 decode are right, and prefill is the ratio's business",
        ),
    ],
)
def test_who_never_comes_up_is_replaced_by_the_driver(
    decode_tps: float, prefill: RoleState, decode: RoleState, want: Instances
) -> None:
    found = decide(seen(at(decode_tps, Instances(prefill.up, decode.up)), prefill, decode))
    assert found.raw == want


@pytest.mark.parametrize(
    ("pd_ratio", "prefill", "want"),
    [
        pytest.param(1.0, role(2, failed=6), 12, id="2 < ceil(0.75·8) = 6: 6 + 6 = 12"),
        pytest.param(1.0, role(7, failed=1), 8, id="7 of at least 6: held"),
        pytest.param(0.5, role(2, failed=6), 8, id="2 < 3: 3 + min(6, 3) = 6 are fewer than 8"),
    ],
)
def test_a_follower_of_whom_some_have_failed_is_restored(
    pd_ratio: float, prefill: RoleState, want: int
) -> None:
    ctx = seen(at(8000.0, Instances(prefill.up, 8), policy(pd_ratio=pd_ratio)), prefill, role(8))
    assert decide(ctx).final == Instances(want, 8)


def test_replacements_of_the_follower_need_no_leaders() -> None:
    """Of 12 prefill 6 have failed: 6 to 8 are inside ±25 % of 1, and 12 to 8 would not be."""
    ctx = seen(at(8000.0, Instances(6, 8), policy(pd_ratio=1.0)), role(6, failed=6), role(8))
    assert "ratio" not in [step.name for step in decide(ctx).steps]


def test_each_role_at_its_own_need_replaces_its_own() -> None:
    spec = replace(policy(adapt=Adapt.AUTOMATIC, pd_ratio=1.0), engine=ENGINE)
    busy = {"request_rps": 60.0, "prefill_tps": 60_000.0, "prefill_tps_uncached": 60_000.0}
    now = at(12_000.0, Instances(2, 5), spec, **busy)
    assert decide(seen(now, role(2), role(5))).raw == Instances(5, 4)
    # Of 4 that have failed all are replaced, of 6 as many as are needed.
    assert decide(seen(now, role(2, failed=4), role(5))).raw == Instances(9, 4)
    assert decide(seen(now, role(2, failed=6), role(5))).raw == Instances(10, 4)


@pytest.mark.parametrize("name", ["latency", "proportional+latency"])
@pytest.mark.parametrize(
    ("decode", "want"),
    [
        pytest.param(role(10), 12, id="1.2 · 10"),
        pytest.param(role(9, failed=1), 12, id="ceil(1.2 · 9) = 11, and 1 that failed"),
        pytest.param(role(5, starting=5), 11, id="1.2 · 5 = 6, and 5 that are late"),
        pytest.param(role(2, starting=8), 10, id="3 + min(8, 3) = 6 are fewer than 10: held"),
    ],
)
def test_who_never_comes_up_is_replaced_when_latency_is_bad(
    name: str, decode: RoleState, want: int
) -> None:
    """The load itself needs 1 decode instance; TTFT is 5 times its goal."""
    ctx = seen(at(1000.0, Instances(5, decode.up), policy(name=name), ttft_s=5.0), role(5), decode)
    found = decide(ctx)
    assert (found.raw, found.steps[0].code) == (Instances(6, want), Code.LATENCY_HIGH)


def test_whoever_starts_in_time_is_still_waited_for() -> None:
    ctx = seen(
        at(1000.0, Instances(5, 8), policy(name="latency"), ttft_s=5.0),
        role(5),
        role(8, starting=1, failed=1),
        waited_s=30.0,
    )
    found = decide(ctx)
    assert found.raw == Instances(5, 10)
    assert "1 instance is still starting, so no more are asked for yet" in found.sentence


def test_the_budget_counts_what_is_wished() -> None:
    """(5, 10) hold 50 of 54 GPUs: of the 2 decode at 4 GPUs that are wanted 1 fits."""
    ctx = seen(at(6500.0, Instances(5, 5), limits(max_gpus=54)), role(5), role(5, starting=5))
    assert decide(ctx).final == Instances(5, 11)


@pytest.mark.parametrize("lost", [(), EVERYTHING], ids=["readable", "nothing readable"])
@pytest.mark.parametrize(
    ("decode", "want"),
    [
        pytest.param(role(4), 4, id="4 up"),
        pytest.param(role(3, failed=1), 5, id="3 up of a minimum of 4: 4 + 1"),
        pytest.param(role(0, failed=4), 8, id="none up: 4 + 4"),
        pytest.param(role(0, failed=8), 8, id="none of 8 up: 4 + min(8, 4)"),
    ],
)
def test_a_floor_is_of_instances_that_can_be_counted_on_l3(
    decode: RoleState, want: int, lost: tuple[str, ...]
) -> None:
    spec = limits(minimum=Instances(2, 4))
    signals = without(healthy(0.0, Instances(2, max(decode.up, 1))), *lost)
    ctx = context(Instances(2, 4), 0.0, spec=spec, signals=signals)
    assert decide(seen(ctx, role(2), decode)).final.decode == want


# shrinking


@pytest.mark.parametrize(
    ("decode", "waited_s", "result"),
    [
        pytest.param(role(1, starting=2), 30.0, 3, id="1 wanted and 2 starting: all 3 stay"),
        pytest.param(role(1, starting=2), LATE_S, 1, id="2 are late: 1 stays"),
        pytest.param(role(1, failed=2), 30.0, 1, id="2 have failed: 1 stays"),
        pytest.param(role(1, starting=1, failed=1), 30.0, 2, id="1 of 2 has failed: 2 stay"),
        pytest.param(role(0, starting=2, failed=1), 30.0, 3, id="none serves yet: all 3 stay"),
    ],
)
def test_who_never_comes_up_is_not_waited_for(
    decode: RoleState, waited_s: float, result: int
) -> None:
    ctx = seen(at(800.0, Instances(1, 1)), role(1), decode, waited_s=waited_s)
    assert decide(ctx).final == Instances(1, result)


def test_whoever_comes_in_place_of_the_overdue_is_not_given_up_for_them() -> None:
    """3 are needed and 2 serve: of 5 wished 2 never start, and the youngest one just began."""
    ctx = seen(at(3000.0, Instances(2, 2)), role(2), role(2, starting=3))
    late = replace(
        ctx.history.outlook,
        decode=Learnt(waits=(Started(NOW_S - LATE_S, 2), Started(NOW_S, 1)), wished=5, ready=2),
    )
    history = replace(ctx.history, outlook=late)
    assert decide(replace(ctx, history=history)).final == Instances(2, 5)


def test_without_a_forecast_nobody_is_overdue() -> None:
    ctx = seen(at(800.0, Instances(1, 1)), role(1), role(1, starting=2))
    assert guards.starting(Target(Instances(1, 1)), ctx).want == Instances(1, 3)
    forecast = Forecast(120.0, (None, None), (None, None), (0.0, 0.0), overdue=(0, 2))
    told = replace(ctx, forecast=forecast)
    assert guards.starting(Target(Instances(1, 1)), told).want == Instances(1, 1)


# over time


@dataclass(slots=True)
class Cluster:
    """A service of which only ``able`` instances ever come up; all that is decided is done."""

    spec: ServiceSpec
    able: Instances
    desired: Instances
    now_s: float = NOW_S
    history: History = field(default_factory=lambda: History(wishes=wishes(Instances(0, 0))))

    def tick(self, decode_tps: float, **values: float) -> Decision:
        up = Instances(*(map(min, self.able, self.desired)))
        prefill, decode = (role(u, starting=d - u) for u, d in zip(up, self.desired, strict=True))
        found = decide(
            replace(
                at(decode_tps, up, self.spec, **values),
                now_s=self.now_s,
                state=ServiceState(prefill, decode, "7"),
                history=self.history,
            )
        )
        kept = [wish for wish in self.history.wishes if wish.at_s > self.now_s - 400.0]
        past = replace(self.history, outlook=found.outlook)
        past = replace(past, wishes=(*kept, Wish(self.now_s, found.raw)))
        self.history, self.desired, self.now_s = past, found.final, self.now_s + TICK_S
        return found

    def run(self, decode_tps: float, *, for_s: float, **values: float) -> list[Instances]:
        """Tick for a while; returns the pairs that were wished, without repetitions."""
        pairs = [self.desired]
        for _ in range(int(for_s / TICK_S)):
            final = self.tick(decode_tps, **values).final
            if final != pairs[-1]:
                pairs.append(final)
        return pairs


PROMPT = {"cooldown_out_s": 0.0, "cooldown_in_s": 0.0, "stabilisation_s": 0.0}


def test_overload_is_answered_and_what_comes_up_later_is_taken_back_l4_l8() -> None:
    cluster = Cluster(policy(**PROMPT), Instances(5, 5), Instances(5, 10))
    late = {"ttft_s": 5.0}
    assert cluster.run(6500.0, for_s=300.0, **late) == [Instances(5, 10)]
    # 5 serve, 7 are needed, and those in place of the late ones are late themselves.
    assert cluster.run(6500.0, for_s=3600.0, **late) == [
        Instances(5, 10),
        Instances(5, 12),
        Instances(5, 14),
    ]
    cluster.able = Instances(50, 100)
    assert cluster.run(6500.0, for_s=300.0) == [
        Instances(5, 14),
        Instances(4, 10),
        Instances(4, 7),
    ]


@pytest.mark.parametrize("name", ["proportional", "latency", "proportional+latency"])
@pytest.mark.parametrize(
    ("tps", "able"),
    [
        pytest.param(9000.0, Instances(4, 4), id="4 of 9"),
        pytest.param(9000.0, Instances(0, 0), id="none of 9"),
    ],
)
def test_where_nothing_ever_starts_the_wish_stops_growing(
    name: str, tps: float, able: Instances
) -> None:
    cluster = Cluster(policy(name=name, **PROMPT), able, Instances(5, 9))
    cluster.run(tps, for_s=7200.0, ttft_s=5.0)
    assert cluster.run(tps, for_s=3600.0, ttft_s=5.0) == [cluster.desired]
    # At most as many again as the load needs, or as were wished before.
    assert cluster.desired.prefill <= 10
    assert cluster.desired.decode <= 18


@settings(max_examples=12, deadline=None)
@example(able=Instances(0, 7), more=Instances(0, 0), load=0.0, name="latency", ttft_s=1.2)
@given(
    able=st.builds(Instances, st.integers(0, 12), st.integers(0, 12)),
    more=st.builds(Instances, st.integers(0, 12), st.integers(0, 12)),
    load=st.floats(0.0, 20.0),
    name=st.sampled_from(["proportional", "latency", "proportional+latency"]),
    ttft_s=st.sampled_from([0.5, 1.2, 5.0]),
)
def test_replacing_never_runs_away(
    able: Instances, more: Instances, load: float, name: str, ttft_s: float
) -> None:
    start = Instances(able.prefill + more.prefill + 1, able.decode + more.decode + 1)
    cluster = Cluster(policy(name=name, **PROMPT), able, start)
    # Latencies that fewer instances would not raise, so that the load alone decides.
    seen_s = {"ttft_s": ttft_s, "tbt_s": 0.001, "prefill_util": 0.0}
    # A step of latency waits until those of the last are overdue, and there may be sixteen.
    cluster.run(1000.0 * load, for_s=9000.0, **seen_s)
    # A step of latency is 1 or a fifth of those that serve: 12 become at most 15.
    assert cluster.desired.decode <= max(start.decode, 2 * max(20, 15))
    assert cluster.desired.prefill <= max(start.prefill, 2 * max(10, 15))
    assert cluster.run(1000.0 * load, for_s=600.0, **seen_s) == [cluster.desired]


@pytest.mark.parametrize("name", ["proportional", "latency"])
def test_the_floor_is_reached_with_instances_that_never_start_l8(name: str) -> None:
    cluster = Cluster(policy(name=name, **PROMPT), Instances(1, 1), Instances(3, 5))
    cluster.run(0.0, for_s=1200.0)
    assert cluster.desired == Instances(1, 1)
