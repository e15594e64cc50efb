"""One arithmetic of GPUs: table, facets and the pools of the loop say the same of any fleet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from controller.models import ServiceStatus
from controller.selectors.fleet import Fleet, read_fleet
from controller.selectors.fleet_filters import Filters
from controller.services.simulated import node_specs
from controller.simulator.world import World
from inventory.gpus import PARTS, Parts
from inventory.models import Node
from inventory.models.base import AdminState, Health, Lifecycle
from tests.factories import NOW, make_cluster, make_hardware, make_nodes, make_service

NODE = st.fixed_dictionaries(
    {
        "gpus": st.sampled_from([0, 1, 8, 16]),
        "lifecycle": st.sampled_from(Lifecycle.values),
        "admin_state": st.sampled_from(AdminState.values),
        "health": st.sampled_from(Health.values),
        "reserved_for": st.sampled_from(["", "ana"]),
        "missing_since": st.sampled_from([None, NOW]),
    }
)
HELD = st.lists(st.integers(0, 4), max_size=5)


def filled(rows: list[dict[str, Any]], held: list[int]) -> None:
    """Make nodes of these fields; each of ``held`` is an instance of two GPUs on one of them."""
    nodes = make_nodes(make_cluster(), make_hardware(), len(rows))
    for node, fields in zip(nodes, rows, strict=True):
        Node.objects.filter(pk=node.pk).update(**fields)
    make_service("chat")
    ServiceStatus.objects.update(
        observed_at=timezone.now(),
        instances=[
            {
                "name": f"i{i}",
                "role": "decode",
                "group": "g",
                "node": nodes[at % len(nodes)].name,
                "state": "ready",
            }
            for i, at in enumerate(held)
        ],
    )


def read(**chosen: list[str]) -> Fleet:
    return read_fleet(Filters.of(chosen), timezone.now())


class Arithmetic(TestCase):
    """Random fleets, each in a transaction of its own."""

    @settings(max_examples=12, deadline=None)
    @given(rows=st.lists(NODE, min_size=1, max_size=6), held=HELD)
    def test_parts_add_up_and_every_link_shows_its_number(
        self, rows: list[dict[str, Any]], held: list[int]
    ) -> None:
        filled(rows, held)
        whole = read(lifecycle=Lifecycle.values)
        assert whole.parts.total == sum(getattr(whole.parts, part) for part in PARTS)
        for part in PARTS:
            narrowed = read(lifecycle=Lifecycle.values, gpus=[part])
            assert getattr(narrowed.parts, part) == getattr(whole.parts, part)
        # Retired nodes have no GPUs that count, so leaving them out changes no sum.
        assert read().parts == whole.parts

    @settings(max_examples=8, deadline=None)
    @given(rows=st.lists(NODE, min_size=2, max_size=6), held=HELD)
    def test_the_choices_of_a_facet_add_up_to_the_table(
        self, rows: list[dict[str, Any]], held: list[int]
    ) -> None:
        filled(rows, held)
        whole = read(lifecycle=Lifecycle.values)
        for facet in single(whole):
            split = [
                read(**{"lifecycle": Lifecycle.values, facet.name: [choice.value]})
                for choice in (*facet.choices, *facet.further)
            ]
            assert sum(one.matching for one in split) == whole.matching, facet.name
            assert sum((one.parts for one in split), Parts()) == whole.parts, facet.name

    @settings(max_examples=12, deadline=None)
    @given(rows=st.lists(NODE, min_size=1, max_size=6))
    def test_the_pools_of_the_loop_say_the_same(self, rows: list[dict[str, Any]]) -> None:
        filled(rows, [])
        world = World([], node_specs(), start_s=0.0, seed=1, speed=1.0)
        pools = world.pools(0.0)
        parts = read().parts
        for name in ("total", "free", "reserved", "maintenance", "unhealthy", "unknown"):
            assert sum(getattr(pool, name) for pool in pools) == getattr(parts, name), name
        assert sum(pool.busy + pool.held_idle for pool in pools) == parts.in_use == 0


def single(fleet: Fleet) -> Iterator[Any]:
    """Return the facets of which a node has one value."""
    many = {"gpus", "service", "lifecycle"}
    yield from (facet for facet in fleet.facets if facet.name not in many)


@pytest.mark.django_db
def test_a_wrong_part_would_be_seen() -> None:
    filled([{"gpus": 8}, {"gpus": 8, "health": "failed"}], [0])
    assert read().parts == Parts(total=16, in_use=2, free=6, unhealthy=8)
