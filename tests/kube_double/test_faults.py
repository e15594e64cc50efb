"""What goes wrong goes wrong as it is said to."""

from __future__ import annotations

import json
import threading

import pytest
import requests

from tests.kube import Admission, ApiError, Double, Reply, Request, faults
from tests.kube_double.client import DECODE, DEPLOYMENTS, NODES, Client, told

FIVE = {"spec": {"replicas": 5}}


def count(kube: Double) -> int:
    found: int = kube.get("deployments", "prod", "chat-decode")["spec"]["replicas"]
    return found


@pytest.mark.parametrize(("done", "expect"), [(False, 4), (True, 5)])
@pytest.mark.parametrize("code", [401, 403, 409, 422, 429, 500, 502, 503, 504])
def test_a_status_instead_of_an_answer(
    raw: Client, kube: Double, code: int, *, done: bool, expect: int
) -> None:
    kube.fault(faults.answer(code, done=done), method="PATCH", path="chat-decode")
    answer = raw.patch(DECODE, FIVE)
    assert (answer.status_code, answer.json()["kind"]) == (code, "Status")
    assert count(kube) == expect
    assert raw.patch(DECODE, FIVE).status_code == 200


@pytest.mark.parametrize("told", [None, "1", "30", "Fri, 31 Dec 2027 23:59:59 GMT", "1000000000"])
def test_too_many_requests_say_how_long_to_wait(
    raw: Client, kube: Double, told: str | None
) -> None:
    kube.fault(faults.answer(429, retry_after=told), times=None)
    assert {raw.get(NODES).headers.get("Retry-After") for _ in range(3)} == {told}
    kube.heal()
    assert raw.get(NODES).status_code == 200


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("done", "expect"), [(False, 4), (True, 5)])
def test_the_connection_ends(
    raw: Client, kube: Double, *, done: bool, reset: bool, expect: int
) -> None:
    kube.fault(faults.drop(done=done, reset=reset), method="PATCH")
    with pytest.raises(requests.ConnectionError):
        raw.patch(DECODE, FIVE)
    assert count(kube) == expect
    assert kube.asked("PATCH")[0].code is None


@pytest.mark.parametrize("chunked", [False, True])
def test_half_a_body(raw: Client, kube: Double, *, chunked: bool) -> None:
    kube.fault(faults.truncate(chunked=chunked), path="nodes")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        raw.get(NODES)


def test_an_answer_of_an_earlier_moment(raw: Client, kube: Double) -> None:
    then = kube.version
    kube.change("deployments", "prod", "chat-decode", FIVE)
    kube.fault(faults.stale(then), times=2)
    assert raw.get(DECODE).json()["spec"]["replicas"] == 4
    listed = raw.get(DEPLOYMENTS).json()
    assert (listed["items"][0]["spec"]["replicas"], listed["metadata"]["resourceVersion"]) == (
        4,
        str(then),
    )
    assert raw.get(DECODE).json()["spec"]["replicas"] == 5


def test_a_request_waits_until_it_is_let_go(raw: Client, kube: Double) -> None:
    held = faults.Hold()
    kube.fault(held, method="PATCH")
    slow = threading.Thread(target=raw.patch, args=(DECODE, FIVE))
    slow.start()
    assert held.arrived.wait(10)
    assert count(kube) == 4
    held.release()
    slow.join()
    assert count(kube) == 5


def test_only_what_fits_is_hit(raw: Client, kube: Double) -> None:
    kube.fault(faults.answer(500), method="GET", path="chat-decode$", nth=2)
    codes = [raw.get(path).status_code for path in (DECODE, NODES, f"{DECODE}/scale", DECODE)]
    assert codes == [200, 200, 200, 500]
    assert [each.fault for each in kube.requests] == ["", "", "", "answer 500"]


def test_something_in_between_answers(raw: Client, kube: Double) -> None:
    kube.fault(faults.html())
    kube.fault(faults.redirect("http://127.0.0.1:9/"), path="nodes")
    assert raw.get(DECODE).headers["Content-Type"] == "text/html; charset=utf-8"
    answer = raw.session.get(f"{kube.address}{NODES}", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://127.0.0.1:9/")


def test_events_come_twice_or_in_the_wrong_order(raw: Client, kube: Double) -> None:
    begin = kube.version
    kube.change("deployments", "prod", "chat-decode", FIVE)
    kube.change("deployments", "prod", "chat-prefill", FIVE)
    kube.fault(faults.duplicated())
    kube.fault(faults.swapped())
    twice = told(raw.watch(DEPLOYMENTS, resourceVersion=begin), 4)
    assert [name for _, name in twice] == ["chat-decode"] * 2 + ["chat-prefill"] * 2
    swapped = told(raw.watch(DEPLOYMENTS, resourceVersion=begin), 2)
    assert [name for _, name in swapped] == ["chat-prefill", "chat-decode"]


def test_a_watch_ends_in_order_in_the_middle_and_as_gone(raw: Client, kube: Double) -> None:
    begin = kube.version
    kube.change("deployments", "prod", "chat-decode", FIVE)
    kube.fault(faults.close_after(1))
    kube.fault(faults.cut_after(0))
    assert len(list(raw.watch(DEPLOYMENTS, resourceVersion=begin))) == 1
    with pytest.raises((requests.exceptions.ChunkedEncodingError, json.JSONDecodeError)):
        list(raw.watch(DEPLOYMENTS, resourceVersion=begin))
    events = raw.watch(DEPLOYMENTS, resourceVersion=begin)
    next(events)
    kube.end_watches(gone=True)
    assert next(events)["object"]["code"] == 410


def test_a_dead_cluster_comes_back(raw: Client, kube: Double) -> None:
    kube.pause()
    with pytest.raises(requests.ReadTimeout):
        raw.session.get(f"{kube.address}{NODES}", timeout=0.1)
    kube.resume()
    assert raw.get(NODES).status_code == 200
    kube.close()
    with pytest.raises(requests.ConnectionError):
        raw.get(NODES)
    kube.start()
    assert raw.get(NODES).status_code == 200


def test_a_webhook_rewrites_or_refuses(raw: Client, kube: Double) -> None:
    def capped(asked: Admission) -> None:
        if asked.kind.plural == "deployments":
            asked.new["spec"]["replicas"] = min(3, asked.new["spec"]["replicas"])

    kube.hook(capped)
    assert raw.patch(f"{DECODE}/scale", FIVE).json()["spec"] == {"replicas": 3}

    def refused(_asked: Admission) -> None:
        raise ApiError(403, 'admission webhook "quota" denied the request', "Forbidden")

    kube.hook(refused)
    assert raw.patch(DECODE, FIVE).status_code == 403


def test_everything_is_written_down(raw: Client, kube: Double) -> None:
    stamp = {"heteroscale.io/epoch": "7"}
    raw.patch(DECODE, {**FIVE, "metadata": {"annotations": stamp}}, fieldManager="heteroscale")
    (asked,) = kube.asked("PATCH", "chat-decode")
    assert (asked.code, asked.account, asked.agent, asked.query) == (
        200,
        "kubernetes-admin",
        "raw/1",
        {"fieldManager": "heteroscale"},
    )
    assert asked.body["spec"] == {"replicas": 5}
    (write,) = kube.writes("deployments", "prod", "chat-decode", by="heteroscale")
    assert (write.version, write.epoch, write.replicas) == (kube.version, 7, 5)


def test_an_answer_may_be_late_or_something_else(raw: Client, kube: Double) -> None:
    kube.fault(faults.delay(before_s=0.02, after_s=0.02))
    assert raw.get(DECODE).status_code == 200
    assert kube.requests[0].took_s > 0.04
    kube.fault(faults.rewritten(lambda body: body.replace(b'"replicas":4', b'"replicas":null')))
    assert raw.get(DECODE).json()["spec"]["replicas"] is None


def test_a_watch_may_miss_its_bookmarks(raw: Client, kube: Double) -> None:
    kube.fault(faults.without_bookmarks())
    query = {"resourceVersion": kube.version, "allowWatchBookmarks": "true", "timeoutSeconds": 1}
    begun = [raw.watch(DEPLOYMENTS, **query) for _ in range(2)]
    kube.wait_for(lambda: kube.watches == 2)
    kube.bookmark()
    kube.end_watches()
    assert [[each["type"] for each in events] for events in begun] == [[], ["BOOKMARK"]]


def test_a_watch_of_a_dead_cluster_goes_on_when_it_is_back(raw: Client, kube: Double) -> None:
    events = raw.watch(DEPLOYMENTS, resourceVersion=kube.version)
    kube.pause()
    kube.change("deployments", "prod", "chat-decode", FIVE)
    kube.resume()
    assert told(events, 1) == [("MODIFIED", "chat-decode")]


def test_a_fault_of_ones_own_is_a_callable(raw: Client, kube: Double) -> None:
    seen = []

    def first(request: Request, serve: faults.Serve) -> Reply:
        seen.append(request.body)
        return serve(request)

    kube.fault(first, when=lambda request: request.writes, times=None)
    raw.get(DECODE)
    raw.patch(DECODE, FIVE)
    assert seen == [FIVE]
