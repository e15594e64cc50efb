"""One Prometheus for all tests here: histories long ago, and an engine that it scrapes."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import numpy as np
import pytest

from controller.adapters.metrics.prometheus.client import Endpoint
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.attach import Attach
from controller.core.readings.recipe import Leaf
from tests import victoria as victoria_metrics
from tests.adapters.prometheus.engine import Engine
from tests.adapters.prometheus.fleets import faulty, of_presets
from tests.prometheus import NOW_S, PROMTOOL, SERVER, STEP_S, running

Read = Callable[..., Reading]


def turn(within_s: float = 20.0) -> Turn:
    """A turn whose second tries need no waiting."""
    now_s = time.time()  # noqa: TID251 - whether its clock is ours is told from its answers
    return Turn(now_s, time.monotonic() + within_s, np.random.default_rng(0), lambda _: None)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine of two data-parallel ranks behind one port."""
    with Engine.running() as found:
        yield found


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[str]:
    """The address of a Prometheus that knows every history of the tests."""
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    labels = {"service": "live", "role": "decode", "instance": "a"}
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [engine.target], "labels": labels}]}
        for name in ("engines", "again")
    ]
    history = sorted([*of_presets(), *faulty()], key=attrgetter("name"))
    with running(tmp_path_factory.mktemp("prometheus"), history, jobs) as address:
        yield address


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a VictoriaMetrics that knows every history of the tests."""
    if not victoria_metrics.SERVER:
        pytest.skip("no VictoriaMetrics: install it (Debian's package victoria-metrics)")
    history = [*of_presets(), *faulty()]
    with victoria_metrics.running(tmp_path_factory.mktemp("victoria"), history) as address:
        yield address


@pytest.fixture(params=["prometheus", "victoria"])
def served(request: pytest.FixtureRequest) -> str:
    """The address of one server after another that knows every history of the tests."""
    return str(request.getfixturevalue(request.param))


def forgets(address: str) -> bool:
    """Whether a server answers for samples no longer than they usually are apart."""
    with urllib.request.urlopen(f"{address}/metrics") as told:  # noqa: S310 - our own
        return b"\nvm_" in told.read()


@pytest.fixture
def reading(served: str) -> Read:
    """Read leaves of services as they were when the histories end."""

    def read_them(
        leaves: Mapping[Leaf, Attach], services: Sequence[str], *, newest_s: float = NOW_S
    ) -> Reading:
        wanted = Wanted(leaves, Scope(services, 4 * STEP_S), Grid(newest_s, STEP_S, 4))
        return read(Endpoint("test", served), wanted, turn())

    return read_them
