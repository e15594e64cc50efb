"""Three in the morning: one person acts from a phone, another finds who, why and until when."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone

from controller.models import Freeze, Override, Proposal, ServiceStatus, Tick
from tests import factories
from tests.browser.conftest import enter, is_fault
from tests.services.people import person, waiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
PHONE = {"width": 390, "height": 844}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    """A phone in its dark theme, failing the test for errors of scripts."""
    context = browser.new_context(
        viewport=PHONE,  # type: ignore[arg-type]
        has_touch=True,
        color_scheme="dark",
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
    )
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if is_fault(line) else None)
    yield opened
    context.close()
    assert not faults


def breaching() -> Proposal:
    """Return what waits for chat, which is over its SLO for five minutes; search is well."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=2, fresh=2)
    proposal = waiting("chat")
    factories.make_service("search", mode="automatic")
    since = now - timedelta(minutes=5)
    for status in ServiceStatus.objects.select_related("service"):
        for signal in status.signals.values():
            signal["measured_at_s"] = now.timestamp()
        status.observed_at = now
        if status.service == proposal.service:
            status.signals["ttft_s"]["value"] = 1.9
            status.ttft_breach_since = since
        status.save()
    return proposal


def fits(page: Page) -> None:
    """Check that nothing is cut off on the phone, and that nobody is shut out."""
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], page.url
    found = Axe().run(page, options=RULES).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:120]) for one in found], page.url


def read_and_approve(phone: Page, base: str, proposal: Proposal) -> None:
    """From the overview to the proposal: why, what it does, and the approval."""
    phone.goto(f"{base}/")
    attention = phone.locator("main").inner_text()
    for said in ("One service is over its SLO", "1.9 s against 1.0 s"):
        assert said in attention, said
    phone.locator(f"main a[href='{proposal.get_absolute_url()}']").first.tap()
    phone.wait_for_url(f"**{proposal.get_absolute_url()}")
    for said in ("Decode throughput is over target.", "6 GPUs more: 12 → 18", "needs 1 of 1"):
        assert phone.get_by_text(said).first.is_visible(), said
    fits(phone)
    phone.locator("form#approve input[name=reason]").fill("TTFT over its SLO")
    phone.locator("form#approve button.primary").tap()
    phone.get_by_text("Approved decode 4 → 6, prefill 2 → 3 for chat.").wait_for()


def pin(phone: Page, base: str) -> None:
    """Pin search for half an hour."""
    phone.goto(f"{base}/overrides/new/?kind=pin&scope=service:search")
    phone.locator("main input[name=decode]").fill("4")
    phone.locator("main input[name=prefill]").fill("2")
    phone.locator("main input[name=lasts][value='30']").check()
    phone.locator("main input[name=reason]").fill("keep search still meanwhile")
    fits(phone)
    phone.get_by_role("button", name="See what changes…").tap()
    phone.get_by_role("button", name="Set it").tap()
    phone.wait_for_url(re.compile(r"/overrides/\d*/?$"))


def freeze(phone: Page, base: str) -> None:
    """Freeze the cluster, after reading what that stops."""
    phone.goto(f"{base}/freeze/?scope=cluster:eu-1-a")
    fits(phone)
    phone.locator("main input[name=reason]").fill("rack B overheats")
    phone.get_by_role("button", name="Freeze cluster eu-1-a").tap()
    phone.get_by_text("no new action for cluster eu-1-a").wait_for()


def test_a_breach_is_met_from_a_phone_and_a_colleague_finds_who_why_and_until_when(
    phone: Page, page: Page, live_server: LiveServer
) -> None:
    proposal, base = breaching(), live_server.url
    enter(phone, live_server, person("ana"))

    read_and_approve(phone, base, proposal)
    pin(phone, base)
    freeze(phone, base)

    made = Override.objects.get()
    assert (Proposal.objects.get().state, made.kind) == ("approved", "pin")
    lasts_s = (made.ends_at - made.starts_at).total_seconds()
    assert lasts_s == pytest.approx(1800, abs=60)
    assert Freeze.objects.get().cluster == proposal.service.cluster

    enter(page, live_server, person("ben", "Viewer"))
    page.goto(f"{base}/overrides/")
    strip = page.locator("#strip").inner_text()
    for said in ("FROZEN cluster eu-1-a (2 services)", "1 override, next ends"):
        assert said in strip, said
    listed = page.locator("main").inner_text()
    for said in ("search", "ana", "keep search still meanwhile", "rack B overheats"):
        assert said in listed, said
    assert re.search(r"(29|30) min", listed)
    page.goto(f"{base}/audit/")
    told = page.locator("main").inner_text()
    for said in ("TTFT over its SLO", "keep search still meanwhile", "rack B overheats"):
        assert said in told, said
    assert told.count("ana") >= 3
