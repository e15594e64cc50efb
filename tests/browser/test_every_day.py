"""Daily work at the keys, and pages that shut nobody out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group, User
from django.utils import timezone

from controller.models import ApprovalRule, Freeze, Proposal, ServiceStatus, Tick
from tests import factories
from tests.browser.conftest import enter
from tests.everything import make_everything
from tests.services.people import person, waiting

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES: Final = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}
SIGHTS: Final[tuple[tuple[int, Literal["light", "dark"]], ...]] = ((1280, "light"), (390, "dark"))
"""A width changes the layout and a theme the colours, neither both: two sights see all."""


@pytest.fixture
def ana(page: Page, live_server: LiveServer) -> User:
    """An approver who is signed in, in a fleet whose loop runs."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    user = person("ana")
    enter(page, live_server, user)
    return user


def shown(page: Page) -> list[str]:
    """Return what axe finds wrong and whether something is cut off, at both widths and themes."""
    wrong = []
    page.evaluate(Axe().axe_script)
    for width, theme in SIGHTS:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=theme)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append(f"{page.url} is wider than {width}")
        found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", RULES)
        wrong += [
            f"{page.url} {theme} {width}: {one['id']} {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
        ]
    return wrong


def test_no_page_of_daily_work_shuts_anybody_out(page: Page, live_server: LiveServer) -> None:
    user, now = person("ana"), timezone.now()
    user.groups.set(Group.objects.all())
    here = make_everything(user)
    other = factories.make_decision(here.service, code="AT_MAX")
    Freeze.objects.create(by_name="bo", reason="a leak", since=now)
    page.goto(f"{live_server.url}/sign-in/")
    wrong = shown(page)
    enter(page, live_server, user)

    for path in (
        "/",
        "/overrides/",
        "/overrides/new/",
        f"/overrides/{here.override.pk}/",
        "/audit/",
        "/me/",
        "/me/second-factor/",
        "/people/doors/",
        "/grants/",
        "/approvals/",
        "/approvals/rules/",
        f"/approvals/rules/{here.rule.name}/",
        "/decisions/",
        f"/decisions/compare/?first={here.decision.pk}&second={other.pk}",
        f"/breakers/{here.breaker.pk}/reset/",
        "/resume/",
        f"/actions/{here.action.pk}/roll-back/",
    ):
        answer = page.goto(live_server.url + path)
        assert answer is not None
        assert answer.ok, path
        wrong += shown(page)
    assert wrong == []


@pytest.mark.usefixtures("ana")
def test_several_proposals_are_approved_by_keys_and_each_has_its_outcome(
    page: Page, live_server: LiveServer
) -> None:
    first, second, third = (waiting(slug, left_s=600 + i) for i, slug in enumerate("abc"))
    page.goto(f"{live_server.url}/approvals/")

    for key in ("j", "x", "j", "j", "Shift+X"):
        page.keyboard.press(key)
    assert page.locator("input[name=item]:checked").count() == 3
    page.get_by_role("button", name="Approve several…").press("Enter")
    page.get_by_role("heading", name="Approve several").wait_for()
    Proposal.objects.filter(pk=third.pk).update(state="withdrawn", closed_at=timezone.now())
    page.locator("#bulk-reason").press("Control+Enter")
    page.get_by_role("heading", name="What became of each").wait_for()

    states = {one.pk: one.state for one in Proposal.objects.all()}
    assert states == {first.pk: "approved", second.pk: "approved", third.pk: "withdrawn"}
    told = [row.inner_text() for row in page.locator("main tbody tr").all()]
    assert ["Approved" in line for line in told] == [True, True, False]


def test_a_change_is_rolled_back_from_the_page_of_its_service(
    page: Page, live_server: LiveServer, ana: User
) -> None:
    service, now = factories.make_service(mode="approve"), timezone.now()
    ServiceStatus.objects.update(
        observed_at=now, prefill_desired=3, prefill_ready=3, decode_desired=6, decode_ready=6
    )
    factories.make_action(
        service, state="ready", recorded_at=now, sent_at=now, applied_at=now, ready_at=now
    )
    page.goto(live_server.url + service.get_absolute_url())

    page.get_by_role("link", name="Roll back…").press("Enter")
    page.wait_for_url("**/roll-back/")
    page.locator("main input[name=reason]").fill("it was a load test")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/approvals/*/")

    made = Proposal.objects.get()
    assert (made.to_prefill, made.to_decode, made.requested_by) == (2, 4, ana)
    assert page.get_by_text("it was a load test").first.is_visible()


def test_a_rule_that_approves_is_made_and_changed(
    page: Page, live_server: LiveServer, ana: User
) -> None:
    ana.groups.set(Group.objects.all())
    page.goto(f"{live_server.url}/approvals/rules/")

    page.get_by_label("Name").fill("small-steps")
    page.get_by_label("At most so many GPUs").fill("8")
    page.locator("main input[name=reason]").fill("small ones are safe")
    page.get_by_role("button", name="Save the rule").press("Enter")
    page.get_by_text("revision 1 holds from now on").wait_for()
    page.get_by_label("At most so many GPUs").fill("4")
    page.locator("main input[name=reason]").fill("smaller still")
    page.get_by_role("button", name="Save the rule").press("Enter")
    page.get_by_text("revision 2 holds from now on").wait_for()

    rows = ApprovalRule.objects.order_by("revision").values_list("revision", "most_gpus")
    assert list(rows) == [(1, 8), (2, 4)]


def listed(page: Page) -> dict[str, str]:
    """Return what each key of the sheet is said to do; it is open then."""
    page.keyboard.press("?")
    keys = [" ".join(term.inner_text().split()) for term in page.locator("[data-keys] dt").all()]
    words = page.locator("[data-keys] dd").all_inner_texts()
    assert len({*keys}) == len(keys)
    return dict(zip(keys, words, strict=True))


@pytest.mark.usefixtures("ana")
def test_every_key_that_goes_somewhere_goes_where_the_sheet_says(
    page: Page, live_server: LiveServer
) -> None:
    page.goto(f"{live_server.url}/approvals/")
    meanings = listed(page)
    page.keyboard.press("Escape")

    went = {}
    for keys, meaning in meanings.items():
        if keys.startswith("g "):
            with page.expect_navigation():
                for key in keys.split():
                    page.keyboard.press(key)
            went[meaning] = page.url.removeprefix(live_server.url)
    assert went == {
        meaning: f"/{meaning.removeprefix('Go to the ')}/".replace("/overview/", "/")
        for meaning in went
    }
    assert len(went) == 8


@pytest.mark.usefixtures("ana")
def test_every_other_key_of_the_sheet_does_what_it_says(
    page: Page, live_server: LiveServer
) -> None:
    proposal = waiting()
    decision = factories.make_decision(proposal.service)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{live_server.url}/approvals/{proposal.pk}/")
    told = {keys for keys in listed(page) if not keys.startswith("g ")}
    page.keyboard.press("Escape")
    # Keys of rows, of the attention list, of drawings and of live updates have tests of their own.
    elsewhere = {*"jkxX.t", "Enter", "1…7", "← ↑ → ↓"}
    assert told - elsewhere == {*"?arf[]y", "Esc", "Ctrl+Enter"}

    for verb, key in (("approve", "a"), ("reject", "r")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.form.id") == verb
        page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    assert page.locator("dialog#freeze-fleet[open]").count() == 1
    page.goto(live_server.url + proposal.service.get_absolute_url())
    page.keyboard.press("f")
    assert page.locator("dialog#freeze-service[open]").count() == 1
    page.goto(live_server.url + decision.get_absolute_url())
    page.keyboard.press("[")
    page.wait_for_url(f"**/decisions/{proposal.decision_id}/")
    page.keyboard.press("]")
    page.wait_for_url(f"**{decision.get_absolute_url()}")
    page.keyboard.press("y")
    page.get_by_text("copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
