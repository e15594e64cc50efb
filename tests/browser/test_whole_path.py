"""Traffic to history in the browser: sign in, see scaling, approve, freeze, resume."""

import re
from datetime import timedelta

import django_rq
import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page, expect
from rq import SimpleWorker

from controller import history, tasks
from controller.models import Action, Decision, Proposal, ServiceStatus, Tick
from controller.services import accounts, demo
from heteroscale_site.queue import JSONQueue, ListedJob
from inventory.models import Policy, RoleSpec, Service

PASSWORD = "correct-horse-battery"


@pytest.fixture
def fleet(transactional_db: None, broker: None) -> None:  # noqa: ARG001
    """A demo fleet with an hour of history and an approver called ana."""
    accounts.ensure_roles()
    ana = User.objects.create_user("ana", password=PASSWORD)
    ana.groups.add(Group.objects.get(name="Approver"))
    demo.create(speed=1.0, trace=None)
    history.produce(lambda _: None, length=timedelta(hours=1))


def tick() -> str:
    """Run one tick as if a period had passed."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    return tasks.tick()


def work() -> None:
    """Let a worker empty the queue of actions."""
    connection = django_rq.get_connection("actions")
    queue = JSONQueue("actions", connection=connection, job_class=ListedJob)
    SimpleWorker([queue], connection=connection, job_class=ListedJob,
                 serializer=queue.serializer).work(burst=True)  # fmt: skip


def sign_in(page: Page, url: str) -> None:
    page.goto(url + "/")
    page.get_by_label("Name").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()


def want_more(slug: str) -> None:
    """Set the target so that the present load is half as much again as it allows."""
    policy = Policy.objects.get(service__slug=slug)
    status = ServiceStatus.objects.get(service__slug=slug)
    count = status.decode_desired if policy.driver == "decode_tps" else status.prefill_desired
    policy.adapt, policy.hold_s, policy.margin_frac = "off", 0.0, 0.0
    policy.target = status.signals[policy.driver]["value"] / count / 1.5
    policy.revision += 1
    policy.save()
    ServiceStatus.objects.filter(service__slug=slug).update(last_scale_out_at=None)


@pytest.mark.usefixtures("fleet")
def test_from_traffic_to_history(page: Page, live_server: object) -> None:  # noqa: PLR0915
    url = live_server.url  # type: ignore[attr-defined]

    # The history was produced by the loop: services scaled by themselves before anyone looked.
    assert Action.objects.filter(service__slug="chat", state="ready").exists()
    assert Decision.objects.filter(move="hold", count__gt=1).exists()

    # A change of a service in mode approve becomes a proposal.
    want_more("vision-search")
    want_more("chat")
    assert re.match(r"tick \d+: 7 decisions", tick())
    wanted = ServiceStatus.objects.get(service__slug="vision-search").decision
    assert wanted is not None
    assert wanted.move == "propose", wanted.sentence
    grown = ServiceStatus.objects.get(service__slug="chat").decision
    assert grown is not None
    assert grown.gate == "act", grown.sentence
    proposal = Proposal.objects.get(state="pending", service__slug="vision-search")

    sign_in(page, url)
    expect(page.locator("[data-strip]")).to_contain_text("ACTING")
    expect(page.locator("[data-strip]")).to_contain_text("simulated")
    expect(page.locator("main")).to_contain_text("vision-search")

    # Another service acts by itself: its page shows the change on its way.
    work()
    assert Action.objects.filter(service__slug="chat", state="applied").exists()
    tick()
    page.goto(url + "/services/chat/")
    expect(page.locator("main")).to_contain_text("starting")
    expect(page.locator(".js-plotly-plot")).to_be_visible()

    # The card says what, why and until when; approving it reaches the cluster.
    page.goto(url + "/approvals/")
    main = page.locator("main")
    expect(main).to_contain_text(f"{proposal.from_decode} → {proposal.to_decode}")
    expect(main).to_contain_text("expires")
    page.get_by_role("button", name="Approve…").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Approve", exact=True).click()
    expect(main).to_contain_text("Approved")
    work()
    proposal.refresh_from_db()
    assert proposal.state == "applied"
    status = ServiceStatus.objects.get(service__slug="vision-search")
    assert status.decode_desired == proposal.to_decode
    page.goto(url + f"/approvals/{proposal.pk}/")
    expect(main).to_contain_text("applied")

    # The decision explains itself.
    page.goto(url + f"/decisions/{proposal.decision_id}/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Proposes")
    expect(main.get_by_role("table").first).to_contain_text("AWAITING_APPROVAL")

    # Frozen: wanted changes are recorded and none is made.
    page.locator("#open-freeze").click()
    page.get_by_role("dialog").get_by_role("button", name="Freeze the fleet").click()
    expect(page.locator("[data-strip]")).to_contain_text("FROZEN")
    before = Action.objects.count()
    Action.objects.filter(state="applied").update(state="ready")
    RoleSpec.objects.filter(service__slug="chat").update(maximum=1000)
    Service.objects.filter(slug="chat").update(max_gpus=8000)
    want_more("chat")
    tick()
    work()
    assert Action.objects.count() == before
    blocked = ServiceStatus.objects.get(service__slug="chat").decision
    assert blocked is not None
    assert blocked.code == "FROZEN"

    # Resumed, with a reason: the next tick acts again.
    page.goto(url + "/resume/")
    page.get_by_label("Reason").fill("incident is over")
    page.get_by_label("Act at once").check()
    page.locator("main").get_by_role("button", name=re.compile("Resume")).click()
    page.goto(url + "/")
    expect(page.locator("[data-strip]")).to_contain_text("ACTING")
    tick()
    assert Action.objects.filter(service__slug="chat", state="recorded").exists()
