"""Every inventory among the large data sets becomes what a person would recognise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from inventory.domains import Level, Subgroup, derive
from inventory.export import write
from inventory.importers.detect import read
from inventory.importers.found import Found, Options, RefusedError
from inventory.importers.gathering import merge
from tests.inventory.files import s1, s2, sizes
from tests.inventory.test_yaml_file import without_places


@pytest.fixture
def inventory(shared: Path) -> Path:
    directory = shared / "inventory"
    return directory if directory.is_dir() else shared / "data" / "inventory"


def answered(directory: Path, name: str) -> Found:
    answer = read((directory / name).read_bytes(), name, Options())
    assert answer.faults == ()
    return answer


def tiers(answer: Found) -> dict[int | None, int]:
    return dict(Counter(one.tier for one in answer.switches))


UNITS = {"01": 10, "02": 11, "03": 18, "04": 17, "05": 18, "06": 15, "07": 16, "08": 14}


def test_an_excerpt_of_a_real_fabric(inventory: Path) -> None:
    answer = answered(inventory, "ibnetdiscover_excerpt.out")
    assert answer.format == "ibnetdiscover"
    assert tiers(answer) == {0: 6, 1: 9}
    assert (len(answer.nodes), len(answer.nics), len(answer.links)) == (44, 85, 185)
    # One leaf of unit 4, two of unit 2, three of unit 8.
    assert s1(answer) == {
        "A09-P1-IBLEAF-04-04": 17,
        "A09-P1-IBLEAF-02": 11,
        "B09-P1-IBLEAF-08": 16,
    }
    assert s2(answer) == {"P1-IBSPINE": 44}
    assert [one.code for one in derive(answer).findings] == ["missing_cables", "uneven_uplinks"]
    rails = {one.name: one.rail for one in answer.switches if one.tier == 0}
    assert rails["A09-P1-IBLEAF-04-04"] == 5
    assert rails["B09-P1-IBLEAF-02-08"] == 1


@pytest.mark.parametrize("name", ["ib_fabric_dgx_hosts.csv", "ib_fabric_dgx_ports.csv"])
def test_a_rail_optimised_fabric_of_eight_units(inventory: Path, name: str) -> None:
    answer = answered(inventory, name)
    assert tiers(answer) == {0: 31}
    assert (len(answer.nodes), s1(answer)) == (119, UNITS)
    assert [len(one.switches) for one in derive(answer).of(Level.S1)] == [3, *[4] * 7]
    assert derive(answer).findings == ()


def test_the_spines_of_that_fabric(inventory: Path) -> None:
    answer = answered(inventory, "ib_fabric_leaf_spine_links.csv")
    assert tiers(answer) == {0: 31, 1: 9}
    assert (len(answer.links), sum(one.count for one in answer.links)) == (269, 532)


def test_hosts_and_spines_together_are_one_s2(inventory: Path) -> None:
    names = ("ib_fabric_dgx_ports.csv", "ib_fabric_leaf_spine_links.csv")
    answer = merge([answered(inventory, name) for name in names], Options())
    assert (s1(answer), list(s2(answer).values())) == (UNITS, [119])


def test_the_same_fabric_from_three_files_agrees(inventory: Path) -> None:
    names = (
        "ib_fabric_dgx_ports.csv",
        "ib_fabric_leaf_spine_links.csv",
        "ibnetdiscover_excerpt.out",
    )
    answer = merge([answered(inventory, name) for name in names], Options())
    assert answer.faults == ()
    assert tiers(answer) == {0: 31, 1: 9}
    # Two more hosts, of the fabric's manager, are cabled to two leaves of unit 08.
    assert s1(answer) == UNITS | {"08": 16}
    assert "Rails are numbered in different ways: the first number stands." in answer.notes


def test_a_kubernetes_list_with_its_odd_nodes(inventory: Path) -> None:
    answer = answered(inventory, "k8s_nodelist_sample.json")
    places = derive(answer)
    assert sizes(places, Level.S2) == {"s2-a1": 8, "s2-a2": 8, "s2-b1": 7}
    assert {one.name: (len(one.nodes), one.subgroup) for one in places.of(Level.S1)} == {
        "s1-a11": (4, Subgroup.HIGH),
        "s1-a12": (4, Subgroup.MEDIUM),
        "s1-a21": (4, Subgroup.MEDIUM),
        "s1-a22": (4, Subgroup.MEDIUM),
        "s1-b11": (4, Subgroup.LOW),
        "s1-b12": (2, Subgroup.LOW),
    }
    odd = {
        one.name: (one.admin_state, one.health)
        for one in answer.nodes
        if (one.admin_state, one.health) != ("in_service", "ok")
    }
    assert odd == {
        "gpu-a-s12-h20-01": ("in_service", "unknown"),
        "gpu-a-s21-h800-01": ("in_service", "degraded"),
        "gpu-b-s32-l40s-02": ("cordoned", "ok"),
    }
    assert [one.sentence for one in places.findings] == [
        "1 node is under no S1 domain: gpu-b-s32-l40s-01."
    ]
    assert {one.slug for one in answer.hardware} == {
        "h800-8",
        "h20-8",
        "a100-sxm4-80gb-8",
        "l40s-8",
    }


@pytest.mark.parametrize(
    ("name", "switches", "near", "far", "nvlink"),
    [
        pytest.param(
            "topograph_small-tree.yaml", {0: 2, 1: 1}, [3, 3], [6], [3, 3], id="small tree"
        ),
        pytest.param(
            "topograph_medium.yaml",
            {0: 4, 1: 2, 2: 1},
            [2, 2, 2, 2],
            [4, 4],
            [2, 2, 2, 2],
            id="medium",
        ),
        pytest.param(
            "topograph_nvl72.yaml",
            {0: 4, 1: 2, 2: 1},
            [18, 18, 18, 18],
            [36, 36],
            [18, 18, 18, 18],
            id="four NVL72 racks",
        ),
    ],
)
def test_models_of_topograph(  # noqa: PLR0913, PLR0917 - one argument a column
    inventory: Path,
    name: str,
    switches: dict[int, int],
    near: list[int],
    far: list[int],
    nvlink: list[int],
) -> None:
    answer = answered(inventory, name)
    places = derive(answer)
    assert tiers(answer) == switches
    for level, wanted in (
        (Level.S1, near),
        (Level.S2, far),
        (Level.NVLINK, nvlink),
    ):
        assert list(sizes(places, level).values()) == wanted
    assert places.findings == ()


def test_counts_of_two_fleets_are_types_and_no_nodes(inventory: Path) -> None:
    answer = answered(inventory, "gpu_fleet_counts.csv")
    assert (len(answer.hardware), answer.nodes) == (19, ())
    assert {"h800-8", "t4-2", "a100-sxm4-80gb-8"} < {one.slug for one in answer.hardware}


def test_a_table_of_other_facts_is_refused_in_words(inventory: Path) -> None:
    with pytest.raises(RefusedError, match="'label_keys', 'writer', 'meaning'"):
        answered(inventory, "topology_label_keys.csv")


@pytest.mark.parametrize(
    "name",
    [
        "ib_fabric_dgx_hosts.csv",
        "ib_fabric_dgx_ports.csv",
        "ib_fabric_leaf_spine_links.csv",
        "ibnetdiscover_excerpt.out",
        "k8s_nodelist_sample.json",
        "topograph_nvl72.yaml",
        "gpu_fleet_counts.csv",
    ],
)
def test_each_survives_the_export(inventory: Path, name: str) -> None:
    before = answered(inventory, name)
    again = read(write(before).encode(), "export.yaml", Options())
    assert again.faults == ()
    assert without_places(again) == without_places(before)
