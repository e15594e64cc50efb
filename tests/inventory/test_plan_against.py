"""What an import would do to an inventory that holds something."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from inventory.absence import Shrink
from inventory.importers.found import Found, FoundGpu, FoundNode, Options
from inventory.kept import Stored, Value
from inventory.limits import LONGEST
from inventory.models import HardwareType
from inventory.plan import Plan, PlanOptions, plan_against, plan_for_empty
from inventory.services.columns import MODELS
from tests.inventory.files import found, node, nodes
from tests.inventory.memory import applied, fleet, held, table, together

FOUR = "node,s1,s2,gpus\na,x,s,8\nb,x,s,8\nc,y,s,8\nd,y,s,8\n"


def ops(plan: Plan, kind: str = "node") -> dict[str, str]:
    return {one.name: one.operation for one in plan.objects if one.kind == kind}


def changes(
    plan: Plan, kind: str = "node"
) -> dict[str, tuple[dict[str, Value], dict[str, Value]]]:
    return {
        one.name: (dict(one.before), dict(one.after))
        for one in plan.objects
        if one.kind == kind and one.operation == "change"
    }


def listed(*items: dict[str, Any]) -> Found:
    return found(nodes(*items), "nodes.json", cluster="c")


def uid(item: dict[str, Any], uid: str) -> dict[str, Any]:
    item["metadata"]["uid"] = uid
    return item


def test_the_same_file_again_changes_nothing() -> None:
    stored = fleet(table(FOUR))
    plan = plan_against(stored, table(FOUR))
    assert plan.changes == ()
    assert set(ops(plan).values()) == {"unchanged"}
    assert plan.counts["create"] == plan.counts["missing"] == 0


def test_fields_that_differ_are_shown_before_and_after() -> None:
    stored = fleet(table(FOUR))
    text = "node,s1,gpus,serial\na,x,8,\nb,y,4,S1\nc,y,8,\nd,y,8,\ne,y,8,\n"
    plan = plan_against(stored, table(text))
    assert ops(plan) == dict.fromkeys("acd", "unchanged") | {"b": "change", "e": "create"}
    assert changes(plan)["b"] == (
        {"gpus": 8, "tiers": ["x", "s"], "serial": None},
        {"gpus": 4, "tiers": ["y", "s"], "serial": "S1"},
    )


def test_what_a_file_leaves_out_stays_and_a_dash_clears() -> None:
    stored = fleet(table("node,s1,serial,rack,u,labels\na,x,S1,r1,4,team=a\n"))
    assert plan_against(stored, table("node,s1\na,x\n")).changes == ()
    plan = plan_against(stored, table("node,s1,serial,rack\na,x,-,-\n"))
    assert changes(plan)["a"] == (
        {"serial": "S1", "rack": "c/r1", "u_position": 4},
        {"serial": "", "rack": "", "u_position": None},
    )
    more = plan_against(stored, table("node,labels\na,tier=gold\n"))
    assert changes(more)["a"][1] == {"labels": {"team": "a", "tier": "gold"}}


def test_one_level_can_be_cleared_alone() -> None:
    stored = fleet(table(FOUR))
    plan = plan_against(stored, table("node,s1,s2\na,-,\nb,x,s\nc,y,s\nd,y,s\n"))
    assert changes(plan)["a"] == ({"tiers": ["x", "s"]}, {"tiers": [None, "s"]})


def test_what_a_person_set_is_held() -> None:
    stored = held(fleet(table(FOUR)), "node", "a", "gpus")
    plan = plan_against(stored, table(FOUR.replace("a,x,s,8", "a,y,s,4")))
    (one,) = [one for one in plan.objects if one.kind == "node" and one.name == "a"]
    assert (one.before, one.after) == ({"tiers": ["x", "s"]}, {"tiers": ["y", "s"]})
    assert (one.held, one.owners) == ({"gpus": [8, 4]}, {"tiers": "csv", "gpus": "manual"})


def test_a_reason_is_held_with_its_state() -> None:
    cordoned = "node,admin_state,health\na,cordoned,ok\n"
    stored = held(fleet(table(cordoned)), "node", "a", "admin_state")
    plan = plan_against(stored, table("node,admin_state,health\na,in_service,ok\n"))
    assert plan.changes == ()
    assert [one.held for one in plan.objects if one.held] == [
        {"admin_state": ["cordoned", "in_service"]}
    ]


# Identity.


def test_a_uid_finds_a_node_under_another_name_and_its_parts_follow() -> None:
    first = together(
        listed(uid(node("old", gpus=1), "u1")),
        table("host,leaf,port,hca\nold,L1,1,mlx5_0\n", "ports.csv"),
        table("index, uuid\n0, G0\n", "old.csv"),
    )
    stored = fleet(first)
    again = together(
        listed(uid(node("new", gpus=1), "u1")),
        table("host,leaf,port,hca\nnew,L1,1,mlx5_0\n", "ports.csv"),
        table("index, uuid\n0, G0\n", "new.csv"),
    )
    plan = plan_against(stored, again)
    assert changes(plan) == {"new": ({"name": "old"}, {"name": "new"})}
    assert {kind: set(ops(plan, kind).values()) for kind in ("gpu", "nic", "link")} == {
        "gpu": {"unchanged"},
        "nic": {"unchanged"},
        "link": {"unchanged"},
    }
    assert plan_against(applied(stored, plan), again).changes == ()


def test_two_nodes_may_exchange_their_names() -> None:
    stored = fleet(listed(uid(node("a"), "u1"), uid(node("b"), "u2")))
    plan = plan_against(stored, listed(uid(node("b"), "u1"), uid(node("a"), "u2")))
    assert plan.errors == ()
    assert changes(plan) == {
        "b": ({"name": "a"}, {"name": "b"}),
        "a": ({"name": "b"}, {"name": "a"}),
    }


def test_a_node_made_anew_under_its_name_is_told() -> None:
    stored = fleet(listed(uid(node("a"), "u1")))
    plan = plan_against(stored, listed(uid(node("a"), "u2")))
    assert changes(plan) == {"a": ({"k8s_uid": "u1"}, {"k8s_uid": "u2"})}
    assert plan.warnings[0] == "a is made anew: its Kubernetes uid was u1 and is u2."


def test_a_name_that_another_node_has_is_refused_with_its_line() -> None:
    stored = fleet(table("node,serial\na,S1\nb,S2\n"))
    plan = plan_against(stored, table("node,serial\nb,S1\n"))
    told = {one.operation for one in plan.objects if one.kind == "node" and one.name == "b"}
    assert told == {"conflict", "missing"}
    assert [(one.line, one.field) for one in plan.errors] == [(2, "name")]
    assert "another node has that name" in plan.errors[0].message


def test_identifiers_of_two_nodes_are_refused() -> None:
    stored = fleet(table("node,serial,provider_id\na,S1,P1\nb,S2,P2\n"))
    plan = plan_against(stored, table("node,serial,provider_id\na,S1,P2\n"))
    assert plan.errors[0].field == "provider_id"
    assert "which are two things" in plan.errors[0].message


def test_an_identifier_of_another_cluster_is_refused() -> None:
    # I05: a duplicate across the file and the rows.
    stored = replace(fleet(table("node\na\n")), elsewhere={("serial", "s9"): "z of cluster other"})
    plan = plan_against(stored, table("node,serial\na,S9\n"))
    assert [(one.line, one.field, one.message) for one in plan.errors] == [
        (2, "serial", "serial S9 belongs to z of cluster other already")
    ]


def test_duplicates_between_rows_and_file_are_refused() -> None:
    # I05: the file's new node claims a serial that another row keeps.
    stored = fleet(table("node,serial\na,S1\nb,S2\n"))
    plan = plan_against(stored, table("node,serial\na,S1\nc,S1\n"))
    assert any("belongs to 2 at once: c and a" in one.message for one in plan.errors)


# Long and short names, words for hardware, cables.


def test_a_short_name_is_the_one_long_name_that_begins_like_it() -> None:
    stored = fleet(listed(uid(node("a.example.com"), "u1"), uid(node("b.example.com"), "u2")))
    plan = plan_against(stored, table("host,leaf,port,hca\na,L1,1,m0\nb,L1,2,m0\n"))
    assert set(ops(plan)) == {"a.example.com", "b.example.com"}
    assert "2 machines are called by a long and a short name: a is a.example.com" in str(
        plan.notes
    )
    assert plan.counts["conflict"] == 0
    assert [one.name for one in plan.domains if one.level == "S1"] == ["L1"]


def test_kubernetes_own_name_stands() -> None:
    stored = fleet(table("host,leaf,port,hca\na,L1,1,m0\n"))
    plan = plan_against(stored, listed(uid(node("a.example.com"), "u1")))
    assert changes(plan)["a.example.com"][1]["name"] == "a.example.com"


def test_two_long_names_leave_the_short_one_alone() -> None:
    plan = plan_for_empty(table("node\na\na.one\na.two\n"))
    assert set(ops(plan)) == {"a", "a.one", "a.two"}


def test_machines_that_are_told_apart_are_two() -> None:
    plan = plan_for_empty(table("node,serial\na,S1\na.one,S2\n"))
    assert set(ops(plan)) == {"a", "a.one"}


def test_a_word_for_a_hardware_type_is_that_type() -> None:
    label = {"nvidia.com/gpu.product": "NVIDIA-H200"}
    stored = fleet(table("sku,gpu_model,gpus_per_node\nmy-h200,H200,8\n"))
    first = plan_against(stored, listed(node("a", label)))
    assert ops(first, "hardware") == {"h200-8": "create"}
    merged = plan_against(
        stored, listed(node("a", label)), PlanOptions(merges={"h200-8": "my-h200"})
    )
    assert changes(merged, "hardware")["my-h200"][1] == {"aliases": ["NVIDIA-H200", "h200-8"]}
    after = applied(stored, merged)
    again = plan_against(after, listed(node("a", label), node("b", label)))
    assert ops(again, "hardware") == {"my-h200": "unchanged"}
    (new,) = [one for one in again.objects if one.kind == "node" and one.operation == "create"]
    assert new.after["hardware"] == "my-h200"


def test_four_gpus_are_no_eight_by_the_same_word() -> None:
    label = {"nvidia.com/gpu.product": "NVIDIA-H200"}
    stored = fleet(listed(node("a", label)))
    plan = plan_against(stored, listed(node("a", label), node("b", label, gpus=4)))
    assert ops(plan, "hardware") == {"h200-8": "unchanged", "h200-4": "create"}
    again = plan_against(applied(stored, plan), listed(node("a", label), node("b", label, gpus=4)))
    assert again.changes == ()


def test_new_types_and_switches_come_first_with_what_is_known_of_them() -> None:
    label = {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/gpu.memory": "143771"}
    plan = plan_for_empty(together(listed(node("a", label)), table("host,leaf\na,L1\n")))
    assert [one.kind for one in plan.objects[:3]] == ["hardware", "switch", "region"]
    figures = plan.objects[0].after
    assert (figures["mem_bw_gb_s"], figures["bf16_tflops"]) == (4800, 989)


def test_cables_without_ports_give_way_to_the_same_with_ports() -> None:
    plain, ported = "node,leaves\na,L1;L2\n", "host,leaf,port,hca\na,L1,1,m0\na,L2,1,m1\n"
    plan = plan_for_empty(together(table(plain, "a.csv"), table(ported, "b.csv")))
    assert set(ops(plan, "link")) == {"L1 port 1 to a m0", "L2 port 1 to a m1"}
    assert any("without ports" in one for one in plan.notes)
    stored = fleet(table(plain))
    after = plan_against(stored, table(ported))
    assert set(ops(after, "link").values()) == {"change"}
    assert plan_against(applied(stored, after), table(plain)).changes == ()


def test_a_cable_plugged_in_elsewhere_is_the_same_port() -> None:
    stored = fleet(table("host,leaf,port,hca\na,L1,1,m0\nb,L1,2,m0\n"))
    plan = plan_against(stored, table("host,leaf,port,hca\na,L1,1,m0\nb,L1,3,m0\n"))
    assert plan.errors == ()
    assert changes(plan, "link") == {"L1 port 3 to b m0": ({"port": "2"}, {"port": "3"})}


def gpus(*places: tuple[str, int, str]) -> Found:
    names = dict.fromkeys(name for name, _, _ in places)
    return Found(
        format="nvidia-smi",
        clusters=table("node\na\n").clusters,
        nodes=tuple(FoundNode(cluster="c", name=name) for name in names),
        gpus=tuple(
            FoundGpu(cluster="c", node=name, index=index, uuid=uuid)
            for name, index, uuid in places
        ),
    )


def test_a_gpu_that_moved_is_followed_and_the_one_in_its_way_is_missing() -> None:
    stored = fleet(gpus(("a", 0, "A0"), ("a", 1, "A1"), ("b", 0, "B0")))
    moved = gpus(("a", 0, "B0"), ("a", 1, "A1"))
    plan = plan_against(stored, moved)
    assert plan.errors == ()
    assert changes(plan, "gpu") == {"a GPU 0": ({"node": "b"}, {"node": "a"})}
    assert [one.name for one in plan.objects if one.operation == "missing"] == ["a GPU 0"]
    assert plan_against(applied(stored, plan), moved).changes == ()


def test_gpus_may_exchange_their_places() -> None:
    stored = fleet(gpus(("a", 0, "A0"), ("a", 1, "A1")))
    plan = plan_against(stored, gpus(("a", 0, "A1"), ("a", 1, "A0")))
    assert changes(plan, "gpu") == {
        "a GPU 0": ({"index": 1}, {"index": 0}),
        "a GPU 1": ({"index": 0}, {"index": 1}),
    }


def test_retired_nodes_do_not_make_a_loss_look_small() -> None:
    # I02: one of the four that exist.
    rows = [f"n{n},8,{'active' if n < 4 else 'retired'}\n" for n in range(10)]
    stored = fleet(table("node,gpus,lifecycle\n" + "".join(rows)))
    plan = plan_against(stored, table("node,gpus,lifecycle\n" + "".join(rows[1:])))
    assert plan.shrink == {"c": Shrink(missing=1, of=4, gpus=8)}
    plan = plan_against(stored, table("node,gpus,lifecycle\n" + "".join(rows[:4])))
    assert (plan.counts["missing"], plan.shrink) == (6, {})


# Missing.


def test_what_its_source_no_longer_lists_is_missing_and_comes_back() -> None:
    stored = fleet(table(FOUR))
    less = table(FOUR.replace("d,y,s,8\n", ""))
    plan = plan_against(stored, less)
    assert ops(plan)["d"] == "missing"
    assert plan.shrink["c"].missing == 1
    after = applied(stored, plan)
    assert plan_against(after, less).changes == ()
    back = plan_against(after, table(FOUR))
    assert changes(back)["d"] == ({"missing": True}, {"missing": False})


@pytest.mark.parametrize(
    ("text", "options", "missing"),
    [
        pytest.param("node\na\nb\n", {}, {"c", "d"}, id="two of four"),
        pytest.param("node\na\nb\n", {"part": True}, set(), id="said to be a part"),
        pytest.param("rack\nr9\n", {}, set(), id="a file that lists no node says nothing of them"),
    ],
)
def test_who_is_missing(text: str, options: dict[str, Any], missing: set[str]) -> None:
    plan = plan_against(fleet(table(FOUR)), table(text), PlanOptions(**options))
    assert {one.name for one in plan.objects if one.operation == "missing"} == missing


def test_another_source_marks_nothing() -> None:
    stored = fleet(table(FOUR))
    assert plan_against(stored, listed(node("a"))).counts["missing"] == 0
    per_host = table("index, uuid\n0, G0\n", "a.csv")
    assert plan_against(stored, per_host).counts["missing"] == 0


def test_hosts_alone_say_nothing_of_spines() -> None:
    hosts = table("host,leaf,port\na,L1,1\nb,L2,1\n", "hosts.csv")
    uplinks = table("leaf,spine,links\nL1,S1,2\nL2,S1,2\n", "uplinks.csv")
    stored = fleet(hosts, uplinks)
    assert plan_against(stored, hosts).changes == ()
    assert plan_against(stored, uplinks).changes == ()


@pytest.mark.parametrize(
    ("left", "asks"),
    [
        pytest.param(8, False, id="2 of 10 are 20 %, not more"),
        pytest.param(7, True, id="3 of 10 are 30 %"),
        pytest.param(1, True, id="nearly everything"),
    ],
)
def test_a_large_loss_asks(left: int, asks: bool) -> None:  # noqa: FBT001 - a column
    # I02.
    rows = [f"n{n},8\n" for n in range(10)]
    stored = fleet(table("node,gpus\n" + "".join(rows)))
    plan = plan_against(stored, table("node,gpus\n" + "".join(rows[:left])))
    assert bool(plan.shrink) is asks
    if asks:
        assert (plan.shrink["c"].of, plan.shrink["c"].gpus) == (10, 8 * (10 - left))


# Places, positions, texts.


def test_what_nothing_names_is_made_and_shown() -> None:
    plan = plan_for_empty(table("node,rack\na,r1\n"))
    made = {(one.kind, one.name) for one in plan.objects if one.operation == "create"}
    assert {("region", "default"), ("site", "c"), ("rack", "r1")} < made
    assert not any(one.kind == "region" for one in plan_for_empty(table("sku\nh\n")).objects)


def test_a_rack_gets_its_site_later_and_its_nodes_follow() -> None:
    stored = fleet(table("node,rack\na,r1\n"))
    plan = plan_against(stored, table("node,rack,site\na,r1,hall\n"))
    assert changes(plan, "rack") == {"r1": ({"site": "c"}, {"site": "hall"})}
    assert ops(plan) == {"a": "unchanged"}


def test_two_nodes_in_one_place_are_refused_with_the_line() -> None:
    stored = fleet(table("node,rack,u,sku,u_height\na,r1,4,h,48\n"))
    plan = plan_against(stored, table("node,rack,u\nb,r1,4\n"), PlanOptions(part=True))
    assert [(one.line, one.field) for one in plan.errors] == [(2, "u_position")]
    assert "where a reaches U4" in plan.errors[0].message


def test_a_text_that_rows_can_not_hold_is_refused() -> None:
    plan = plan_for_empty(table(f"node,cluster\na,{'c' * 64}\n"))
    assert ("slug", "it is 64 characters long, at most 63 are kept") in [
        (one.field, one.message) for one in plan.errors
    ]


def test_the_limits_are_those_of_the_rows() -> None:
    for (kind, name), most in LONGEST.items():
        assert MODELS[kind]._meta.get_field(name).max_length == most
    assert HardwareType._meta.get_field("slug").max_length == 63


# Findings across both.


def test_an_s1_under_two_s2_across_rows_and_file_is_refused() -> None:
    # I05.
    stored = fleet(table("node,s1,s2\na,x,s\n"))
    plan = plan_against(stored, table("node,s1,s2\nb,x,t\n"), PlanOptions(part=True))
    assert [one.field for one in plan.errors] == ["s1_spans_s2"]


def test_a_node_cabled_to_two_units_across_rows_and_file_is_refused() -> None:
    # I05: a node under two S1.
    rows = "".join(f"n{n},L{1 + n % 2}\n" for n in range(6))
    stored = fleet(table(f"host,leaf\n{rows}"))
    plan = plan_against(stored, table("host,leaf\nn0,L2\n"), PlanOptions(part=True))
    assert [one.field for one in plan.errors] == ["two_s1"]


def test_services_on_nodes_that_move_or_go_are_named() -> None:
    stored = fleet(table(FOUR))
    services = {("c", "a"): ("chat",), ("c", "d"): ("code", "chat")}
    plan = plan_against(
        stored, table("node,s1,s2\na,y,s\nb,x,s\nc,y,s\n"), PlanOptions(), services
    )
    assert plan.impact == (
        "1 node that is no longer listed: chat, code have instances there.",
        "1 node moves from S1 x to y: chat has instances there.",
    )


def test_a_domain_that_is_called_otherwise_moves_nobody() -> None:
    stored = fleet(table(FOUR))
    plan = plan_against(stored, table(FOUR.replace(",x,", ",z,")))
    assert plan.impact == ("S1 x will be called z.",)


# Digest.


def test_a_digest_is_that_of_what_would_be_done() -> None:
    stored = fleet(table(FOUR))
    one, other = (plan_against(stored, table(text)) for text in ("node\na\n", "node\nb\n"))
    assert one.digest == plan_against(stored, table("node\na\n")).digest
    assert one.digest != other.digest
    assert json.dumps(one.counts)
    assert replace(one, shrink={}).digest != one.digest, "a loss that is asked about is told"
    assert plan_against(Stored(), table(FOUR)).digest == plan_for_empty(table(FOUR)).digest


def test_letters_of_a_cluster_are_those_it_has() -> None:
    stored = fleet(table(FOUR))
    plan = plan_against(stored, table(FOUR, cluster="C"))
    assert plan.changes == ()
    assert Options().cluster == "imported"
