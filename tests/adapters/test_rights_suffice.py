"""With exactly the rights of the manifest everything the product does is allowed, by each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from controller.adapters.fleet.kubernetes.cluster import ClusterWatch
from controller.adapters.kube import offered
from controller.adapters.kube.api import Api, Credentials, Res
from controller.adapters.kube.discovery import KubeDiscovery
from controller.core.kube import rights
from controller.core.kube.kinds import Gate
from controller.core.kube.manifest import manifest
from controller.core.kube.rights import Used
from tests.adapters.fleet.conftest import FAST
from tests.adapters.kube.objects import a_pod, a_ref
from tests.kube import Double, deployment, fleet
from tests.services.test_preflight import ACCOUNT, rules_of, soon
from tests.workloads import LAID, NAMESPACE, Act, act, order, served

__all__ = ["act"]


@pytest.fixture
def kube() -> Iterator[Double]:
    with Double(kinds=served()) as found:
        found.put(*fleet(2))
        yield found


NOON_S = 1_772_366_400.0


def token(kube: Double, *used: Used, acts: bool = True) -> str:
    """Return what an account with the rights of the manifest, in one namespace, shows."""
    text = manifest(rights.wanted(used, acts=acts), (NAMESPACE,))
    return kube.account(ACCOUNT, rules_of(text))


def used_of(kind: str, gate: Gate = Gate.NONE) -> Used:
    ref = LAID[kind].refs()[0]
    return Used(ref.kind, Res(ref.api, ref.plural), gate)


def refused(kube: Double) -> list[str]:
    asked = (f"{one.verb} {one.resource}" for one in kube.requests if one.code == 403)
    return list(dict.fromkeys(asked))


@pytest.mark.parametrize("kind", list(LAID))
def test_acting_and_looking_take_no_right_beyond_the_manifest(
    kube: Double, act: Act, kind: str
) -> None:
    laid = LAID[kind]
    laid.put(kube)
    known = token(kube, used_of(kind))
    acting = act(laid, known)
    for want in ((3, 6), (2, 3)):
        acting.apply(order(acting, want, action=f"to-{want[1]}"), now_s=0.0)
    api = Api(Credentials(kube.address, token=known))
    watch = ClusterWatch(api, FAST, (NAMESPACE,))
    try:
        watch.follow({"chat": list(laid.refs())})
        kube.wait_for(lambda: watch.look(0.0).services)
        offered.nodes(api, until=soon())
    finally:
        watch.stop()
        api.close()

    assert refused(kube) == []


@pytest.mark.parametrize("gate", [Gate.LABEL, Gate.READINESS])
def test_taking_pods_out_of_discovery_takes_no_more(kube: Double, gate: Gate) -> None:
    kube.put(deployment(NAMESPACE, "chat-decode", 1))
    kube.put(a_pod("d-0", registered=True if gate is Gate.READINESS else None))
    known = token(kube, replace(used_of("deployment"), gate=gate))
    api = Api(Credentials(kube.address, token=known))
    discovery = KubeDiscovery(lambda _: (api, [a_ref(gate=gate)]))

    discovery.take_out("chat", ["d-0"], action="a1", epoch=7, now_s=NOON_S)
    discovery.put_back("chat", action="a1", now_s=NOON_S)
    api.close()

    assert kube.asked("PATCH", "/pods/d-0")
    assert refused(kube) == []


def test_looking_on_takes_no_right_to_change(kube: Double, act: Act) -> None:
    laid = LAID["deployment"]
    laid.put(kube)
    known = token(kube, used_of("deployment"), acts=False)
    acting = act(laid, known)

    acting.read("chat", now_s=0.0)
    api = Api(Credentials(kube.address, token=known))
    found = offered.offered(api, (NAMESPACE,), until=soon())
    api.close()

    assert [offer.name for offer in found.offers] == ["chat-decode", "chat-prefill"]
    assert [text.partition(" may")[0] for text in found.told] == [
        "StatefulSets",
        "LeaderWorkerSets",
        "RoleBasedGroupScalingAdapters",
        "DynamoGraphDeployments",
    ]
