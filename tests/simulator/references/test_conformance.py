"""What holds for every reference, whatever it sees."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from controller.core.types import (
    Instances,
    Limits,
    Quality,
    RoleState,
    ServiceState,
    Signal,
)
from controller.simulator.references import REFERENCES
from controller.simulator.references.port import Briefing, Controller, Seen
from heteroscale_site.configuration import BASE_DIR
from tests.simulator.references.examples import (
    DAILY,
    LIMITS,
    STEADY,
    briefing,
    built,
    signals,
    state,
    windows,
)

NAMES = tuple(REFERENCES)
DOCS = (BASE_DIR / "docs" / "references.md").read_text()
DAY_S = 86_400.0
LOADS = {
    "steady": briefing(STEADY, (0.0, 7200.0)),
    "two days": briefing(DAILY, (3600.0, 3600.0 + 2 * DAY_S)),
    "gaps": briefing(windows([5.0, float("nan"), 40.0, 0.0], 900.0), (0.0, DAY_S)),
}
TIGHT = Limits(Instances(2, 3), Instances(6, 5), max_gpus=8)

# What may be seen: shares of the usual values, or nothing, at each quality.
GRID = (
    *product((0.0, 0.3, 1.0, 5.0), (Quality.OK, Quality.STALE, Quality.PARTIAL)),
    (1.0, Quality.MISSING),
    (1.0, Quality.INVALID),
)
COUNTS = {
    "as wished": state(4, 4),
    "starting": state(RoleState(6, 2, starting=4), RoleState(5, 3, starting=2)),
    "none ready": state(RoleState(4, 0, starting=4), RoleState(4, 0, failed=4)),
    "draining": state(RoleState(2, 2, draining=4), RoleState(3, 3, draining=2)),
    "below the floor": state(1, 1),
    "above the ceiling": state(90, 90),
}


def scaled(share: float, quality: Quality, ready: Instances) -> dict[str, Signal]:
    """Return every signal at a share of its usual value."""
    found = signals(ready, quality)
    return {
        name: replace(signal, value=None if signal.value is None else signal.value * share)
        for name, signal in found.items()
    }


def inside(limits: Limits, found: Instances) -> bool:
    low, high = limits.minimum, limits.maximum
    return (
        low.prefill <= found.prefill <= high.prefill and low.decode <= found.decode <= high.decode
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_offered_under_its_own_name(name: str) -> None:
    reference = REFERENCES[name]
    assert reference.name == name
    assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", reference.summary)
    assert reference.source
    assert all(re.fullmatch("[a-z][a-z0-9_]*", key) for key in reference.params)


def test_the_order_is_that_of_the_documentation() -> None:
    assert tuple(re.findall(r"^## ([a-z][a-z-]*)$", DOCS, re.MULTILINE)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_names_each_parameter_with_its_default(name: str) -> None:
    section = DOCS.split(f"\n## {name}\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([0-9.]+) \|", section, re.MULTILINE))
    assert {key: float(value) for key, value in rows.items()} == {
        key: param.default for key, param in REFERENCES[name].params.items()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("limits", [LIMITS, TIGHT], ids=["wide limits", "tight limits"])
@pytest.mark.parametrize("load", sorted(LOADS))
def test_every_answer_is_within_the_limits(name: str, limits: Limits, load: str) -> None:
    told = replace(LOADS[load], limits=limits)
    outside = []
    for label, counts in sorted(COUNTS.items()):
        policy = built(name, told)
        for at, (share, quality) in enumerate(GRID):
            found = policy.want(Seen(180.0 * at, scaled(share, quality, counts.ready), counts))
            if not inside(limits, found):
                outside.append((label, share, quality, found))
    assert outside == []


def played(policy: Controller, seed: int) -> list[Instances]:
    """Return the answers to two hours of random signals; counts follow the answers."""
    rng = np.random.default_rng(seed)
    qualities = tuple(Quality)
    counts, found = Instances(4, 4), []
    for tick in range(480):
        quality = Quality.OK if rng.random() < 0.7 else qualities[rng.integers(len(qualities))]
        ready = Instances(
            int(rng.integers(counts.prefill + 1)), int(rng.integers(counts.decode + 1))
        )
        look = scaled(float(rng.choice([0.0, rng.lognormal(0.0, 1.0)])), quality, ready)
        now = ServiceState(
            RoleState(counts.prefill, ready.prefill, counts.prefill - ready.prefill),
            RoleState(counts.decode, ready.decode, counts.decode - ready.decode),
            str(tick),
        )
        counts = policy.want(Seen(15.0 * tick, look, now))
        found.append(counts)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_same_past_gives_the_same_answers_within_the_limits(name: str, seed: int) -> None:
    told = replace(LOADS["steady"], limits=TIGHT)
    first, second = (played(built(name, told), seed) for _ in range(2))
    assert first == second
    assert all(inside(TIGHT, found) for found in first)


def changes(name: str, told: Briefing, quality: Quality) -> set[Instances]:
    """Return the counts asked for in an hour at one quality."""
    policy = built(name, told)
    return {
        policy.want(Seen(15.0 * tick, scaled(5.0, quality, Instances(4, 4)), state(4, 4)))
        for tick in range(240)
    }


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.INVALID])
@pytest.mark.parametrize("name", ["hpa-util", "hpa-queue", "latency-only"])
def test_without_a_metric_nothing_changes(name: str, quality: Quality) -> None:
    assert changes(name, LOADS["steady"], quality) == {Instances(4, 4)}


@pytest.mark.parametrize("name", ["static-peak", "static-mean", "periodic"])
def test_references_that_know_the_load_look_at_no_signal(name: str) -> None:
    found = {quality: changes(name, LOADS["steady"], quality) for quality in Quality}
    assert all(answers == found[Quality.OK] for answers in found.values())
