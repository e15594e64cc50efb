"""Metrics sources as the operator reads and changes them; no secret is told to anybody."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.core.reach import Reach
from controller.models import AuditEvent, EndpointStatus
from controller.services.metrics_plan import source_of
from inventory.models import MetricsEndpoint
from tests.factories import make_service, make_source
from tests.pages.certificates import pair
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db
URL = "http://prometheus.lab:9090"
TOKEN = "t0ken-that-nobody-may-read"
USUAL = {
    "slug": "eu-1",
    "kind": "prometheus",
    "url": URL,
    "targets": "",
    "scrape_s": "15",
    "enabled": "on",
    "by": "labels",
    "service_label": "service",
    "role_label": "role",
    "prefill_value": "prefill",
    "decode_value": "decode",
    "namespace_label": "namespace",
    "pod_label": "pod",
    "instance_labels": "instance",
    "login": "none",
    "reason": "it is new",
}
SCRAPE = {"kind": "scrape", "url": "", "targets": "http://10.0.0.7:8000/metrics chat decode"}
POD = {"by": "pod", "decode_pattern": r"(?P<service>.+)-decode-\d+"}


@pytest.fixture(autouse=True)
def anywhere(settings: LazySettings) -> None:
    """Private hosts may be asked, as where one machine has everything."""
    settings.METRICS_REACH = Reach()


@pytest.fixture
def admin() -> Client:
    return signed_in("Admin")


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(person(role.lower(), role))
    return client


def sent(row: MetricsEndpoint | None = None, **changed: Any) -> dict[str, Any]:
    return USUAL | ({"version": row.version} if row else {}) | changed


def answering(row: MetricsEndpoint, state: str, **fields: Any) -> None:
    now = timezone.now()
    given = {"since": now - timedelta(minutes=9), "asked_at": now, "services": 1} | fields
    EndpointStatus.objects.create(endpoint=row, state=state, **given)


def test_without_a_source_three_ways_to_begin_are_told(admin: Client) -> None:
    page = reading(admin, "/sources/")
    for word in ("No metrics source yet", "A Prometheus", "Detect", "Direct scrape"):
        assert word in page
    viewer = signed_in("Viewer").get("/sources/").content.decode()
    assert "needs the role Admin" in words(viewer)
    assert "/sources/new/" not in viewer


def test_the_list_says_how_each_answers(admin: Client) -> None:
    now = timezone.now()
    service = make_service("chat")
    make_source("fresh", service)
    answering(
        make_source("down", make_service("code")),
        "failed",
        failures=4,
        again_at=now + timedelta(seconds=40),
        answered_at=now - timedelta(minutes=9),
        told=["It can't be reached.", "Twice."],
    )
    answering(make_source("half"), "partial", took_ms=412.4, newest_at=now - timedelta(seconds=7))
    answering(make_source("well"), "ok", answered_at=now - timedelta(seconds=3))
    answering(make_source("off", enabled=False), "failed")
    page = reading(admin, "/sources/")
    for told in (
        "fresh not asked yet", "down does not answer since", "It can't be reached. And 1 more.",
        "after 4 failures", "half answers in part since", "412 ms", "7 s ago", "well answers",
        "off switched off", "Prometheus http://down.example:9090",
    ):  # fmt: skip
        assert told in page, told


def test_queries_do_not_grow_with_sources(admin: Client) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as found:
            admin.get(path)
        return len(found)

    make_source("a", make_service("chat"))
    count("/sources/")
    first, page = count("/sources/"), count("/sources/a/")
    for name in "bcd":
        make_source(name, make_service(f"s-{name}"))
    assert count("/sources/") == first
    assert count("/sources/a/") == page


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"url": f"{URL}/"}, {"url": URL, "targets": [], "attach.by": "labels"}),
        ({"by": "info", "pod_label": "kubernetes_pod"}, {"attach.pod": "kubernetes_pod"}),
        (POD, {"attach.patterns": {"decode": POD["decode_pattern"]}}),
        ({"only": "namespace=inference\n"}, {"attach.only": {"namespace": "inference"}}),
        ({"instance_labels": "namespace, pod"}, {"attach.instance": ["namespace", "pod"]}),
        (
            SCRAPE,
            {
                "url": "",
                "targets": [
                    {
                        "url": "http://10.0.0.7:8000/metrics",
                        "instance": "10.0.0.7:8000",
                        "service": "chat",
                        "role": "decode",
                    }
                ],
            },
        ),
        ({"login": "basic", "user": "ana", "secret": TOKEN}, {"user": "ana"}),
        ({"tenant": "team-1", "enabled": ""}, {"tenant": "team-1", "enabled": False}),
    ],
)
def test_what_is_added_is_shown_again_in_its_form(
    admin: Client, changed: dict[str, str], kept: dict[str, Any]
) -> None:
    answer = admin.post("/sources/new/", sent(**changed))
    assert answer.status_code == 302, words(answer.content.decode())
    row = MetricsEndpoint.objects.get()
    for name, value in kept.items():
        field, _, part = name.partition(".")
        found = getattr(row, field)
        assert (found[part] if part else found) == value
    form = admin.get("/sources/eu-1/edit/").context["form"].initial
    same = admin.post("/sources/eu-1/edit/", {**sent(row, **changed), **_text(form), "secret": ""})
    assert same.status_code == 302
    assert MetricsEndpoint.objects.get().version == 1
    assert reading(admin, "/sources/eu-1/")


def _text(initial: dict[str, Any]) -> dict[str, Any]:
    plain = {name: "" if value is None else value for name, value in initial.items()}
    return plain | {"enabled": "on" if initial["enabled"] else ""}


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"url": ""}, "url", "Give its address"),
        ({"url": "ftp://x"}, "url", "must begin with https://"),
        ({"url": "http://ana:pw@x:9090"}, "url", "no user name and no password"),
        ({"url": "http://169.254.169.254/latest"}, "url", "never asked"),
        ({"url": "http://[fe80::1]:9090"}, "url", "never asked"),
        ({"url": "http://metadata.google.internal"}, "url", "never asked"),
        ({"url": "http://127.0.0.1:9090"}, "url", "HETEROSCALE_METRICS_HOSTS"),
        ({"url": "http://10.0.0.1:9090"}, "url", "HETEROSCALE_METRICS_HOSTS"),
        ({"url": f"{URL}/api/v1/query"}, "url", f"Leave out /api/v1 and what follows: {URL}."),
        ({"url": f"{URL}/?a=b"}, "url", "no query"),
        ({"url": "http://x:99999999"}, "url", "can't be read"),
        ({"slug": "a b"}, "slug", "letters, numbers, underscores or hyphens"),
        ({"slug": "new"}, "slug", "choose another"),
        ({"slug": "taken"}, "slug", "There is an endpoint taken already."),
        ({"scrape_s": "0"}, "scrape_s", "greater than or equal to 1"),
        ({"scrape_s": "nan"}, "scrape_s", "Enter a number"),
        ({"kind": "carrier"}, "kind", "Select a valid choice"),
        ({"service_label": "a-b"}, "service_label", "'a-b' is no name of a label."),
        ({"instance_labels": ""}, "instance_labels", "List the labels"),
        ({"only": "namespace"}, "only", "Line 1 is not label=expression."),
        ({"by": "pod"}, "decode_pattern", "Give an expression"),
        ({"by": "pod", "decode_pattern": "x-(.+)"}, "decode_pattern", "has no group"),
        ({"kind": "scrape"}, "targets", "Name at least one target"),
        (SCRAPE | {"targets": "\nhttp://a/m x both"}, "targets", "Line 2: the role is"),
        (SCRAPE | {"targets": "http://169.254.1.1/metrics"}, "targets", "never asked"),
        ({"login": "bearer"}, "secret", "Give the token."),
        ({"login": "bearer", "secret": "a\nb"}, "secret", "characters that a header can hold"),
        ({"login": "basic", "secret": "x"}, "user", "Give the user's name"),
        ({"login": "basic", "user": "a"}, "secret", "Give the password."),
        ({"tenant": "é"}, "tenant", "characters that a header can hold"),
        ({"ca": "x"}, "ca", "no certificate in PEM"),
        ({"certificate": "x"}, "certificate", "no certificate in PEM"),
        ({"private_key": "x"}, "certificate", "A key needs its certificate"),
    ],
)
def test_bad_input_is_told_at_its_field_and_kept(
    admin: Client, settings: LazySettings, changed: dict[str, str], field: str, said: str
) -> None:
    make_source("taken")
    settings.METRICS_REACH = Reach(frozenset({"prometheus.lab"}), inside=False)
    answer = admin.post("/sources/new/", sent(**changed))
    assert answer.status_code == 400
    form = answer.context["form"]
    assert said in " ".join(form.errors.get(field, [])), form.errors
    assert list(form.errors) == [field]
    page = answer.content.decode()
    if field not in {"secret", "private_key", "kind"}:
        name = next(iter({field} & changed.keys()), "slug")
        assert form[name].value() == (changed | {"slug": changed.get("slug", "eu-1")})[name]
    assert "it is new" in page
    assert MetricsEndpoint.objects.count() == 1


def test_certificates_go_together(admin: Client) -> None:
    (own, own_key), (other, other_key) = pair("ours"), pair("theirs")
    wrong = admin.post("/sources/new/", sent(ca=other, certificate=own, private_key=other_key))
    assert "not that of the certificate" in wrong.context["form"].errors["private_key"][0]
    assert other_key.splitlines()[1] not in wrong.content.decode()
    alone = admin.post("/sources/new/", sent(certificate=own))
    assert "needs its key" in alone.context["form"].errors["private_key"][0]
    assert (
        admin.post(
            "/sources/new/", sent(ca=other, certificate=own, private_key=own_key)
        ).status_code
        == 302
    )
    row = MetricsEndpoint.objects.get()
    assert source_of(row).access.key == own_key.strip()
    assert "PRIVATE KEY" not in row.key
    # Kept while its field stays empty; gone with its certificate.
    assert (
        admin.post("/sources/eu-1/edit/", sent(row, ca=other, certificate=own)).status_code == 302
    )
    assert MetricsEndpoint.objects.get().key == row.key
    assert admin.post("/sources/eu-1/edit/", sent(row)).status_code == 302
    assert MetricsEndpoint.objects.get().key == ""
    assert own_key.splitlines()[1] not in str(list(AuditEvent.objects.values()))


def test_a_secret_is_told_to_nobody(admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login = {"login": "bearer", "secret": TOKEN}
    pages = [admin.post("/sources/new/", sent(**login, url="ftp://x"))]
    assert "has to be typed again" in words(pages[0].content.decode())
    pages.append(admin.post("/sources/new/", sent(**login)))
    row = MetricsEndpoint.objects.get()
    assert source_of(row).access.token == TOKEN
    pages += [
        admin.post("/sources/eu-1/edit/", sent(row, **login, scrape_s="x")),
        admin.post("/sources/eu-1/edit/", sent(**login, version=7, scrape_s="20")),
        *(admin.get(path) for path in ("/sources/", "/sources/eu-1/", "/sources/eu-1/edit/")),
        admin.get("/audit/"),
        Client().post("/sources/eu-1/edit/", sent(row, **login)),
    ]
    admin.post("/sources/eu-1/edit/", sent(row, login="bearer", secret=f"{TOKEN}-2"))
    told = "".join(page.content.decode() for page in pages) + caplog.text
    told += str(list(AuditEvent.objects.values())) + MetricsEndpoint.objects.get().secret
    assert TOKEN not in told
    change = AuditEvent.objects.order_by("-at").first()
    assert change is not None
    assert (change.before, change.after) == ({"secret": "another"}, {"secret": "replaced"})


def test_a_secret_stays_and_goes_to_no_other_host(admin: Client) -> None:
    admin.post("/sources/new/", sent(login="bearer", secret=TOKEN))
    row = MetricsEndpoint.objects.get()
    moved = admin.post("/sources/eu-1/edit/", sent(row, login="bearer", url="http://evil.example"))
    assert moved.status_code == 400
    said = moved.context["form"].errors["secret"][0]
    assert (
        said == "The token that is kept was not given for http://evil.example:80: type it again."
    )
    other = admin.post("/sources/eu-1/edit/", sent(row, login="basic", user="ana"))
    assert other.context["form"].errors["secret"] == ["Give the password."]
    same = admin.post("/sources/eu-1/edit/", sent(row, login="bearer", url=f"{URL}/prefix"))
    assert same.status_code == 302
    assert source_of(MetricsEndpoint.objects.get()).access.token == TOKEN
    row.refresh_from_db()
    assert admin.post("/sources/eu-1/edit/", sent(row)).status_code == 302
    assert MetricsEndpoint.objects.get().secret == ""


def test_a_change_is_recorded_and_who_comes_late_is_told(admin: Client) -> None:
    row = make_source("eu-1")
    first = admin.post("/sources/eu-1/edit/", sent(row, scrape_s="30", slug="eu-2"))
    assert first["Location"] == "/sources/eu-2/"
    event = AuditEvent.objects.get()
    assert (event.verb, event.reason, event.before["scrape_s"], event.after["scrape_s"]) == (
        "changed", "it is new", 15.0, 30.0,
    )  # fmt: skip
    late = admin.post("/sources/eu-2/edit/", sent(row, url="http://elsewhere:9090"))
    assert late.status_code == 409
    page = words(late.content.decode())
    assert "Nothing was saved. admin changed eu-2" in page
    assert "scrape s: 15" in page
    assert late.context["form"]["url"].value() == "http://elsewhere:9090"
    again = admin.post("/sources/eu-2/edit/", late.context["form"].data | {})
    assert again.status_code == 302
    assert MetricsEndpoint.objects.get().url == "http://elsewhere:9090"


def test_nothing_that_is_read_from_is_removed(admin: Client) -> None:
    service = make_service("chat")
    row = make_source("eu-1", service)
    assert "chat reads from it" in reading(admin, "/sources/eu-1/remove/")
    wish = {"version": row.version, "reason": "old"}
    refused = admin.post("/sources/eu-1/remove/", wish)
    assert refused.status_code == 409
    assert "eu-1 is in use: chat" in words(refused.content.decode())
    row.uses.all().delete()
    assert admin.post("/sources/eu-1/remove/", wish | {"version": 9}).status_code == 409
    assert admin.post("/sources/eu-1/remove/", wish | {"reason": " "}).status_code == 400
    assert admin.post("/sources/eu-1/remove/", wish).status_code == 302
    assert not MetricsEndpoint.objects.exists()
    assert AuditEvent.objects.get().verb == "removed"


def test_the_setup_checklist_leads_there(admin: Client) -> None:
    assert 'href="/sources/"' in admin.get("/setup/").content.decode()


@pytest.mark.parametrize(
    ("state", "fields", "told"),
    [
        (
            "failed",
            {"failures": 2, "told": ["It can't be reached."]},
            "Prometheus eu-1 does not answer. It can't be reached. 2 services hold.",
        ),
        ("failed", {"failures": 1}, ""),
        ("partial", {}, "Prometheus eu-1 answers in part. 2 services may lack figures."),
        ("partial", {"since": None}, ""),
        ("ok", {}, ""),
    ],
)
def test_the_overview_tells_of_an_endpoint_that_does_not_answer(
    admin: Client, state: str, fields: dict[str, Any], told: str
) -> None:
    if "since" in fields:
        # Of just now, whenever this runs.
        fields = {"since": timezone.now()}
    answering(make_source("eu-1", make_service("chat"), make_service("code")), state, **fields)
    answering(make_source("nobody-reads"), "failed", failures=9)
    page = reading(admin, "/")
    assert "nobody-reads" not in page
    assert told in page if told else "eu-1" not in page.replace("eu-1-a", "")


def test_figures_of_endpoints_are_exported() -> None:
    now = timezone.now()
    answering(make_source("a"), "failed", took_ms=2500.0)
    answering(make_source("b"), "partial", newest_at=now - timedelta(seconds=30))
    answering(make_source("c", enabled=False), "ok")
    text = Client().get("/metrics").content.decode()
    assert 'heteroscale_source_up{source="a"} 0.0' in text
    assert 'heteroscale_source_up{source="b"} 0.5' in text
    assert 'heteroscale_source_duration_seconds{source="a"} 2.5' in text
    assert 'heteroscale_source_age_seconds{source="b"} 3' in text
    assert 'source="c"' not in text
