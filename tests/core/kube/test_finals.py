"""How a role's count is spread over its workloads, and that a half done order goes on alike."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.kube.finals import Seen, desired, finals
from controller.core.kube.kinds import WorkloadKind
from controller.core.kube.values import WorkloadRef, WorkloadSeen
from controller.core.ports import ScaleOrder, Spot
from controller.core.types import Instances, Role


def held(role: Role, replicas: int, group: str = "g1") -> Seen:
    name = f"chat-{role}-{group}"
    ref = WorkloadRef(
        role, WorkloadKind.DEPLOYMENT, "apps/v1", "deployments", "prod", name, group=group
    )
    return ref, WorkloadSeen(uid=name, resource_version="1", replicas=replicas)


def order(want: tuple[int, int], *groups: str) -> ScaleOrder:
    spots = tuple(Spot(Role.DECODE, group, ()) for group in groups)
    return ScaleOrder("a1", "chat", 1, Instances(*want), "v", spots=spots)


TWO = [held(Role.PREFILL, 2), held(Role.DECODE, 3, "g1"), held(Role.DECODE, 5, "g2")]


@pytest.mark.parametrize(
    ("asked", "leaving", "expected"),
    [
        pytest.param(order((2, 8)), {}, [2, 3, 5], id="nothing to do"),
        pytest.param(order((3, 8)), {}, [3, 3, 5], id="prefill 2 + 1"),
        pytest.param(order((2, 10), "g2", "g2"), {}, [2, 3, 7], id="both in g2: 5 + 2"),
        pytest.param(order((2, 10), "g2", "new"), {}, [2, 4, 6], id="a group without workload"),
        pytest.param(order((2, 10)), {}, [2, 5, 5], id="no place known: the first"),
        pytest.param(order((2, 6)), {1: 2}, [2, 1, 5], id="two of g1 leave: 3 - 2"),
        pytest.param(order((2, 6)), {}, [2, 3, 3], id="nobody named: from the largest"),
        pytest.param(
            order((2, 5)), {2: 1}, [2, 2, 3], id="one named, then 4 - 1, then 3 - 1 of the first"
        ),
        pytest.param(order((2, 0)), {}, [2, 0, 0], id="all"),
    ],
)
def test_finals(asked: ScaleOrder, leaving: dict[int, int], expected: list[int]) -> None:
    assert finals(TWO, asked, leaving) == expected


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.integers(0, 20),
    st.integers(0, 20),
    st.data(),
)
def test_what_is_half_written_ends_as_it_would_have(
    prefills: list[int], decodes: list[int], prefill: int, decode: int, data: st.DataObject
) -> None:
    """Whoever goes on finds the goal of what is written in the object itself (S23)."""
    start = [held(Role.PREFILL, n, f"g{at}") for at, n in enumerate(prefills)]
    start += [held(Role.DECODE, n, f"g{at}") for at, n in enumerate(decodes)]
    asked = order((prefill, decode), "g0", "g1", "g1")
    goal = finals(start, asked, {})
    assert desired(
        [(ref, replace(seen, replicas=n)) for (ref, seen), n in zip(start, goal, strict=True)]
    ) == (prefill, decode)
    done = data.draw(st.sets(st.sampled_from(range(len(start)))))
    half = [
        (ref, replace(seen, replicas=goal[at], action="a1", want=goal[at], before=seen.replicas))
        if at in done
        else (ref, seen)
        for at, (ref, seen) in enumerate(start)
    ]
    again = finals(half, asked, {})
    written = desired(
        [(ref, replace(seen, replicas=n)) for (ref, seen), n in zip(half, again, strict=True)]
    )
    assert written == (prefill, decode)
    assert [again[at] for at in done] == [goal[at] for at in done]
