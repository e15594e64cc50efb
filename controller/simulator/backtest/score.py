"""From the record of a run to its answer: scores, the bound, and series short enough to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.pairs import whole_down, whole_up
from controller.core.types import Flags, Floats, Role
from controller.simulator.backtest.answer import Answer, Plain, Run, Score, Series
from controller.simulator.backtest.bound import Engines, Load, fewest_gpus
from controller.simulator.backtest.contestants import Contestant
from controller.simulator.backtest.plan import Plan
from controller.simulator.backtest.record import Change, Record
from controller.simulator.profiles import Profile
from controller.simulator.workload import facts
from controller.simulator.world import World

POINTS: Final = 720
"""Most points of a series: two a pixel column of a wide figure."""

REVERSAL_S: Final = 600.0
BIN_S: Final = 60.0
"""Bins of the bound."""

TOLERANCE: Final = 0.25
"""Of the ratio, for contestants without one of their own."""


def concluded(plan: Plan, world: World, record: Record, *, wall_s: float) -> Answer:
    """Return the answer of a run; ``wall_s`` is its computing time, shared by all [s]."""
    asked, tick_s = plan.question, plan.question.tick_s
    load = _load(plan, record, 1)
    bound = _bound(plan, record)
    known: Flags = ~np.isnan(bound)
    bound_hours = float(np.nansum(bound)) * tick_s / 3600
    engine_s = (wall_s - sum(record.decided_s)) / max(record.rows, 1)
    every = max(-(-record.ticks // POINTS), 1)
    begins_s = tick_s * np.arange(0, record.ticks, every, dtype=np.float64)
    runs = []
    for row, contestant in enumerate(plan.contestants):
        runs.append(
            Run(
                policy=contestant.candidate.name,
                label=contestant.candidate.label,
                params=contestant.params,
                score=_score(_Lane(plan, world, record, row), bound, engine_s),
                series=_series(record, row, every),
            )
        )
    fidelity = world.fidelity(plan.contestants[0].key)
    return Answer(
        workload=facts(asked.workload, (asked.start_s, asked.start_s + record.ticks * tick_s)),
        profile=_profile(plan),
        slo={"ttft_s": asked.slo.ttft_s, "tbt_s": asked.slo.tbt_s, "goal": asked.slo.goal_frac},
        fidelity={"asked": asked.fidelity, "used": fidelity, "rule": plan.fidelity.rule},
        clairvoyant_gpu_hours=bound_hours,
        t_s=begins_s,
        request_rps=_means(np.where(known, load.rps, np.nan), every),
        clairvoyant_gpus=_means(bound, every),
        runs=runs,
    )


def _bound(plan: Plan, record: Record) -> Floats:
    """Return the fewest GPUs of every tick, those of the minute it is in.

    Shorter bins would take each cluster of arrivals for a load that lasts.
    """
    every = max(round(BIN_S / plan.question.tick_s), 1)
    fewest = fewest_gpus(_load(plan, record, every), _engines(plan), plan.question.slo)
    found: Floats = np.repeat(fewest, every)[: record.ticks]
    return found


def _load(plan: Plan, record: Record, every: int) -> Load:
    """Return what came in bins of ``every`` ticks; NaN where the workload knows nothing."""
    asked, bin_s = plan.question, every * plan.question.tick_s
    bins = -(-record.ticks // every)
    begins_s = asked.start_s + bin_s * np.arange(bins, dtype=np.float64)
    known = ~np.isnan(asked.workload.rates(begins_s, bin_s).rps)
    requests, inputs, uncached, outputs = (_sums(row, every) for row in record.offered.T)
    some = np.maximum(requests, 1.0)
    # The last bin may be cut short.
    lasted_s = np.minimum(bin_s, record.ticks * asked.tick_s - bin_s * np.arange(bins))
    return Load(
        np.where(known, requests / lasted_s, np.nan),
        inputs / some,
        uncached / some,
        outputs / some,
    )


def _engines(plan: Plan) -> Engines:
    asked = plan.question
    shape = asked.workload.lengths
    spread = float(np.mean(shape.output**2))
    return Engines(asked.prefill, asked.decode, shape.input[::4], spread)


def _profile(plan: Plan) -> Mapping[str, Plain]:
    asked, capacity = plan.question, plan.stage.capacity
    return {
        "prefill": _engine(asked.prefill),
        "decode": _engine(asked.decode),
        "prefill_rps_per_instance": capacity.prefill_rps,
        "decode_tps_per_instance": capacity.decode_tps,
        "pd_ratio": capacity.pd_ratio,
        "start_up_s": asked.start_up_s,
        "max_gpus": plan.stage.limits.max_gpus,
    }


def _engine(profile: Profile) -> dict[str, Plain]:
    return {
        "name": profile.name,
        "model": profile.model,
        "hardware": profile.hardware,
        "gpus_per_instance": profile.tp,
        "kind": profile.kind,
    }


@dataclass(frozen=True, slots=True)
class _Lane:
    """One contestant's part of a record."""

    plan: Plan
    world: World
    record: Record
    row: int

    @property
    def contestant(self) -> Contestant:
        return self.plan.contestants[self.row]

    def of(self, name: str) -> Floats:
        return self.record.of(name)[:, self.row]


def _score(lane: _Lane, bound: Floats, engine_s: float) -> Score:
    tick_s, gpus = lane.plan.question.tick_s, lane.of("gpus")
    known: Flags = ~np.isnan(bound)
    gpu_hours = float(lane.world.gpu_s[lane.row]) / 3600
    # What a stretch of unknown load cost is no fault of the policy: the bound has none there.
    counted = gpu_hours * float(gpus[known].sum()) / max(float(gpus.sum()), 1.0)
    bound_hours = float(bound[known].sum()) * tick_s / 3600
    over = np.where(known, gpus - np.nan_to_num(bound), 0.0)
    ttft, tbt, both, tokens = _attained(lane)
    changes = lane.record.changes[lane.row]
    return Score(
        gpu_hours=gpu_hours,
        gpu_hours_over_clairvoyant=counted / bound_hours if bound_hours else None,
        slo_attainment_ttft=ttft,
        slo_attainment_tbt=tbt,
        slo_attainment=both,
        slo_attainment_tokens=tokens,
        prefill_util=_busy(lane, "prefill"),
        decode_util=_busy(lane, "decode"),
        actions=len(changes),
        reversals_10min=reversals(changes, tick_s),
        ratio_out_of_tolerance_s=float(_out_of_ratio(lane).sum()) * tick_s,
        overshoot_gpus=int(max(over.max(), 0.0)),
        peak_gpus=int(gpus.max()),
        wall_s=lane.record.decided_s[lane.row] + engine_s,
    )


def _attained(lane: _Lane) -> tuple[float | None, ...]:
    """Return the shares of requests within the goals of TTFT, TBT and both, and of tokens.

    Requests of an exact run that are already late at its end have missed.
    """
    asked, tokens = lane.of("asked"), lane.of("tokens")
    late = lane.world.late(lane.contestant.key)
    counted = float(asked.sum())
    # Who never got a first token has missed TTFT, and has no TBT.
    totals = {"ttft_kept": counted + late, "tbt_kept": counted, "both_kept": counted + late}
    shares: list[float | None] = [
        float((asked * lane.of(name)).sum()) / total if total else None
        for name, total in totals.items()
    ]
    made = float(tokens.sum())
    shares.append(float((tokens * lane.of("tokens_kept")).sum()) / made if made else None)
    return tuple(shares)


def _busy(lane: _Lane, role: str) -> float | None:
    """Return the mean utilisation of a role's GPUs, weighted by instances; None if unknown."""
    busy, ready = lane.of(f"{role}_util"), lane.of(f"{role}_ready")
    ready = np.where(np.isnan(busy), 0.0, ready)
    seen = float(ready.sum())
    return float((np.nan_to_num(busy) * ready).sum() / seen) if seen else None


def reversals(changes: Sequence[Change], tick_s: float) -> int:
    """Return the changes that turn a role's direction within 10 minutes of its last change."""
    found = 0
    last: dict[Role, tuple[int, bool]] = {}
    for change in changes:
        turned = False
        for role in Role:
            before, after = change.before.of(role), change.after.of(role)
            if before == after:
                continue
            tick, grew = last.get(role, (change.tick, after > before))
            recent = (change.tick - tick) * tick_s <= REVERSAL_S
            turned = turned or (recent and grew != (after > before))
            last[role] = change.tick, after > before
        found += turned
    return found


def _out_of_ratio(lane: _Lane) -> Flags:
    """Return the ticks in which the ready ratio is outside the tolerance, whole counts allowed.

    A contestant without a ratio of its own is held to the one that loads both roles equally.
    """
    policy = lane.contestant.spec.policy
    ours = lane.contestant.reference is None
    tolerance = policy.ratio_tolerance if ours else TOLERANCE
    prefill, decode = lane.of("prefill_ready"), lane.of("decode_ready")
    counts = np.arange(int(decode.max()) + 1)
    low, high = policy.pd_ratio * (1 - tolerance), policy.pd_ratio * (1 + tolerance)
    least = np.array([whole_down(low * count) for count in counts])[decode.astype(np.int64)]
    most = np.array([whole_up(high * count) for count in counts])[decode.astype(np.int64)]
    outside: Flags = (prefill < np.maximum(least, 1)) | (prefill > np.maximum(most, 1))
    outside |= decode == 0
    return outside


def _series(record: Record, row: int, every: int) -> Series:
    """Return what is drawn: means over ``every`` ticks, of latencies the worst."""
    asked = record.of("asked")[:, row]
    kept = _sums(asked * record.of("both_kept")[:, row], every)
    total = _sums(asked, every)
    drawn = {
        name: _means(record.of(name)[:, row], every)
        for name in ("prefill_ready", "prefill_desired", "decode_ready", "decode_desired", "gpus")
    }
    return Series(
        **drawn,
        ttft_p95_s=_worst(record.of("ttft_p95_s")[:, row], every),
        tbt_p95_s=_worst(record.of("tbt_p95_s")[:, row], every),
        attained_frac=np.where(total > 0, kept / np.maximum(total, 1.0), np.nan),
    )


def _grouped(values: Floats, every: int) -> Floats:
    """Return rows of ``every`` ticks; the last is filled up with NaN."""
    missing = -len(values) % every
    padded: Floats = np.concatenate((values, np.full(missing, np.nan))).reshape(-1, every)
    return padded


def _sums(values: Floats, every: int) -> Floats:
    total: Floats = np.nansum(_grouped(values, every), axis=1)
    return total


def _means(values: Floats, every: int) -> Floats:
    grouped = _grouped(values, every)
    known: Flags = ~np.isnan(grouped)
    count = known.sum(axis=1)
    total = np.where(known, grouped, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _worst(values: Floats, every: int) -> Floats:
    grouped = _grouped(values, every)
    known: Flags = np.any(~np.isnan(grouped), axis=1)
    worst = np.max(np.where(np.isnan(grouped), -np.inf, grouped), axis=1)
    return np.where(known, worst, np.nan)
