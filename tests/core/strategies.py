"""Contexts of every kind, sound and broken, for properties."""

from dataclasses import replace

from hypothesis import strategies as st

from controller.core.engine import Engine
from controller.core.outlook import Foreseen, Guess, Learnt, Outlook, Peak, Started
from controller.core.types import (
    SIGNALS,
    Adapt,
    Context,
    History,
    Hold,
    Instances,
    Limits,
    Mode,
    Period,
    PeriodKind,
    PolicyConfig,
    Quality,
    Refusal,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Signal,
    Slo,
    Stage,
    Wish,
)
from tests.core.build import NOW_S, UNREAD

TARGETS = {
    "decode_tps": 1000.0,
    "prefill_tps_uncached": 2000.0,
    "prefill_util": 0.7,
    "prefill_sm": 0.6,
}

ENGINE = Engine(
    prefill_s=(0.01, 5e-5, 1e-9),
    step_s=(0.008, 1e-4, 2e-7, 0.0),
    miss_frac=0.0,
    kv_capacity_tokens=400_000.0,
    max_seqs=256,
)


# NOW_S is a Monday, 13:46 UTC: the first two are in force, the third is not.
HOURS = (("13:00", "15:00"), ("22:00", "14:00"), ("15:00", "16:00"))
NAMES_OF_POLICIES = (
    *["proportional"] * 6,
    *("latency", "periodic", "proportional+latency", "proportional+periodic"),
    *("latency+periodic", "proportional+latency+periodic"),
)


def pairs(low: int = 0, high: int = 60) -> st.SearchStrategy[Instances]:
    """Return pairs of counts."""
    return st.builds(Instances, st.integers(low, high), st.integers(low, high))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Period, ...]:
    """Return one or two windows, floors or targets, in force or not."""
    one = st.builds(
        lambda hours, counts, kind: Period("window", *hours, counts, kind),
        st.sampled_from(HOURS),
        pairs(1, 40),
        st.sampled_from(PeriodKind),
    )
    return tuple(draw(st.lists(one, min_size=1, max_size=2)))


@st.composite
def composed(draw: st.DrawFn) -> ServiceSpec:
    """Return a sound configuration under any policy or composition of them."""
    spec, name = draw(specs()), draw(st.sampled_from(NAMES_OF_POLICIES))
    schedule = draw(schedules()) if "periodic" in name else ()
    policy = replace(spec.policy, name=name, schedule=schedule)
    return replace(spec, policy=policy, priority=draw(st.integers(0, 2)))


@st.composite
def specs(draw: st.DrawFn) -> ServiceSpec:
    """Return a sound configuration."""
    driver = draw(st.sampled_from(sorted(TARGETS)))
    minimum, gpus = draw(pairs(1, 10)), draw(pairs(1, 8))
    extra = draw(pairs(0, 60))
    shared = draw(st.booleans())
    return ServiceSpec(
        key="chat",
        cluster="eu-1",
        mode=draw(st.sampled_from(Mode)),
        slo=Slo(1.0, 0.05),
        limits=Limits(
            minimum,
            Instances(minimum.prefill + extra.prefill, minimum.decode + extra.decode),
            max_gpus=minimum.gpus(gpus) + draw(st.integers(0, 800)),
        ),
        policy=PolicyConfig(
            "proportional",
            driver,
            TARGETS[driver],
            pd_ratio=draw(st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0, 1.7, 4.0])),
            theta_out=draw(st.sampled_from([0.0, 0.1, 0.3])),
            theta_in=draw(st.sampled_from([0.0, 0.1, 0.3])),
            ratio_tolerance=draw(st.sampled_from([0.0, 0.1, 0.25, 0.5])),
            stabilisation_s=draw(st.sampled_from([0.0, 60.0, 300.0])),
            step_abs=draw(st.integers(1, 8)),
            step_frac=draw(st.sampled_from([0.0, 0.25, 1.0])),
            step_out_frac=draw(st.sampled_from([0.0, 0.25, 1.0])),
            damp_frac=draw(st.sampled_from([1.0, 1.0, 0.5])),
            adapt=draw(st.sampled_from(Adapt)),
            hold_s=draw(st.sampled_from([0.0, 1800.0])),
            margin_frac=draw(st.sampled_from([None, 0.0, 0.3])),
            drain_s=draw(st.sampled_from([0.0, 120.0])),
        ),
        engine=draw(st.sampled_from([None, ENGINE])),
        gpus_per_instance=gpus,
        hardware={Role.PREFILL: "H20" if shared else "H800", Role.DECODE: "H20"},
    )


NEEDS = st.floats(0.0, 60.0)
MINUTES = tuple(Peak(NOW_S - 60.0 * k, 9.0 - k, 5.0) for k in range(6, 0, -1))
HOUR_S = NOW_S // 3600.0 * 3600.0


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    """Return what was learnt: often nothing."""
    if draw(st.booleans()):
        return Outlook()
    role = st.builds(
        Learnt,
        outran=st.just(()) | st.just(tuple(float(17 - k) for k in range(17))),
        took_s=st.lists(st.floats(1.0, 400.0), max_size=3).map(tuple),
        waits=st.sampled_from([(), (Started(NOW_S - 30.0, 2),), (Started(NOW_S - 900.0, 3),)]),
        wished=st.integers(0, 60),
        ready=st.integers(0, 60),
        speed=st.floats(0.2, 1.5),
        slope=st.sampled_from([-0.02, 0.0, 0.05]),
        judged=st.sampled_from([0.0, 200.0]),
        errors=st.just(()) | st.tuples(*[st.floats(0.0, 0.5)] * 3),
    )
    return Outlook(
        at_s=NOW_S - draw(st.sampled_from([15.0, 600.0])),
        rps=draw(st.floats(0.0, 500.0)),
        input_tokens=draw(st.floats(1.0, 20_000.0)),
        uncached_tokens=draw(st.floats(1.0, 20_000.0)),
        output_tokens=draw(st.floats(1.0, 2000.0)),
        ratio=draw(st.none() | st.floats(0.1, 10.0)),
        waiting=draw(st.floats(0.0, 100.0)),
        decode_waiting=draw(st.floats(0.0, 100.0)),
        peaks=draw(st.just(()) | st.builds(Peak, st.just(NOW_S - 400.0), NEEDS, NEEDS).map(_one)),
        foreseen=draw(
            st.just(()) | st.builds(Foreseen, st.just(NOW_S - 1.0), NEEDS, NEEDS).map(_one)
        ),
        minutes=draw(st.just(()) | st.just(MINUTES)),
        hours=draw(st.just(()) | st.builds(Peak, st.just(HOUR_S), NEEDS, NEEDS).map(_one)),
        guesses=draw(st.just(()) | st.builds(Guess, st.just(NOW_S - 1.0), *[NEEDS] * 6).map(_one)),
        prefill=draw(role),
        decode=draw(role),
    )


def _one(entry: object) -> tuple[object, ...]:
    return (entry,)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """Return the half of an exchange that is still to come, now and then past its deadline."""
    first, less, more = draw(pairs()), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    given, grown = draw(st.permutations(("prefill", "decode")))
    before = first._replace(**{given: getattr(first, given) + less})
    then = first._replace(**{grown: getattr(first, grown) + more})
    begun_s = NOW_S - draw(st.sampled_from([15.0, 300.0, 600.0]))
    return Stage(before, first, then, begun_s, begun_s + 600.0, 99, Mode.OBSERVE)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Return a memory: often none of anything, so that changes get through as well."""
    past = st.none() | st.floats(0.0, 400.0).map(lambda age: NOW_S - age)
    wish = draw(st.none() | pairs())
    wishes = () if wish is None else tuple(Wish(NOW_S - 15.0 * k, wish) for k in range(21, 0, -1))
    refused = draw(st.none() | st.none() | pairs())
    changed = draw(st.sampled_from([None] * 9 + [Instances(3, 3)]))
    return History(
        last_scale_out_s=draw(st.none() | past),
        last_scale_in_s=draw(st.none() | past),
        wishes=wishes,
        in_flight=draw(st.sampled_from([None, None, None, "a1"])),
        changed_from=changed,
        outlook=draw(outlooks()),
        stage=draw(st.none() | stages()),
        refusals=() if refused is None else (Refusal(refused, NOW_S + 60.0, "ana", "no"),),
    )


NAMES = [kind.name for kind in SIGNALS]
FAULTS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(Quality)), max_size=3)
LOADS = st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0, 1.05, 1.5, 4.0]) | st.floats(0.0, 6.0)


def signals_at(current: Instances, load: float, faults: dict[str, Quality]) -> dict[str, Signal]:
    """Return signals around the size of the service; those not at fault are ok."""
    found = {}
    for kind in SIGNALS:
        expected = current.of(kind.role)
        quality = faults.get(kind.name, Quality.OK)
        value = load * TARGETS.get(kind.name, 1.0)
        if kind.name in ("decode_tps", "prefill_tps_uncached"):
            value *= max(1, expected)
        elif kind.unit == "s":
            value = 0.01
        elif kind.unit == "requests":
            value = 0.0
        found[kind.name] = Signal(
            kind.name,
            None if quality in UNREAD else value,
            kind.unit,
            NOW_S - 5.0,
            expected // 2 if quality is Quality.PARTIAL else expected,
            expected,
            quality,
        )
    return found


@st.composite
def signal_sets(draw: st.DrawFn, current: Instances) -> dict[str, Signal]:
    """Return signals most of which are ok, now and then with a breach or a queue."""
    found = signals_at(current, draw(LOADS), draw(st.just({}) | FAULTS))
    oddity = draw(
        st.sampled_from([*[None] * 6, ("ttft_s", 2.0), ("tbt_s", 2.0), ("decode_waiting", 5.0)])
    )
    if oddity is not None and found[oddity[0]].value is not None:
        found[oddity[0]] = replace(found[oddity[0]], value=oddity[1])
    return found


@st.composite
def role_states(draw: st.DrawFn, desired: int) -> RoleState:
    """Return a role of which most often all are ready, else some start, fail or drain."""
    draining = draw(st.integers(0, 3))
    if draw(st.booleans()):
        return RoleState(desired, desired, draining=draining)
    absent = draw(st.integers(0, desired))
    failed = draw(st.integers(0, absent))
    return RoleState(desired, desired - absent, absent - failed, draining, failed)


@st.composite
def contexts(draw: st.DrawFn, of: st.SearchStrategy[ServiceSpec] | None = None) -> Context:
    """Return any context with a sound configuration; ``of`` gives those to choose from."""
    spec, current, history = draw(of or composed()), draw(pairs()), draw(histories())
    if history.stage is not None and draw(st.sampled_from([True] * 4 + [False])):
        agreed = {"policy_version": spec.policy.version, "mode": spec.mode}
        history = replace(history, stage=replace(history.stage, **agreed))
    pools = {"H20": draw(st.integers(0, 300)), "H800": draw(st.integers(0, 300))}
    if draw(st.sampled_from([False] * 9 + [True])):
        del pools["H20"]
    return Context(
        now_s=NOW_S,
        spec=spec,
        state=ServiceState(
            draw(role_states(current.prefill)), draw(role_states(current.decode)), "7"
        ),
        signals=draw(signal_sets(current)),
        history=history,
        hold=draw(st.sampled_from([None] * 9 + [Hold("chat", "ana", "incident", NOW_S)])),
        gpus_free=pools,
        gpus_left=draw(st.none() | st.none() | st.integers(-8, 100)),
    )


def unhindered(ctx: Context) -> Context:
    """Return the context with nothing but policy, limits and step between load and result."""
    policy = replace(ctx.spec.policy, stabilisation_s=0.0)
    roomy = replace(ctx.spec.limits, max_gpus=100_000)
    return replace(
        ctx,
        spec=replace(ctx.spec, policy=policy, limits=roomy),
        history=History(),
        hold=None,
        gpus_free={"H20": 100_000, "H800": 100_000},
        gpus_left=None,
    )
