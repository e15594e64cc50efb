"""A policy row that no form would accept, written past the forms: it costs no other service."""

from __future__ import annotations

import math

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from controller.models import ServiceStatus
from tests.factories import make_decision, make_proposal, make_samples, make_service
from tests.pages.reading import reading

PAGES = (
    "/",
    "/overview/services/",
    "/services/",
    "/services/odd/",
    "/services/odd/panel/now/",
    "/decisions/",
    "/approvals/",
    "/api/v1/figures/service?service=odd",
    "/api/v1/figures/slo-map",
)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pd_ratio", math.inf),
        ("pd_ratio", -1.0),
        ("driver", "nonsense"),
        ("target", math.nan),
        ("target", 0.0),
        ("cooldown_in_s", math.nan),
        ("theta_out", math.inf),
        ("ratio_tolerance", math.nan),
        ("stabilisation_s", math.inf),
        ("proposal_ttl_s", math.nan),
        ("step_frac", math.nan),
        ("schedule", {"begin": "08:00"}),
        ("schedule", [{"name": "day", "begin": "8 o'clock"}]),
        ("adapt", "perhaps"),
        ("time_zone", "Mars/Olympus"),
        ("lead_s", math.inf),
    ],
)
def test_a_bad_policy_row_breaks_no_page_c01(client: Client, field: str, value: object) -> None:
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    odd = make_service("odd", policy={field: value})
    make_samples(odd, until=timezone.now())
    make_decision(odd)
    make_proposal(make_service("fine", mode="approve"))
    for page in PAGES:
        htmx = {"HX-Request": "true"} if "panel" in page or "overview" in page else {}
        # Of a signal nobody knows, or a policy that can't be read, there is nothing to draw.
        refused = field in {"driver", "schedule", "adapt"} and "service=odd" in page
        assert client.get(page, headers=htmx).status_code == (409 if refused else 200), page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pd_ratio", math.inf, "pd_ratio is inf; give a number from 0.001 to 1,000"),
        ("driver", "nonsense", "driver 'nonsense' is unknown; choose from"),
        ("target", math.nan, "target is nan; give a number from"),
        ("cooldown_in_s", math.nan, "cooldown_in_s is nan; give a number from 0 to 604,800 s"),
        ("schedule", [{"name": "day"}], "schedule[0].begin is empty; give a time from 00:00"),
    ],
)
def test_the_service_says_what_to_enter_and_the_others_do_not(
    client: Client, field: str, value: object, said: str
) -> None:
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    make_service("odd", policy={field: value})
    make_service("fine")
    ServiceStatus.objects.update(observed_at=timezone.now())
    assert f"The configuration can't be used : {said}" in reading(client, "/services/odd/")
    assert "can't be used" not in reading(client, "/services/fine/")
    rows = reading(client, "/services/")
    assert rows.count("configuration can't be used") == 1
    assert f"configuration can't be used: {said}" in rows
    assert "outside" not in rows


@pytest.mark.django_db
def test_the_figure_names_the_driver_nobody_knows(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    make_samples(make_service("odd", policy={"driver": "nonsense"}), until=timezone.now())
    error = client.get("/api/v1/figures/service?service=odd").json()["error"]
    assert error["code"] == "config_invalid"
    assert "driver 'nonsense' is unknown; choose from" in error["message"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page",
    [
        "/services/?text=%00",
        "/services/?cluster=%00",
        "/services/?mode=%00",
        "/approvals/?tab=%00",
    ],
)
def test_a_filter_no_row_can_hold_is_no_filter(client: Client, page: str) -> None:
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    make_decision(make_service("chat"))
    assert client.get(page).status_code == 200
    if page.startswith(("/services/", "/approvals/")):
        assert client.get(page, headers={"HX-Request": "true"}).status_code == 200


@pytest.mark.django_db
def test_another_zone_is_another_answer(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    make_decision(make_service("chat"))
    headers = {"HX-Request": "true"}
    first = client.get("/strip/", headers=headers)
    client.post("/me/preferences/", {"time_zone": "Asia/Tokyo", "theme": "system"})
    again = client.get("/strip/", headers={**headers, "If-None-Match": first["ETag"]})
    assert again.status_code == 200
    assert again["ETag"] != first["ETag"]


@pytest.mark.django_db
@pytest.mark.parametrize("right", ["freeze", "resume", "approve_proposal"])
@pytest.mark.parametrize(
    "page", ["/strip/", "/services/", "/services/chat/panel/now/", "/overview/services/"]
)
def test_another_right_is_another_answer(client: Client, page: str, right: str) -> None:
    person = User.objects.create_user("ana", password="a long enough phrase")
    client.force_login(person)
    make_decision(make_service("chat"))
    headers = {"HX-Request": "true"}
    known = {**headers, "If-None-Match": client.get(page, headers=headers)["ETag"]}
    assert client.get(page, headers=known).status_code == 304
    person.user_permissions.add(Permission.objects.get(codename=right))
    assert client.get(page, headers=known).status_code == 200
