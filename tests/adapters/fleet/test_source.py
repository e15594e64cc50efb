"""What a tick is told of services in clusters of Kubernetes, and why of others nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from controller.adapters.fleet.kubernetes.source import NOT_CHOSEN, Kept, KubernetesSource
from controller.core.counted_pools import NodeGpus, Place, counted_pools
from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.sight import ClusterStanding, Sights
from controller.core.kube.values import PodSeen, PodState, ServiceSeen, WorkloadRef, WorkloadSeen
from controller.core.ports import Pool, View
from controller.core.types import Bar, Instances, Role, ServiceSpec
from tests.core.build import NOW_S, SPEC

CLUSTER = "k-1"
CHAT = replace(SPEC, key="chat", cluster=CLUSTER)
CODE = replace(SPEC, key="code", cluster="k-2")
OK = ClusterStanding("ok", NOW_S - 600, heard_s=NOW_S - 5, rounds=20)


def part(
    role: Role, count: int, unread: str = "", rollout: str = ""
) -> tuple[WorkloadRef, WorkloadSeen | str, tuple[PodSeen, ...]]:
    about = KINDS[WorkloadKind.DEPLOYMENT]
    ref = WorkloadRef(
        role, WorkloadKind.DEPLOYMENT, about.api, about.plural, "prod", f"chat-{role.value}"
    )
    pods = tuple(
        PodSeen(f"{role.value}-{n}", f"{role.value}{n}", "n1", PodState.READY, 1.0, 0.0)
        for n in range(count)
    )
    return ref, unread or WorkloadSeen("u", "1", count, rollout=rollout), pods


def service(prefill: int = 2, decode: int = 4, **fields: str) -> ServiceSeen:
    return ServiceSeen((part(Role.PREFILL, prefill), part(Role.DECODE, decode, **fields)))


def observed(sights: Sights, *services: ServiceSpec, held: dict[Place, int] | None = None) -> View:
    def pools(given: Mapping[Place, int]) -> tuple[Pool, ...]:
        if held is not None:
            held.update(given)
        place = (CLUSTER, CHAT.hardware[Role.DECODE])
        return counted_pools([NodeGpus(place, "s1", 64, "ok")], given)

    source = KubernetesSource(Kept(lambda _services, _clusters: sights, pools, 45.0))
    return source.observe(services or (CHAT,), now_s=NOW_S)


def known(
    standing: ClusterStanding | None = OK, seen: ServiceSeen | None = None, **fields: object
) -> Sights:
    clusters = {} if standing is None else {CLUSTER: standing}
    services = {} if seen is None else {"chat": seen}
    return Sights(clusters, services, **{"chosen": frozenset(("chat",)), **fields})  # type: ignore[arg-type]


def test_a_service_that_is_known() -> None:
    view = observed(known(seen=service()))
    found = view.observations["chat"]
    assert found.state is not None
    assert found.state.desired == Instances(2, 4)
    assert len(found.instances) == 6
    assert found.bar is None
    assert found.window.times_s.size == 0
    assert view.failures == {}


@pytest.mark.parametrize(
    ("sights", "text"),
    [
        pytest.param(known(seen=service(), chosen=frozenset()), NOT_CHOSEN, id="none chosen"),
        pytest.param(
            known(None),
            "Nobody looks at cluster k-1: give it an access, and let the watcher "
            "(manage.py watch) run.",
            id="no sight at all",
        ),
        pytest.param(
            known(replace(OK, heard_s=None, told=("Not allowed (403).",))),
            "Cluster k-1 was never seen as a whole. Not allowed (403).",
            id="never whole",
        ),
        pytest.param(
            known(replace(OK, heard_s=NOW_S - 46, told=("Nobody listens there.",)), service()),
            "Nothing was heard of cluster k-1 for 46 s. Nobody listens there.",
            id="46 s are more than 45 s",
        ),
        pytest.param(known(), "It was not seen in cluster k-1 yet.", id="not seen yet"),
        pytest.param(
            known(seen=service(unread="there is no such object")),
            "Deployment prod/chat-decode can't be read: there is no such object.",
            id="one workload is missing",
        ),
    ],
)
def test_why_nothing_is_known(sights: Sights, text: str) -> None:
    view = observed(sights)
    assert view.failures == {"chat": text}
    assert view.observations == {}


@pytest.mark.parametrize(
    ("rounds", "bar"),
    [
        pytest.param(1, Bar("the watch of cluster k-1 has only begun", growth=True), id="first"),
        pytest.param(2, Bar("Deployment prod/chat-decode: rolls"), id="second: its own bar"),
    ],
)
def test_nothing_is_done_on_the_first_whole_picture(rounds: int, bar: Bar) -> None:
    view = observed(known(replace(OK, rounds=rounds), service(rollout="rolls")))
    assert view.observations["chat"].bar == bar


def test_a_service_that_is_not_known_now_holds_what_it_held_k17() -> None:
    held: dict[Place, int] = {}
    sights = known(seen=service(), last={"chat": Instances(9, 9), "code": Instances(3, 5)})
    observed(sights, CHAT, replace(CODE, cluster=CLUSTER), held=held)
    each, hardware = CHAT.gpus_per_instance, CHAT.hardware
    assert held == {
        (CLUSTER, hardware[Role.PREFILL]): (2 + 3) * each.prefill,
        (CLUSTER, hardware[Role.DECODE]): (4 + 5) * each.decode,
    }


def test_a_dead_cluster_takes_no_other_along_k17() -> None:
    dead = replace(OK, heard_s=NOW_S - 3600, told=("Nobody listens there.",))
    sights = Sights(
        {CLUSTER: OK, "k-2": dead},
        {"chat": service(), "code": service()},
        frozenset(("chat", "code")),
    )
    view = observed(sights, CHAT, CODE)
    assert list(view.observations) == ["chat"]
    said = "Nothing was heard of cluster k-2 for 3,600 s. Nobody listens there."
    assert view.failures == {"code": said}


def test_rivals_are_told() -> None:
    fought = replace(service(), rivals=("the HorizontalPodAutoscaler prod/chat",))
    assert observed(known(seen=fought)).rivals == {"chat": fought.rivals}


def test_a_row_that_can_not_be_counted_holds_its_service_alone_s24() -> None:
    odd = ServiceSeen((part(Role.PREFILL, 2), (CHAT, WorkloadSeen("u", "1", 2), ())))  # type: ignore[arg-type]
    sights = Sights(
        {CLUSTER: OK, "k-2": OK},
        {"chat": odd, "code": service()},
        frozenset(("chat", "code")),
    )
    view = observed(sights, CHAT, CODE)
    assert list(view.observations) == ["code"]
    assert view.failures["chat"].startswith("What was seen of it can't be counted: ")
