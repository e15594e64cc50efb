"""The same simulated services, read directly and through a real Prometheus, are decided alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connections

from controller import wiring
from controller.adapters.measured import Measured, Pace, Terms
from controller.adapters.metrics.prometheus.source import read_source
from controller.adapters.turn import Turn
from controller.core import cycle
from controller.core.memory import Memory
from controller.core.ports import View
from controller.core.reach import Reach
from controller.core.readings.attach import ByLabels
from controller.core.readings.sources import EndpointKind, Plan, Source, Use
from controller.core.types import SIGNAL_INDEX, Decision, Instances, Mode, ServiceSpec
from controller.models import SimulatedFleet
from controller.models.clock import database_now
from controller.selectors import profiles
from controller.services import demo, demo_metrics, simulated
from controller.services.demo_metrics import PRESETS
from controller.services.errors import InvalidError
from controller.services.simulated_metrics import InstanceCollector
from controller.simulator.demo import DEMO_NODES, DEMO_SERVICES, DemoService, policy_for
from controller.simulator.engines import Engines
from controller.simulator.exported import Exported
from controller.simulator.meters import TBT_BOUNDS, TTFT_BOUNDS
from controller.simulator.model import Fault
from controller.simulator.ports import SimulatorSource
from controller.simulator.workload import read_trace
from controller.simulator.world import Setup, World
from heteroscale_site.launch.measuring import scraped
from inventory import snapshot
from inventory.models import Cluster, MetricsEndpoint, ServiceMetrics
from tests.prometheus import NOW_S, PROMTOOL, SERVER, STEP_S, Series, running
from tests.scenarios.drive import TICK_S, Drive, spec_of

TICKS = 48
BEGIN_S = NOW_S - TICK_S * TICKS
WARM = 6
"""Ticks until a window of rates is full."""
STEADY = read_trace(
    b"t_s,rate_rps,mean_input_tokens,mean_output_tokens\n"
    b"0,6,800,200\n600,6,800,200\n1200,6,800,200\n",
    "steady.csv",
)
CHAT = next(service for service in DEMO_SERVICES if service.slug == "chat")
Labels = frozenset[tuple[str, str]]


def service(slug: str, driver: str, initial: Instances) -> DemoService:
    policy = replace(
        policy_for(CHAT, STEADY, driver), hold_s=0.0, stabilisation_s=60.0, cooldown_in_s=60.0
    )
    return replace(CHAT, slug=slug, mode=Mode.AUTOMATIC, policy=policy, initial=initial)


SERVICES = [
    service("too-small", "decode_tps", Instances(7, 9)),
    service("too-large", "decode_tps", Instances(12, 18)),
    service("by-prefill", "prefill_tps_uncached", Instances(8, 9)),
]


@dataclass(frozen=True)
class Seen:
    """One tick: what the clusters told, what was remembered, and what was decided directly."""

    now_s: float
    view: View
    memory: Mapping[str, Memory]
    decisions: Sequence[Decision]


@dataclass
class Scrapes:
    """What a Prometheus would have stored of every instance, a value a step."""

    values: dict[tuple[str, Labels], list[float | None]] = field(default_factory=dict)
    taken: int = 0

    def take(self, instances: Sequence[Exported]) -> None:
        """Scrape once; series without a value this time have a gap."""
        for each in instances:
            if not each.silent:
                for key, value in samples_of(each):
                    self.values.setdefault(key, [None] * self.taken).append(value)
        self.taken += 1
        for held in self.values.values():
            held.extend([None] * (self.taken - len(held)))

    def series(self) -> list[Series]:
        """Return all of it as a history that ends at ``NOW_S``."""
        found = [Series(name, dict(labels), held) for (name, labels), held in self.values.items()]
        return sorted(found, key=attrgetter("name"))


def samples_of(each: Exported) -> Iterator[tuple[tuple[str, Labels], float]]:
    """Yield the samples of an instance with the labels of its target, as Prometheus sets them."""
    target = {"service": each.key, "role": each.role.value, "instance": each.name}
    target |= {"namespace": each.cluster, "pod": each.name}
    for family in InstanceCollector(each).collect():
        for one in family.samples:
            own = {f"exported_{k}" if k in target else k: v for k, v in one.labels.items()}
            yield (one.name, frozenset((own | target).items())), one.value


@pytest.fixture(scope="module")
def driven() -> tuple[list[Seen], Scrapes]:
    """Twelve minutes of steady load, decided on directly, and what was scraped meanwhile."""
    world = World(
        [each.model(STEADY) for each in SERVICES],
        [replace(node.spec(), gpus=32) for node in DEMO_NODES],
        start_s=BEGIN_S,
        seed=1,
        setup=Setup(metered=True),
    )
    specs = {each.slug: spec_of(each) for each in SERVICES}
    drive = Drive(SERVICES, specs, Engines(world), now_s=BEGIN_S)
    source, ticks, scrapes = SimulatorSource(drive.lend, window_s=60.0), [], Scrapes()
    for at in range(1, TICKS + 1):
        now_s, before = BEGIN_S + TICK_S * at, dict(drive.memory)
        view = source.observe(list(specs.values()), now_s=now_s)
        scrapes.take([each for key in specs for each in world.exported(key)])
        drive.run(TICK_S)
        ticks.append(Seen(now_s, view, before, drive.decisions[-len(SERVICES) :]))
    return ticks, scrapes


@pytest.fixture(scope="module")
def prometheus(
    driven: tuple[list[Seen], Scrapes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    with running(tmp_path_factory.mktemp("prometheus"), driven[1].series()) as address:
        yield address


class Told:
    """What the clusters told at one tick, again."""

    def __init__(self, view: View) -> None:
        self._view = view

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return it."""
        del services, now_s
        return self._view


def through(address: str, seen: Seen) -> View:
    """Return the tick as it is read from a Prometheus."""
    source = Source("prometheus", EndpointKind.PROMETHEUS, address, ByLabels(), scrape_s=STEP_S)
    uses = {each.slug: [Use("prometheus", each.slug, PRESETS)] for each in SERVICES}

    def turn_of(now_s: float) -> Turn:
        until = time.monotonic() + 20.0
        return Turn(now_s, until, np.random.default_rng(0), lambda _: None)

    terms = Terms({EndpointKind.PROMETHEUS: read_source}, Pace(TICK_S, 4, 60.0), turn_of)
    measured = Measured(Told(seen.view), Plan({"prometheus": source}, uses), {}, terms)
    return measured.observe([spec_of(each) for each in SERVICES], now_s=seen.now_s)


def decided(view: View, seen: Seen) -> Sequence[Decision]:
    """Return what the loop decides on a view, remembering what was remembered then."""
    specs = [spec_of(each) for each in SERVICES]
    looked = cycle.look(specs, Told(view), now_s=seen.now_s, max_age_s=45.0)
    return cycle.decide_all(
        specs,
        looked,
        recall=lambda key: seen.memory.get(key, Memory()),
        hold_of=lambda _: None,
        allowance=None,
    ).decisions


def mean(view: View, key: str, signal: str) -> float:
    return float(np.nanmean(view.observations[key].window.values[SIGNAL_INDEX[signal]]))


def test_decisions_are_those_of_the_direct_path(
    driven: tuple[list[Seen], Scrapes], prometheus: str
) -> None:
    read, direct = [], []
    for seen in driven[0][WARM::3]:
        read += [each.final for each in decided(through(prometheus, seen), seen)]
        direct += [each.final for each in seen.decisions]
    # 1 % of noise on one side, a window that reaches 15 s further back on the other: where the
    # load is at the edge of the tolerance, one may see it inside and the other outside.
    alike = [mine == other for mine, other in zip(read, direct, strict=True)]
    assert sum(alike) >= 0.9 * len(alike)
    assert all(
        abs(mine.decode - other.decode) <= 4 for mine, other in zip(read, direct, strict=True)
    )
    # It is no test of standing still.
    finals = {each.final for seen in driven[0] for each in seen.decisions}
    assert len(finals) > 5


def test_signals_are_those_of_the_direct_path(
    driven: tuple[list[Seen], Scrapes], prometheus: str
) -> None:
    # A history has no mark where a series ends, so a gauge of a gone instance lasts 5 minutes.
    ticks = driven[0][-5:]
    views = [(seen.view, through(prometheus, seen)) for seen in ticks]
    found = {
        name: np.array([[mean(view, each.slug, name) for view in pair] for pair in views]).mean(0)
        for each in SERVICES
        for name in SIGNAL_INDEX
    }
    for name in ("decode_tps", "prefill_tps", "prefill_tps_uncached", "request_rps"):
        direct, read = found[name]
        assert read == pytest.approx(direct, rel=0.05), name
    for name in ("prefill_util", "decode_util", "prefill_sm", "decode_sm"):
        direct, read = found[name]
        assert read == pytest.approx(direct, rel=0.05), name
    # Of a percentile, vLLM's buckets tell the bucket.
    for name, bounds in (("ttft_s", TTFT_BOUNDS), ("tbt_s", TBT_BOUNDS)):
        direct, read = np.searchsorted(bounds, found[name])
        assert abs(int(direct) - int(read)) <= 1, name


class Quiet(WSGIRequestHandler):
    """Answers without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(transactional_db: None) -> Iterator[str]:
    """The address of the product, which ends its last answer before the database goes away."""
    assert transactional_db is None
    server = make_server("localhost", 0, get_wsgi_application(), handler_class=Quiet)

    def serve() -> None:
        server.serve_forever(poll_interval=0.05)
        connections.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_prometheus_finds_and_scrapes_the_live_simulator(site: str, tmp_path: Path) -> None:
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    demo.create(speed=1.0, trace=None)
    fleet = SimulatedFleet.objects.get(pk=1)
    engines = simulated.restore(fleet, database_now().timestamp() - 60)
    engines.world.advance(database_now().timestamp())
    engines.world.inject("reasoning", Fault.MISSING)
    simulated.keep(fleet, engines)
    job = {
        "job_name": "heteroscale-simulator",
        "scrape_interval": "2s",
        "relabel_configs": [
            {"source_labels": ["service"], "regex": "chat|reasoning", "action": "keep"}
        ],
        "http_sd_configs": [{"url": f"{site}/simulator/targets", "refresh_interval": "1s"}],
    }
    answering = sum(engines.world.ready("chat"))
    with running(tmp_path, [Series("nothing", {}, [1])], [job]) as address:
        until = time.monotonic() + 30.0
        while (count := scraped_now(address)) < answering and time.monotonic() < until:
            time.sleep(0.2)
        assert count == answering
        demo_metrics.read_through(address)
        kinds = dict(Cluster.objects.values_list("slug", "kind"))
        specs = snapshot.read(profiles.readable).specs
        view = wiring.metrics_source(kinds).observe(specs, now_s=database_now().timestamp())
    assert view.observations["chat"].window.present[SIGNAL_INDEX["decode_waiting"], -1]
    assert not view.observations["reasoning"].window.present.any()
    assert demo_metrics.read_through(None)
    assert not MetricsEndpoint.objects.exists()


def scraped_now(address: str) -> int:
    """Return how many instances the Prometheus has scraped."""
    return scraped(address, Reach(), database_now().timestamp())


def test_rows_of_the_demo_are_made_once_and_taken_away_again(db: None) -> None:
    assert db is None
    demo.create(speed=1.0, trace=None)
    assert not demo_metrics.read_through(None)
    assert demo_metrics.read_through("http://127.0.0.1:9090/")
    assert not demo_metrics.read_through("http://127.0.0.1:9090")
    assert demo_metrics.read_through("http://127.0.0.1:9091")
    assert [row.url for row in MetricsEndpoint.objects.all()] == ["http://127.0.0.1:9091"]
    uses = ServiceMetrics.objects.values_list("service__slug", "presets")
    assert sorted(uses) == sorted((each.slug, ["vllm", "dcgm"]) for each in DEMO_SERVICES)
    with pytest.raises(InvalidError, match="give one like"):
        demo_metrics.read_through("localhost:9090")
    demo.remove()
    assert not MetricsEndpoint.objects.exists()
