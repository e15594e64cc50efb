"""From a context to a decision: its move, its gate, its code and its sentence."""

import re
from dataclasses import replace

import pytest

from controller.core.decide import decide
from controller.core.reasons import Code
from controller.core.types import (
    Context,
    Gate,
    History,
    Hold,
    Instances,
    Mode,
    Move,
    Quality,
    ServiceSpec,
)
from tests.core.build import (
    NOW_S,
    SPEC,
    context,
    graded,
    healthy,
    limits,
    policy,
    refused,
    wishes,
)

FOUR = Instances(2, 4)
INVALID = float("nan")


def in_mode(mode: Mode, spec: ServiceSpec = SPEC) -> ServiceSpec:
    return replace(spec, mode=mode)


@pytest.mark.parametrize(
    ("mode", "move", "gate", "code"),
    [
        (Mode.OBSERVE, Move.SCALE_OUT, Gate.RECORD, Code.ADVISORY_ONLY),
        (Mode.APPROVE, Move.PROPOSE, Gate.PROPOSE, Code.AWAITING_APPROVAL),
        (Mode.AUTOMATIC, Move.SCALE_OUT, Gate.ACT, Code.ABOVE_TARGET),
    ],
)
def test_the_mode_decides_what_becomes_of_a_change(
    mode: Mode, move: Move, gate: Gate, code: Code
) -> None:
    found = decide(context(FOUR, 6000.0, spec=in_mode(mode)))
    assert (found.final, found.move, found.gate, found.code) == (Instances(3, 6), move, gate, code)
    assert [step.name for step in found.steps] == ["policy", "gate"]


@pytest.mark.parametrize("mode", Mode)
def test_nothing_to_do_passes_no_gate(mode: Mode) -> None:
    found = decide(context(FOUR, 4000.0, spec=in_mode(mode)))
    assert (found.move, found.gate, found.code) == (Move.HOLD, Gate.NONE, Code.WITHIN_TOLERANCE)
    assert not found.changes


SENTENCES = [
    pytest.param(
        context(FOUR, 4000.0),
        "No change. Decode throughput 1,000 tok/s per instance is within ±10 % of 1,000.",
        id="hold",
    ),
    pytest.param(
        context(FOUR, 6000.0),
        "Decode 4 → 6, prefill 2 → 3. Decode throughput 1,500 tok/s per instance is 50 % over the "
        "1,000 target. Carried out automatically.",
        id="scale-out",
    ),
    pytest.param(
        context(FOUR, 12_000.0, spec=in_mode(Mode.APPROVE)),
        "Proposes decode 4 → 8 (wanted 12), prefill 2 → 4 (wanted 6). Decode throughput 3,000 "
        "tok/s per instance is 200 % over the 1,000 target. Limited: one action may change decode "
        "by at most 4. Needs approval.",
        id="proposed, stepped",
    ),
    pytest.param(
        context(FOUR, 2000.0, spec=in_mode(Mode.OBSERVE)),
        "Would change decode 4 → 2, prefill 2 → 1. Decode throughput 500 tok/s per instance is "
        "50 % below the 1,000 target. Observing: recorded and not carried out.",
        id="observed scale-in",
    ),
    pytest.param(
        context(
            Instances(9, 18),
            0.0,
            signals=graded(healthy(18_000.0, Instances(9, 18)), "decode_tps", Quality.PARTIAL),
        ),
        "Wanted decode 18 → 9, prefill 9 → 5 but only 9 of 18 decode instances (50 %) report "
        "decode throughput; scale-in needs 90 %. Decode throughput 500 tok/s per instance is 50 % "
        "below the 1,000 target.",
        id="blocked by coverage",
    ),
    pytest.param(
        context(FOUR, 0.0, signals={}, spec=limits(minimum=Instances(3, 6))),
        "Decode 4 → 6, prefill 2 → 3. The minimum is decode 6, prefill 3. Decode throughput is "
        "missing: no sample in the window. Carried out automatically.",
        id="floor repair without metrics",
    ),
    pytest.param(
        context(Instances(1, 1), 0.0),
        "No change. Decode throughput 0 tok/s per instance is 100 % below the 1,000 target, but "
        "the minimum is decode 1, prefill 1.",
        id="at rest on the floor",
    ),
    pytest.param(
        context(Instances(1, 8), 8000.0),
        "Prefill 1 → 3. 0.12 prefill per decode is outside 0.38 to 0.62, so prefill 1 becomes 3. "
        "Decode throughput 1,000 tok/s per instance is within ±10 % of 1,000. Carried out "
        "automatically.",
        id="ratio",
    ),
    pytest.param(
        context(FOUR, 4000.0, spec=policy(target=INVALID)),
        "No change. The configuration cannot be used: target is nan; give a number from "
        "0.000001 to 1,000,000,000,000 per instance.",
        id="nonsense",
    ),
    pytest.param(
        context(FOUR, 6000.0, history=refused(Instances(3, 6))),
        "Wanted decode 4 → 6, prefill 2 → 3 but ana rejected decode 6, prefill 3 (too early), for "
        "another 240 s. Decode throughput 1,500 tok/s per instance is 50 % over the 1,000 target.",
        id="rejected",
    ),
]


@pytest.mark.parametrize(("ctx", "words"), SENTENCES)
def test_the_sentence(ctx: Context, words: str) -> None:
    assert decide(ctx).sentence == words


@pytest.mark.parametrize(
    ("ctx", "move", "code"),
    [
        pytest.param(
            context(FOUR, 6000.0, history=History(last_scale_out_s=NOW_S - 1.0)),
            Move.BLOCKED,
            Code.COOLDOWN,
            id="cooldown",
        ),
        pytest.param(
            context(FOUR, 2000.0, history=History(wishes=wishes(FOUR))),
            Move.BLOCKED,
            Code.FLAP_PREVENTED,
            id="stabilisation",
        ),
        pytest.param(
            context(FOUR, 6000.0, gpus_free={}), Move.BLOCKED, Code.NO_CAPACITY_SKU, id="capacity"
        ),
        pytest.param(
            context(FOUR, 6000.0, spec=limits(max_gpus=20)),
            Move.BLOCKED,
            Code.BUDGET_EXHAUSTED,
            id="budget",
        ),
        pytest.param(
            context(FOUR, 6000.0, history=History(in_flight="a1")),
            Move.BLOCKED,
            Code.IN_PROGRESS,
            id="in flight",
        ),
        pytest.param(
            context(FOUR, 6000.0, spec=limits(maximum=FOUR)),
            Move.BLOCKED,
            Code.AT_MAX,
            id="maximum",
        ),
        pytest.param(
            context(Instances(1, 1), 0.0),
            Move.HOLD,
            Code.AT_MIN,
            id="minimum: at rest, not blocked",
        ),
        pytest.param(context(FOUR, 0.0, signals={}), Move.HOLD, Code.METRIC_MISSING, id="blind"),
        pytest.param(
            context(FOUR, 0.0, signals={}, spec=limits(minimum=Instances(2, 5))),
            Move.SCALE_OUT,
            Code.AT_MIN,
            id="floor repair without metrics (L3)",
        ),
        pytest.param(
            context(FOUR, 4000.0, spec=limits(maximum=Instances(2, 3))),
            Move.SCALE_IN,
            Code.AT_MAX,
            id="lowered maximum",
        ),
        pytest.param(
            context(Instances(1, 8), 4000.0),
            Move.REBALANCE,
            Code.BELOW_TARGET,
            id="both directions",
        ),
    ],
)
def test_what_decided(ctx: Context, move: Move, code: Code) -> None:
    found = decide(ctx)
    assert (found.move, found.code) == (move, code)


@pytest.mark.parametrize("signals", [None, {}])
def test_a_freeze_holds_floor_repairs_too_s16(signals: dict[str, object] | None) -> None:
    hold = Hold("chat", "ana", "incident", NOW_S)
    ctx = context(FOUR, 4000.0, spec=limits(minimum=Instances(3, 6)), hold=hold)
    found = decide(ctx if signals is None else replace(ctx, signals={}))
    assert (found.final, found.move, found.code) == (FOUR, Move.BLOCKED, Code.FROZEN)
    assert "ana froze chat until resumed (incident)" in found.sentence


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(policy(target=INVALID), id="target NaN"),
        pytest.param(policy(target=-1.0), id="target negative"),
        pytest.param(policy(target=0.0), id="target zero"),
        pytest.param(policy(target=None), id="target NULL"),
        pytest.param(policy(target="1,5"), id="target 1,5"),
        pytest.param(policy(name="magic"), id="unknown policy"),
        pytest.param(policy(name=None), id="policy NULL"),
        pytest.param(policy(driver="qps"), id="unknown driver"),
        pytest.param(policy(driver="decode_util"), id="driver that is not linear"),
        pytest.param(policy(pd_ratio=0.0), id="ratio 0"),
        pytest.param(policy(step_abs=10**400), id="a step of 400 digits"),
        pytest.param(limits(minimum=Instances(5, 5), maximum=FOUR), id="min above max"),
        pytest.param(limits(max_gpus=1), id="budget below the floor"),
        pytest.param(replace(SPEC, gpus_per_instance=Instances(0, 4)), id="0 GPUs"),
        pytest.param(replace(SPEC, slo=replace(SPEC.slo, ttft_s=INVALID)), id="SLO NaN"),
        pytest.param(replace(SPEC, hardware={}), id="no hardware named (S21)"),
        pytest.param(replace(SPEC, cluster=" "), id="no cluster named (S21)"),
    ],
)
def test_nonsense_blocks_its_own_service_and_raises_nothing_c01_s24(spec: ServiceSpec) -> None:
    found = decide(context(FOUR, 6000.0, spec=spec))
    assert (found.final, found.move, found.gate, found.code) == (
        FOUR,
        Move.BLOCKED,
        Gate.NONE,
        Code.CONFIG_INVALID,
    )
    assert re.search(r"(give|choose|name|lower) ", found.sentence)
