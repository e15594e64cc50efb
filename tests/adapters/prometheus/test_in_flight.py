"""Requests in flight by instance: what real servers know of them, and whatever else may come."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from controller.adapters.metrics.prometheus.client import Endpoint
from controller.adapters.metrics.prometheus.in_flight import MOST_NAMES, in_flight
from controller.adapters.turn import Turn
from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.in_flight import Question, question
from controller.core.readings.sources import Use
from controller.core.types import Role
from tests.adapters.prometheus.conftest import turn
from tests.adapters.prometheus.test_protocol import serving
from tests.prometheus import NOW_S

LABELS = ByLabels()
HOSTILE = 'a"} or vector(0) or x{pod="'


def asked(*names: str, service: str = "leaving") -> Question:
    found = question(Use("s", service, ("vllm",)), names, at_s=NOW_S, max_age_s=45.0)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "expect"),
    [
        pytest.param("idle", 0, id="nothing; the pod of that name elsewhere does not count"),
        pytest.param("busy", 3, id="2 run + 1 waits"),
        pytest.param("keeps-memory", 1, id="memory is kept: at least 1"),
        pytest.param("two-engines", 11, id="two engines on one port: 1 + 4 + 2 + 4"),
        pytest.param("two-ports", 2, id="two engines on two ports: 1 + 1"),
        pytest.param("two-jobs", 5, id="scraped twice: 5 once"),
        pytest.param("without-pod", 3, id="known by the label instance"),
        pytest.param("only-running", None, id="who waits is not told"),
        pytest.param("no-memory", None, id="memory is not told"),
        pytest.param("not-a-number", None, id="NaN"),
        pytest.param("negative", None, id="-1"),
        pytest.param("stale", None, id="60 of 45 s old"),
        pytest.param("half-stale", None, id="one of two engines is 60 s old"),
        pytest.param("nobody", None, id="no such pod"),
        pytest.param("d.tted", None, id="a dot is no other letter"),
        pytest.param(HOSTILE, None, id="a name that would be a query"),
    ],
)
def test_each_instance_by_its_pod(served: str, name: str, expect: int | None) -> None:
    found = in_flight(Endpoint("test", served), LABELS, asked(name, "busy"), turn())
    assert found.get(name) == expect
    assert found["busy"] == 3


@pytest.mark.parametrize(
    ("attach", "service", "name"),
    [
        pytest.param(ByLabels(instance=("pod",)), "leaving", "busy", id="the label of the pod"),
        pytest.param(ByInfo(), "leaving", "joined-leaving-0", id="a join"),
        pytest.param(
            ByPod({Role.DECODE: r"joined-(?P<service>.+)-\d+", None: "(?P<service>front)"}),
            "leaving",
            "joined-leaving-0",
            id="the pod's name, which is not that of a frontend",
        ),
    ],
)
def test_each_way_to_know_a_service(served: str, attach: Attach, service: str, name: str) -> None:
    endpoint = Endpoint("test", served)
    assert in_flight(endpoint, attach, asked(name, service=service), turn()) == {name: 3}
    assert in_flight(endpoint, attach, asked(name, service="staying"), turn()) == {}


def told(**fields: object) -> dict[str, object]:
    """Return what a server says of an idle instance, by its position in what is asked."""
    series = [
        {
            "metric": {"heteroscale_leaf": str(at), "service": "leaving", "pod": "a"},
            "values": [[NOW_S, "0"]],
        }
        for at in (0, 2, 4)
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": series}, **fields}


def said(body: object, status: str = "200 OK", **headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n{lines}\r\n"
    return head.encode() + text


@pytest.mark.parametrize(
    ("answer", "expect"),
    [
        pytest.param(said(told()), {"a": 0}, id="all of it"),
        pytest.param(said(told(warnings=["store down"])), {}, id="a store is missing"),
        # NOW_S is 22:13:20 of that day.
        pytest.param(
            said(told(), Date="Tue, 14 Nov 2023 22:13:30 GMT"), {}, id="its clock is 10 s ahead"
        ),
        pytest.param(
            said(told(), Date="Tue, 14 Nov 2023 22:13:10 GMT"), {"a": 0}, id="10 s behind"
        ),
        pytest.param(said({}, "401 Unauthorized"), {}, id="credentials"),
        pytest.param(said({"status": "error", "error": "x"}, "422 No"), {}, id="refused"),
        pytest.param(said([]), {}, id="no answer of Prometheus"),
        pytest.param(None, {}, id="it does not answer"),
    ],
)
def test_what_is_not_the_whole_of_now_is_unknown(
    answer: bytes | None, expect: dict[str, int]
) -> None:
    with serving(answer) as server:
        until = time.monotonic() + (0.3 if answer is None else 10.0)
        of_then = Turn(NOW_S, until, np.random.default_rng(0), lambda _: None)
        assert in_flight(Endpoint("test", server.base), LABELS, asked("a"), of_then) == expect


def test_one_request_names_the_instances_and_no_others() -> None:
    with serving(said(told())) as server:
        endpoint = Endpoint("test", server.base)
        in_flight(endpoint, LABELS, asked("a", "b.c"), turn())
        assert len(server.asked) == 1
        (text,) = server.asked[0][1]["query"]
        assert text.count(r'pod=~"a|b\\.c"') == text.count(r'instance=~"a|b\\.c"') > 0
        many = [str(at) for at in range(MOST_NAMES + 1)]
        assert in_flight(endpoint, LABELS, asked(*many), turn()) == {}
        assert len(server.asked) == 1
