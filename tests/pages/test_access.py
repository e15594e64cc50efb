"""What a person may do and through what, and roles within a scope."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, Grant
from controller.services import granting, people
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from controller.services.rights import RIGHTS, read_rights
from inventory.models import Cluster, Region, Service
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db

GIVEN = {"user": "vera", "role": "Operator", "scope": "region:eu-1", "reason": "on call"}


@pytest.fixture
def root(client: Client) -> Client:
    """An Admin, signed in; vera looks on."""
    factories.make_service("chat")
    person("vera", "Viewer")
    client.force_login(person("root", "Admin"))
    return client


def a_grant(name: str, role: str = "Operator", **scope: object) -> Grant:
    """Return a role that was granted just now."""
    user = User.objects.filter(username=name).first() or person(name, "Viewer")
    now = timezone.now()
    return Grant.objects.create(
        user=user, role=role, reason="on call", by_name="root", granted_at=now, **scope
    )


def foreign() -> Cluster:
    """Return a cluster of another region."""
    region = Region.objects.create(slug="us-1", name="United States 1")
    return Cluster.objects.create(slug="us-1-a", name="us-1-a", region=region, kind="record")


def test_an_admin_grants_a_role_within_a_scope_and_ends_it(root: Client) -> None:
    answer = root.post("/grants/", GIVEN, follow=True)
    page = words(answer.content.decode())
    assert "vera is Operator of region eu-1 from now on" in page
    assert "vera Operator region eu-1 root" in page
    row = Grant.objects.get()

    ended = root.post(f"/grants/{row.pk}/end/", {"reason": "left the team"}, follow=True)

    assert "vera is no longer Operator of region eu-1" in words(ended.content.decode())
    assert "No role is granted within a scope" in reading(root, "/grants/")
    assert "vera Operator region eu-1 root" in reading(root, "/grants/?tab=over")
    told = AuditEvent.objects.filter(object_type="grant").order_by("at")
    assert [(one.verb, one.reason) for one in told] == [
        ("granted a role", "on call"),
        ("ended a role", "left the team"),
    ]


def test_nobody_grants_a_role_to_themselves(root: Client) -> None:
    answer = root.post("/grants/", GIVEN | {"user": "root"})
    assert answer.status_code == 403
    assert "another Admin has to" in words(answer.content.decode())
    assert not Grant.objects.exists()
    assert AuditEvent.objects.get().verb == "was refused a role"


def test_a_superuser_is_a_person_too(root: Client) -> None:
    boss = User.objects.create_superuser("boss")
    with pytest.raises(ForbiddenError, match="to themselves"):
        granting.grant(boss, "Approver", None, reason="why", expires_at=None, by=boss)
    assert reading(root, "/grants/")


def test_the_same_role_twice_names_who_gave_it_and_keeps_the_form(root: Client) -> None:
    root.post("/grants/", GIVEN)
    answer = root.post("/grants/", GIVEN | {"reason": "again"})
    assert answer.status_code == 409
    page = words(answer.content.decode())
    assert "root granted Operator of region eu-1" in page
    assert 'value="again"' in answer.content.decode()


def test_a_role_that_ran_out_may_be_given_again(root: Client) -> None:
    old = a_grant("vera", expires_at=timezone.now() - timedelta(minutes=1))
    root.post("/grants/", GIVEN | {"scope": "fleet"})
    old.refresh_from_db()
    assert (old.ended_at, old.ended_by_name) == (old.expires_at, "its time was over")
    assert Grant.objects.filter(ended_at=None).count() == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": "nobody"}, "There is nobody of that name."),
        ({"reason": " "}, "Give a reason"),
        ({"expires_at": "2020-01-01T10:00"}, "That is in the past"),
        ({"scope": "region:mars"}, "Select a valid choice"),
        ({"role": "King"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_granted_is_told_at_its_field(
    root: Client, change: dict[str, str], said: str
) -> None:
    answer = root.post("/grants/", GIVEN | change)
    assert answer.status_code == 400
    assert said in words(answer.content.decode())
    assert not Grant.objects.exists()


def test_a_disabled_account_gets_nothing(root: Client) -> None:
    User.objects.filter(username="vera").update(is_active=False)
    answer = root.post("/grants/", GIVEN)
    assert (answer.status_code, Grant.objects.count()) == (400, 0)


@pytest.mark.usefixtures("root")
def test_an_admin_of_a_region_grants_within_it_only(client: Client) -> None:
    cluster = foreign()
    rita = a_grant("rita", "Admin", region=Region.objects.get(slug="eu-1")).user
    client.force_login(rita)
    assert client.post("/grants/", GIVEN).status_code == 302
    for scope in ("fleet", "region:us-1", f"cluster:{cluster.slug}"):
        assert client.post("/grants/", GIVEN | {"scope": scope}).status_code == 403
    other = a_grant("uma", region=cluster.region)
    assert "needs Admin on region us-1" in reading(client, "/grants/")
    assert client.post(f"/grants/{other.pk}/end/", {"reason": "why"}).status_code == 403


@pytest.mark.usefixtures("root")
def test_who_may_not_grant_reads_the_list_and_why(client: Client) -> None:
    a_grant("vera")
    client.force_login(User.objects.get(username="vera"))
    page = reading(client, "/grants/")
    assert "Shown only: granting roles needs the role Admin" in page
    assert client.post("/grants/", GIVEN).status_code == 403


@pytest.mark.usefixtures("root")
def test_my_access_says_what_where_and_through_what(client: Client) -> None:
    vera = a_grant("vera", region=Region.objects.get(slug="eu-1")).user
    client.force_login(vera)
    page = reading(client, "/me/access/")
    assert "freeze automatic change region eu-1 through Operator, granted by root" in page
    assert "approve and reject changes nowhere: deciding on proposals needs" in page
    assert client.get("/me/access/?user=root").status_code == 403


def test_my_access_shows_what_no_role_gives_and_not_what_was_taken_from_a_role(
    client: Client,
) -> None:
    vera, approve = person("vera", "Operator"), Permission.objects.get(codename="approve_proposal")
    night = Group.objects.create(name="Night shift")
    night.permissions.add(approve)
    vera.groups.add(night)
    vera.user_permissions.add(approve, Permission.objects.get(codename="resume"))
    Group.objects.get(name="Operator").permissions.remove(
        Permission.objects.get(codename="freeze")
    )
    client.force_login(vera)
    page = reading(client, "/me/access/")
    both = "everywhere through group Night shift everywhere through a permission given directly"
    assert f"approve and reject changes {both}" in page
    assert "resume automatic change everywhere through a permission given directly" in page
    assert "freeze automatic change nowhere" in page
    shown = {right: line.through for right, line in zip(RIGHTS, _lines(client), strict=True)}
    assert {right: bool(through) for right, through in shown.items()} == {
        right: User.objects.get(pk=vera.pk).has_perm(right) for right in RIGHTS
    }
    User.objects.filter(pk=vera.pk).update(is_superuser=True)
    assert all(line.through[0].what == "superuser" for line in _lines(client))


def _lines(client: Client) -> list[Any]:
    return client.get("/me/access/").context["lines"]


def test_an_admin_looks_at_another_person(root: Client) -> None:
    page = reading(root, "/me/access/?user=vera")
    assert "What vera may do" in page
    assert "nowhere" in page
    assert "everywhere through group Admin" in reading(root, "/me/access/")
    assert root.get("/me/access/?user=nobody").status_code == 404


@pytest.mark.usefixtures("root")
def test_rights_read_once_are_those_asked_one_by_one() -> None:
    service, cluster = factories.make_service("code"), foreign()
    other = factories.make_service("search", cluster=cluster)
    for row in (
        a_grant("vera", "Operator", region=service.cluster.region),
        a_grant("olga", "Approver", cluster=service.cluster),
        a_grant("sam", "Policy editor", service=other),
        a_grant("fay", "Viewer"),
    ):
        read = read_rights(row.user)
        for right in people.NEEDS:
            for about in (None, cluster, service, other, service.cluster.region):
                assert read.may(right, about) == people.may(row.user, right, about)
    assert not read_rights(person("new", "Viewer")).somewhere(people.FREEZE)


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_the_same_queries_for_any_number(
    root: Client, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for at in range(count):
        a_grant(f"p{at}", cluster=Cluster.objects.get())
    root.get("/grants/")
    with django_assert_num_queries(18):
        root.get("/grants/")


@pytest.mark.usefixtures("root")
def test_ending_twice_names_who_was_faster() -> None:
    row = a_grant("vera")
    boss = User.objects.get(username="root")
    granting.end(row.pk, reason="done", by=boss)
    with pytest.raises(ConflictError, match="root ended it"):
        granting.end(row.pk, reason="again", by=boss)
    with pytest.raises(InvalidError):
        granting.end(row.pk, reason=" ", by=boss)


@pytest.mark.usefixtures("root")
def test_a_role_within_a_scope_works_in_the_pages_too(client: Client) -> None:
    service = Service.objects.get(slug="chat")
    other = factories.make_service("code", cluster=foreign())
    now = timezone.now()
    left = {"expires_at": now + timedelta(minutes=9), "created_at": now, "evidence_at": now}
    own, strange = (factories.make_proposal(one, **left) for one in (service, other))
    client.force_login(a_grant("olga", "Approver", region=service.cluster.region).user)

    queue = client.get("/approvals/").content.decode()
    assert f"/approvals/{own.pk}/" in queue
    assert f"/approvals/{strange.pk}/" not in queue
    assert "Approvals 1 waiting" in words(queue)
    assert "needs Approver" not in reading(client, f"/approvals/{own.pk}/")
    assert "needs Approver on code" in reading(client, f"/approvals/{strange.pk}/")
    assert "Freeze chat…" in reading(client, "/services/chat/")
    assert "freezing needs Operator on code" in reading(client, "/services/code/")
    assert client.post(f"/approvals/{strange.pk}/reject/", REJECTION).status_code == 403
    assert client.post(f"/approvals/{own.pk}/reject/", REJECTION).status_code == 302


REJECTION = {"version": 1, "reason": "not now"}


def test_a_policy_editor_of_one_service_edits_that_policy(client: Client) -> None:
    service, other = factories.make_service("chat"), factories.make_service("code")
    client.force_login(a_grant("sam", "Policy editor", service=service).user)
    for tab in ("policy", "placement"):
        own, strange = (reading(client, f"/services/{one}/{tab}/") for one in ("chat", "code"))
        assert "Shown only" not in own.partition("Placement of")[2] or tab == "policy"
        assert own != strange
    assert "Shown only" in reading(client, f"/services/{other.slug}/placement/")
