"""Tables of people and of spreadsheets."""

from __future__ import annotations

import pytest

from tests.inventory.files import codes, faults, found, s1, s2

WIDE = """\
region,cluster,s2,s1,rack,u,node,sku,gpus,gpu_memory_gib,nvlink_domain,state,labels
eu-1,eu-1-a,sp-1,su-01,R101,2,gpu001,h200-8,8,"140,4",nv-1,in_service,team=a;tier=gold
eu-1,eu-1-a,sp-1,su-01,R101,12,gpu002,h200-8,8,"140,4",nv-1,cordoned,
"""


def test_the_wide_form_is_enough_to_run() -> None:
    answer = found(WIDE)
    assert answer.format == "csv"
    assert answer.faults == ()
    one, two = answer.nodes
    assert (one.cluster, one.name, one.hardware, one.gpus) == ("eu-1-a", "gpu001", "h200-8", 8)
    assert (one.rack, one.u_position, one.tiers) == ("R101", 2, ("su-01", "sp-1"))
    assert (one.admin_state, two.admin_state) == ("in_service", "cordoned")
    assert (one.labels, two.labels) == ({"team": "a", "tier": "gold"}, {})
    assert [(one.slug, one.gpu_memory_mib) for one in answer.hardware] == [("h200-8", 143_770)]
    assert [(one.slug, one.region) for one in answer.clusters] == [("eu-1-a", "eu-1")]
    assert [one.name for one in answer.racks] == ["R101"]
    assert one.at == "file:2"


def test_a_spreadsheets_own_form_reads_the_same() -> None:
    excel = "\ufeffsep=;\r\n" + WIDE.replace("team=a;tier=gold", '"team=a;tier=gold"').replace(
        '"140,4"', "140@4"
    ).replace(",", ";").replace("@", ",").replace("\n", "\r\n")
    one, two = found(excel).nodes
    plain = found(WIDE).nodes
    assert [(n.name, n.tiers, n.labels, n.gpus, n.admin_state) for n in (one, two)] == [
        (n.name, n.tiers, n.labels, n.gpus, n.admin_state) for n in plain
    ]
    assert found(excel).hardware[0].gpu_memory_mib == found(WIDE).hardware[0].gpu_memory_mib


def test_tabs_separate_too() -> None:
    assert s1(found("Hostname\tSU\ngpu1\tsu-1\n")) == {"su-1": 1}


def test_ranges_of_hosts_are_nodes_of_their_own() -> None:
    answer = found('node,s1,gpus\n"gpu[001-003,007]",su-1,8\n')
    assert [one.name for one in answer.nodes] == ["gpu001", "gpu002", "gpu003", "gpu007"]
    assert s1(answer) == {"su-1": 4}


def test_empty_says_nothing_and_a_dash_says_none() -> None:
    one, two = found("node,rack,nvlink_domain\na,,-\nb,R1,\n").nodes
    assert (one.rack, one.clears) == (None, ("nvlink_domain",))
    assert (two.rack, two.clears) == ("R1", ())


@pytest.mark.parametrize(
    ("cell", "mib"),
    [
        pytest.param("80", 81_920, id="80 x 1024"),
        pytest.param("79.6", 81_510, id="79.6 x 1024 = 81510.4"),
        pytest.param('"79,6"', 81_510, id="a decimal comma"),
    ],
)
def test_memory_is_read_in_gib(cell: str, mib: int) -> None:
    answer = found(f"node,sku,gpu_memory_gib\na,h,{cell}\n")
    assert answer.hardware[0].gpu_memory_mib == mib


def test_a_number_that_can_be_read_two_ways_is_a_fault() -> None:
    assert faults(found('node,sku,gpu_memory_gib\na,h,"1,024"\n')) == [
        (2, "gpu_memory_gib", "1,024 can be read two ways: write 1024")
    ]


@pytest.mark.parametrize(
    ("row", "field", "why"),
    [
        pytest.param("a,su,-1,", "gpus", "0 to 72 GPUs, not -1", id="-1 GPUs"),
        pytest.param("a,su,1000000,", "gpus", "0 to 72 GPUs, not 1,000,000", id="10^6 GPUs"),
        pytest.param("a,su,eight,", "gpus", "'eight' is no number", id="a word"),
        pytest.param("a,su,7.5,", "gpus", "no whole number", id="half a GPU"),
        pytest.param("a,=1+1,8,", "s1", "looks like a spreadsheet formula", id="formula"),
        pytest.param("a,@SUM(A1),8,", "s1", "formula", id="formula with @"),
        pytest.param("a,su_,8,", "s1", "is no name", id="a name that ends in _"),
        pytest.param(",su,8,", "node", "the node's name is missing", id="no node"),
        pytest.param("-,su,8,", "node", "can't be cleared", id="a dash for a node"),
        pytest.param("a,su,8,asleep", "state", "'asleep' is no state", id="unknown state"),
        pytest.param("a,su,8,,x", "", "the row has 5 cells, the header 4", id="a cell too many"),
        pytest.param('"g[1-200000]",su,8,', "node", "stands for 200,000 names", id="long range"),
        pytest.param('"g[3-1]",su,8,', "node", "counts down", id="range that counts down"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(row: str, field: str, why: str) -> None:
    answer = found(f"node,s1,gpus,state\ngood,su,8,\n{row}\n")
    assert len(answer.faults) == 1, answer.faults
    fault = answer.faults[0]
    assert (fault.line, fault.field) == (3, field)
    assert why in fault.message


def test_reading_goes_on_after_a_fault_and_counts_beyond_200() -> None:
    rows = "".join(f"n{n},-1\n" for n in range(250))
    answer = found(f"node,gpus\n{rows}last,8\n")
    assert (len(answer.faults), answer.further_faults) == (200, 50)
    assert answer.nodes[-1].name == "last"


def test_one_node_under_two_s1_is_a_fault() -> None:
    answer = found("node,s1,s2\na,su-1,sp\nA,su-2,sp\n")
    assert faults(answer) == [
        (
            3,
            "tiers",
            "node a has S1 and S2 su-1 under sp at file:2 and su-2 under sp at file:3",
        )
    ]
    assert answer.disputed == {("node", ("imported", "a"))}


def test_two_rows_of_a_node_add_up_where_they_agree() -> None:
    (one,) = found("node,s1,rack\na,su-1,\na,,R1\n").nodes
    assert (one.tiers, one.rack) == (("su-1",), "R1")


def test_ports_are_cables() -> None:
    answer = found(
        "host,hca_name,leaf,leaf_guid,port,rail_plane\n"
        "h1,mlx5_0,leaf-1,g1,1,01\nh1,mlx5_1,leaf-2,g2,1,02\nh2,mlx5_0,leaf-1,g1,2,01\n"
        "h2,mlx5_1,leaf-2,g2,2,02\n"
    )
    assert [(one.name, one.tier, one.rail) for one in answer.switches] == [
        ("leaf-1", 0, 1),
        ("leaf-2", 0, 2),
    ]
    assert s1(answer) == {"leaf": 2}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param("S-2C5EAB0300B87B40", "2c5eab0300b87b40", id="as ibnetdiscover"),
        pytest.param("0x2c5eab0300b87b40", "2c5eab0300b87b40", id="as ibstat"),
        pytest.param("2c5e:ab03:00b8:7b40", "2c5eab0300b87b40", id="as the kernel"),
        pytest.param("AA:bb:CC:00:11:22", "aabbcc001122", id="a MAC"),
        pytest.param("asset-7", "asset-7", id="something else"),
    ],
)
def test_guids_are_the_same_however_they_are_written(written: str, kept: str) -> None:
    assert found(f"switch,switch_guid,tier\nl1,{written},0\n").switches[0].guid == kept


def test_uplinks_rank_switches_of_three_tiers() -> None:
    answer = found("leaf,spine\nl1,s1\nl2,s1\ns1,c1\n")
    assert {one.name: one.tier for one in answer.switches} == {"l1": 0, "l2": 0, "s1": 1, "c1": 2}


def test_leaves_in_one_cell_make_a_scalable_unit() -> None:
    answer = found("host,leaves\nh1,l1;l2\nh2,l1;l2\nh3,l[3-4]\n")
    assert s1(answer) == {"l1-and-1-more": 2, "l3-and-1-more": 1}


def test_levels_of_columns_reach_the_core() -> None:
    answer = found("node,s1,s2,core\na,x,y,z\n")
    assert (answer.nodes[0].tiers, s2(answer)) == (("x", "y", "z"), {"y": 1})


def test_two_columns_of_one_meaning_are_a_fault() -> None:
    assert faults(found("node,hostname,s1\na,b,c\n")) == [
        (1, "hostname", "two columns mean node: the first is read")
    ]


def test_counted_nodes_are_types_without_machines() -> None:
    answer = found("gpu_model,gpus_per_node,nodes\nH800,8,219\n")
    assert [(one.slug, one.gpus_per_node) for one in answer.hardware] == [("h800-8", 8)]
    assert answer.nodes == ()
    assert "counts nodes without naming them" in answer.notes[0]


def test_serials_that_two_nodes_claim_are_refused() -> None:
    assert codes(found("node,serial\na,S1\nb,S1\n")) == {"duplicate", "no_s1"}
