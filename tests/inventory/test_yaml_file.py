"""The product's own YAML, written by people and by the export."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.export import write
from inventory.importers.detect import read
from inventory.importers.found import KINDS, Found, FoundNode, Options
from inventory.importers.gathering import Gathering
from tests.inventory.files import faults, found, s1, s2

WRITTEN = """\
version: 1
skus:
- {slug: h200-8, gpu_model: H200, gpus_per_node: 8, gpu_memory_mib: 143771, nvlink: node,
   u_height: 8}
regions:
- slug: eu-1
  clusters:
  - slug: eu-1-a
    fabric: {technology: IB, rail_count: 8, level_names: [S1, S2]}
    s2:
    - name: spine-1
      s1:
      - name: su-01
        racks:
        - {name: R101, site: eu-1, u_height: 48, nodes: ["gpu[001-004]"], sku: h200-8,
           u_start: 2, u_step: 10}
"""


def without_places(answer: Found) -> dict[str, list[Any]]:
    """Return all things of an answer, sorted, as if read from nowhere."""
    kinds = {}
    for kind, name in KINDS.items():
        things = [replace(thing, at="") for thing in getattr(answer, name)]
        kinds[kind] = sorted(things, key=lambda thing: thing.key)
    return kinds


def test_people_write_racks_with_ranges() -> None:
    answer = found(WRITTEN)
    assert answer.faults == ()
    assert [(one.name, one.u_position, one.hardware) for one in answer.nodes] == [
        ("gpu001", 2, "h200-8"),
        ("gpu002", 12, "h200-8"),
        ("gpu003", 22, "h200-8"),
        ("gpu004", 32, "h200-8"),
    ]
    assert (s1(answer), s2(answer)) == ({"su-01": 4}, {"spine-1": 4})
    assert answer.nodes[0].at == "file:15"


def test_leaves_and_spines_cable_what_is_under_them() -> None:
    answer = found(
        """\
version: 1
clusters:
- slug: c
  s2:
  - name: pod-1
    spines: ["spine-[1-2]"]
    s1:
    - {name: su-1, leaves: ["leaf-[1-8]"], nodes: ["gpu[1-4]"]}
    - {name: su-2, leaves: ["leaf-[9-16]"], nodes: ["gpu[5-8]"]}
"""
    )
    # 8 nodes x 8 leaves, 16 leaves x 2 spines.
    assert len(answer.links) == 64 + 32
    assert (s1(answer), s2(answer)) == ({"su-1": 4, "su-2": 4}, {"pod-1": 8})


@pytest.mark.parametrize(
    ("text", "line", "field", "why"),
    [
        pytest.param("skuus: []", 2, "skuus", "file has no key 'skuus'", id="unknown key"),
        pytest.param("skus: {}", 2, "skus", "skus must be a list", id="no list"),
        pytest.param(
            "skus: [{slug: a, gpus_per_node: -1}]", 2, "gpus_per_node", "not -1", id="-1 GPUs"
        ),
        pytest.param(
            "skus: [{slug: a, gpus_per_node: 1000000}]",
            2,
            "gpus_per_node",
            "not 1,000,000",
            id="10^6 GPUs",
        ),
        pytest.param("clusters: [{kind: x}]", 2, "slug", "slug is missing", id="no slug"),
        pytest.param(
            "clusters:\n- slug: c\n  nodes: ['g[1-']", 4, "nodes", "brackets", id="broken range"
        ),
        pytest.param(
            "clusters:\n- slug: c\n  nodes:\n  - {name: a, health: fine}",
            5,
            "health",
            "'fine' is none of ok",
            id="unknown state",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(
    text: str, line: int, field: str, why: str
) -> None:
    answer = found(f"version: 1\n{text}\n")
    ((at, name, message),) = faults(answer)
    assert (at, name) == (line, field)
    assert why in message


def test_words_and_leading_zeros_stay_text() -> None:
    answer = found("version: 1\nclusters:\n- {slug: no, nodes: [010, on, 1e3]}\n")
    assert [one.slug for one in answer.clusters] == ["no"]
    assert [one.name for one in answer.nodes] == ["010", "on", "1e3"]


NAMES = st.from_regex(r"[A-Za-z0-9]([a-z0-9._-]{0,6}[a-z0-9])?", fullmatch=True)
WORDS = st.one_of(
    st.none(), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .:/_-]{0,12}[a-z0-9]", fullmatch=True)
)
PLACES = st.sampled_from(["x1", "x2", "no", "1", "0x1f", "1.5"])
NODES = st.builds(
    lambda **fields: FoundNode(cluster="c", **fields),
    name=NAMES,
    hardware=st.one_of(st.none(), NAMES),
    gpus=st.one_of(st.none(), st.integers(0, 72)),
    gpus_allocatable=st.one_of(st.none(), st.integers(0, 72)),
    rack=st.one_of(st.none(), PLACES),
    u_position=st.one_of(st.none(), st.integers(1, 60)),
    tiers=st.one_of(
        st.just(()),
        st.tuples(PLACES),
        st.tuples(st.one_of(st.none(), PLACES), PLACES),
        st.tuples(st.one_of(st.none(), PLACES), st.one_of(st.none(), PLACES), PLACES),
    ),
    nvlink_domain=st.one_of(st.none(), NAMES),
    serial=WORDS,
    reason=WORDS,
    driver=WORDS,
    lifecycle=st.sampled_from([None, "planned", "active"]),
    admin_state=st.sampled_from([None, "in_service", "cordoned"]),
    health=st.sampled_from([None, "ok", "degraded"]),
    labels=st.dictionaries(
        st.sampled_from(["team", "a/b", "yes"]), st.sampled_from(["", "1", "no", "x"])
    ),
    clears=st.sampled_from([(), ("rack",)]),
)


def gathered(nodes: list[FoundNode]) -> Found:
    gathering = Gathering("", Options())
    for node in {one.key: one for one in nodes}.values():
        gathering.add(node)
    return gathering.found("test")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(NODES, max_size=12))
def test_what_is_exported_imports_as_the_same(nodes: list[FoundNode]) -> None:
    before = gathered(nodes)
    again = read(write(before).encode(), "export.yaml", Options(), "yaml")
    assert again.faults == ()
    assert without_places(again) == without_places(before)
    assert write(again) == write(before)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(WRITTEN, id="racks and ranges"),
        pytest.param(
            "index, uuid, name, memory.total [MiB]\n0, GPU-1, NVIDIA H100, 81559 MiB\n", id="GPUs"
        ),
        pytest.param(
            "host,hca,leaf,leaf_guid,port,rail\nh,m0,l1,g1,1,0\nh,m1,l2,g2,1,1\n", id="cables"
        ),
        pytest.param("leaf,spine,links\nl1,s1,2\nl2,s1,2\n", id="uplinks"),
        pytest.param("BlockName=b1 Nodes=n[1-3]\n", id="NVLink domains"),
    ],
)
def test_every_kind_of_thing_survives_the_export(text: str) -> None:
    before = found(text)
    again = found(write(before))
    assert again.faults == ()
    assert without_places(again) == without_places(before)
