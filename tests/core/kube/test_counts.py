"""From workloads and pods to counts, instances, and what bars a change."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.kube.counts import Counted, counted
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.plain import from_plain, plain
from controller.core.kube.token import token_of
from controller.core.kube.values import PodSeen, PodState, ServiceSeen, WorkloadRef, WorkloadSeen
from controller.core.types import Bar, InstanceRef, Role, RoleState, ServiceState
from tests.core.kube.objects import NOW_S, ref

PREFILL = ref(role=Role.PREFILL, name="chat-prefill", group="g1")
DECODE = ref(group="g1")
DECODE_2 = ref(name="chat-decode-2", group="g2")


def seen(replicas: int, uid: str = "u", **fields: object) -> WorkloadSeen:
    return WorkloadSeen(uid, "1", replicas, **fields)  # type: ignore[arg-type]


def pod(
    name: str, state: PodState = PodState.READY, node: str = "n1", **fields: object
) -> PodSeen:
    return PodSeen(name, f"uid-{name}", node, state, NOW_S, NOW_S, **fields)  # type: ignore[arg-type]


def pair(*decode: PodSeen, one: WorkloadSeen | str | None = None) -> ServiceSeen:
    """Return a service with one prefill pod and these decode pods."""
    return ServiceSeen(
        (
            (PREFILL, seen(1), (pod("p1"),)),
            (DECODE, one if one is not None else seen(len(decode)), decode),
        )
    )


def test_several_workloads_of_a_role_add_up() -> None:
    both = ServiceSeen(
        (
            (PREFILL, seen(2), (pod("p1"), pod("p2", PodState.STARTING, node=""))),
            (DECODE, seen(3), (pod("a1"), pod("a2", PodState.HELD), pod("a3", PodState.FAILED))),
            (DECODE_2, seen(1), (pod("b1"), pod("b2", PodState.DRAINING, node="n2"))),
        )
    )
    read = [(one, found) for one, found, _ in both.workloads if isinstance(found, WorkloadSeen)]
    assert counted(both) == Counted(
        ServiceState(
            prefill=RoleState(desired=2, ready=1, starting=1),
            decode=RoleState(desired=4, ready=2, draining=1, failed=1, held=1),
            resource_version=token_of(read),
        ),
        (
            InstanceRef("p1", Role.PREFILL, "g1", "n1", "ready"),
            InstanceRef("p2", Role.PREFILL, "g1", "", "starting"),
            InstanceRef("a1", Role.DECODE, "g1", "n1", "ready"),
            InstanceRef("a2", Role.DECODE, "g1", "n1", "held"),
            InstanceRef("a3", Role.DECODE, "g1", "n1", "failed"),
            InstanceRef("b1", Role.DECODE, "g2", "n1", "ready"),
            InstanceRef("b2", Role.DECODE, "g2", "n2", "draining"),
        ),
        None,
        (),
    )


READY, HELD, STARTING, FAILED, DRAINING = (
    PodState.READY,
    PodState.HELD,
    PodState.STARTING,
    PodState.FAILED,
    PodState.DRAINING,
)


@pytest.mark.parametrize(
    ("gate", "states", "expect"),
    [
        pytest.param(Gate.NONE, (READY, READY), READY, id="both of 2"),
        pytest.param(Gate.NONE, (READY,), STARTING, id="1 of 2: the other is not there yet"),
        pytest.param(Gate.NONE, (READY, STARTING), STARTING, id="one starts"),
        pytest.param(Gate.NONE, (STARTING, FAILED), FAILED, id="one failed"),
        pytest.param(Gate.NONE, (DRAINING, FAILED), DRAINING, id="one leaves"),
        pytest.param(Gate.READINESS, (READY, HELD), HELD, id="each has its gate"),
        pytest.param(Gate.LABEL, (READY, HELD), READY, id="the leader alone has the label"),
        pytest.param(Gate.LABEL, (HELD, HELD), HELD, id="nobody has the label"),
    ],
)
def test_a_group_of_pods_is_one_instance(
    gate: Gate, states: tuple[PodState, ...], expect: PodState
) -> None:
    one = ref(WorkloadKind.LEADER_WORKER_SET, gate=gate)
    pods = tuple(
        pod(f"d-0-{number}", state, f"n{number}", of="d-0") for number, state in enumerate(states)
    )
    found = counted(ServiceSeen(((PREFILL, seen(1), (pod("p1"),)), (one, seen(1, size=2), pods))))
    nodes = ",".join(f"n{number}" for number in range(len(states)))
    assert found.instances[1] == InstanceRef("d-0", Role.DECODE, "", nodes, expect.value)
    assert found.state is not None
    assert found.state.decode.ready == (expect is READY)


@pytest.mark.parametrize(
    ("service", "bar"),
    [
        pytest.param(pair(pod("d1")), None, id="at rest"),
        pytest.param(
            pair(pod("d1"), one=seen(1, rollout="1 of 2 pods are of the newest version")),
            Bar("Deployment llm/chat-decode: 1 of 2 pods are of the newest version"),
            id="rolling out",
        ),
        pytest.param(
            pair(pod("d1", flaps=2)),
            Bar("1 pod lost and regained readiness within the last 120 s"),
            id="one flaps",
        ),
        pytest.param(
            pair(pod("d1", flaps=1), pod("d2", flaps=1), one=seen(2, rollout="x")),
            Bar(
                "Deployment llm/chat-decode: x; "
                "2 pods lost and regained readiness within the last 120 s"
            ),
            id="both: each is told",
        ),
    ],
)
def test_what_is_not_at_rest_bars_scale_in_alone(service: ServiceSeen, bar: Bar | None) -> None:
    found = counted(service)
    assert found.state is not None
    assert found.bar == bar


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        pytest.param(
            pair(pod("d1"), one="spec.replicas is null or missing"),
            "Deployment llm/chat-decode can't be read: spec.replicas is null or missing.",
            id="one can't be read",
        ),
        pytest.param(
            ServiceSeen(((DECODE, seen(1), (pod("d1"),)),)),
            "No workload holds its prefill instances.",
            id="half of a pair",
        ),
        pytest.param(
            ServiceSeen(
                (
                    (PREFILL, seen(1), (pod("x"), pod("y"))),
                    (DECODE, seen(1), (pod("x"), pod("y"))),
                )
            ),
            "x and 1 more pods belong to several of its workloads by their labels; "
            "give each workload labels of its own.",
            id="pods of two workloads would count twice",
        ),
    ],
)
def test_counts_that_can_not_be_told_are_not_told(service: ServiceSeen, problem: str) -> None:
    found = counted(service)
    assert (found.state, found.bar, found.problems) == (None, None, (problem,))


def test_nothing_is_known_of_a_service_without_workloads() -> None:
    assert counted(ServiceSeen(())) == Counted(None, (), None, ())


NAMES = st.text("abc", min_size=1, max_size=4)
PODS = st.builds(
    PodSeen,
    name=NAMES,
    uid=st.uuids().map(str),
    node=st.sampled_from(("", "n1", "n2")),
    state=st.sampled_from(PodState),
    since_s=st.floats(0, 2e9),
    created_s=st.floats(0, 2e9),
    why=st.text("xyz ", max_size=9),
    index=st.none() | st.integers(0, 9),
    of=st.sampled_from(("", "g-0", "g-1")),
    cost=st.integers(-99, 99),
    restarts=st.integers(0, 9),
    flaps=st.integers(0, 3),
)
LABELS = st.dictionaries(NAMES, NAMES, max_size=2)
REFS = st.builds(
    WorkloadRef,
    role=st.sampled_from(Role),
    kind=st.sampled_from(WorkloadKind),
    api=NAMES,
    plural=NAMES,
    namespace=NAMES,
    name=NAMES,
    part=NAMES,
    group=NAMES,
    selector=LABELS,
    gate=st.sampled_from(Gate),
)
SEEN = st.builds(
    WorkloadSeen,
    uid=NAMES,
    resource_version=NAMES,
    replicas=st.integers(0, 9),
    current=st.integers(0, 9),
    rollout=st.sampled_from(("", "rolls")),
    want=st.none() | st.integers(0, 9),
    before=st.none() | st.integers(0, 9),
    ready=st.integers(0, 9),
    selector=LABELS,
    domains=st.dictionaries(NAMES, st.lists(NAMES, max_size=2).map(tuple), max_size=2),
    paused=st.booleans(),
    size=st.integers(1, 3),
)
SERVICES = st.builds(
    ServiceSeen,
    st.lists(st.tuples(REFS, SEEN | NAMES, st.lists(PODS, max_size=4).map(tuple)), max_size=3).map(
        tuple
    ),
    st.lists(NAMES, max_size=2).map(tuple),
)


@given(SERVICES)
def test_what_was_seen_comes_back_from_json(service: ServiceSeen) -> None:
    assert from_plain(plain(service)) == service


@pytest.mark.parametrize(
    "body", [{}, {"workloads": None, "rivals": []}, {"workloads": [{}], "rivals": []}]
)
def test_a_body_gone_wrong_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="it is no sight of a service"):
        from_plain(body)


@given(SERVICES)
def test_counts_come_whole_or_not_at_all(service: ServiceSeen) -> None:
    found = counted(service)
    if found.state is None:
        assert found.problems or not service.workloads
        return
    wished = dict.fromkeys(Role, 0)
    for one, each, _ in service.workloads:
        assert isinstance(each, WorkloadSeen)
        wished[one.role] += each.replicas
    assert found.state.desired == (wished[Role.PREFILL], wished[Role.DECODE])
    states = [found.state.of(role) for role in Role]
    shown = sum(s.ready + s.held + s.starting + s.failed + s.draining for s in states)
    assert shown == len(found.instances)


@given(SERVICES, st.data())
def test_the_order_of_workloads_tells_nothing(service: ServiceSeen, data: st.DataObject) -> None:
    mixed = tuple(data.draw(st.permutations(service.workloads)))
    one, other = counted(service), counted(replace(service, workloads=mixed))
    assert one.state == other.state
    assert set(one.instances) == set(other.instances)
