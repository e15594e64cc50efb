"""Fabrics as ibnetdiscover, LLDP, Slurm and Topograph describe them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inventory.importers.found import RefusedError
from inventory.importers.ibnetdiscover import read_names
from tests.inventory.files import codes, faults, found, s1, s2


def leaf(guid: str, name: str, *ports: str) -> str:
    head = f'Switch\t65 "S-{guid}"\t\t# "MF0;{name}:MQM9701/U1" enhanced port 0 lid 7 lmc 0'
    return "\n".join((f"switchguid=0x{guid}({guid})", head, *ports, ""))


def host(port: int, guid: str, said: str, speed: str = "4xNDR") -> str:
    return f'[{port}]\t"H-{guid}"[1]({guid}) \t\t# "{said}" lid 647 {speed}'


def up(port: int, guid: str, far: int, said: str = "MF0;SP-1:MQM9701/U1") -> str:
    return f'[{port}]\t"S-{guid}"[{far}]\t\t# "{said}" lid 236 4xNDR'


FABRIC = "\n".join(
    (
        "#\n# Topology file: generated on Wed Aug  6 16:11:23 2025\n#\n",
        "vendid=0x2c9\ndevid=0xd2f2\n",
        leaf(
            "a1",
            "LEAF-1-1",
            host(1, "e1", "gpu1 mlx5_0"),
            host(2, "e2", "gpu2 mlx5_0"),
            up(35, "b1", 1),
            up(36, "b1", 2),
            host(65, "aa", "Mellanox Technologies Aggregation Node"),
        ),
        leaf(
            "a2",
            "LEAF-2-1",
            host(1, "f1", "gpu1 HCA-2"),
            host(2, "f2", "gpu2 HCA-2"),
            host(3, "f3", "MT4129 ConnectX7   Mellanox Technologies"),
            up(35, "b1", 3),
        ),
        leaf("b1", "SP-1", up(1, "a1", 35, "MF0;LEAF-1-1:MQM9701/U1")),
        'Ca\t1 "H-e1"\t\t# "gpu1 mlx5_0"\n[1](e1) \t"S-a1"[1]\t\t# lid 1 lmc 0 "LEAF" lid 2 4xNDR',
    )
)


def test_a_rail_optimised_fabric_becomes_one_scalable_unit() -> None:
    answer = found(FABRIC)
    assert answer.faults == ()
    assert [(one.name, one.tier, one.rail, one.guid, one.model) for one in answer.switches] == [
        ("LEAF-1-1", 0, 0, "a1", "MQM9701"),
        ("SP-1", 1, None, "b1", "MQM9701"),
        ("LEAF-2-1", 0, 1, "a2", "MQM9701"),
    ]
    assert [(one.node, one.name, one.rail, one.speed_gbps) for one in answer.nics] == [
        ("gpu1", "mlx5_0", 0, 400),
        ("gpu2", "mlx5_0", 0, 400),
        ("gpu1", "HCA-2", 1, 400),
        ("gpu2", "HCA-2", 1, 400),
    ]
    assert (s1(answer), s2(answer)) == ({"LEAF-1": 2}, {"SP-1": 2})


def test_a_cable_seen_from_both_ends_is_one() -> None:
    # Two from LEAF-1-1 and one from LEAF-2-1 go up; the spine repeats the first.
    ups = [one for one in found(FABRIC).links if not one.peer_is_node]
    assert [(one.port, one.peer_port) for one in ups] == [("35", "1"), ("36", "2"), ("35", "3")]


def test_what_is_no_host_is_left_out_and_said() -> None:
    assert found(FABRIC).notes == (
        "Aggregation nodes, which are part of switches, were left out: 1.",
        "Adapters that carry no host's name were left out: 1 on LEAF-2-1.",
    )


def test_a_name_map_gives_adapters_and_switches_their_names() -> None:
    names = read_names(b'# comment\n0x00000000000000f3 "gpu3 mlx5_1"\n0x00000000000000b1 "TOP"\n')
    wide = FABRIC.replace('H-f3"', 'H-00000000000000f3"').replace("(f3)", "(00000000000000f3)")
    answer = found(wide.replace("S-b1", "S-00000000000000b1"), node_names=names)
    assert "gpu3" in {one.name for one in answer.nodes}
    assert "TOP" in {one.name for one in answer.switches}


def test_two_hosts_of_one_name_are_a_fault() -> None:
    text = leaf("a1", "L", host(1, "e1", "ubuntu mlx5_0"), host(2, "e2", "ubuntu mlx5_0"))
    ((line, field, message),) = faults(found(text))
    assert (line, field) == (4, "guid")
    assert message == "nic mlx5_0 of ubuntu has guid e1 at file:3 and e2 at file:4"


def test_a_broken_line_is_a_fault_and_reading_goes_on() -> None:
    text = leaf("a1", "L", '[x] "H-e1"', host(2, "e2", "gpu2 mlx5_0")) + "what is this\n"
    answer = found(text)
    assert [line for line, _, _ in faults(answer)] == [3, 5]
    assert [one.name for one in answer.nodes] == ["gpu2"]


def test_a_lost_cable_does_not_split_a_unit() -> None:
    ports = [host(n, f"e{n}", f"gpu{n} mlx5_0") for n in (1, 2, 3)]
    others = [host(n, f"f{n}", f"gpu{n} mlx5_1") for n in (1, 2)]
    answer = found(leaf("a1", "L-1-1", *ports) + leaf("a2", "L-2-1", *others))
    assert s1(answer) == {"L-1": 3}
    assert "missing_cables" in codes(answer)


def seen(name: str, switch: str, port: str, *, able: str = "Bridge") -> dict[str, Any]:
    return {
        "name": name,
        "via": "LLDP",
        "chassis": [
            {
                "id": [{"type": "mac", "value": "00:11"}],
                "name": [{"value": switch}],
                "capability": [{"type": able, "enabled": True}],
            }
        ],
        "port": [{"id": [{"type": "ifname", "value": port}]}],
    }


def neighbours(*interfaces: dict[str, Any]) -> str:
    return json.dumps({"lldp": [{"interface": list(interfaces)}]})


def test_lldp_of_hosts_and_of_a_switch_make_two_tiers() -> None:
    text = "\n".join(
        (
            "### gpu1",
            neighbours(seen("eth0", "tor1", "Eth1/1"), seen("mgmt", "box", "p", able="Station")),
            "### gpu2",
            neighbours(seen("eth0", "tor1", "Eth1/2")),
            "### tor1",
            neighbours(seen("Eth1/49", "spine1", "Eth7")),
        )
    )
    answer = found(text)
    assert answer.faults == ()
    assert [one.name for one in answer.nodes] == ["gpu1", "gpu2"]
    assert {one.name: one.tier for one in answer.switches} == {"tor1": 0, "spine1": 1}
    assert (s1(answer), s2(answer)) == ({"tor1": 2}, {"spine1": 2})
    assert [(one.port, one.peer_port) for one in answer.links][:2] == [
        ("Eth1/1", "eth0"),
        ("Eth1/2", "eth0"),
    ]


def test_lldp_in_the_other_shape_is_refused_with_the_cure() -> None:
    with pytest.raises(RefusedError, match="-f json0"):
        found('{"lldp": {"interface": {"eth0": {}}}}')


SLURM = """\
# two leaves, one spine
SwitchName=s1 Nodes=gpu[1-4] LinkSpeed=100
switchname=s2 nodes=gpu[5-6],\\
  gpu7
SwitchName=top Switches=s[1-2]
"""


def test_slurm_gives_a_tree() -> None:
    answer = found(SLURM)
    assert answer.faults == ()
    assert {one.name: one.tier for one in answer.switches} == {"s1": 0, "s2": 0, "top": 1}
    assert (s1(answer), s2(answer)) == ({"s1": 4, "s2": 3}, {"top": 7})


def test_slurms_blocks_are_nvlink_domains() -> None:
    answer = found("BlockName=b1 Nodes=n[01-18]\nBlockName=b2 Nodes=n[19-36]\nBlockSizes=18\n")
    assert {one.nvlink_domain for one in answer.nodes} == {"b1", "b2"}


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        pytest.param(
            "SwitchName=a Nodes=n1\nSwitchName=b Nodes=n1", 2, "under a and under b", id="two"
        ),
        pytest.param(
            "SwitchName=a Switches=b", 1, "b is named under a and described", id="unknown"
        ),
        pytest.param("SwitchName=a Nodes=n[9-1]", 1, "counts down", id="range"),
        pytest.param("SwitchName=a Nodes=n1\nSpeed=9", 2, "neither a switch nor", id="other line"),
        pytest.param(
            "SwitchName=a Switches=b\nSwitchName=b Switches=c\nSwitchName=c Switches=a",
            1,
            "form a cycle: a, c, b",
            id="cycle of three",
        ),
    ],
)
def test_what_slurm_itself_would_refuse_is_a_fault(text: str, line: int, why: str) -> None:
    answer = found(text)
    assert [one.line for one in answer.faults] == [line]
    assert why in answer.faults[0].message


MODEL = """\
switches:
  core: {labels: {topology.kubernetes.io/region: us-east}, switches: [spine-1]}
  spine-1: {switches: [leaf-1, leaf-2]}
blocks:
- {switch: leaf-1, nodes: ["n[11-14]"], annotations: {accelerator.topology.test/domain: nv1}}
- {switch: leaf-2, nodes: ["n[21-22]", n25], annotations: {x/domain: nv2, x/sub-domain: nv2a}}
"""


def test_topograph_gives_tiers_domains_and_the_region() -> None:
    answer = found(MODEL)
    assert answer.faults == ()
    tiers = {"core": 2, "spine-1": 1, "leaf-1": 0, "leaf-2": 0}
    assert {one.name: one.tier for one in answer.switches} == tiers
    assert (s1(answer), s2(answer)) == ({"leaf-1": 4, "leaf-2": 3}, {"spine-1": 7})
    assert [(one.slug, one.region) for one in answer.clusters] == [("imported", "us-east")]
    assert {one.name: one.parent for one in answer.nvlink_domains} == {
        "nv1": None,
        "nv2": None,
        "nv2a": "nv2",
    }


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        pytest.param(
            "switches: {}\nblocks:\n- {switch: a, nodes: [n1]}\n- {switch: b, nodes: [n1]}\n",
            4,
            "node n1 is under a and under b",
            id="a node in two blocks",
        ),
        pytest.param(
            "switches:\n  a: {switches: [b]}\n  b: {switches: [a]}\nblocks:\n- {switch: a}\n",
            2,
            "form a cycle: a, b",
            id="a cycle",
        ),
        pytest.param("switches: {}\nblocks:\n- {nodes: [n1]}\n", 3, "needs the switch", id="bare"),
    ],
)
def test_a_model_that_cannot_be_is_a_fault(text: str, line: int, why: str) -> None:
    answer = found(text)
    assert [one.line for one in answer.faults] == [line]
    assert why in answer.faults[0].message
