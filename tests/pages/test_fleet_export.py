"""The table of nodes as files: both come back through the importer as what is there."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from inventory.differences import Planned
from inventory.models import Node
from inventory.services.importing import Upload, Wanted, found_in, plan_files
from tests.factories import make_cluster, make_hardware, make_nodes
from tests.services.importing import NOBODY, applied, upload
from tests.services.people import person

pytestmark = pytest.mark.django_db

FLEET = (
    "region,cluster,s2,s1,site,rack,u,node,sku,gpus,nvlink_domain,serial,labels\n"
    "eu-1,c,sp-1,su-1,hall,r1,2,a,h200-8,8,,S1,team=x;tier=gold\n"
    "eu-1,c,sp-1,su-1,hall,r1,12,b,h200-8,8,,,\n"
    "eu-1,c,sp-1,su-2,hall,r2,2,c,h20-8,8,nv-1,,\n"
    "eu-1,d,,,,,,e,,4,,,\n"
)
PORTS = (
    "cluster,host,leaf,port,hca,leaf_guid\n"
    "c,a,L1,1,m0,aa00000000000001\nc,b,L1,2,m0,aa00000000000001\nc,c,L2,1,m0,aa00000000000002\n"
)


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(person("vic", "Viewer"))
    return client


@pytest.fixture
def fleet() -> None:
    applied(upload(FLEET), upload(PORTS, "ports.csv"))
    # A person's hand in it: what is exported are the states as they are.
    Node.objects.filter(name="b").update(admin_state="cordoned", health="degraded")


@pytest.mark.parametrize("query", ["", "&cluster=c", "&text=a&s1=su-1"])
@pytest.mark.parametrize("form", ["csv", "yaml"])
@pytest.mark.usefixtures("fleet")
def test_what_is_exported_is_no_change_when_it_is_imported(
    client: Client, form: str, query: str
) -> None:
    answer = client.get(f"/fleet/export/?format={form}{query}")
    assert answer.status_code == 200
    assert f".{form}" in answer["Content-Disposition"]
    part = Wanted(cluster="c", part=bool(query))
    file = Upload(f"nodes.{form}", answer.content)
    plan = plan_files([file], part, NOBODY)
    assert not plan.errors
    assert [one for one in plan.changes if differs(one)] == []
    assert len(found_in([file], part).nodes) == {"": 4, "&cluster=c": 3}.get(query, 1)


@pytest.mark.parametrize("form", ["csv", "yaml"])
@pytest.mark.usefixtures("fleet")
def test_deep_tiers_and_cells_like_formulas_come_back(client: Client, form: str) -> None:
    tiers = ["su-1", "sp-1", None, "x4", "x5", "x6", "x7", "x8"]
    Node.objects.filter(name="a").update(tiers=tiers, serial="-12")
    text = client.get(f"/fleet/export/?format={form}").content
    found = found_in([Upload(f"nodes.{form}", text)], Wanted(cluster="c"))
    node = next(one for one in found.nodes if one.name == "a")
    assert (list(node.tiers), node.serial) == (tiers, "-12")


@pytest.mark.usefixtures("fleet")
def test_a_cell_that_would_run_is_refused_and_not_another_one(client: Client) -> None:
    # Safety, row 22.
    Node.objects.filter(name="a").update(instance_type="=odd")
    text = client.get("/fleet/export/").content
    faults = found_in([Upload("nodes.csv", text)], Wanted(cluster="c")).faults
    assert [one.message for one in faults] == ["'=odd' looks like a spreadsheet formula"]


def differs(change: Planned) -> bool:
    """Return whether an import would change more than whom a thing was read from last."""
    return {*change.before, *change.after} != {"source"}


@pytest.mark.parametrize("form", ["csv", "yaml"])
@pytest.mark.usefixtures("fleet")
def test_a_changed_file_is_a_change(client: Client, form: str) -> None:
    text = client.get(f"/fleet/export/?format={form}").content.decode()
    edited = text.replace("tier=gold", "tier=tin").replace("tier: gold", "tier: tin")
    plan = plan_files([Upload(f"nodes.{form}", edited.encode())], Wanted(cluster="c"), NOBODY)
    changed = [(one.kind, one.name, one.operation) for one in plan.changes if differs(one)]
    assert changed == [("node", "a", "change")]


def test_no_cell_runs_as_a_formula(client: Client) -> None:
    node = make_nodes(make_cluster(), make_hardware(), 1)[0]
    Node.objects.filter(pk=node.pk).update(
        instance_type="=HYPERLINK(1)", reserved_for="@cmd", serial="+1"
    )
    text = client.get("/fleet/export/").content.decode()
    row = next(iter(csv.DictReader(StringIO(text))))
    assert (row["instance_type"], row["reserved_for"], row["serial"]) == (
        "'=HYPERLINK(1)",
        "'@cmd",
        "'+1",
    )


def test_unknown_use_is_no_zero_in_a_file(client: Client) -> None:
    make_nodes(make_cluster(), make_hardware(), 1)
    row = next(iter(csv.DictReader(StringIO(client.get("/fleet/export/").content.decode()))))
    assert (row["gpus_in_use"], row["gpus_free"], row["services"]) == ("?", "?", "?")


@pytest.mark.parametrize("form", ["csv", "yaml"])
def test_an_empty_table_is_an_empty_file(client: Client, form: str) -> None:
    answer = client.get(f"/fleet/export/?format={form}&text=nothing")
    assert answer.status_code == 200
    assert len(answer.content.decode().splitlines()) <= 1


@pytest.mark.parametrize("form", ["csv", "yaml"])
def test_queries_do_not_grow(
    client: Client, form: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_nodes(make_cluster(), make_hardware(), 5)
    client.get(f"/fleet/export/?format={form}")
    with django_assert_max_num_queries(60) as few:
        client.get(f"/fleet/export/?format={form}")
    make_nodes(make_cluster(), make_hardware("h20"), 45)
    with django_assert_max_num_queries(60) as many:
        client.get(f"/fleet/export/?format={form}")
    assert len(many) == len(few)
