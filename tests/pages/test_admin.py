"""The administration explains what it refuses, audits what it saves, and only shows records."""

from __future__ import annotations

import json

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent
from inventory.models import Policy, PolicyRevision, RolePart, Service
from tests import factories
from tests.pages.reading import words
from tests.services.people import person, waiting

POLICY = {
    "name": "proportional",
    "driver": "decode_tps",
    "target": "1000",
    "pd_ratio": "0.5",
    "ratio_tolerance": "0.25",
    "theta_out": "0.1",
    "theta_in": "0.1",
    "cooldown_out_s": "15",
    "cooldown_in_s": "300",
    "stabilisation_s": "300",
    "step_abs": "4",
    "step_frac": "0.25",
    "coverage_in_frac": "0.9",
    "proposal_ttl_s": "600",
    "proposal_ttl_in_s": "1800",
    "step_out_frac": "1",
    "damp_frac": "1",
    "latency_severe": "1.5",
    "latency_moderate": "1.1",
    "latency_idle": "0.5",
    "schedule": "",
    "time_zone": "UTC",
    "adapt": "automatic",
    "ratio_band": "8",
    "hold_s": "0",
    "lead_s": "",
    "margin_frac": "0",
    "drain_s": "0",
    "slo_margin_frac": "0.1",
}
NIGHT = {"name": "night", "begin": "22:00", "end": "06:00", "prefill": 2, "decode": 3}


@pytest.fixture
def root(client: Client) -> Client:
    """A superuser who is signed in."""
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


def service_form(service: Service, **changed: str) -> dict[str, str]:
    roles = {spec.role: spec for spec in service.roles.all()}
    form = {
        "slug": service.slug,
        "name": service.name,
        "model_name": service.model_name,
        "purpose": "",
        "cluster": str(service.cluster_id),
        "mode": service.mode,
        "priority": "0",
        "max_gpus": "400",
        "affinity_level": "s2",
        "spread_level": "",
        "spread_domains": "2",
        "labels": "{}",
    }
    for prefix, count in (("roles", 2), ("slo", 1), ("policy", 1)):
        form |= {
            f"{prefix}-TOTAL_FORMS": str(count),
            f"{prefix}-INITIAL_FORMS": str(count),
            f"{prefix}-MIN_NUM_FORMS": "1",
            f"{prefix}-MAX_NUM_FORMS": str(count),
        }
    for i, role in enumerate(("prefill", "decode")):
        form |= {
            f"roles-{i}-id": str(roles[role].pk),
            f"roles-{i}-service": str(service.pk),
            f"roles-{i}-role": role,
            f"roles-{i}-hardware": str(roles[role].hardware_id),
            f"roles-{i}-gpus_per_instance": "2",
            f"roles-{i}-nodes_per_instance": "1",
            f"roles-{i}-select": "",
            f"roles-{i}-tolerate": "",
            f"roles-{i}-minimum": "1",
            f"roles-{i}-maximum": "40",
            f"roles-{i}-profile": "",
        }
    form |= {
        "slo-0-id": str(service.slo.pk),
        "slo-0-service": str(service.pk),
        "slo-0-ttft_s": "1.0",
        "slo-0-tbt_s": "0.05",
        "slo-0-goal_frac": "0.99",
        "policy-0-id": str(service.policy.pk),
        "policy-0-service": str(service.pk),
    }
    return form | {f"policy-0-{name}": value for name, value in POLICY.items()} | changed


@pytest.mark.django_db
@pytest.mark.parametrize("model", sorted(admin.site._registry, key=lambda model: model.__name__))
def test_every_list_opens_is_searchable_and_links_back(root: Client, model: type) -> None:
    waiting()
    meta = model._meta  # type: ignore[attr-defined]
    path = f"/admin/{meta.app_label}/{meta.model_name}/"

    page = root.get(f"{path}?q=chat").content.decode()

    assert "HeteroScale administration" in page
    assert 'href="/"' in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        pytest.param("driver", "decode_util", "decode_util can't drive: it is high", id="driver"),
        pytest.param("driver", "nonsense", "is unknown; choose from", id="unknown driver"),
        pytest.param("target", "0", "target is 0; give a number from", id="no target"),
        pytest.param("target", "-5", "target is -5; give a number from", id="negative"),
        pytest.param("target", "nan", "Enter a number.", id="not a number"),
        pytest.param("pd_ratio", "0", "pd_ratio is 0; give a number from", id="ratio 0"),
        pytest.param("name", "nobody", "policy 'nobody' is unknown; choose", id="unknown policy"),
        pytest.param("schedule", '{"a": 1}', "give a list of windows", id="no list of windows"),
        pytest.param(
            "schedule",
            '[{"name": "x"}]',
            "schedule[0].begin is empty; give a time from 00:00 to 23:59",
            id="a window without times",
        ),
        pytest.param(
            "schedule", json.dumps([NIGHT]), "that no policy reads", id="a schedule nobody follows"
        ),
        pytest.param("schedule", "[", "Enter a valid JSON.", id="no JSON"),
    ],
)
def test_an_unusable_policy_is_refused_with_field_and_fix(
    root: Client, field: str, value: str, why: str
) -> None:
    policy = factories.make_service("chat").policy

    answer = root.post(f"/admin/inventory/policy/{policy.pk}/change/", POLICY | {field: value})

    assert why in words(answer.content.decode())
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
def test_a_saved_policy_is_a_revision_with_its_audit(root: Client) -> None:
    policy = factories.make_service("chat").policy
    path = f"/admin/inventory/policy/{policy.pk}/change/"

    root.post(path, POLICY)
    assert not PolicyRevision.objects.exists()
    root.post(path, POLICY | {"target": "1200"})

    assert Policy.objects.get().revision == 2
    assert AuditEvent.objects.get().after["target"] == 1200.0


@pytest.mark.django_db
def test_a_schedule_is_kept_and_can_be_emptied_again(root: Client) -> None:
    policy = factories.make_service("chat").policy
    path = f"/admin/inventory/policy/{policy.pk}/change/"

    windows = {"name": "proportional+periodic", "schedule": json.dumps([NIGHT]), "lead_s": "90"}

    answer = root.post(path, POLICY | windows)
    assert answer.status_code == 302, words(answer.content.decode())
    policy.refresh_from_db()
    assert (policy.schedule, policy.lead_s, policy.revision) == ([NIGHT], 90.0, 2)

    root.post(path, POLICY)
    policy.refresh_from_db()
    assert (policy.schedule, policy.lead_s, policy.revision) == ([], None, 3)
    assert PolicyRevision.objects.get(revision=2).body["schedule"] == [NIGHT]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param(
            "qwen3-32b/h80",
            "There is no engine profile qwen3-32b/h80. Did you mean qwen3",
            id="a name that comes close",
        ),
        pytest.param(
            "ours", "There is no engine profile ours. Choose one that is kept.", id="far from all"
        ),
    ],
)
def test_a_role_names_a_profile_that_is_known(root: Client, name: str, why: str) -> None:
    service = factories.make_service("chat")
    path = f"/admin/inventory/service/{service.pk}/change/"

    answer = root.post(path, service_form(service, **{"roles-1-profile": name}))
    assert why in words(answer.content.decode())

    answer = root.post(path, service_form(service, **{"roles-1-profile": "qwen3-32b/h800-tp2"}))
    assert answer.status_code == 302, words(answer.content.decode())
    assert service.roles.get(role="decode").profile == "qwen3-32b/h800-tp2"


@pytest.mark.django_db
def test_a_service_is_saved_with_its_policy_as_a_revision(root: Client) -> None:
    service = factories.make_service("chat")
    form = service_form(service, **{"mode": "approve", "policy-0-target": "900"})

    answer = root.post(f"/admin/inventory/service/{service.pk}/change/", form)

    assert answer.status_code == 302, words(answer.content.decode())
    service.refresh_from_db()
    assert service.mode == "approve"
    assert Policy.objects.get().revision == 2
    changed = {event.object_type: event for event in AuditEvent.objects.all()}
    assert changed["service"].before["mode"] == "automatic"
    assert changed["service"].after["mode"] == "approve"
    assert changed["policy"].after["target"] == 900.0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"roles-0-minimum": "50"}, "minimum 50 is above the maximum 40", id="min"),
        pytest.param({"max_gpus": "3"}, "the minimum needs 4 GPUs and max_gpus is 3", id="budget"),
        pytest.param({"roles-1-role": "prefill"}, "both roles", id="a role is missing"),
        pytest.param({"roles-0-select": '["a"]'}, "each label a value", id="labels in a list"),
        pytest.param({"roles-0-select": '{"a": 1}'}, "each label a value", id="a label of 1"),
        pytest.param({"roles-0-select": '{"a": []}'}, "each label a value", id="of no values"),
        pytest.param({"roles-0-tolerate": '"a"'}, "a list of texts", id="taints in no list"),
        pytest.param({"roles-0-tolerate": "[1]"}, "a list of texts", id="a taint of 1"),
        pytest.param({"spread_domains": "1"}, "greater than or equal to 2", id="over one"),
        pytest.param(
            {"spread_level": "s1"},
            "A group shares one S2 switch: it can't be spread over several S1 switch domains.",
            id="spread nearer than the affinity",
        ),
        pytest.param({"slo-0-ttft_s": "0"}, "ttft_s is 0; give a number from", id="SLO 0"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    root: Client, changed: dict[str, str], why: str
) -> None:
    service = factories.make_service("chat")

    answer = root.post(
        f"/admin/inventory/service/{service.pk}/change/", service_form(service, **changed)
    )

    assert answer.status_code == 200
    assert why.lower() in words(answer.content.decode()).lower()


@pytest.mark.django_db
def test_where_a_service_may_run_is_saved_and_audited(root: Client) -> None:
    service = factories.make_service()
    changed = {
        "affinity_level": "s1",
        "affinity_required": "on",
        "spread_level": "s1",
        "roles-0-nodes_per_instance": "2",
        "roles-0-select": '{"zone": "a", "rack": ["b"]}',
        "roles-0-tolerate": '["dedicated=llm"]',
    }

    answer = root.post(
        f"/admin/inventory/service/{service.pk}/change/", service_form(service, **changed)
    )

    assert answer.status_code == 302
    service.refresh_from_db()
    assert (service.affinity_level, service.affinity_required) == ("s1", True)
    # Another version: whoever has the placement tab open doesn't save over it unseen.
    assert (service.spread_level, service.version) == ("s1", 2)
    role = service.roles.get(role="prefill")
    assert role.nodes_per_instance == 2
    assert role.select == {"zone": "a", "rack": ["b"]}
    assert role.tolerate == ["dedicated=llm"]
    other = service.roles.get(role="decode")
    assert (other.select, other.tolerate) == ({}, [])
    assert AuditEvent.objects.filter(object_type="rolespec").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("hardware", "why"),
    [
        pytest.param("h20", "", id="another"),
        pytest.param("h800", "It is the role's own: choose another.", id="its own"),
    ],
)
def test_a_role_gets_alternative_hardware(root: Client, hardware: str, why: str) -> None:
    role = factories.make_service().roles.get(role="decode")
    form = {
        "alternatives-TOTAL_FORMS": "1",
        "alternatives-INITIAL_FORMS": "0",
        "alternatives-0-role": str(role.pk),
        "alternatives-0-rank": "1",
        "alternatives-0-hardware": str(factories.make_hardware(hardware).pk),
        "alternatives-0-gpus_per_instance": "4",
        "alternatives-0-throughput": "0.5",
        "parts_level": "s1",
        "parts-TOTAL_FORMS": "0",
        "parts-INITIAL_FORMS": "0",
    }

    answer = root.post(f"/admin/inventory/rolespec/{role.pk}/change/", form)

    assert answer.status_code == (200 if why else 302)
    assert why in words(answer.content.decode())
    assert role.alternatives.count() == (0 if why else 1)
    assert AuditEvent.objects.filter(object_type="rolehardware").count() == (0 if why else 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("gpus", "why"),
    [
        pytest.param(1, "", id="2 × 1 GPU are the role's 2"),
        pytest.param(2, "The parts of one instance take 4 GPUs, not 2.", id="2 × 2 GPUs are 4"),
    ],
)
def test_a_role_gets_parts_that_are_one_instance(root: Client, gpus: int, why: str) -> None:
    role = factories.make_service().roles.get(role="prefill")
    form = {
        "parts_level": "s2",
        "alternatives-TOTAL_FORMS": "0",
        "alternatives-INITIAL_FORMS": "0",
        "parts-TOTAL_FORMS": "1",
        "parts-INITIAL_FORMS": "0",
        "parts-0-role": str(role.pk),
        "parts-0-name": "attention",
        "parts-0-pods": "2",
        "parts-0-hardware": str(role.hardware_id),
        "parts-0-gpus_per_pod": str(gpus),
    }

    answer = root.post(f"/admin/inventory/rolespec/{role.pk}/change/", form)

    assert answer.status_code == (200 if why else 302)
    assert why in words(answer.content.decode())
    assert role.parts.count() == (0 if why else 1)
    role.refresh_from_db()
    assert role.parts_level == ("s1" if why else "s2")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "entered", "why"),
    [
        ("gpus_per_instance", "3", "The parts of one instance take 2 GPUs, not 3."),
        ("nodes_per_instance", "2", "The pods of parts are on single nodes"),
    ],
)
def test_an_instance_stays_what_its_parts_are(
    root: Client, field: str, entered: str, why: str
) -> None:
    service = factories.make_service()
    role = service.roles.get(role="prefill")
    RolePart.objects.create(
        role=role, name="attention", pods=2, hardware=role.hardware, gpus_per_pod=1
    )
    form = service_form(service, **{f"roles-0-{field}": entered})

    answer = root.post(f"/admin/inventory/service/{service.pk}/change/", form)

    assert answer.status_code == 200
    assert why in words(answer.content.decode())


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["decision", "proposal", "action", "tick", "auditevent"])
def test_what_the_controller_wrote_can_only_be_read(root: Client, model: str) -> None:
    proposal = waiting()

    assert root.get(f"/admin/controller/{model}/add/").status_code == 403
    if model == "proposal":
        path = f"/admin/controller/proposal/{proposal.pk}/"
        assert root.post(f"{path}change/", {"state": "approved"}).status_code == 403
        assert root.post(f"{path}delete/", {"post": "yes"}).status_code == 403


@pytest.mark.django_db
def test_the_administration_has_no_door_for_other_people(client: Client) -> None:
    client.force_login(person("ana"))

    assert client.get("/admin/").status_code == 302


@pytest.mark.django_db
def test_three_nodes_cost_as_many_queries_as_one(
    root: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cluster, hardware = factories.make_cluster(), factories.make_hardware()
    factories.make_nodes(cluster, hardware, 1)
    path = "/admin/inventory/node/"
    root.get(path)
    with CaptureQueriesContext(connection) as one:
        root.get(path)
    factories.make_nodes(cluster, factories.make_hardware("h20"), 2)

    with django_assert_num_queries(len(one)):
        root.get(path)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Operator", "Approver"])
def test_who_may_not_administrate_is_told_so(role: str) -> None:
    client = Client()
    client.force_login(person("vic", role))
    answer = client.get("/admin/", follow=True)
    assert answer.status_code == 403
    assert "Not allowed" in answer.content.decode()
    assert Client().get("/admin/", follow=True).status_code == 200, "strangers may sign in"
