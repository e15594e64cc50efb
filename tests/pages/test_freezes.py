"""Freeze and resume: a page that says what happens, and a POST that does it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import AuditEvent, Breaker, Freeze, Override, Tick
from controller.selectors.freezes import preview
from inventory.models import Service
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person


@pytest.fixture
def ana(client: Client) -> Client:
    """An approver who is signed in."""
    client.force_login(person("ana"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/freeze/", "/services/chat/freeze/"])
def test_freezing_says_what_stops_and_what_does_not(ana: Client, path: str) -> None:
    factories.make_service("chat")

    page = reading(ana, path)
    assert "Stops new actions of" in page
    assert "Does not stop requests already sent to a cluster" in page
    assert 'value="incident"' in ana.get(path).content.decode()
    answer = ana.post(path, {"reason": "incident 8812"}, follow=True)

    assert "Frozen: no new action" in words(answer.content.decode())
    assert Freeze.objects.get().reason == "incident 8812"


@pytest.mark.django_db
def test_a_second_freeze_reads_whose_the_first_is(ana: Client) -> None:
    ana.post("/freeze/", {"reason": "incident 8812"})

    answer = ana.post("/freeze/", {"reason": "again"})

    assert answer.status_code == 409
    page = words(answer.content.decode())
    assert "ana already froze the fleet" in page
    assert "s ago: incident 8812" in page


@pytest.mark.django_db
def test_resuming_shows_what_the_next_tick_would_do(ana: Client) -> None:
    service = factories.make_service("chat")
    ana.post("/freeze/", {"reason": "incident"})
    step = {
        "name": "freeze",
        "before": {"prefill": 2, "decode": 6},
        "after": {"prefill": 2, "decode": 4},
        "code": "FROZEN",
        "detail": "ana froze the fleet",
    }
    factories.make_decision(service, move="blocked", code="FROZEN", steps=[step])

    page = reading(ana, "/resume/")
    assert "would change 1 of 1 service: it would scale out 2 decode. " in page
    assert "chat decode 4 → 6 carried out" in page
    assert "for 10 minutes it decides and shows" in page
    answer = ana.post("/resume/?scope=fleet", {"reason": "fixed"}, follow=True)

    assert "Resumed the fleet: it is only watched for 10 min" in words(answer.content.decode())
    assert Freeze.objects.get().end_reason == "fixed"
    assert Override.objects.get().kind == "advisory"


@pytest.mark.django_db
def test_a_resume_that_names_no_scope_resumes_nothing_s21(ana: Client) -> None:
    ana.post("/freeze/", {"reason": "incident"})

    answer = ana.post("/resume/", {"reason": "fixed"})

    assert (answer.status_code, answer.text.partition(":")[0]) == (400, "scope")
    assert Freeze.objects.get().ended_at is None


def pill_of(client: Client) -> str:
    """The word of the pill in the strip."""
    return words(client.get("/strip/").text).split()[0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "pill", "says"),
    [
        pytest.param({}, "ADVISORY", "nothing is carried out before", id="watched first"),
        pytest.param({"act_at_once": "on"}, "ACTING", "the next tick may change it", id="at once"),
    ],
)
def test_the_strip_tells_whether_it_is_watched_first_a09(
    ana: Client, fields: dict[str, str], pill: str, says: str
) -> None:
    factories.make_service("chat")
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    ana.post("/freeze/", {"reason": "incident"})
    assert pill_of(ana) == "FROZEN"

    page = words(ana.post("/resume/?scope=fleet", {"reason": "fixed"} | fields, follow=True).text)

    assert says in page
    assert pill_of(ana) == pill
    if pill == "ADVISORY":
        Override.objects.update(starts_at=now - timedelta(hours=1), ends_at=now)
        assert pill_of(ana) == "ACTING"


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["freeze", "resume"])
def test_a_reason_is_needed_and_the_form_keeps_what_was_typed(ana: Client, verb: str) -> None:
    if verb == "resume":
        ana.post("/freeze/", {"reason": "incident"})

    answer = ana.post(f"/{verb}/?scope=fleet", {"reason": " "})
    long = ana.post(f"/{verb}/?scope=fleet", {"reason": "y" * 1001})

    assert answer.status_code == 400
    assert "Give a reason" in words(answer.content.decode())
    assert long.status_code == 400
    assert "y" * 1001 in long.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "path", "needs"),
    [("Viewer", "/freeze/", "needs Operator"), ("Operator", "/resume/", "needs Approver")],
)
def test_without_the_right_the_page_says_so_and_the_post_is_refused(
    client: Client, role: str, path: str, needs: str
) -> None:
    client.force_login(person("eve", role))
    if path == "/resume/":
        client.post("/freeze/", {"reason": "incident"})
    frozen = Freeze.objects.filter(ended_at=None).count()

    assert needs in reading(client, path)
    assert client.post(f"{path}?scope=fleet", {"reason": "x"}).status_code == 403
    assert Freeze.objects.filter(ended_at=None).count() == frozen
    assert AuditEvent.objects.filter(verb__startswith="was refused").count() == 1


@pytest.mark.django_db
def test_looking_changes_nothing_and_the_token_is_needed() -> None:
    factories.make_service("chat")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana"))

    for path in ("/freeze/", "/resume/", "/services/chat/freeze/", "/services/chat/resume/"):
        assert strict.get(path).status_code == 200
        assert strict.post(path, {"reason": "x"}).status_code == 403
        assert Client().post(path, {"reason": "x"}).status_code == 403
    assert not Freeze.objects.exists()


@pytest.mark.django_db
def test_no_service_of_that_name_is_not_found(ana: Client) -> None:
    for verb in ("freeze", "resume"):
        assert ana.post(f"/services/nobody/{verb}/", {"reason": "x"}).status_code == 404
    assert not Freeze.objects.exists()


WIDE = ("region", "cluster", "service")


def scope_of(kind: str) -> dict[str, object]:
    """What a row is about: chat, its cluster, its region, or with "fleet" everything."""
    chat = Service.objects.select_related("cluster__region").get(slug="chat")
    about = {"service": chat, "cluster": chat.cluster, "region": chat.cluster.region}
    return {kind: about[kind]} if kind in about else {}


def stopped(kind: str, *, timed: bool = False) -> Freeze | Override:
    """Freeze a scope, by hand or for an hour."""
    now = timezone.now()
    given = {"by_name": "ana", "reason": "incident 8812", **scope_of(kind)}
    if not timed:
        return Freeze.objects.create(since=now, **given)
    return Override.objects.create(
        kind="freeze", made_at=now, starts_at=now, ends_at=now + timedelta(hours=1), **given
    )


def strip_of(client: Client, path: str) -> str:
    """What the strip on a page says."""
    page = client.get(path).text
    return words(page[page.index("data-strip") : page.index("Freeze…")])


@pytest.mark.django_db
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        pytest.param(["region"], "FROZEN region eu-1 (2 services)", id="a region"),
        pytest.param(["cluster"], "FROZEN cluster eu-1-a (1 service)", id="a cluster"),
        pytest.param(["service"], "FROZEN chat (1 service)", id="a service"),
        pytest.param(
            ["service", "cluster", "region"],
            "3 freezes, widest: region eu-1 (2 services)",
            id="three of them",
        ),
    ],
)
def test_the_strip_names_what_is_frozen_below_the_fleet(
    ana: Client, kinds: list[str], says: str, *, timed: bool
) -> None:
    factories.make_service("chat")
    factories.make_service("far", cluster=factories.make_cluster("eu-1-b"))
    for kind in kinds:
        stopped(kind, timed=timed)

    assert says in strip_of(ana, "/services/chat/")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/services/chat/", "/strip/"])
def test_naming_what_is_frozen_costs_no_query(ana: Client, path: str) -> None:
    """The fleet, a region, a cluster and a service: a page asks as often as with one of them."""
    factories.make_service("chat")

    def cost() -> int:
        ana.get(path)
        with CaptureQueriesContext(connection) as asked:
            assert ana.get(path).status_code == 200
        return len(asked)

    stopped("service")
    stopped("service", timed=True)
    one = cost()
    for kind in ("cluster", "region", "fleet"):
        stopped(kind)
        stopped(kind, timed=True)
        assert cost() == one


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["fleet", *WIDE])
def test_a_timed_freeze_leads_to_where_it_can_be_ended(ana: Client, kind: str) -> None:
    factories.make_service("chat")
    made = stopped(kind, timed=True)

    for path in ("/", "/services/chat/"):
        page = ana.get(path).text
        if kind == "fleet" or path != "/":
            assert f'href="/overrides/{made.pk}/">Resume…' in page
        assert "/resume/" not in page
    given = {"version": 1, "reason": "fixed"}
    told = ana.post(f"/overrides/{made.pk}/end/", given, follow=True)
    assert "Ended: it is only watched for 10 min" in words(told.text)

    assert "is frozen" not in reading(ana, "/services/chat/")


@pytest.mark.django_db
def test_a_service_whose_breaker_is_open_can_be_frozen_beyond_its_reset_s16(ana: Client) -> None:
    chat = factories.make_service("chat")
    Breaker.objects.create(service=chat, opened_at=timezone.now(), cause="x")
    page = ana.get("/services/chat/").text
    assert 'id="open-freeze-service"' in page
    assert 'id="freeze-service"' in page
    stopped("service")
    assert 'id="open-freeze-service"' not in ana.get("/services/chat/").text


@pytest.mark.django_db
def test_the_preview_leaves_out_what_stays_frozen_or_is_only_observed() -> None:
    chat = factories.make_service("chat", mode="automatic")
    factories.make_service("code", mode="automatic", cluster=chat.cluster)
    factories.make_service("old", mode="observe", cluster=chat.cluster)
    for service in Service.objects.all():
        factories.make_decision(service)
    freeze = {"by_name": "ana", "reason": "drill", "since": timezone.now()}
    Freeze.objects.create(**freeze)
    Freeze.objects.create(service=chat, **freeze)
    said = preview(None).sentence
    assert said.endswith("Left out: 1 frozen by another stop, 1 only observed.")
