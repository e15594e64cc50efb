"""KV transfers over shared links, worked out by hand."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from controller.core.types import SIGNAL_INDEX, Instances, Role
from controller.simulator.fleet import Fleet
from controller.simulator.links import (
    LineRateError,
    Links,
    line_bytes_s,
    sent_bytes_per_token,
)
from controller.simulator.model import Fabric, NodeSpec, ServiceModel, Transfer
from controller.simulator.profiles import PROFILES
from controller.simulator.world import Setup, World
from tests.simulator.examples import SERVICE, START_S, STEADY

# A node of 8 GPUs has 8 cards of 50 GB/s: 400 GB/s.

# Prefill on H800, decode on H200: the nodes decide who ends up where.
APART = replace(
    SERVICE, decode=PROFILES["qwen3-32b-fp8/h200"], initial=Instances(prefill=8, decode=8)
)


def fleet(targets: Mapping[str, tuple[str, str]], *services: ServiceModel) -> Fleet:
    """One H800 node under S1 ``a`` of S2 ``x``, and an H200 node in each given (S1, S2)."""
    nodes = [
        NodeSpec("source", "here", "h800", "a", "x", 8),
        *(NodeSpec(n, "here", "h200", s1, s2, 8) for n, (s1, s2) in targets.items()),
    ]
    made = Fleet(nodes, seed=1)
    for service in services:
        made.add(service, 0.0)
    return made


def factor(made: Fleet, gb_s: float, fabric: Fabric, *services: ServiceModel) -> list[float]:
    links = Links.of(made, services or (APART,), fabric)
    return [float(one) for one in links.delay_factor(np.full(len(services) or 1, gb_s * 1e9))]


@pytest.mark.parametrize(
    ("target", "expect"),
    [
        pytest.param(("a", "x"), 1.0, id="the same S1: all of the bandwidth"),
        pytest.param(("b", "x"), 1 / 0.95, id="the same S2: 0.95 of it"),
        pytest.param(("b", "y"), 1 / 0.8, id="another S2: 0.8 of it"),
    ],
)
def test_distance_costs_bandwidth(target: tuple[str, str], expect: float) -> None:
    assert factor(fleet({"t": target}, APART), 0.0, Fabric()) == [pytest.approx(expect)]


def test_every_pair_counts_the_same() -> None:
    six = replace(APART, initial=Instances(8, 6))
    made = fleet({"near": ("a", "x"), "far": ("b", "y")}, six)
    # Six fit beside the prefill instances; four more go under the other S2.
    made.scale(six, Instances(8, 10), 0.0, dict.fromkeys(Role, 1.0))
    made.advance({six.key: six}, 3_600.0)
    spread = made.spread(six.key)
    assert dict(spread.decode) == {("here", "a", "x"): 8, ("here", "b", "y"): 2}
    assert factor(made, 0.0, Fabric(), six) == [pytest.approx((8 + 2 / 0.8) / 10)]


@pytest.mark.parametrize(
    ("gb_s", "expect"),
    [
        pytest.param(0.0, 1.0, id="nothing sent"),
        pytest.param(80.0, 4 / 3, id="80 of 8 x 50 x 0.8 = 320 GB/s: 1 / (1 - 1/4)"),
        pytest.param(320.0, 1 / 0.03, id="full: as at 97 %"),
    ],
)
def test_the_cards_of_the_prefill_instances_are_shared(gb_s: float, expect: float) -> None:
    assert factor(fleet({"t": ("a", "x")}, APART), gb_s, Fabric()) == [pytest.approx(expect)]


@pytest.mark.parametrize(
    ("fabric", "target", "expect"),
    [
        pytest.param(
            Fabric(s1_oversubscription=8.0),
            ("a", "x"),
            1 / (1 - 25 / 320),
            id="under one S1 no uplink is used: cards at 25/320",
        ),
        pytest.param(
            Fabric(),
            ("b", "x"),
            1 / 0.95 / (1 - 25 / (320 * 0.95)),
            id="uplinks as wide as the cards: cards at 25/304",
        ),
        pytest.param(
            Fabric(s1_oversubscription=8.0),
            ("b", "x"),
            1 / 0.95 / (1 - 25 / 50),
            id="one S2, 400/8 = 50 GB/s up from S1 a: half full, worse than the cards",
        ),
        pytest.param(
            Fabric(s2_oversubscription=8.0),
            ("b", "x"),
            1 / 0.95 / (1 - 25 / 304),
            id="one S2: the uplinks of S2 switches don't matter",
        ),
        pytest.param(
            Fabric(s1_oversubscription=2.0, s2_oversubscription=10.0),
            ("b", "y"),
            1 / 0.8 / (1 - 25 / 40),
            id="across S2, 400/10 = 40 GB/s up from S2 x: the slowest link counts",
        ),
    ],
)
def test_an_oversubscribed_uplink_delays(
    fabric: Fabric, target: tuple[str, str], expect: float
) -> None:
    assert factor(fleet({"t": target}, APART), 25.0, fabric) == [pytest.approx(expect)]


def test_services_share_an_uplink() -> None:
    first, second = (replace(APART, key=key, initial=Instances(4, 4)) for key in ("one", "two"))
    made = fleet({"t": ("b", "x")}, first, second)
    # 10 GB/s each: 20 of 50 GB/s up, and their own cards at 10 / 152.
    fabric = Fabric(s1_oversubscription=8.0)
    assert factor(made, 10.0, fabric, first, second) == pytest.approx([1 / 0.95 / 0.6] * 2)
    assert factor(made, 10.0, fabric, first) == [pytest.approx(1 / 0.95 / 0.8)]


def test_only_traffic_that_leaves_its_switch_loads_the_uplink() -> None:
    half = replace(APART, initial=Instances(8, 16))
    made = fleet({"near": ("a", "x"), "far": ("b", "x")}, half)
    # 40 GB/s, half of it leaves: 20 of 100 GB/s up, 20 of 50 down. A way costs 0.5 + 0.5 / 0.95.
    cost = 0.5 + 0.5 / 0.95
    cards = 1 / (1 - 40 / (320 / cost))
    expect = 0.5 * cards + 0.5 / 0.95 * max(cards, 1 / (1 - 20 / 50))
    assert factor(made, 40.0, Fabric(s1_oversubscription=8.0), half) == [pytest.approx(expect)]


def test_uplinks_count_only_where_they_are_oversubscribed_and_used() -> None:
    thin = Fabric(s1_oversubscription=4.0)
    near, far = (fleet({"t": place}, APART) for place in (("a", "x"), ("b", "x")))
    contended = [
        Links.of(near, [APART], thin).contended,
        Links.of(far, [APART]).contended,
        Links.of(far, [APART], thin).contended,
    ]
    assert contended == [False, False, True]


def test_links_follow_the_instances() -> None:
    other = replace(APART, key="other", initial=Instances(0, 0))
    made = fleet({"near": ("a", "x"), "far": ("b", "y")}, APART, other)
    services, thin = (APART, other), Fabric(s1_oversubscription=8.0)
    links = Links.of(made, services, thin)
    made.scale(APART, Instances(8, 16), 0.0, dict.fromkeys(Role, 1.0))
    made.advance({s.key: s for s in services}, 3_600.0)
    sent = np.array([30e9, 0.0])
    after, anew = links.moved(made), Links.of(made, services, thin)
    assert after.delay_factor(sent).tolist() == anew.delay_factor(sent).tolist()
    assert links.delay_factor(sent)[0] < after.delay_factor(sent)[0]


def test_without_a_pair_nothing_is_delayed() -> None:
    none = replace(APART, initial=Instances(0, 4))
    assert factor(fleet({"t": ("b", "y")}, none), 0.0, Fabric(), none) == [1.0]


def test_a_switch_over_nodes_of_unknown_rate_is_refused_by_name() -> None:
    nodes = [
        NodeSpec("source", "here", "h800", "a", "x", 8),
        NodeSpec("odd", "here", "unheard-of", "a", "x", 8),
        NodeSpec("t", "here", "h200", "b", "x", 8),
    ]
    made = Fleet(nodes, seed=1)
    made.add(APART, 0.0)
    assert not Links.of(made, [APART]).contended
    with pytest.raises(LineRateError, match="under S1 here x a is of a type without a line rate"):
        Links.of(made, [APART], Fabric(s1_oversubscription=2.0))


@pytest.mark.parametrize(
    ("copies", "kib"),
    [
        pytest.param(1.0, 256, id="as many KV heads as GPUs, or more"),
        pytest.param(2.0, 512, id="4 KV heads on 8 GPUs: every byte twice"),
    ],
)
def test_replicated_heads_are_sent_as_often_as_they_are_held(copies: float, kib: int) -> None:
    service = replace(APART, transfer=Transfer(copies=copies))
    assert sent_bytes_per_token(service) == kib * 1024


def test_a_prefill_instance_sends_through_the_cards_of_its_gpus() -> None:
    two = replace(APART, prefill=PROFILES["qwen3-32b/h800-tp2"])
    assert line_bytes_s(two) == pytest.approx(2 * 50e9 * 0.8)


def test_a_world_waits_for_its_uplinks() -> None:
    busy = replace(STEADY, low_rps=80.0, peak_rps=80.0, input_tokens=1_200.0, output_tokens=100.0)
    service = replace(APART, workload=busy, initial=Instances(16, 6))
    nodes = [
        *(NodeSpec(f"p-{at}", "here", "h800", "a", "x", 8) for at in range(2)),
        NodeSpec("d", "here", "h200", "b", "y", 8),
    ]
    p50_s = []
    for over in (1.0, 8.0):
        setup = Setup(fabric=Fabric(s1_oversubscription=over, s2_oversubscription=over))
        made = World([service], nodes, start_s=START_S, seed=1, setup=setup)
        made.advance(START_S + 300)
        values = made.observe(["chat"], made.now_s, 180)["chat"].window.values
        p50_s.append(float(values[SIGNAL_INDEX["ttft_p50_s"]].mean()))
        assert made.fidelity(service.key) == "fluid"
    # 80 x 1,200 x 262 kB = 25 GB/s: 0.05 of the cards, or half of the 50 GB/s into one node. Half
    # of a median prompt of 870 tokens takes 2.9 ms alone, across S2 1.25 x 2.9 / (1 - 0.05) = 3.8
    # or 1.25 x 2.9 / (1 - 0.5) = 7.1 ms.
    assert p50_s[1] - p50_s[0] == pytest.approx(0.0033, abs=0.0007)
