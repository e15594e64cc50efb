"""Domains from cables and labels, their subgroups, and what looks wrong."""

from __future__ import annotations

import pytest

from inventory.domains import Domains, Level, Severity, Subgroup, derive
from inventory.importers.tiers import cycle_in, tier_of
from tests.inventory.files import codes, found, node, nodes, s1, s2, sizes


def cables(*rows: str) -> str:
    """Return a table of ports; a row is host, switch."""
    return "host,leaf,port,hca\n" + "\n".join(f"{row},{n},m{n}" for n, row in enumerate(rows))


def sentence(text: str, code: str) -> str:
    (one,) = [one for one in derive(found(text)).findings if one.code == code]
    return one.sentence


def test_eight_leaves_are_one_scalable_unit() -> None:
    rows = [
        f"gpu{unit}{n},leaf-{rail}-su{unit}"
        for unit in (1, 2)
        for n in range(4)
        for rail in range(1, 9)
    ]
    answer = found(cables(*rows))
    assert s1(answer) == {"leaf-su1": 4, "leaf-su2": 4}
    assert [len(one.switches) for one in derive(answer).of(Level.S1)] == [8, 8]


def test_a_top_of_rack_switch_is_its_own_domain() -> None:
    assert s1(found(cables("a,tor1", "b,tor1", "c,tor2"))) == {"tor1": 2, "tor2": 1}


def test_names_of_units_stay_apart_where_switches_share_nothing() -> None:
    answer = found(cables("a,x", "a,y", "b,x", "b,y", "c,p", "c,q"))
    assert s1(answer) == {"x-and-1-more": 2, "p-and-1-more": 1}


def test_a_node_without_one_of_its_cables_stays_in_its_unit() -> None:
    answer = found(cables("a,l-1", "a,l-2", "b,l-1", "b,l-2", "c,l-1"))
    assert s1(answer) == {"l": 3}
    assert sentence(cables("a,l-1", "a,l-2", "b,l-1", "b,l-2", "c,l-1"), "missing_cables") == (
        "1 node reaches 1 of the 2 leaves of the nodes beside them, not l-2: c."
    )


def test_a_node_under_two_s1_is_refused() -> None:
    rows = ("a,tor1", "b,tor1", "c,tor2", "d,tor2", "odd,tor1", "odd,tor2")
    assert sentence(cables(*rows), "two_s1") == (
        "odd is cabled to tor1 and tor2, which are S1 domains of their own."
    )
    answer = derive(found(cables(*rows)))
    assert [one.severity for one in answer.findings] == [Severity.REFUSE]
    assert {name: n for name, n in sizes(answer, Level.S1).items() if n > 1} == {
        "tor1": 2,
        "tor2": 2,
    }


UPLINKS = """\
version: 1
clusters:
- slug: c
  switches: [{name: l1, tier: 0}, {name: l2, tier: 0}, {name: l3, tier: 0}, {name: s1, tier: 1},
    {name: s2, tier: 1}, {name: s3, tier: 1}, {name: core, tier: 2}]
  nodes: [a, b, c]
  links:
  - {switch: l1, node: a}
  - {switch: l2, node: b}
  - {switch: l3, node: c}
  - {switch: l1, peer: s1}
  - {switch: l1, peer: s2}
  - {switch: l2, peer: s2}
  - {switch: l3, peer: s3}
  - {switch: s1, peer: core}
  - {switch: s2, peer: core}
  - {switch: s3, peer: core}
"""


def test_tier_1_switches_in_common_make_an_s2_and_the_core_does_not() -> None:
    answer = found(UPLINKS)
    assert s2(answer) == {"s1-and-1-more": 2, "s3": 1}
    assert [(one.name, one.parent) for one in derive(answer).of(Level.S1)] == [
        ("l1", "s1-and-1-more"),
        ("l2", "s1-and-1-more"),
        ("l3", "s3"),
    ]
    assert sentence(UPLINKS, "uneven_uplinks") == (
        "1 S1 domain reaches not all of the 2 switches above: l2 (1)."
    )


def test_cables_win_over_labels_and_labels_give_the_name() -> None:
    text = "host,leaf,s1\na,l1,su-1\nb,l1,su-1\nc,l2,su-1\n"
    assert s1(found(text)) == {"su-1": 2, "su-1-2": 1}


def test_labels_that_contradict_cables_are_told() -> None:
    assert sentence("host,leaf,s1\na,l1,x\nb,l1,y\n", "label_against_cables") == (
        "2 nodes hang on the same switches and are labelled x and y."
    )


def fleet(*rows: str) -> Domains:
    """Derive from rows of node, S1, S2, type."""
    return derive(found("node,s1,s2,sku\n" + "\n".join(rows)))


@pytest.mark.parametrize(
    ("rows", "s1_groups", "s2_groups"),
    [
        pytest.param(
            ("a,x,s,h", "b,y,s,h"),
            {"x": Subgroup.LOW, "y": Subgroup.LOW},
            {"s": Subgroup.LOW},
            id="one type under the S2: low",
        ),
        pytest.param(
            ("a,x,s,h", "b,y,s,l"),
            {"x": Subgroup.MEDIUM, "y": Subgroup.MEDIUM},
            {"s": Subgroup.MEDIUM},
            id="two types, each S1 of one: medium",
        ),
        pytest.param(
            ("a,x,s,h", "b,x,s,l", "c,y,s,h"),
            {"x": Subgroup.HIGH, "y": Subgroup.MEDIUM},
            {"s": Subgroup.HIGH},
            id="two types under one S1: high, and its neighbour medium",
        ),
        pytest.param(
            ("a,x,s,", "b,y,s,"),
            {"x": None, "y": None},
            {"s": None},
            id="no type known: no subgroup",
        ),
    ],
)
def test_subgroups_say_how_scarce_a_switch_is(
    rows: tuple[str, ...],
    s1_groups: dict[str, Subgroup | None],
    s2_groups: dict[str, Subgroup | None],
) -> None:
    answer = fleet(*rows)
    assert {one.name: one.subgroup for one in answer.of(Level.S1)} == s1_groups
    assert {one.name: one.subgroup for one in answer.of(Level.S2)} == s2_groups


def test_types_of_the_same_gpu_are_one_kind() -> None:
    text = "node,s1,s2,sku,gpu_model\na,x,s,h-1,H800\nb,x,s,h-2,H800\n"
    assert [one.subgroup for one in derive(found(text)).of(Level.S1)] == [Subgroup.LOW]


def test_an_s1_under_two_s2_is_refused() -> None:
    (one,) = fleet("a,x,s,h", "b,x,t,h").findings
    assert (one.code, one.severity) == ("s1_spans_s2", Severity.REFUSE)


def test_a_node_without_s1_still_belongs_to_its_s2() -> None:
    answer = fleet("a,x,s,h", "b,,s,h")
    assert (sizes(answer, Level.S1), sizes(answer, Level.S2)) == ({"x": 1}, {"s": 2})
    assert [one.sentence for one in answer.findings] == ["1 node is under no S1 domain: b."]


def test_nodes_of_which_nothing_is_known_are_told_once() -> None:
    assert [one.sentence for one in derive(found(nodes(node("a"), node("b")))).findings] == [
        "Nothing says where the nodes are: only the cluster is known of them."
    ]


def test_nodes_without_cables_are_counted_where_others_have_some() -> None:
    assert sentence("host,leaf\na,l\nb,\nc,\n", "no_links") == (
        "2 of 3 nodes have no cable to a tier-0 switch: b and c."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("node,serial,s1\na,S1,x\nb,s1,x\n", "serial S1", id="serial"),
        pytest.param("node,provider_id,s1\na,p,x\nb,p,x\n", "provider id p", id="provider id"),
        pytest.param("node,uid,s1\na,u,x\nb,u,x\n", "Kubernetes uid u", id="uid"),
        pytest.param("host,hca,hca_guid,s1\na,m,g1,x\nb,m,g1,x\n", "GUID g1", id="GUID"),
        pytest.param("host,hca,leaf,port\na,m,l,1\nb,m,l,1\n", "switch port l 1", id="port"),
        pytest.param(
            "### a\nindex, uuid\n0, GPU-1\n### b\nindex, uuid\n0, GPU-1\n", "GPU UUID", id="UUID"
        ),
    ],
)
def test_what_is_there_once_and_claimed_twice_is_refused(text: str, said: str) -> None:
    found_twice = [one for one in derive(found(text)).findings if one.code == "duplicate"]
    assert [one.severity for one in found_twice] == [Severity.REFUSE]
    assert found_twice[0].sentence.lower().startswith(said.lower())


def test_a_node_with_fewer_gpus_than_its_type_is_worth_a_word() -> None:
    text = """\
version: 1
skus: [{slug: h, gpus_per_node: 8}]
clusters: [{slug: c, s1: [{name: x, sku: h, nodes: [{name: a, gpus: 7}, {name: b, gpus: 8}]}]}]
"""
    assert sentence(text, "gpu_count") == "1 node has not the 8 GPUs of h: a (7)."


def test_an_s1_far_from_the_usual_size_is_worth_a_word() -> None:
    rows = [f"n{unit}-{n},su{unit},s,h" for unit in range(4) for n in range(16 if unit else 3)]
    assert [one.sentence for one in fleet(*rows).findings] == [
        "S1 domains have 16 nodes in the median; far from it: su0 (3)."
    ]


def test_switches_of_one_tier_that_are_joined_are_told() -> None:
    text = UPLINKS + "  - {switch: l1, peer: l3}\n"
    assert sentence(text, "peer_cable") == "1 cable joins switches of the same tier."


def test_clusters_do_not_mix() -> None:
    answer = derive(found("cluster,node,s1\nc1,a,x\nc2,a,x\n"))
    assert [(one.cluster, one.name, one.nodes) for one in answer.of(Level.S1)] == [
        ("c1", "x", ("a",)),
        ("c2", "x", ("a",)),
    ]


def test_tiers_are_steps_from_the_nodes() -> None:
    assert tier_of(["l"], [("l", "s"), ("s", "c"), ("c", "l2"), ("x", "y")]) == {
        "l": 0,
        "s": 1,
        "c": 2,
        "l2": 3,
    }


@pytest.mark.parametrize(
    ("uplinks", "cycle"),
    [
        pytest.param([("a", "b"), ("b", "c")], [], id="a chain"),
        pytest.param([("a", "c"), ("b", "c"), ("a", "d"), ("b", "d")], [], id="two spines"),
        pytest.param([("a", "b"), ("b", "a")], ["a", "b"], id="two above each other"),
        pytest.param([("a", "a")], ["a"], id="one above itself"),
        pytest.param(
            [("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "top")],
            ["a", "b", "c"],
            id="three, with something below and above",
        ),
    ],
)
def test_cycles_are_found(uplinks: list[tuple[str, str]], cycle: list[str]) -> None:
    assert cycle_in(uplinks) == cycle


def test_findings_have_known_codes() -> None:
    assert codes(found(UPLINKS)) == {"uneven_uplinks"}
