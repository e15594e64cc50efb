"""GPUs of a node count once, in the part an operator would look for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.gpus import PARTS, NodeFacts, Parts, contradiction, parts_of, total_of
from inventory.models import AdminState, Health, Lifecycle

GONE = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("node", "used", "parts"),
    [
        pytest.param(NodeFacts(8), 3, {"in_use": 3, "free": 5}, id="8 = 3 in use + 5 free"),
        pytest.param(NodeFacts(8), None, {"unknown": 8}, id="use nobody reports is not free"),
        pytest.param(
            NodeFacts(8, allocatable=7), 2, {"in_use": 2, "unhealthy": 1, "free": 5},
            id="8 = 2 in use + 1 not handed out + 5 free",
        ),
        pytest.param(
            NodeFacts(8, allocatable=7, failed=3), 6, {"in_use": 6, "unhealthy": 2},
            id="8 = 6 in use + 2 of 3 failed",
        ),
        pytest.param(NodeFacts(8), 9, {"in_use": 8}, id="I04: 9 used of 8 leave 0 free"),
        pytest.param(
            NodeFacts(8, health="failed"), 4, {"in_use": 4, "unhealthy": 4}, id="failed node"
        ),
        pytest.param(NodeFacts(8, health="unknown"), 0, {"unknown": 8}, id="silent node"),
        pytest.param(NodeFacts(8, missing_since=GONE), 0, {"unknown": 8}, id="vanished node"),
        pytest.param(
            NodeFacts(8, reserved=True, admin_state="cordoned"), 0, {"reserved": 8}, id="reserved"
        ),
        pytest.param(NodeFacts(8, admin_state="draining"), 8, {"in_use": 8}, id="draining, full"),
        pytest.param(NodeFacts(8, admin_state="cordoned"), 0, {"maintenance": 8}, id="cordoned"),
        pytest.param(NodeFacts(8, lifecycle="retired"), 0, {}, id="retired: not there"),
        pytest.param(NodeFacts(8, lifecycle="planned"), 0, {}, id="planned: not there yet"),
        pytest.param(NodeFacts(None), None, {"uncounted": 1}, id="nobody counted its GPUs"),
        pytest.param(
            NodeFacts(None), 2, {"in_use": 2, "uncounted": 1}, id="uncounted, 2 are seen in use"
        ),
    ],
)  # fmt: skip
def test_where_the_gpus_of_a_node_count(
    node: NodeFacts, used: int | None, parts: dict[str, int]
) -> None:
    found = parts_of(node, used)
    assert found == Parts(total=sum(parts.get(name, 0) for name in PARTS), **parts)


nodes = st.builds(
    NodeFacts,
    gpus=st.none() | st.integers(0, 72),
    allocatable=st.none() | st.integers(0, 80),
    failed=st.integers(0, 72),
    lifecycle=st.sampled_from(Lifecycle.values),
    admin_state=st.sampled_from(AdminState.values),
    health=st.sampled_from(Health.values),
    reserved=st.booleans(),
    missing_since=st.none() | st.just(GONE),
)


@given(st.lists(st.tuples(nodes, st.none() | st.integers(0, 80)), max_size=20))
def test_the_parts_of_any_fleet_add_up(fleet: list[tuple[NodeFacts, int | None]]) -> None:
    each = [parts_of(node, used) for node, used in fleet]
    whole = total_of(each)
    assert whole.total == sum(getattr(whole, name) for name in PARTS)
    assert whole.total == sum(one.total for one in each)
    assert all(getattr(one, name) >= 0 for one in each for name in PARTS)


@given(nodes, st.integers(0, 80))
def test_free_is_never_more_than_any_source_allows(node: NodeFacts, used: int) -> None:
    # I04: never over-allocate.
    most = min(node.gpus or 0, 80 if node.allocatable is None else node.allocatable)
    assert parts_of(node, used).free <= max(0, most - used) or parts_of(node, used).free == 0


@pytest.mark.parametrize(
    ("node", "used", "said"),
    [
        (NodeFacts(8, allocatable=7), 9, "Instances hold 9 GPUs of a node that has 8."),
        (NodeFacts(8, allocatable=7), 8, "Instances hold 8 GPUs; the cluster hands out 7."),
        (NodeFacts(8, allocatable=9), 1, "The cluster hands out 9 GPUs of a node that has 8."),
        (NodeFacts(8, allocatable=7), 7, ""),
        (NodeFacts(None), 7, ""),
        (NodeFacts(8), None, ""),
    ],
)
def test_contradicting_counts_are_said(node: NodeFacts, used: int | None, said: str) -> None:
    assert contradiction(node, used) == said


def test_of_a_node_that_holds_at_least_so_many_the_rest_is_unknown() -> None:
    """I04: what may be held is not free; what is out anyway stays out."""
    assert parts_of(NodeFacts(8), 2, is_least=True) == Parts(total=8, in_use=2, unknown=6)
    assert parts_of(NodeFacts(8, reserved=True), 2, is_least=True) == Parts(
        total=8, in_use=2, reserved=6
    )
