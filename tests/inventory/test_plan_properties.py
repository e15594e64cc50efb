"""Whatever files say: after an import they say nothing new, and what it did can be undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from inventory.export import write
from inventory.importers.found import (
    Found,
    FoundGpu,
    FoundHardware,
    FoundLink,
    FoundNode,
    FoundSwitch,
    Options,
)
from inventory.importers.gathering import Gathering
from inventory.plan import Plan, plan_against, plan_for_empty
from inventory.services.importing import bring
from inventory.stored import read_for
from tests.inventory.memory import applied, fleet
from tests.services.importing import applied as imported
from tests.services.importing import exported, planned, reverted, upload

NAMES = st.sampled_from(["a", "b", "c", "a.example", "B", "d-1"])
FEW = st.sampled_from([None, "x", "y"])
NODES = st.builds(
    lambda **fields: FoundNode(cluster="c", **fields),
    name=NAMES,
    hardware=st.sampled_from([None, "h1", "h2"]),
    gpus=st.sampled_from([None, 0, 4, 8]),
    rack=FEW,
    tiers=st.sampled_from([(), ("p",), ("p", "s"), (None, "s"), ("q", "s")]),
    nvlink_domain=FEW,
    serial=st.sampled_from([None, "S1", "S2", "S3"]),
    k8s_uid=st.sampled_from([None, "u1", "u2", "u3"]),
    lifecycle=st.sampled_from([None, "planned", "active"]),
    admin_state=st.sampled_from([None, "in_service", "cordoned"]),
    health=st.sampled_from([None, "ok", "degraded"]),
    reason=st.sampled_from([None, "a fan"]),
    labels=st.dictionaries(st.sampled_from(["team", "a/b"]), st.sampled_from(["", "x"])),
)
GPUS = st.builds(
    lambda **fields: FoundGpu(cluster="c", **fields),
    node=NAMES,
    index=st.integers(0, 2),
    uuid=st.sampled_from([None, "G1", "G2", "G3", "G4"]),
    memory_mib=st.sampled_from([None, 81559, 81920]),
)
SWITCHES = st.builds(
    lambda **fields: FoundSwitch(cluster="c", **fields),
    name=st.sampled_from(["l1", "l2", "top"]),
    tier=st.sampled_from([None, 0, 1]),
    guid=st.sampled_from([None, "00000000000000a1", "00000000000000a2"]),
)
LINKS = st.builds(
    lambda **fields: FoundLink(cluster="c", peer_is_node=True, **fields),
    switch=st.sampled_from(["l1", "l2"]),
    peer=NAMES,
    port=st.sampled_from(["", "1", "2"]),
    peer_port=st.sampled_from(["", "m0", "m1"]),
    count=st.sampled_from([1, 2]),
)


def gathered(things: list[Any], form: str) -> Found:
    """Return what a file of these would say: what a cable or a part is of is there too."""
    gathering = Gathering("file", Options())
    nodes = {one.key: one for one in things if isinstance(one, FoundNode)}
    parts = [one for one in things if not isinstance(one, FoundNode)]
    for one in parts:
        name = one.node if isinstance(one, FoundGpu) else getattr(one, "peer", None)
        if name:
            nodes.setdefault(("c", name.lower()), FoundNode(cluster="c", name=name))
        if isinstance(one, FoundLink):
            gathering.add(FoundSwitch(cluster="c", name=one.switch))
    for slug in sorted({one.hardware for one in nodes.values() if one.hardware}):
        gathering.add(FoundHardware(slug=slug, gpus_per_node=8))
    for one in (*nodes.values(), *parts):
        gathering.add(one)
    return gathering.found(form)


FILES = st.builds(
    gathered,
    st.lists(st.one_of(NODES, GPUS, SWITCHES, LINKS), max_size=12),
    st.sampled_from(["csv", "yaml", "kubernetes", "ibnetdiscover"]),
)
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def differing(plan: Plan) -> list[tuple[str, str, str]]:
    return [(one.operation, one.kind, one.name) for one in plan.changes]


@QUICK
@given(FILES, FILES)
def test_after_an_import_the_same_file_says_nothing_new(first: Found, second: Found) -> None:
    start = plan_for_empty(first)
    assume(not start.errors)
    stored = applied(fleet(), start)
    assert differing(plan_against(stored, first)) == []
    plan = plan_against(stored, second)
    assume(not plan.errors)
    assert differing(plan_against(applied(stored, plan), second)) == []


@QUICK
@given(FILES, FILES)
def test_a_plan_counts_what_it_lists_and_is_the_same_again(first: Found, second: Found) -> None:
    start = plan_for_empty(first)
    assume(not start.errors)
    stored = applied(fleet(), start)
    plan = plan_against(stored, second)
    again = plan_against(stored, replace(second))
    assert plan.digest == again.digest
    for operation, count in plan.counts.items():
        assert count == sum(one.operation == operation for one in plan.objects)
    missing = {one.row for one in plan.objects if one.operation == "missing"}
    assert not missing & {one.row for one in plan.objects if one.operation == "change"}


@pytest.mark.django_db
@settings(parent=QUICK, max_examples=8)
@given(FILES, FILES)
def test_what_is_written_is_what_was_planned(first: Found, second: Found) -> None:
    with transaction.atomic():
        for found in (first, second):
            plan = plan_against(read_for(found), found)
            assume(not plan.errors)
            bring(found, by="test")
            assert differing(plan_against(read_for(found), found)) == []
        transaction.set_rollback(True)


@pytest.mark.django_db
@settings(parent=QUICK, max_examples=6)
@given(FILES, FILES)
def test_what_is_applied_and_reverted_leaves_the_same_bytes(first: Found, second: Found) -> None:
    with transaction.atomic():
        before = exported()
        states, runs = [before], []
        for found in (first, second):
            text = write(found)
            run = planned(upload(text, "file.yaml"), form="yaml", part=True)
            assume(run.state == "planned" and not run.errors)
            runs.append(imported(upload(text, "file.yaml"), form="yaml", part=True))
            states.append(exported())
        for run in reversed(runs):
            states.pop()
            back = reverted(run)
            assert back.notes == []
            assert exported() == states[-1]
        transaction.set_rollback(True)
