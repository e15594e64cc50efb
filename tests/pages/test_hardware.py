"""Hardware types: what is known of each, the words for it, and two that turn out to be one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controller.models import AuditEvent, PoolSample
from inventory.models import (
    HardwareAlias,
    HardwareType,
    InventoryVersion,
    LocalityDomain,
    Node,
    RoleHardware,
    RolePart,
    RoleSpec,
)
from inventory.services.hardware import FACTS
from tests.factories import NOW, make_cluster, make_hardware, make_nodes, make_pools, make_service
from tests.pages.reading import words
from tests.services.people import person

pytestmark = pytest.mark.django_db
PAGE = "/fleet/skus/h800/"


def signed_in(role: str = "Inventory editor") -> Client:
    client = Client()
    client.force_login(person(role.lower().replace(" ", "-"), role))
    return client


@pytest.fixture
def editor() -> Client:
    return signed_in()


@pytest.fixture
def h800() -> HardwareType:
    return make_hardware()


def told(client: Client, path: str) -> str:
    return words(client.get(path).content.decode())


def facts(row: HardwareType, **changed: Any) -> dict[str, Any]:
    kept = {name: getattr(row, name) for name in FACTS}
    plain = {name: "" if value is None else value for name, value in kept.items()}
    return plain | {"version": row.version, "reason": "data sheet"} | changed


def consent(source: HardwareType, target: HardwareType, **changed: Any) -> dict[str, Any]:
    return {
        "into": target.slug,
        "version": source.version,
        "target_version": target.version,
        "typed": "32",
        "reason": "one machine, two names",
    } | changed


def test_without_types_the_list_says_where_they_come_from(editor: Client) -> None:
    assert "No hardware type yet" in told(editor, "/fleet/skus/")


def test_the_list_says_how_many_and_who_uses_them(editor: Client, h800: HardwareType) -> None:
    make_nodes(make_cluster(), h800, 3)
    make_service("chat")
    make_hardware("h20")
    text = told(editor, "/fleet/skus/")
    for word in ("h800", "H800", "80 GiB", "3", "24", "chat", "h20"):
        assert word in text


def test_the_page_says_what_is_known(editor: Client, h800: HardwareType) -> None:
    HardwareType.objects.update(source="data sheet of 2023", nvlink="node")
    HardwareAlias.objects.create(hardware=h800, text="NVIDIA-H800")
    make_nodes(make_cluster(), h800, 3)
    make_service("chat")
    text = told(editor, PAGE)
    for word in (
        "8 × H800, 24 GPUs in 1 cluster", "data sheet of 2023", "within a node", "NVIDIA-H800",
        "eu-1-a", "chat", "qwen3-32b/h800-tp4",
    ):  # fmt: skip
        assert word in text, word


def test_nodes_with_another_number_of_gpus_are_named(editor: Client, h800: HardwareType) -> None:
    nodes = make_nodes(make_cluster(), h800, 3)
    Node.objects.filter(pk=nodes[1].pk).update(gpus=4)
    Node.objects.filter(pk=nodes[2].pk).update(gpus=None)
    text = told(editor, PAGE)
    assert "1 node has another number of GPUs than the 8 of the type: h800-001 (4)" in text


def test_each_count_opens_its_nodes(editor: Client, h800: HardwareType) -> None:
    nodes = make_nodes(make_cluster(), h800, 3)
    Node.objects.filter(pk=nodes[0].pk).update(admin_state="cordoned")
    Node.objects.filter(pk=nodes[1].pk).update(health="failed")
    page = editor.get(PAGE).content.decode()
    for query in ("state=cordoned", "health=degraded&amp;health=failed&amp;health=unknown"):
        link = f"?cluster=eu-1-a&amp;hardware=h800&amp;{query}"
        assert link in page
        found = editor.get(f"/fleet/{link.replace('&amp;', '&')}").content.decode()
        assert (nodes[0].name in found) == ("state" in query)


def test_a_word_for_a_type_leads_to_its_page(editor: Client, h800: HardwareType) -> None:
    HardwareAlias.objects.create(hardware=h800, text="old-name")
    assert editor.get("/fleet/skus/OLD-name/")["Location"] == PAGE
    assert editor.get("/fleet/skus/nothing/").status_code == 404


def test_an_alias_is_added_once_and_removed(editor: Client, h800: HardwareType) -> None:
    assert editor.post(f"{PAGE}alias/", {"text": " NVIDIA-H800 "}).status_code == 302
    assert list(h800.aliases.values_list("text", flat=True)) == ["NVIDIA-H800"]
    assert AuditEvent.objects.get().after == {"alias": "NVIDIA-H800"}
    assert InventoryVersion.objects.count() == 1
    again = editor.post(f"{PAGE}alias/", {"text": "nvidia-h800"})
    assert again.status_code == 400
    assert "it means this type" in words(again.content.decode())
    assert editor.post(f"{PAGE}alias/", {"remove": "NVIDIA-H800"}).status_code == 302
    assert not h800.aliases.exists()


@pytest.mark.parametrize("word", ["h20", "H20", "the-other"])
@pytest.mark.usefixtures("h800")
def test_a_word_of_another_type_is_refused_with_its_name(editor: Client, word: str) -> None:
    HardwareAlias.objects.create(hardware=make_hardware("h20"), text="The-Other")
    answer = editor.post(f"{PAGE}alias/", {"text": word})
    assert answer.status_code == 400
    text = words(answer.content.decode())
    assert f"Imports know {word} already: it means h20." in text
    assert f'value="{word}"' in answer.content.decode()


@pytest.mark.parametrize("word", ["", "   ", "x" * 300])
@pytest.mark.usefixtures("h800")
def test_a_word_that_is_none_is_refused(editor: Client, word: str) -> None:
    assert editor.post(f"{PAGE}alias/", {"text": word}).status_code == 400


def test_facts_are_changed_with_a_reason_and_recorded(editor: Client, h800: HardwareType) -> None:
    answer = editor.post(f"{PAGE}edit/", facts(h800, gpus_per_node=4, cost_per_gpu_hour="1.5"))
    assert answer.status_code == 302
    row = HardwareType.objects.get()
    assert (row.gpus_per_node, row.version) == (4, h800.version + 1)
    event = AuditEvent.objects.get()
    assert event.before == {"gpus_per_node": 8, "cost_per_gpu_hour": None}
    assert event.after == {"gpus_per_node": 4, "cost_per_gpu_hour": "1.5"}
    assert (event.verb, event.reason) == ("changed", "data sheet")
    assert InventoryVersion.objects.get().cause == "edit"
    assert "data sheet" in told(editor, PAGE)


def test_the_same_facts_change_nothing(editor: Client, h800: HardwareType) -> None:
    assert editor.post(f"{PAGE}edit/", facts(h800)).status_code == 302
    assert HardwareType.objects.get().version == h800.version
    assert not AuditEvent.objects.exists()
    assert not InventoryVersion.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("gpus_per_node", 1_000_000, "less than or equal to 72"),
        ("gpus_per_node", -1, "greater than or equal to 0"),
        ("gpu_memory_mib", 2**40, "less than or equal to 2147483647"),
        ("u_height", 61, "less than or equal to 60"),
        ("mem_bw_gb_s", "nan", "Enter a number."),
        ("bf16_tflops", -3, "greater than or equal to 0"),
        ("cost_per_gpu_hour", "1e12", "digits"),
        ("nvlink", "moon", "not one of the available choices"),
        ("reason", "", "Give a reason"),
    ],
)
def test_facts_that_cannot_be_are_refused_beside_their_field(
    editor: Client, h800: HardwareType, field: str, value: object, why: str
) -> None:
    answer = editor.post(f"{PAGE}edit/", facts(h800, **{field: value}))
    assert answer.status_code == 400
    assert why in words(answer.content.decode())
    assert HardwareType.objects.get().version == h800.version


def test_a_change_nobody_saw_is_not_overwritten(editor: Client, h800: HardwareType) -> None:
    signed_in("Admin").post(f"{PAGE}edit/", facts(h800, vendor="Somebody"))
    answer = editor.post(f"{PAGE}edit/", facts(h800, vendor="Else"))
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "admin changed it" in words(page)
    assert "NVIDIA → Somebody" in words(page)
    # What was typed is kept, on top of the version there is now.
    assert 'value="Else"' in page
    assert f'name="version" value="{h800.version + 1}"' in page
    assert HardwareType.objects.get().vendor == "Somebody"


def test_a_merge_says_first_what_moves(editor: Client, h800: HardwareType) -> None:
    other = make_hardware("h800-sxm", gpus_per_node=4, gpu_model="H800 SXM")
    make_nodes(make_cluster(kind="record"), h800, 4)
    make_service("chat")
    text = told(editor, f"{PAGE}merge/?into={other.slug}")
    for word in (
        "4 nodes with 32 GPUs in eu-1-a become h800-sxm",
        "chat",
        "4 nodes have another number of GPUs than the 4 of h800-sxm",
        "GPU model H800 against H800 SXM",
        "Type the number of GPUs, 32",
    ):
        assert word in text, word
    assert HardwareType.objects.count() == 2


def test_a_merge_moves_all_and_keeps_the_words(editor: Client, h800: HardwareType) -> None:
    other = make_hardware("h800-sxm", gpu_model="SXM")
    HardwareAlias.objects.create(hardware=h800, text="NVIDIA-H800")
    cluster = make_cluster(kind="record")
    nodes = make_nodes(cluster, h800, 4)
    make_service("chat")
    answer = editor.post(f"{PAGE}merge/", consent(h800, other))
    assert (answer.status_code, answer["Location"]) == (302, "/fleet/skus/h800-sxm/")
    assert set(Node.objects.values_list("hardware__slug", flat=True)) == {"h800-sxm"}
    assert set(RoleSpec.objects.values_list("hardware__slug", flat=True)) == {"h800-sxm"}
    assert set(other.aliases.values_list("text", flat=True)) == {"h800", "NVIDIA-H800"}
    assert Node.objects.get(pk=nodes[0].pk).version == nodes[0].version + 1
    assert LocalityDomain.objects.get(level="S1").hardware == ["SXM"]
    event = AuditEvent.objects.get()
    assert (event.verb, event.before) == ("merged into", {"type": "h800", "gpus": 32})
    assert event.after["inventory_version"] == InventoryVersion.objects.get().pk
    # Its old address is no dead end.
    assert editor.get(PAGE)["Location"] == "/fleet/skus/h800-sxm/"


def test_a_merge_takes_alternatives_and_parts_along(editor: Client, h800: HardwareType) -> None:
    make_nodes(make_cluster(kind="record"), h800, 4)
    other, third = make_hardware("h800-sxm", gpu_model="SXM"), make_hardware("h20")
    prefill, decode = make_service("chat", hardware=other).roles.order_by("-role")
    third_role = make_service("bot", hardware=third).roles.first()
    assert third_role is not None
    for role, hardware, rank in (
        (prefill, h800, 1),  # its own afterwards
        (decode, third, 1),
        (third_role, h800, 1),  # there once afterwards
        (third_role, other, 2),
    ):
        RoleHardware.objects.create(role=role, hardware=hardware, rank=rank, gpus_per_instance=2)
    RolePart.objects.create(role=decode, name="ffn", hardware=h800, gpus_per_pod=2)
    editor.post(f"{PAGE}merge/", consent(h800, other))
    left = RoleHardware.objects.values_list("role", "hardware__slug")
    assert set(left) == {(decode.pk, "h20"), (third_role.pk, "h800-sxm")}
    assert RolePart.objects.get().hardware == other


def test_a_merge_loses_no_measurement(editor: Client, h800: HardwareType) -> None:
    other, cluster = make_hardware("h20"), make_cluster(kind="record")
    make_pools(cluster, h800)
    make_pools(cluster, other)
    make_pools(cluster, h800, at=NOW - timedelta(minutes=1))
    editor.post(f"{PAGE}merge/", consent(h800, other, typed="0"))
    rows = PoolSample.objects.order_by("at")
    assert [(row.hardware_id, row.total, row.busy, row.largest_free) for row in rows] == [
        (other.pk, 32, 10, 8),
        (other.pk, 64, 20, 8),
    ]


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        pytest.param(
            {"typed": "31"}, 400, "Type the number of GPUs that move: 32.", id="mistyped"
        ),
        pytest.param({"typed": ""}, 400, "Type the number of GPUs", id="not typed"),
        pytest.param({"reason": " "}, 400, "Give a reason", id="no reason"),
        pytest.param({"version": "7"}, 409, "was changed meanwhile", id="an old page"),
        pytest.param({"target_version": "7"}, 409, "was changed meanwhile", id="of the other"),
    ],
)
def test_a_merge_needs_consent_to_what_was_seen(
    editor: Client, h800: HardwareType, changed: dict[str, str], status: int, why: str
) -> None:
    other = make_hardware("h20")
    make_nodes(make_cluster(kind="record"), h800, 4)
    answer = editor.post(f"{PAGE}merge/", consent(h800, other, **changed))
    assert answer.status_code == status
    assert why in words(answer.content.decode())
    assert HardwareType.objects.count() == 2


def test_what_the_simulator_plays_by_name_is_not_merged(
    editor: Client, h800: HardwareType
) -> None:
    other = make_hardware("h20")
    make_nodes(make_cluster(), h800, 4)
    assert "it has to stay" in told(editor, PAGE)
    answer = editor.post(f"{PAGE}merge/", consent(h800, other))
    assert answer.status_code == 409
    assert HardwareType.objects.count() == 2


@pytest.mark.parametrize("into", ["", "h800", "nothing"])
@pytest.mark.usefixtures("h800")
def test_a_merge_into_nothing_or_itself_leads_back(editor: Client, into: str) -> None:
    answer = editor.post(f"{PAGE}merge/", {"into": into})
    assert (answer.status_code, answer["Location"]) == (302, PAGE)


def test_only_what_nothing_uses_is_removed(editor: Client, h800: HardwareType) -> None:
    make_nodes(make_cluster(), h800, 2)
    make_service("chat")
    given = {"version": h800.version, "reason": "a typing error"}
    assert "while it is in use: 2 nodes and 1 service (chat)" in told(editor, PAGE)
    answer = editor.post(f"{PAGE}delete/", given)
    assert answer.status_code == 409
    assert "2 nodes and 1 service (chat)" in words(answer.content.decode())
    Node.objects.all().delete()
    RoleSpec.objects.all().delete()
    assert editor.post(f"{PAGE}delete/", given | {"reason": ""}).status_code == 400
    assert editor.post(f"{PAGE}delete/", given | {"version": "9"}).status_code == 409
    assert editor.post(f"{PAGE}delete/", given)["Location"] == "/fleet/skus/"
    assert not HardwareType.objects.exists()
    assert AuditEvent.objects.get(verb="removed").before["slug"] == "h800"


def test_a_type_with_measurements_is_not_removed(editor: Client, h800: HardwareType) -> None:
    make_pools(make_cluster(), h800)
    answer = editor.post(f"{PAGE}delete/", {"version": h800.version, "reason": "unused"})
    assert answer.status_code == 409
    assert PoolSample.objects.exists()


@pytest.mark.parametrize("role", ["Viewer", "Operator", "Policy editor"])
@pytest.mark.parametrize("action", ["edit", "alias", "merge", "delete"])
def test_changes_need_the_inventory_editor(h800: HardwareType, role: str, action: str) -> None:
    client = signed_in(role)
    other = make_hardware("h20")
    assert "Inventory editor" in told(client, PAGE)
    given = facts(h800) | consent(h800, other) | {"text": "x"}
    assert client.post(f"{PAGE}{action}/", given).status_code == 403
    assert AuditEvent.objects.get().verb == "was refused change_node"
    assert HardwareType.objects.count() == 2


@pytest.mark.parametrize("path", ["/fleet/skus/", PAGE])
def test_queries_do_not_grow_with_nodes(editor: Client, h800: HardwareType, path: str) -> None:
    editor.get(path)
    counts = []
    for name in ("a", "b", "c"):
        cluster = make_cluster(name, kind="record")
        make_nodes(cluster, h800, 3)
        make_service(name, cluster=cluster)
        make_hardware(f"gpu-{name}")
        HardwareAlias.objects.create(hardware=h800, text=f"word-{name}")
        with CaptureQueriesContext(connection) as queries:
            assert editor.get(path).status_code == 200
        counts.append(len(queries))
    assert len(set(counts)) == 1
