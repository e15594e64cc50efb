"""Requests in flight asked of the instances themselves, over real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from controller.adapters.metrics.scrape.in_flight import in_flight
from controller.adapters.turn import Turn
from controller.core.readings.attach import ByLabels
from controller.core.readings.in_flight import question
from controller.core.readings.sources import EndpointKind, Source, Target, Use
from tests.adapters.scrape.fleet import Exporters, exporting, ok, reply

NOW_S = 1_700_000_000.0


@pytest.fixture
def exporters() -> Iterator[Exporters]:
    with exporting() as found:
        yield found


def page(running: float, kv: float = 0.0, engine: str = "0", at_s: str = "") -> str:
    values = {
        "num_requests_running": running,
        "num_requests_waiting": 0,
        "kv_cache_usage_perc": kv,
    }
    return "".join(
        f'vllm:{name}{{engine="{engine}"}} {value} {at_s}'.rstrip() + "\n"
        for name, value in values.items()
    )


def look(*targets: Target, names: tuple[str, ...] = ("a",), within_s: float = 5.0) -> object:
    source = Source("s", EndpointKind.SCRAPE, "", ByLabels(), targets=targets)
    asked = question(Use("s", "chat", ("vllm",)), names, at_s=NOW_S, max_age_s=45.0)
    assert asked is not None
    until = time.monotonic() + within_s
    return in_flight(source, asked, Turn(NOW_S, until, np.random.default_rng(0), lambda _: None))


def target(exporters: Exporters, path: str, instance: str = "a", service: str = "chat") -> Target:
    return Target(f"{exporters.base}/{path}", instance, service)


@pytest.mark.parametrize(
    ("said", "expect"),
    [
        pytest.param(ok(page(0)), {"a": 0}, id="nothing"),
        pytest.param(ok(page(2)), {"a": 2}, id="2 run"),
        pytest.param(ok(page(1, 0.1) + page(2, 0.1, "1")), {"a": 3}, id="two engines: 1 + 2"),
        pytest.param(ok(page(0, at_s=f"{NOW_S - 44:.0f}000")), {"a": 0}, id="44 of 45 s old"),
        pytest.param(ok(page(0, at_s=f"{NOW_S - 46:.0f}000")), {}, id="46 of 45 s old"),
        pytest.param(
            ok(page(0) + page(7, 0.1, "1", at_s=f"{NOW_S - 46:.0f}000")),
            {},
            id="one of two engines is 46 s old",
        ),
        pytest.param(ok(page(float("nan"))), {}, id="NaN"),
        pytest.param(ok("up 1\n"), {}, id="another exporter"),
        pytest.param(ok(page(0)[:-9]), {}, id="cut short"),
        pytest.param(reply(b"", "503 Service Unavailable"), {}, id="not ready"),
        pytest.param(None, {}, id="no answer"),
    ],
)
def test_what_an_instance_says_of_itself(
    exporters: Exporters, said: bytes | None, expect: dict[str, int]
) -> None:
    exporters.says = {"a": said}
    assert look(target(exporters, "a"), within_s=5.0 if said else 0.3) == expect


def test_nobody_else_is_asked(exporters: Exporters) -> None:
    exporters.says = dict.fromkeys("abc", ok(page(1)))
    a, b = target(exporters, "a"), target(exporters, "b", "b")
    assert look(a, b, target(exporters, "c", "a", "code")) == {"a": 1}
    assert [head.split()[1] for head in exporters.asked] == ["/a"]


def test_of_an_instance_with_two_ports_both_must_answer(exporters: Exporters) -> None:
    exporters.says = {"a": ok(page(0)), "b": ok(page(3, engine="1"))}
    both = target(exporters, "a"), target(exporters, "b")
    assert look(*both) == {"a": 3}
    exporters.says["b"] = reply(b"", "404 Not Found")
    assert look(*both) == {}


@pytest.mark.parametrize(
    ("host", "name", "known"),
    [
        pytest.param("localhost", "localhost", True, id="the name of a pod"),
        pytest.param("localhost", "other", False, id="another name"),
        pytest.param("127.0.0.1", "127", False, id="an address is no name"),
    ],
)
def test_a_target_is_known_by_its_address_where_that_begins_with_the_pod(
    exporters: Exporters, host: str, name: str, *, known: bool
) -> None:
    exporters.says = {"a": ok(page(1))}
    url = f"{exporters.base}/a".replace("127.0.0.1", host)
    assert look(Target(url, f"{host}:8000", "chat"), names=(name,)) == ({name: 1} if known else {})
