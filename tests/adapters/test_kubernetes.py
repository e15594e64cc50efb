"""Counts written into a cluster: by each kind of workload, and whatever the API server answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from django.utils import timezone

from controller.adapters.actuators.kubernetes import Known, Kubernetes
from controller.adapters.kube.api import Api
from controller.core.arrived import Arrived, arrived
from controller.core.kube.access import Credentials
from controller.core.kube.values import ACTION, EPOCH, WorkloadRef
from controller.core.kube.writes import Between
from controller.core.ports import (
    ActuatorError,
    ConflictError,
    NotSentError,
    RefusedError,
    ScaleOrder,
    Spot,
    UnreachableError,
)
from controller.core.types import Instances, Role
from tests.kube import Double, Rule, deployment, dynamo, faults, fleet
from tests.kube.objects import Admission
from tests.workloads import LAID, NAMESPACE, Act, Laid, act, order, served

DEPLOYMENTS = LAID["deployment"]
MORE, FEWER = (3, 6), (1, 3)


__all__ = ["act"]


@pytest.fixture
def kube() -> Iterator[Double]:
    with Double(kinds=served()) as found:
        yield found


@pytest.fixture(params=list(LAID))
def laid(request: pytest.FixtureRequest, kube: Double) -> Laid:
    found: Laid = LAID[request.param]
    found.put(kube)
    return found


def by_us(kube: Double) -> list[tuple[str, str | None]]:
    """Return each write of ours: what it was to, and the epoch the object bore after it."""
    return [(one.key.name, one.annotation(EPOCH)) for one in kube.writes(by="heteroscale")]


def applied(acting: Kubernetes, asked: ScaleOrder) -> Instances:
    acting.apply(asked, now_s=0.0)
    return acting.read("chat", now_s=0.0).desired


@pytest.mark.parametrize("want", [MORE, FEWER, (3, 3), (2, 4)], ids=str)
def test_a_pair_is_written_and_the_objects_tell_by_whom_s12_s15(
    kube: Double, act: Act, laid: Laid, want: tuple[int, int]
) -> None:
    acting = act(laid)
    asked = order(acting, want)
    assert applied(acting, asked) == want
    seen = acting.read("chat", now_s=0.0)
    changed = want != (2, 4)
    assert (seen.last_action, seen.last_epoch) == (("a1", 7) if changed else (None, 0))
    assert {epoch for _, epoch in by_us(kube)} <= {"7"}


def test_the_same_order_again_writes_nothing(kube: Double, act: Act, laid: Laid) -> None:
    acting = act(laid)
    asked = order(acting, MORE)
    acting.apply(asked, now_s=0.0)
    written = len(by_us(kube))
    assert applied(acting, asked) == MORE
    assert len(by_us(kube)) == written


def test_every_write_carries_the_version_that_was_read_s13(
    kube: Double, act: Act, laid: Laid
) -> None:
    acting = act(laid)
    acting.apply(order(acting, MORE), now_s=0.0)
    patches = kube.asked("PATCH")
    assert patches
    assert all(one.body["metadata"].get("resourceVersion") for one in patches)


def test_both_roles_of_a_graph_are_one_write(kube: Double, act: Act) -> None:
    laid = LAID["dynamo"]
    laid.put(kube)
    acting = act(laid)
    assert applied(acting, order(acting, MORE)) == MORE
    assert by_us(kube) == [("chat", "7")]


def test_a_group_is_scaled_by_its_adapters_and_never_itself(kube: Double, act: Act) -> None:
    laid = LAID["rolebasedgroup"]
    laid.put(kube)
    acting = act(laid)
    acting.apply(order(acting, MORE), now_s=0.0)
    assert {one.key.name for one in kube.writes(by="heteroscale")} == {
        "chat-prefill",
        "chat-decode",
    }
    assert not kube.writes("rolebasedgroups", by="heteroscale")


def test_an_adapted_component_is_never_written_in_its_graph(kube: Double, act: Act) -> None:
    laid = LAID["dynamo by adapters"]
    laid.put(kube)
    acting = act(laid)
    assert applied(acting, order(acting, MORE)) == MORE
    assert not kube.writes("dynamographdeployments", by="heteroscale")


def half_written(
    kube: Double, act: Act, laid: Laid, want: tuple[int, int]
) -> tuple[Kubernetes, ScaleOrder]:
    """Return an order of which the first write was taken and the second refused."""
    laid.put(kube)
    acting = act(laid)
    asked = order(acting, want)
    kube.fault(faults.answer(403), method="PATCH", nth=2)
    with pytest.raises(RefusedError):
        acting.apply(asked, now_s=0.0)
    return acting, asked


def part_of(acting: Kubernetes, asked: ScaleOrder) -> Arrived:
    seen = acting.read("chat", now_s=0.0)
    return arrived(
        seen,
        asked.action,
        before=Instances(2, 4),
        to=asked.want,
        version=asked.resource_version,
    )


@pytest.mark.parametrize("kind", [one for one in LAID if one not in ("dynamo", "scale")])
@pytest.mark.parametrize("want", [MORE, FEWER, (3, 3)], ids=str)
def test_what_is_half_written_is_completed_or_taken_back_k07(
    kube: Double, act: Act, kind: str, want: tuple[int, int]
) -> None:
    acting, asked = half_written(kube, act, LAID[kind], want)
    assert part_of(acting, asked) is Arrived.PART
    acting.apply(asked, now_s=0.0)
    assert part_of(acting, asked) is Arrived.ALL


@pytest.mark.parametrize("kind", [one for one in LAID if one not in ("dynamo", "scale")])
def test_what_is_taken_back_says_so_and_stays_so_k07(kube: Double, act: Act, kind: str) -> None:
    acting, asked = half_written(kube, act, LAID[kind], MORE)
    back = ScaleOrder(asked.action, "chat", 7, asked.want, asked.resource_version, undo=True)
    for _ in range(2):
        acting.apply(back, now_s=0.0)
        assert part_of(acting, asked) is Arrived.UNDONE
    assert acting.read("chat", now_s=0.0).desired == (2, 4)


def test_a_new_status_is_no_change_k01(kube: Double, act: Act) -> None:
    """Between the read and the write the resourceVersion moves on, as it does while pods start."""
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)

    def report(_: object) -> bool:
        kube.change(
            "deployments", NAMESPACE, "chat-prefill", {"status": {"replicas": 2}}, by="manager"
        )
        return False

    kube.fault(faults.answer(500), method="PATCH", when=report, times=1)
    assert applied(acting, asked) == MORE
    assert len([one for one in kube.asked("PATCH") if one.code == 409]) == 1


@pytest.mark.parametrize("replicas", [3, 5])
def test_another_count_is_a_conflict_and_is_left_k01_s25(
    kube: Double, act: Act, replicas: int
) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)
    kube.scale("deployments", NAMESPACE, "chat-decode", replicas, by="kubectl")
    with pytest.raises(ConflictError, match=f"decode {replicas}"):
        acting.apply(asked, now_s=0.0)
    assert not by_us(kube)


def test_the_same_name_is_not_the_same_object_k11(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)
    kube.recreate("deployments", NAMESPACE, "chat-decode")
    with pytest.raises(ConflictError, match="made anew"):
        acting.apply(asked, now_s=0.0)
    assert not by_us(kube)


def test_an_old_epoch_is_refused_and_told_how_to_go_on_s12_d04(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    acting.apply(order(acting, MORE, epoch=9), now_s=0.0)
    with pytest.raises(RefusedError, match="epoch 8 is over, epoch 9 wrote last"):
        acting.apply(order(acting, FEWER, action="a2", epoch=8), now_s=0.0)
    assert {epoch for _, epoch in by_us(kube)} == {"9"}


def test_a_stale_read_is_refused_by_the_version_k10(kube: Double, act: Act) -> None:
    """The answer of minutes ago is replayed: the write is refused, and what is true read again."""
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    then = kube.version
    asked = order(acting, MORE)
    kube.scale("deployments", NAMESPACE, "chat-prefill", 5, by="kubectl")
    kube.fault(faults.stale(then), method="GET", path="chat-prefill")
    with pytest.raises(ConflictError, match="prefill 5"):
        acting.apply(asked, now_s=0.0)
    assert not by_us(kube)


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [
        pytest.param(faults.answer(401), RefusedError, 0, id="401 K12"),
        pytest.param(faults.answer(403), RefusedError, 0, id="403 K12"),
        pytest.param(faults.answer(422), RefusedError, 0, id="422"),
        pytest.param(faults.answer(429, retry_after="1"), NotSentError, 0, id="429 K02"),
        pytest.param(faults.answer(500), UnreachableError, 0, id="500 K03"),
        pytest.param(faults.answer(502, done=True), UnreachableError, 1, id="502, done K03"),
        pytest.param(faults.answer(503), UnreachableError, 0, id="503 K03"),
        pytest.param(faults.answer(504, done=True), UnreachableError, 1, id="504, done K03"),
        pytest.param(faults.drop(done=True), UnreachableError, 1, id="answer lost K04"),
        pytest.param(faults.drop(), UnreachableError, 0, id="dropped before K05"),
        pytest.param(faults.truncate(), UnreachableError, 1, id="half an answer"),
        pytest.param(faults.html(), UnreachableError, 0, id="a login page"),
        pytest.param(faults.redirect("http://127.0.0.1:9/"), ActuatorError, 0, id="a redirect"),
    ],
)
def test_a_write_that_fails(
    kube: Double, act: Act, fault: faults.Fault, error: type[ActuatorError], done: int
) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, (2, 6))
    kube.fault(fault, method="PATCH")
    with pytest.raises(error):
        acting.apply(asked, now_s=0.0)
    assert len(by_us(kube)) == done
    # What was done shows by itself, and the same order is taken once (S14).
    shown = part_of(acting, asked)
    assert shown is (Arrived.ALL if done else Arrived.NOTHING)
    if error is not NotSentError:
        acting.apply(asked, now_s=0.0)
        assert len(by_us(kube)) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(faults.answer(500), UnreachableError, id="500"),
        pytest.param(faults.drop(), UnreachableError, id="dropped"),
        pytest.param(faults.truncate(), UnreachableError, id="half an answer K09"),
        pytest.param(faults.answer(403), RefusedError, id="403"),
    ],
)
def test_a_read_that_fails_writes_nothing(
    kube: Double, act: Act, fault: faults.Fault, error: type[ActuatorError]
) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)
    kube.fault(fault, method="GET", times=None)
    with pytest.raises(error):
        acting.read("chat", now_s=0.0)
    with pytest.raises(ActuatorError):
        acting.apply(asked, now_s=0.0)
    assert not kube.asked("PATCH")


def test_the_right_that_is_missing_is_named_k12(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube)
    token = kube.account("watcher", [Rule(("get", "list", "watch"), ("*",), ("*",))])
    acting = act(DEPLOYMENTS, token)
    with pytest.raises(RefusedError, match=r"patch.*deployments.*prod"):
        acting.apply(order(acting, MORE), now_s=0.0)
    assert not by_us(kube)


def test_a_hook_that_rewrites_the_count_is_told_and_not_fought_k18(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)

    def capped(asked: Admission) -> dict[str, object] | None:
        if asked.new and asked.new.get("kind") == "Deployment":
            spec = {**asked.new["spec"], "replicas": min(asked.new["spec"]["replicas"], 5)}
            return {**asked.new, "spec": spec}
        return None

    kube.hook(capped)
    with pytest.raises(RefusedError, match="holds 5 after 6 were written"):
        acting.apply(order(acting, (2, 6)), now_s=0.0)
    assert len(by_us(kube)) == 1


@pytest.mark.parametrize("replicas", [None, "4", 2**31, -1])
def test_an_object_that_is_none_is_not_written_k19(
    kube: Double, act: Act, replicas: object
) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)
    odd = kube.get("deployments", NAMESPACE, "chat-decode")
    odd["spec"]["replicas"] = replicas
    kube.put(odd, checked=False)
    with pytest.raises(RefusedError, match=r"spec\.replicas"):
        acting.apply(asked, now_s=0.0)
    assert not by_us(kube)


def test_what_is_gone_is_told_by_name(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    kube.delete("deployments", NAMESPACE, "chat-decode")
    with pytest.raises(RefusedError, match="chat-decode"):
        acting.read("chat", now_s=0.0)


def test_no_write_begins_when_too_little_time_is_left(
    kube: Double, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that stood still sends nothing once its order may take no effect any more (P02)."""
    DEPLOYMENTS.put(kube)
    acting = act(DEPLOYMENTS)
    asked = order(acting, MORE)
    begun = time.monotonic()
    calls = iter([begun, *[begun + 60.0] * 100])
    monkeypatch.setattr(time, "monotonic", lambda: next(calls))
    with pytest.raises(ActuatorError):
        acting.apply(asked, now_s=0.0)
    monkeypatch.undo()
    assert not kube.asked("PATCH")


def test_roles_take_turns_where_the_ratio_would_go_too_far_s5(kube: Double, act: Act) -> None:
    DEPLOYMENTS.put(kube, 1, 1)
    acting = act(DEPLOYMENTS)
    ends = Instances(1, 1), Instances(9, 9)
    rules = Between(Instances(1, 1), 100, ends)
    assert applied(acting, order(acting, (9, 9), between=rules)) == (9, 9)
    pairs = {"chat-prefill": 1, "chat-decode": 1}
    ratios = []
    for one in kube.writes(by="heteroscale"):
        pairs[one.key.name] = one.replicas
        ratios.append(pairs["chat-prefill"] / pairs["chat-decode"])
    assert len(ratios) == 5  # (2, 1), (2, 4), (8, 4), (8, 9), (9, 9)
    assert max(ratios) == 2.0
    assert {one.annotation(ACTION) for one in kube.writes(by="heteroscale")} == {"a1"}


def test_those_that_are_to_go_are_marked_before_the_count_falls(kube: Double, act: Act) -> None:
    kube.put(*fleet(4))
    DEPLOYMENTS.put(kube)
    kube.settle()
    pods = sorted(
        one["metadata"]["name"] for one in kube.all("pods", NAMESPACE, "app=chat-decode")
    )
    acting = act(DEPLOYMENTS)
    acting.apply(order(acting, (2, 2), leave=(pods[1], pods[3])), now_s=timezone.now().timestamp())
    kube.settle()
    left = {one["metadata"]["name"] for one in kube.all("pods", NAMESPACE, "app=chat-decode")}
    assert left == {pods[0], pods[2]}


def of(kube: Double, refs: Sequence[WorkloadRef]) -> Kubernetes:
    api = Api(Credentials(server=kube.address, token=kube.token))
    return Kubernetes(lambda _: Known(api, refs))


def test_those_that_are_named_go_from_the_workload_they_are_of(kube: Double) -> None:
    prefill, decode = DEPLOYMENTS.refs()
    DEPLOYMENTS.put(kube)
    kube.put(*fleet(4), deployment(NAMESPACE, "chat-decode-h100", 4))
    kube.settle()
    acting = of(kube, [prefill, decode, replace(decode, name="chat-decode-h100", group="b")])
    names = [pod["metadata"]["name"] for pod in kube.all("pods")]
    leave = tuple(name for name in names if name.startswith("chat-decode-h100-"))[:2]
    acting.apply(order(acting, (2, 6), leave=leave), now_s=0.0)
    counts = [
        kube.get("deployments", NAMESPACE, name)["spec"]["replicas"]
        for name in ("chat-decode", "chat-decode-h100")
    ]
    assert counts == [4, 2]


def test_a_part_of_a_graph_does_not_take_an_earlier_order_for_this_one(kube: Double) -> None:
    graphs = ("one", "two")
    kube.put(*(dynamo(NAMESPACE, name, {"prefill": 2, "decode": 4}) for name in graphs))
    refs = [
        replace(ref, name=name, group=name) for ref in LAID["dynamo"].refs() for name in graphs
    ]
    acting = of(kube, refs)
    spots = (Spot(Role.DECODE, "one", ()), Spot(Role.DECODE, "one", ()))
    acting.apply(order(acting, (4, 10), spots=spots), now_s=0.0)
    back = {"spec": {"services": {"decode": {"replicas": 4}}}}
    kube.change("dynamographdeployments", NAMESPACE, "one", back)
    spots = (Spot(Role.PREFILL, "one", ()), *(Spot(Role.DECODE, "two", ()),) * 2)
    asked = order(acting, (5, 10), action="a2", spots=spots)
    kube.fault(faults.answer(403), method="PATCH", nth=2)
    with pytest.raises(RefusedError):
        acting.apply(asked, now_s=0.0)
    acting.apply(asked, now_s=0.0)
    found = [
        kube.get("dynamographdeployments", NAMESPACE, name)["spec"]["services"][part]["replicas"]
        for name in graphs
        for part in ("prefill", "decode")
    ]
    assert found == [3, 4, 2, 6]
