"""A policy row that no form would accept, written past the forms: it costs no other service."""

from __future__ import annotations

import math

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.factories import make_decision, make_proposal, make_samples, make_service

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
    "/services/?text=%00&cluster=%00",
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
        assert client.get(page, headers=htmx).status_code in {200, 404, 409}, page


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
