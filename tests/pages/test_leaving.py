"""Nothing leaves a stop by being moved: it stays where it is until that ends (S16, A08)."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from controller.core.overrides import OverrideKind
from controller.models import Breaker, holds
from controller.models.clock import database_now
from controller.services import freezes, imports, leaving, overriding
from controller.services.imports import Consent
from inventory.models import Cluster, Region, Service
from tests.factories import make_cluster, make_service
from tests.loop.test_actions import make_action
from tests.pages.test_admin import service_form
from tests.services.importing import ME, applied, planned, upload
from tests.services.importing import worked as carried
from tests.services.people import person

pytestmark = pytest.mark.django_db
Stop = Callable[[Cluster | Region], object]


@pytest.fixture
def editor() -> Client:
    """A client of somebody who may edit services and the inventory, and resume nothing."""
    client, account = Client(), person("ed", "Policy editor")
    account.groups.add(Group.objects.get(name="Inventory editor"))
    account.is_staff = True
    account.save()
    client.force_login(account)
    return client


def frozen(about: Cluster | Region) -> object:
    return freezes.freeze(about=about, user=ME, reason="incident 8812")


def frozen_for_an_hour(about: Cluster | Region) -> object:
    ends_at = database_now() + timedelta(hours=1)
    return overriding.place(
        OverrideKind.FREEZE, about, {}, ends_at=ends_at, reason="incident 8812", user=ME
    )


def held_from_tomorrow(about: Cluster | Region) -> object:
    starts_at = database_now() + timedelta(days=1)
    return overriding.place(
        *(OverrideKind.OUT_ONLY, about, {}),
        starts_at=starts_at,
        ends_at=starts_at + timedelta(hours=1),
        reason="incident 8812",
        user=ME,
    )


def tripped(about: Cluster | Region) -> object:
    scope = {"cluster" if isinstance(about, Cluster) else "region": about}
    return Breaker.objects.create(**scope, opened_at=timezone.now(), cause="incident 8812")


STOPS = [
    pytest.param(frozen, "froze {}: incident 8812. Resume that first.", id="frozen"),
    pytest.param(frozen_for_an_hour, "freeze of {} by", id="frozen for an hour"),
    pytest.param(held_from_tomorrow, "out_only of {} by", id="an override that begins tomorrow"),
    pytest.param(tripped, "circuit breaker of {} is open: incident 8812", id="a breaker"),
]


@pytest.mark.parametrize(("stop", "words"), STOPS)
@pytest.mark.parametrize("kind", ["cluster", "region"])
def test_no_service_leaves_what_holds_it_s16_a08(
    editor: Client, stop: Stop, words: str, kind: str
) -> None:
    chat, away = make_service("chat"), make_cluster("us-1-a")
    about = chat.cluster if kind == "cluster" else chat.cluster.region
    away.region = Region.objects.create(slug="us-1", name="US")
    away.save()
    stop(about)

    path = f"/admin/inventory/service/{chat.pk}/change/"
    answer = editor.post(path, service_form(chat, cluster=str(away.pk)))

    said = html.unescape(answer.content.decode())
    assert "chat stays where it is." in said
    assert words.format(f"{kind} {about.slug}") in said
    assert Service.objects.get().cluster == chat.cluster
    assert editor.post(path, service_form(chat, name="Chat 2")).status_code == 302, "in its place"


@pytest.mark.parametrize(("stop", "words"), STOPS)
def test_no_cluster_leaves_what_holds_its_region_s16_a08(
    editor: Client, stop: Stop, words: str
) -> None:
    chat = make_service("chat")
    home, away = chat.cluster.region, Region.objects.create(slug="us-1", name="US")
    stop(home)

    form = {"name": "A", "kind": "simulated", "labels": "{}", "level_keys": "[]"}
    path, seen = f"/admin/inventory/cluster/{chat.cluster.pk}/change/", chat.cluster.version
    answer = editor.post(path, form | {"region": away.pk, "seen": seen})

    assert words.format(f"region {home.slug}") in html.unescape(answer.content.decode())
    assert Cluster.objects.get().region == home
    assert editor.post(path, form | {"region": home.pk, "seen": seen}).status_code == 302


def test_within_a_frozen_region_a_service_may_change_its_cluster(editor: Client) -> None:
    chat, near = make_service("chat"), make_cluster("eu-1-b")
    frozen(chat.cluster.region)
    frozen(near)

    path = f"/admin/inventory/service/{chat.pk}/change/"
    assert editor.post(path, service_form(chat, cluster=str(near.pk))).status_code == 302
    assert holds.read().over("chat") is not None


def test_no_import_and_no_revert_takes_a_cluster_out_of_a_frozen_region_s16_a08() -> None:
    def listed(region: str) -> str:
        return f"cluster,region,node\neu-1-a,{region},a\n"

    make_service("chat")
    there = applied(upload(listed("us-1")), cluster="eu-1-a")
    assert Cluster.objects.get(slug="eu-1-a").region.slug == "us-1"
    frozen(Region.objects.get(slug="us-1"))

    back = planned(upload(listed("eu-1")), cluster="eu-1-a")
    back = imports.apply(back.pk, consent=Consent(digest=back.digest), user=ME, services={})
    undone = imports.revert(there.pk, key=uuid4(), user=ME, services={})

    for run in (carried(back), carried(undone)):
        assert run.state == "failed"
        assert "eu-1-a stays where it is." in run.error
        assert "froze region us-1: incident 8812. Resume that first." in run.error
    assert Cluster.objects.get(slug="eu-1-a").region.slug == "us-1"


@pytest.mark.parametrize(("is_out", "stays"), [(True, True), (False, False)])
def test_a_service_with_instances_out_of_discovery_stays_where_they_are(
    *, is_out: bool, stays: bool
) -> None:
    service, elsewhere = make_service(), make_cluster("us-2-b")
    make_action(service, state="withdrawn", is_out=is_out)
    said = leaving.objection(service, elsewhere)
    assert ("Wait until that is over" in said) is stays
    assert leaving.objection(service, service.cluster) == ""
