"""The command ``import_fleet``: what it answers, and how it refuses."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError

from controller.management.commands import import_fleet
from inventory.models import ImportRun, InventoryVersion, Node
from tests.inventory.files import node, nodes

pytestmark = pytest.mark.django_db

AWS = "topology.k8s.aws/network-node-layer-"


def kept(tmp_path: Path, text: str, name: str = "nodes.json") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def listed(*names: str) -> str:
    labels = {f"{AWS}1": "top", f"{AWS}2": "spine", f"{AWS}3": "leaf"}
    return nodes(*(node(name, labels) for name in names))


def answer(*words: str) -> dict[str, Any]:
    said = StringIO()
    call_command("import_fleet", *words, "--plan", "--json", stdout=said, stderr=StringIO())
    plain: dict[str, Any] = json.loads(said.getvalue())
    return plain


def refused(*words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the whole document of a command that was asked for JSON."""
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("import_fleet", *words, "--json", stdout=said, stderr=StringIO())
    return int(str(left.value.code)), json.loads(said.getvalue())


def printed(*words: str) -> str:
    said = StringIO()
    call_command("import_fleet", *words, "--plan", stdout=said, stderr=StringIO())
    return said.getvalue()


def test_into_an_empty_inventory_everything_is_new(tmp_path: Path) -> None:
    plain = answer(kept(tmp_path, listed("a", "b")), "--cluster", "eu-1-a")
    assert (plain["format"], plain["applied"], plain["errors"]) == ("kubernetes", False, [])
    # A cluster in the default region, two nodes, an S1 and an S2 domain.
    assert plain["plan"] == {
        "create": 6,
        "change": 0,
        "unchanged": 0,
        "conflict": 0,
        "missing": 0,
    }
    assert [(one["op"], one["type"], one["key"]) for one in plain["objects"]] == [
        ("create", "region", "default"),
        ("create", "cluster", "eu-1-a"),
        ("create", "node", "eu-1-a/a"),
        ("create", "node", "eu-1-a/b"),
        ("create", "domain", "eu-1-a/S2/spine"),
        ("create", "domain", "eu-1-a/S1/leaf"),
    ]
    one = plain["objects"][2]
    assert one["at"] == "nodes.json items[0]"
    assert (one["fields"]["gpus"], one["fields"]["tiers"]) == (8, ["leaf", "spine", "top"])


def test_a_person_reads_what_each_level_was_taken_from(tmp_path: Path) -> None:
    said = printed(kept(tmp_path, listed("a", "b")))
    assert "kubernetes: 1 cluster, 2 nodes." in said
    assert "16 GPUs; 2 of 2 nodes are in service." in said
    assert f"S1 = {AWS}3 (1 value, median 2 nodes)" in said
    assert "Plan: create 6, change 0, unchanged 0, conflict 0, missing 0." in said


def test_what_was_read_is_kept_as_yaml_that_says_the_same(tmp_path: Path) -> None:
    nodes_file = kept(tmp_path, listed("a", "b"))
    as_yaml = kept(tmp_path, printed(nodes_file, "--yaml"), "fleet.yaml")
    plain = answer(as_yaml)
    assert plain["format"] == "yaml"
    assert plain["plan"] == answer(nodes_file)["plan"]


def test_files_of_several_formats_are_one_plan(tmp_path: Path) -> None:
    plain = answer(
        kept(tmp_path, listed("a", "b")),
        kept(tmp_path, "host,leaf,port,hca\na,L1,1,m0\nb,L1,2,m0\n", "ports.csv"),
        kept(tmp_path, "index, uuid\n" + "".join(f"{n}, G{n}\n" for n in range(8)), "a.csv"),
    )
    assert plain["format"] == "kubernetes+csv+nvidia-smi"
    counted = [one["type"] for one in plain["objects"]]
    assert {kind: counted.count(kind) for kind in ("node", "gpu", "link", "switch")} == {
        "node": 2,
        "gpu": 8,
        "link": 2,
        "switch": 1,
    }


def test_files_that_disagree_are_a_conflict(tmp_path: Path) -> None:
    status, plain = refused(
        kept(tmp_path, "node,serial\na,S1\n", "one.csv"),
        kept(tmp_path, "node,serial\na,S2\nb,S3\n", "two.csv"),
        "--plan",
    )
    assert (status, plain["plan"]["conflict"], plain["plan"]["create"]) == (2, 1, 3)
    assert plain["errors"] == [
        {
            "line": 2,
            "field": "serial",
            "message": "node a has serial S1 at one.csv:2 and S2 at two.csv:2",
            "file": "two.csv",
        }
    ]


def test_what_is_wrong_with_rows_is_said_beside_what_could_be_read(tmp_path: Path) -> None:
    path = kept(tmp_path, "node,s1,gpus\na,x,8\nb,x,-1\nc_,x,8\n", "fleet.csv")
    status, plain = refused(path, "--plan")
    assert status == 2
    assert plain["error"] == {
        "code": "bad_rows",
        "message": "a node has 0 to 72 GPUs, not -1 (1 more)",
        "where": "fleet.csv:3 gpus",
    }
    assert [(one["line"], one["field"]) for one in plain["errors"]] == [(3, "gpus"), (4, "node")]
    assert [one["key"] for one in plain["objects"] if one["type"] == "node"] == [
        "imported/a",
        "imported/b",
    ]


def test_levels_in_the_wrong_order_are_an_error_without_a_line(tmp_path: Path) -> None:
    text = "node,s1,s2\na,x,s\nb,x,t\n"
    status, plain = refused(kept(tmp_path, text, "fleet.csv"), "--plan")
    assert status == 2
    assert [(one["line"], one["field"]) for one in plain["errors"]] == [(None, "s1_spans_s2")]


@pytest.mark.parametrize(
    ("text", "words", "code", "where"),
    [
        pytest.param("hello", ("--plan",), "no_format", "file.txt", id="no format"),
        pytest.param("node,s1\n\xe9\n", ("--plan",), "not_utf8", "file.txt:2", id="not UTF-8"),
        pytest.param(
            "node,s1\n", ("--plan", "--cluster", "a b"), "bad_usage", "--cluster", id="cluster"
        ),
        pytest.param("{", ("--plan", "--format", "netbox"), "bad_json", "file.txt:1", id="told"),
    ],
)
def test_what_can_not_be_used_exits_2(
    tmp_path: Path, text: str, words: tuple[str, ...], code: str, where: str
) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(text.encode("latin-1"))
    status, plain = refused(str(path), *words)
    assert (status, plain["error"]["code"], plain["error"]["where"]) == (2, code, where)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "none.json")
    assert refused(path, "--plan")[1]["error"]["where"] == path


def applied(*words: str) -> dict[str, Any]:
    said = StringIO()
    call_command("import_fleet", *words, "--json", stdout=said, stderr=StringIO())
    plain: dict[str, Any] = json.loads(said.getvalue())
    return plain


def exported(*words: str) -> str:
    said = StringIO()
    call_command("import_fleet", "--export", *words, stdout=said, stderr=StringIO())
    return said.getvalue()


def test_without_plan_it_is_applied_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = kept(tmp_path, listed("a", "b"))
    plain = applied(path, "--cluster", "eu-1-a")
    version = InventoryVersion.objects.get()
    assert (plain["applied"], plain["inventory_version"]) == (True, version.seq)
    assert set(Node.objects.values_list("name", "s1_domain__name")) == {
        ("a", "leaf"),
        ("b", "leaf"),
    }
    again = applied(path, "--cluster", "eu-1-a")
    assert (again["applied"], again["inventory_version"]) == (True, version.seq)
    assert again["plan"] == {
        "create": 0,
        "change": 0,
        "unchanged": 5,
        "conflict": 0,
        "missing": 0,
    }
    assert ImportRun.objects.count() == 1


def test_a_plan_against_the_inventory_says_what_differs(tmp_path: Path) -> None:
    applied(kept(tmp_path, "node,s1,gpus\na,x,8\nb,x,8\n", "fleet.csv"))
    path = kept(tmp_path, "node,s1,gpus\na,x,8\nb,y,8\nc,y,8\n", "fleet.csv")
    plain = answer(path)
    told = {one["key"]: one for one in plain["objects"] if one["type"] == "node"}
    assert [told[f"imported/{name}"]["op"] for name in "abc"] == ["unchanged", "change", "create"]
    changed = told["imported/b"]
    assert (changed["before"], changed["fields"]) == ({"tiers": ["x"]}, {"tiers": ["y"]})
    assert plain["impact"] == ["1 node moves from S1 x to y."]
    assert "change node b: tiers ['x'] → ['y']" in printed(path)


def test_what_would_lose_much_of_a_cluster_stops_and_asks(tmp_path: Path) -> None:
    # I02: three of four nodes.
    applied(kept(tmp_path, "node,s1,gpus\na,x,8\nb,x,8\nc,x,8\nd,x,8\n", "fleet.csv"))
    path = kept(tmp_path, "node,s1,gpus\na,x,8\n", "fleet.csv")
    status, plain = refused(path)
    assert (status, plain["error"]["code"], plain["applied"]) == (2, "shrink", False)
    assert plain["shrink"] == {"imported": {"missing": 3, "of": 4, "gpus": 24}}
    assert "type the number of GPUs" in plain["error"]["message"]
    assert refused(path, "--yes-shrink", "8")[0] == 2
    assert not Node.objects.filter(missing_since__isnull=False).exists()
    assert applied(path, "--part")["plan"]["missing"] == 0
    assert applied(path, "--yes-shrink", "24")["plan"]["missing"] == 3
    assert Node.objects.filter(missing_since__isnull=False).count() == 3, "marked, never deleted"


def test_an_import_is_taken_back(tmp_path: Path) -> None:
    applied(kept(tmp_path, "node,s1,gpus\na,x,8\n", "fleet.csv"))
    before = exported()
    run = applied(kept(tmp_path, "node,s1,gpus\na,y,4\nb,y,8\n", "fleet.csv"))["import"]
    assert exported() != before
    plain = applied("--revert", run)
    assert (plain["reverted"], plain["notes"]) == (run, [])
    assert exported() == before
    assert refused("--revert", run)[1]["error"]["code"] == "not_applied"
    assert refused("--revert", "x")[1]["error"]["code"] == "bad_usage"


def test_an_export_reads_back_as_the_same_fleet(tmp_path: Path) -> None:
    applied(kept(tmp_path, listed("a", "b")), "--cluster", "one")
    applied(kept(tmp_path, "node,s1\nc,z\n", "fleet.csv"), "--cluster", "two")
    whole = kept(tmp_path, exported(), "whole.yaml")
    assert not any(one["op"] in {"create", "missing"} for one in answer(whole)["objects"])
    assert "slug: two" not in exported("--cluster", "one")
    assert refused("--export", "--cluster", "three")[1]["error"]["code"] == "no_such_cluster"


def test_without_a_database_a_plan_is_one_for_an_empty_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(import_fleet, "plan_files", away)
    path = kept(tmp_path, listed("a"))
    assert import_fleet.UNREACHABLE in answer(path)["notes"]
    status, plain = refused(path)
    assert (status, plain["error"]["code"]) == (1, "no_database")


def test_a_name_map_gives_adapters_their_hosts(tmp_path: Path) -> None:
    fabric = (
        'Switch\t65 "S-00000000000000a1"\t# "MF0;L1:MQM9701/U1" lid 7\n'
        '[1]\t"H-00000000000000e1"[1](00000000000000e1) \t# "MT4129 ConnectX7" lid 1 4xNDR\n'
    )
    names = kept(tmp_path, '0x00000000000000e1 "gpu1 mlx5_0"\n', "names.map")
    plain = answer(kept(tmp_path, fabric, "ib.out"), "--node-name-map", names)
    assert [one["key"] for one in plain["objects"] if one["type"] == "node"] == ["imported/gpu1"]
