"""Imports in the database: planned, applied at once or not at all, and taken back."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import AuditEvent
from controller.selectors import imports as selectors
from controller.services import imports
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from controller.services.imports import Consent, Wanted
from inventory.models import (
    Cluster,
    Gpu,
    HardwareType,
    HealthEvent,
    ImportRun,
    InventoryVersion,
    Link,
    LocalityDomain,
    Node,
    Rack,
    Region,
    Switch,
)
from inventory.stored import read, read_for
from tests.factories import make_binding, make_service
from tests.inventory.files import found, node, nodes
from tests.services.importing import (
    ME,
    NOBODY,
    applied,
    apply,
    exported,
    planned,
    reverted,
    upload,
    worked,
)
from tests.services.people import person

pytestmark = pytest.mark.django_db

FLEET = "node,s1,s2,gpus,sku,rack,u\na,x,s,8,h200-8,r1,2\nb,x,s,8,h200-8,r1,12\nc,y,s,8,h200-8,,\n"
PORTS = "host,leaf,port,hca,leaf_guid\na,L1,1,m0,aa00000000000001\nb,L1,2,m0,aa00000000000001\n"
LARGE = ("README.md", "topology_label_keys.csv")


def uid(name: str, value: str) -> dict[str, object]:
    item = node(name)
    item["metadata"]["uid"] = value
    return item


def listed(*items: dict[str, object]) -> str:
    return nodes(*items)


def test_an_import_is_planned_applied_and_stamped() -> None:
    run = planned(upload(FLEET))
    assert (run.state, run.counts["create"], run.errors) == ("planned", 11, [])
    assert Node.objects.count() == 0
    run = apply(run)
    version = InventoryVersion.objects.get()
    assert (run.inventory_version, version.cause, version.run) == (version.seq, "import", run)
    row = Node.objects.select_related("rack__site", "hardware", "s1_domain__parent").get(name="a")
    assert row.rack is not None
    assert row.hardware is not None
    assert row.s1_domain is not None
    assert (row.rack.site.slug, row.rack.name, row.u_position) == ("c", "r1", 2)
    assert (row.hardware.slug, row.hardware.mem_bw_gb_s) == ("h200-8", 4800)
    assert (row.s1_domain.name, row.s1_domain.parent.name) == ("x", "s")  # type: ignore[union-attr]
    assert (row.source, row.source_ref, row.schedulable) == ("csv", "fleet.csv:2", True)
    assert Cluster.objects.get().region.slug == "default"
    verbs = list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True))
    assert verbs == ["uploaded an import", "asked to apply an import", "applied an import"]


def test_each_domain_keeps_its_row_while_it_keeps_its_name() -> None:
    applied(upload(FLEET))
    before = dict(LocalityDomain.objects.values_list("name", "pk"))
    applied(upload(FLEET.replace("a,x", "a,y").replace("c,y", "c,z")))
    after = dict(LocalityDomain.objects.values_list("name", "pk"))
    assert set(after) == {"x", "y", "z", "s"}
    assert {name: after[name] for name in before} == before


def test_the_same_file_again_changes_nothing() -> None:
    # I03: applied twice.
    run = applied(upload(FLEET), upload(PORTS, "ports.csv"))
    again = planned(upload(FLEET), upload(PORTS, "ports.csv"))
    assert (again.total, again.counts["create"], again.changes.count()) == (0, 0, 0)
    again = apply(again)
    assert again.inventory_version == run.inventory_version
    assert InventoryVersion.objects.count() == 1


def test_the_same_request_is_one_import() -> None:
    key = uuid4()
    wanted = Wanted(cluster="c")
    made = [
        imports.ask(key, files=[upload(FLEET)], wanted=wanted, user=ME, services=NOBODY)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    with pytest.raises(ConflictError, match="other files or choices"):
        imports.ask(key, files=[upload(PORTS)], wanted=wanted, user=ME, services=NOBODY)
    run = apply(made[0])
    twice = imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)
    assert (twice.state, InventoryVersion.objects.count()) == ("applied", 1)


def test_nobody_imports_without_the_right() -> None:
    with pytest.raises(ForbiddenError, match="Inventory editor"):
        planned(upload(FLEET), user=person("vera", "Viewer"))
    assert planned(upload(FLEET), user=person("ines", "Inventory editor")).state == "planned"


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        pytest.param("hello", "", "no format", id="no format at all"),
        pytest.param("", "", "empty", id="an empty file"),
        pytest.param('{"kind": "List", "items": 1}', "", "", id="a list of nothing"),
    ],
)
def test_a_file_that_can_not_be_read_says_why(text: str, field: str, why: str) -> None:
    # I02: an empty file changes nothing.
    run = planned(upload(text, "x"))
    if run.state == "failed":
        assert why in run.error
        assert run.error.startswith(("x", "nothing to import was found"))
    else:
        assert (run.total, field) == (0, "")


def test_a_plan_with_errors_is_not_applied() -> None:
    run = planned(upload("node,s1,s2\na,x,s\nb,x,t\n"))
    assert [one["field"] for one in run.errors] == ["s1_spans_s2"]
    with pytest.raises(ConflictError, match="1 error"):
        imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)


def test_a_large_loss_is_asked_about_by_its_gpus() -> None:
    # I02: two of three nodes.
    applied(upload(FLEET))
    run = planned(upload("node,s1\na,x\n"))
    assert run.shrink == {"c": {"missing": 2, "of": 3, "gpus": 16}}
    for typed in (None, 8):
        with pytest.raises(InvalidError, match="type the number of GPUs") as refused:
            imports.apply(run.pk, consent=Consent(gpus=typed), user=ME, services=NOBODY)
        assert refused.value.field == "gpus"
    apply(run, gpus=16)
    missing = Node.objects.filter(missing_since__isnull=False)
    assert set(missing.values_list("name", "schedulable")) == {("b", False), ("c", False)}
    apply(planned(upload(FLEET)))
    assert not missing.exists()


def test_a_plan_that_was_not_seen_is_not_applied() -> None:
    run = planned(upload(FLEET))
    with pytest.raises(ConflictError, match="changed after you saw it"):
        imports.apply(run.pk, consent=Consent(digest="other"), user=ME, services=NOBODY)


def test_what_another_import_did_wholly_leaves_nothing_to_do() -> None:
    first, second = planned(upload(FLEET)), planned(upload(FLEET))
    apply(first)
    late = imports.apply(second.pk, consent=Consent(), user=ME, services=NOBODY)
    assert (late.state, late.total) == ("applied", 0)
    assert InventoryVersion.objects.count() == 1


def test_an_inventory_that_changed_otherwise_meanwhile_is_planned_again() -> None:
    run = planned(upload(FLEET))
    applied(upload(FLEET.replace("a,x,s", "a,q,s")))
    late = imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)
    assert (late.state, late.total > 0) == ("planned", True)
    assert late.warnings[0].startswith("The inventory changed after this plan was made")
    assert InventoryVersion.objects.count() == 1
    assert Node.objects.get(name="a").tiers[0] == "q"


def test_a_change_elsewhere_does_not_make_a_plan_old() -> None:
    applied(upload("node,s1\nz,q\n"), cluster="other")
    run = planned(upload(FLEET))
    applied(upload("node,s1\nz,p\n"), cluster="other")
    assert apply(run).inventory_version == InventoryVersion.objects.latest("seq").seq


def test_choices_make_another_plan() -> None:
    HardwareType.objects.create(slug="ours", gpus_per_node=8)
    run = planned(upload(FLEET))
    assert run.changes.filter(kind="hardware", operation="create").exists()
    again = imports.replan(
        run.pk,
        wanted=Wanted(cluster="c", merges={"h200-8": "ours"}),
        user=ME,
        services=NOBODY,
    )
    assert not again.changes.filter(kind="hardware", operation="create").exists()
    event = AuditEvent.objects.get(verb="planned an import anew")
    assert (event.actor, event.object_id) == ("command line (tester)", str(run.pk))
    assert (event.before, event.after) == ({"merges": {}}, {"merges": {"h200-8": "ours"}})
    apply(again)
    assert set(Node.objects.values_list("hardware__slug", flat=True)) == {"ours"}
    assert list(HardwareType.objects.get().aliases.values_list("text", flat=True)) == ["h200-8"]


def test_a_cancel_that_came_too_late_does_not_end_the_next_plan() -> None:
    run = planned(upload(FLEET))
    ImportRun.objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now())
    wanted = Wanted(cluster="c", part=True)
    again = imports.replan(run.pk, wanted=wanted, user=ME, services=NOBODY)
    assert (again.state, again.cancel_requested_at) == ("planned", None)


def test_label_keys_that_were_chosen_are_remembered() -> None:
    item = node("a", {"rack-label": "r7", "pod": "p1"})
    applied(upload(listed(item), "n.json"), level_keys=("rack-label", "pod"))
    assert Cluster.objects.get().level_keys == ["rack-label", "pod"]
    applied(upload(listed(item, node("b", {"rack-label": "r8"})), "n.json"))
    assert Node.objects.get(name="b").tiers == ["r8"]


# What may not be twice.


def test_two_nodes_exchange_their_names() -> None:
    applied(upload(listed(uid("a", "u1"), uid("b", "u2")), "n.json"))
    applied(upload(listed(uid("b", "u1"), uid("a", "u2")), "n.json"))
    assert dict(Node.objects.values_list("k8s_uid", "name")) == {"u1": "b", "u2": "a"}


def test_serials_and_positions_are_exchanged() -> None:
    head = "node,serial,rack,u\n"
    applied(upload(f"{head}a,S1,r,2\nb,S2,r,12\n"))
    applied(upload(f"{head}a,S1,r,12\nb,S2,r,2\n"))
    assert dict(Node.objects.values_list("name", "u_position")) == {"a": 12, "b": 2}


def test_nodes_exchange_their_racks_and_gpus_their_nodes() -> None:
    head = "node,serial,rack,u\n"
    applied(upload(f"{head}a,S1,r,2\nb,S2,q,2\n"))
    applied(upload(f"{head}a,S1,q,2\nb,S2,r,2\n"))
    assert dict(Node.objects.values_list("name", "rack__name")) == {"a": "q", "b": "r"}
    assert set(Node.objects.values_list("u_position", flat=True)) == {2}
    for first, second in (("A", "B"), ("B", "A")):
        table = "### {}\nindex, uuid\n0, {}\n"
        text = table.format("a", first) + table.format("b", second)
        applied(upload(text, "gpus.txt"))
    assert dict(Gpu.objects.values_list("uuid", "node__name")) == {"A": "b", "B": "a"}
    assert set(Gpu.objects.values_list("index", flat=True)) == {0}


def test_cables_exchange_their_switches() -> None:
    text = "host,leaf,port,hca\na,L1,1,m0\nb,L2,1,m0\n"
    applied(upload(text))
    run = applied(upload(text.replace("a,L1", "a,L3").replace("b,L2", "b,L1"), "ports.csv"))
    rows = Link.objects.filter(missing_since=None).values_list("node__name", "switch__name")
    assert set(rows) == {("a", "L3"), ("b", "L1")}
    reverted(run)
    assert set(rows.all()) == {("a", "L1"), ("b", "L2")}


def test_gpus_exchange_their_places() -> None:
    head = "### a\nindex, uuid\n"
    applied(upload(f"{head}0, G0\n1, G1\n", "gpus.txt"))
    applied(upload(f"{head}0, G1\n1, G0\n", "gpus.txt"))
    assert dict(Gpu.objects.values_list("uuid", "index")) == {"G1": 0, "G0": 1}


def test_a_gpu_in_anothers_place_is_missing() -> None:
    applied(upload("### a\nindex, uuid\n0, A0\n### b\nindex, uuid\n0, B0\n", "gpus.txt"))
    run = applied(upload("### a\nindex, uuid\n0, B0\n", "gpus.txt"))
    rows = Gpu.objects.select_related("node")
    there = {(one.uuid, one.node.name, one.missing_since is None) for one in rows}
    assert there == {("A0", "a", False), ("B0", "a", True)}
    reverted(run)
    there = {(one.uuid, one.node.name, one.missing_since is None) for one in rows.all()}
    assert there == {("A0", "a", True), ("B0", "b", True)}


def test_what_belongs_to_another_cluster_is_refused() -> None:
    # I05.
    applied(upload("node,serial\na,S1\n"), cluster="one")
    run = planned(upload("node,serial\nb,s1\n"), cluster="two")
    assert [(one["line"], one["field"], one["message"]) for one in run.errors] == [
        (2, "serial", "serial s1 belongs to a of cluster one already")
    ]


def test_what_a_person_set_is_held() -> None:
    applied(upload(FLEET))
    Node.objects.filter(name="a").update(managed_fields={"gpus": "manual"})
    run = applied(upload("node,gpus\na,4\nb,8\nc,8\n"))
    assert Node.objects.get(name="a").gpus == 8
    (change,) = run.changes.all()
    assert (change.operation, change.held) == ("unchanged", {"gpus": [8, 4]})


def test_a_changed_row_has_its_next_version() -> None:
    applied(upload(FLEET))
    applied(upload("node,gpus\na,4\nb,8\nc,8\n"))
    assert dict(Node.objects.values_list("name", "version")) == {"a": 2, "b": 1, "c": 1}


# Reverting.


def test_what_was_created_goes_and_what_was_changed_is_set_back() -> None:
    applied(upload(FLEET))
    before = exported()
    run = applied(
        upload("node,s1,s2,gpus,rack,u\na,y,s,4,r2,2\nd,y,s,8,r2,30\n"),
        upload(PORTS, "ports.csv"),
        part=True,
    )
    assert exported() != before
    back = reverted(run)
    assert (exported(), back.notes) == (before, [])
    run.refresh_from_db()
    assert (run.state, back.reverts, InventoryVersion.objects.count()) == ("reverted", run, 3)
    assert (Switch.objects.count(), Link.objects.count(), Rack.objects.count()) == (0, 0, 1)
    assert Node.objects.get(name="a").s1_domain.name == "x"  # type: ignore[union-attr]
    with pytest.raises(ConflictError, match="reverted"):
        imports.revert(run.pk, key=uuid4(), user=ME, services=NOBODY)


def test_reverting_the_first_import_leaves_nothing() -> None:
    before = exported()
    reverted(applied(upload(FLEET), upload(PORTS, "ports.csv")))
    assert exported() == before
    for model in (Region, Cluster, Node, LocalityDomain, HardwareType, Rack):
        assert not model.objects.exists()  # type: ignore[attr-defined]


def test_a_name_given_to_another_is_taken_back() -> None:
    applied(upload(listed(uid("a", "u1")), "n.json"))
    before = exported()
    run = applied(upload(listed(uid("b", "u1"), uid("a", "u2")), "n.json"))
    reverted(run)
    assert exported() == before


def test_what_changed_since_is_kept_and_named() -> None:
    applied(upload(FLEET))
    run = applied(upload("node,gpus,cuda\na,4,12\n"), part=True)
    Node.objects.filter(name="a").update(gpus=6)
    back = reverted(run)
    row = Node.objects.get(name="a")
    assert (row.gpus, row.cuda) == (6, "")
    assert back.notes == ["node a keeps its gpus, which was changed since."]


def test_taints_come_and_go_and_are_taken_back() -> None:
    def told(*keys: str) -> str:
        taints = [{"key": key, "effect": "NoSchedule"} for key in keys]
        return listed(node("a", spec={"taints": taints}))

    def taints() -> list[str]:
        return list(Node.objects.values_list("taints", flat=True).get())

    applied(upload(told("x", "y"), "n.json"))
    assert taints() == ["x", "y"]
    assert "taints:" in exported()
    run = applied(upload(told(), "n.json"))
    assert taints() == []
    reverted(run)
    assert taints() == ["x", "y"]


def test_a_node_whose_gpus_are_held_stays() -> None:
    run = applied(upload(FLEET))
    row = Node.objects.get(name="a")
    Node.objects.filter(pk=row.pk).update(gpus=8)
    make_binding(make_service(), row)
    back = reverted(run)
    assert set(Node.objects.values_list("name", flat=True)) == {"a"}
    assert "node a stays: it is in use by now." in back.notes


def test_what_is_used_since_is_kept_and_named() -> None:
    run = applied(upload(FLEET))
    row = Node.objects.get(name="a")
    HealthEvent.objects.create(node=row, code="XID 79", started=timezone.now())
    back = reverted(run, services={("c", "b"): ("chat",)})
    assert set(Node.objects.values_list("name", flat=True)) == {"a", "b"}
    assert "node a stays: it is in use by now." in back.notes
    assert "node b stays: chat runs there." in back.notes
    assert "rack r1 stays: it is in use by now." in back.notes
    assert HardwareType.objects.exists()
    assert LocalityDomain.objects.filter(name="x").exists()


def test_what_a_later_import_has_is_kept() -> None:
    run = applied(upload(FLEET))
    applied(upload("node,gpus\na,4\n"), part=True)
    back = reverted(run)
    assert set(Node.objects.values_list("name", flat=True)) == {"a"}
    assert "node a stays: a later import has it." in back.notes


def test_what_went_missing_is_there_again() -> None:
    applied(upload(FLEET))
    run = apply(planned(upload("node\na\n", "n.csv"), form="csv"), gpus=16)
    assert Node.objects.filter(missing_since__isnull=False).count() == 2
    reverted(run)
    assert not Node.objects.filter(missing_since__isnull=False).exists()


def test_the_text_of_a_run_can_be_cancelled_before() -> None:
    run = imports.cancel(planned(upload(FLEET)).pk, user=ME)
    assert run.state == "cancelled"
    with pytest.raises(ConflictError):
        imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)
    assert imports.cancel(run.pk, user=ME).state == "cancelled"


# Everything there is.


@pytest.fixture
def inventory(shared: Path) -> Path:
    directory = shared / "inventory"
    return directory if directory.is_dir() else shared / "data" / "inventory"


@pytest.mark.parametrize(
    "name",
    [
        "gpu_fleet_counts.csv",
        "ib_fabric_dgx_hosts.csv",
        "ib_fabric_dgx_ports.csv",
        "ib_fabric_leaf_spine_links.csv",
        "ibnetdiscover_excerpt.out",
        "k8s_nodelist_sample.json",
        "topograph_medium.yaml",
        "topograph_nvl72.yaml",
        "topograph_small-tree.yaml",
    ],
)
def test_every_shared_file_goes_in_and_out_again(inventory: Path, name: str) -> None:
    file = upload((inventory / name).read_text(), name)
    before = exported()
    run = applied(file)
    after = exported()
    assert after != before
    assert planned(file).total == 0, "the same file again"
    back = planned(upload(after, "export.yaml"))
    assert back.errors == []
    reverted(run)
    assert exported() == before


def test_one_after_the_other_each_is_taken_back(inventory: Path) -> None:
    names = ("k8s_nodelist_sample.json", "ib_fabric_dgx_ports.csv", "ibnetdiscover_excerpt.out")
    states, runs = [exported()], []
    for name in names:
        runs.append(applied(upload((inventory / name).read_text(), name)))
        states.append(exported())
    for run in reversed(runs):
        states.pop()
        reverted(run)
        assert exported() == states[-1]


def test_reading_takes_as_many_queries_for_any_fleet() -> None:
    counts = []
    for rows in (3, 30):
        text = "".join(f"n{n},L{n % 3},{n},m0\n" for n in range(rows))
        applied(upload(f"host,leaf,port,hca\n{text}"))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            read_for(found(f"host,leaf,port,hca\n{text}", "f.csv", cluster="c"))
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert len(read().of("node")) == 30


def test_a_run_is_not_carried_out_twice() -> None:
    run = applied(upload(FLEET))
    assert worked(run).state == "applied"
    assert ImportRun.objects.get().attempts == 2, "one claim to plan and one to apply"


def test_looking_at_imports_does_not_read_their_files() -> None:
    run = planned(upload(FLEET))
    with CaptureQueriesContext(connection) as told:
        assert selectors.listing(selectors.Filters(), 1).rows[0].files == ("fleet.csv",)
        assert selectors.find(run.pk) is not None
    assert not [one["sql"] for one in told if '"body"' in one["sql"]]
