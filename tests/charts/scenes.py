"""A busy afternoon: rows with everything a figure can show."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np

from controller.models import Action, Decision, Freeze, PoolSample, Sample
from inventory.models import Service
from tests.factories import (
    NOW,
    make_cluster,
    make_decision,
    make_hardware,
    make_samples,
    make_service,
)

STEP_S = 15
STEPS = [
    {
        "name": name,
        "before": {"prefill": before[0], "decode": before[1]},
        "after": {"prefill": after[0], "decode": after[1]},
        "code": code,
        "detail": detail,
    }
    for name, before, after, code, detail in (
        ("policy", (8, 24), (11, 31), "ABOVE_TARGET", "Decode throughput is 18 % over target."),
        ("ratio", (11, 31), (10, 31), "RATIO_CORRECTION", "0.33 prefill per decode is wanted."),
        ("limits", (10, 31), (10, 31), "UNCHANGED", "Inside 1–40."),
        ("step", (10, 31), (9, 28), "STEP_LIMITED", "One action may change 4."),
        ("cooldown", (9, 28), (9, 28), "UNCHANGED", "No cooldown."),
        ("gpu budget", (9, 28), (9, 27), "BUDGET_EXHAUSTED", "72 of 400 GPUs <b>left</b>."),
    )
]


def make_afternoon(slug: str = "chat", *, hours: float = 3.0, until: datetime = NOW) -> Service:
    """Return a service that followed a wave: scale-outs, a gap, a breach, a freeze, a failure."""
    service = make_service(
        slug, policy={"target": 350.0, "pd_ratio": 0.33}, limits={"maximum": 30}
    )
    count = int(hours * 3600 / STEP_S) + 1
    rng = np.random.default_rng(len(slug))
    rows = make_samples(service, until=until, count=count, step_s=STEP_S)
    _play(service, rows, rng)
    Sample.objects.filter(service=service).delete()
    Sample.objects.bulk_create(row for i, row in enumerate(rows) if not 0.45 < i / count < 0.49)
    begin = until - timedelta(hours=hours)
    Freeze.objects.create(
        service=service,
        by_name="ana",
        reason="deploy of <b>router</b> 2.4",
        since=begin + timedelta(hours=hours * 0.66),
        ended_at=begin + timedelta(hours=hours * 0.78),
        ended_by_name="ana",
    )
    return service


def _play(service: Service, rows: list[Sample], rng: np.random.Generator) -> None:
    count, desired = len(rows), 18
    for i, row in enumerate(rows):
        phase = i / count
        load = 6_300 * (1 + 0.45 * math.sin(2.2 * math.pi * phase)) * (1 + 0.03 * rng.normal())
        if i % 40 == 0:
            desired = max(10, min(30, round(load / 350)))
            _decide(service, row.at, desired, rows[max(0, i - 1)].decode_desired, i)
        row.decode_desired = desired
        row.decode_ready = rows[max(0, i - 8)].decode_desired if i > 8 else desired
        row.decode_starting = max(0, desired - row.decode_ready)
        row.prefill_desired = round(desired * 0.33)
        row.prefill_ready = max(1, round(row.decode_ready * (0.33 if phase < 0.8 else 0.22)))
        row.decode_expected = row.decode_ready
        row.decode_reporting = max(1, row.decode_ready - (3 if 0.6 < phase < 0.65 else 0))
        row.decode_tps = load if not 0.3 < phase < 0.33 else None
        busy = load / 350 / row.decode_ready
        row.ttft_s = 0.55 * busy**3 * (1 + 0.1 * abs(rng.normal()))
        row.ttft_p50_s, row.ttft_p99_s = row.ttft_s * 0.6, row.ttft_s * 1.35
        row.tbt_s = 0.034 * busy * (1 + 0.03 * rng.normal())
        row.tbt_p50_s, row.tbt_p99_s = row.tbt_s * 0.8, row.tbt_s * 1.2


def _decide(service: Service, at: datetime, wanted: int, before: int, i: int) -> None:
    change = wanted - before
    move = "scale_out" if change > 0 else "scale_in" if change < 0 else "hold"
    move = {4: "blocked", 9: "propose"}.get(i // 40, move)
    decision = make_decision(
        service,
        first_at=at,
        last_at=at + timedelta(minutes=9),
        count=36,
        move=move,
        gate="act",
        code="ABOVE_TARGET",
        current_prefill=round(before * 0.33),
        current_decode=before,
        raw_prefill=round(wanted * 0.33),
        raw_decode=wanted + 2,
        final_prefill=round(wanted * 0.33),
        final_decode=wanted,
        steps=STEPS,
        sentence=f"Decode {before} → {wanted}. Decode throughput is over the 350 target.",
    )
    if i // 40 == 13:
        fail(decision)


def fail(decision: Decision) -> None:
    """Record that the action of a decision failed."""
    Action.objects.create(
        id=f"00000000-0000-0000-0000-{decision.pk:012}",
        service=decision.service,
        decision=decision,
        actor="policy",
        epoch=1,
        state="failed",
        reason=decision.sentence,
        from_prefill=1,
        from_decode=1,
        to_prefill=1,
        to_decode=2,
        resource_version="1",
        recorded_at=decision.first_at,
        error="no answer",
    )


def make_fleet(*, until: datetime = NOW, hours: int = 24) -> None:
    """Create three pools with a day of history."""
    pools = (("eu-1-a", "h800", 512), ("eu-1-a", "l20", 256), ("eu-1-b", "h20", 128))
    rows, count = [], hours * 3600 // STEP_S
    for cluster_name, hardware_name, total in pools:
        cluster, hardware = make_cluster(cluster_name), make_hardware(hardware_name)
        bad = {"maintenance": total // 16, "unhealthy": total // 32, "unknown": total // 64}
        usable = total - sum(bad.values()) - 8
        for i in range(count + 1):
            wave = 0.62 + 0.25 * math.sin(i / 800)
            busy, held = int(usable * wave), int(usable * 0.08)
            rows.append(
                PoolSample(
                    cluster=cluster,
                    hardware=hardware,
                    at=until - timedelta(seconds=STEP_S * (count - i)),
                    total=total,
                    busy=busy,
                    held_idle=held,
                    free=usable - busy - held,
                    reserved=8,
                    largest_free=max(0, (usable - busy - held) // 3),
                    **bad,
                )
            )
    PoolSample.objects.bulk_create(rows)
