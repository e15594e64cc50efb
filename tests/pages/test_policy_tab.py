"""The policy tab as the operator reads it: typed, compared, adopted, taken back, tried."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller import tasks
from controller.core.policy_fields import FIELDS, GROUPS, plain_default
from controller.models import AuditEvent, Backtest
from controller.selectors.backtests import hours
from controller.selectors.policy_page import EDITED, IN_FORCE
from controller.simulator.backtest.contestants import PARAMETERS
from controller.simulator.backtest.question import Question, parse_candidate
from inventory.models import Policy, PolicyRevision, Service
from inventory.services.policies import KEPT, body_of
from tests import factories
from tests.backtests import FOUND, answer, make_backtest, question_of, run, score
from tests.pages.reading import reading, words
from tests.services.people import person

TAB = "/services/chat/policy/"
WINDOW = {
    "name": "office hours",
    "kind": "floor",
    "begin": "08:00",
    "end": "18:00",
    "prefill": "4",
    "decode": "8",
    "days": ["0", "1", "2", "3", "4"],
    "dates": "",
    "except_dates": "2026-12-25",
}
SCHEDULE = [
    {
        "name": "office hours",
        "kind": "floor",
        "begin": "08:00",
        "end": "18:00",
        "prefill": 4,
        "decode": 8,
        "days": [0, 1, 2, 3, 4],
        "dates": [],
        "except_dates": ["2026-12-25"],
    }
]


@pytest.fixture
def chat() -> Service:
    """A service that has its first policy."""
    return factories.make_service("chat")


@pytest.fixture
def pia(client: Client) -> User:
    """A policy editor who is signed in."""
    user = person("pia", "Policy editor")
    client.force_login(user)
    return user


def typed(service: Service, **changes: Any) -> dict[str, Any]:
    """Return the form of the policy in force as a browser sends it, with changes."""
    policy = Policy.objects.get(service=service)
    sent: dict[str, Any] = {"opened": policy.revision, "reason": "more room", "windows": 0}
    for name in KEPT:
        value = getattr(policy, name)
        if name == "name":
            sent[name] = value.split("+")
        elif name != "schedule" and value is not None and value is not False:
            sent[name] = str(value)
    return sent | changes


def with_window(**changes: Any) -> dict[str, Any]:
    """Return the fields of one window as a browser sends them."""
    row = {f"window-0-{name}": value for name, value in (WINDOW | changes).items()}
    return {"name": ["proportional", "periodic"], "windows": 1} | row


# What it shows.


@pytest.mark.django_db
@pytest.mark.usefixtures("chat", "pia")
def test_every_kept_field_has_its_words_unit_and_meaning(client: Client) -> None:
    page = reading(client, TAB)

    assert set(KEPT) <= {name for group in GROUPS for name in group.names}
    for name in KEPT:
        field = FIELDS[name]
        told = field.label if name == "schedule" else field.meaning
        assert (told in page) or field.kind == "schedule", name
        assert not field.unit or f"[{field.unit}]" in page, name
    assert "Nothing changed: the form has what is in force." in page
    assert "Revision 1 is in force." in page


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
def test_a_viewer_reads_the_policy_and_gets_no_form(client: Client) -> None:
    client.force_login(person("vera", "Viewer"))

    page = client.get(TAB).content.decode()

    assert 'id="policy-form"' not in page
    assert "Target 1,000 per instance" in words(page)
    assert "editing needs Policy editor, simulating needs Operator" in words(page)


@pytest.mark.django_db
def test_an_operator_may_try_and_not_adopt(client: Client, chat: Service) -> None:
    client.force_login(person("otto", "Operator"))

    assert "Adopt as revision 2 needs Policy editor" in reading(client, TAB)
    answer = client.post(TAB, typed(chat, target="1200"))
    assert answer.status_code == 403
    assert "changing a policy needs the role Policy editor" in words(answer.content.decode())
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    "path", [TAB, f"{TAB}?simulation=nonsense", f"{TAB}?simulation={uuid.UUID(int=1)}"]
)
def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    if "simulation" in path:
        factories.make_service("chat")
    assert client.get(path).status_code == 404


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_queries_do_not_grow_with_the_revisions(client: Client, chat: Service) -> None:
    counts = []
    for target in (1100, 1200, 1300):
        client.post(TAB, typed(chat, target=target))
        with CaptureQueriesContext(
            connection,
        ) as asked:
            client.get(TAB)
        counts.append(len(asked))

    assert counts[0] == counts[1] == counts[2]
    assert counts[0] <= 24


# What it checks.


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("target", "abc", "“Target” is 'abc'; give a number from", id="no number"),
        pytest.param("target", "", "“Target” is empty; give a number from", id="empty"),
        pytest.param("target", "1e400", "“Target” is inf; give a number from", id="too large"),
        pytest.param("step_abs", "2.5", "give a whole number from 1 to", id="not whole"),
        pytest.param(
            "theta_in",
            "2",
            "“Scale in below” is 2; give a number from 0 to 0.99",
            id="out of range",
        ),
        pytest.param(
            "target",
            "1e99",
            "give a number from 0.000001 to 1,000,000,000,000 per instance",
            id="beyond a trillion",
        ),
        pytest.param("adapt", "", "Nothing is chosen; choose from off, propose", id="no choice"),
        pytest.param("hold_s", "x" * 41, "at most 40 characters", id="a long text"),
        pytest.param("time_zone", "Mars/North", "Mars/North", id="no zone"),
        pytest.param("adapt", "perhaps", "perhaps", id="no such way to adapt"),
        pytest.param("driver", "decode_util", "high even at light load", id="a bad driver"),
        pytest.param("name", [], "policy", id="no policy chosen"),
    ],
)
def test_what_can_not_be_used_is_said_at_the_field_and_kept(
    client: Client, chat: Service, field: str, value: Any, said: str
) -> None:
    answer = client.post(TAB, typed(chat, **{field: value}))
    page = answer.content.decode()

    assert answer.status_code == 400
    at = re.search(rf'id="id_{field}_error".*?</span></span></span>', page, re.DOTALL)
    assert at
    assert said in words(at.group())
    assert not isinstance(value, str) or value in page
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_what_is_typed_is_compared_with_what_is_in_force(client: Client, chat: Service) -> None:
    sent = typed(chat, target="1200", step_abs="x")
    page = client.post(f"{TAB}check/", sent, headers={"HX-Request": "true"}).content.decode()

    assert "Target 1,000 per instance 1,200 per instance" in words(page)
    assert "1 field can't be used yet" in words(page)
    assert "1 field can't be used yet: Largest step." in words(page)
    assert '<div id="policy-status" hx-swap-oob="innerHTML">' in page
    assert re.search(r'id="id_step_abs_error" hx-swap-oob="true"><span class="state crit', page)
    assert 'id="id_target_error" hx-swap-oob="true"></span>' in page
    assert Policy.objects.get().revision == 1
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_without_scripts_the_whole_tab_says_the_same(client: Client, chat: Service) -> None:
    page = words(client.post(f"{TAB}check/", typed(chat, lead_s="90")).content.decode())

    assert "Start-up to look ahead by measured 90 s" in page
    assert "Policy of chat" in page


@pytest.mark.django_db
@pytest.mark.usefixtures("chat", "pia")
def test_each_field_names_its_meaning_and_its_error_to_every_reader(client: Client) -> None:
    page = client.get(TAB).content.decode()

    for name in set(KEPT) - {"schedule"}:
        assert f'aria-describedby="id_{name}_helptext id_{name}_error"' in page, name
        assert page.count(f'id="id_{name}_helptext"') == 1, name
        assert page.count(f'id="id_{name}_error"') == 1, name
    assert 'id="policy-status" role="status"' in page


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize("where", ["check", "windows", "simulate", "curate"])
@pytest.mark.parametrize(
    ("field", "said"),
    [
        pytest.param("adapt", "Nothing is chosen; choose from off, propose", id="no adapt"),
        pytest.param("driver", "driver '' is unknown; choose from decode_tps", id="no driver"),
    ],
)
def test_a_form_that_lacks_a_choice_is_refused_in_words(
    client: Client, chat: Service, where: str, field: str, said: str
) -> None:
    sent = typed(chat)
    del sent[field]
    answer = client.post(f"{TAB}{where}/", sent)
    while_typing = client.post(f"{TAB}{where}/", sent, headers={"HX-Request": "true"})

    assert (answer.status_code, while_typing.status_code) == (400, 400)
    at = re.search(rf'id="id_{field}_error".*?</span></span></span>', answer.text, re.DOTALL)
    assert at
    assert said in words(at.group())


ODD = ["", "x", "\0", "9" * 5000, "-1", "1e400", "nan", "[]", "é" * 70, "../etc"]


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    "sent_as",
    ["adapt", "driver", "name", "target", "time_zone", "opened", "windows", "window-0-days"],
)
def test_whatever_a_field_is_sent_as_is_answered(
    client: Client, chat: Service, sent_as: str
) -> None:
    whole = typed(chat, **with_window())
    for value in (None, *ODD):
        sent = {key: each for key, each in whole.items() if key != sent_as or value is not None}
        if value is not None:
            sent[sent_as] = value
        assert client.post(f"{TAB}check/", sent).status_code in {200, 400}, value


# Windows.


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_window_is_added_filled_adopted_and_removed(client: Client, chat: Service) -> None:
    added = client.post(f"{TAB}windows/", typed(chat, add="1"), headers={"HX-Request": "true"})
    assert 'name="window-0-begin"' in added.content.decode()
    assert 'name="windows" value="1"' in added.content.decode()

    assert client.post(TAB, typed(chat, **with_window())).status_code == 302
    assert Policy.objects.get().schedule == SCHEDULE
    assert (
        "no window → office hours, 08:00 to 18:00 on Mon, Tue, Wed, Thu, Fri "
        "but not on 2026-12-25: at least prefill 4, decode 8" in reading(client, TAB)
    )

    dropped = client.post(f"{TAB}windows/", typed(chat, drop="0", **with_window()))
    assert dropped.status_code == 200
    assert 'name="window-0-begin"' not in dropped.content.decode()
    assert Policy.objects.get().schedule == SCHEDULE


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_an_added_window_is_asked_to_be_filled_and_not_to_be_added(
    client: Client, chat: Service
) -> None:
    empty = dict.fromkeys(("name", "begin", "end", "prefill", "decode"), "")
    none = client.post(f"{TAB}check/", typed(chat, name=["periodic"])).text
    one = client.post(f"{TAB}check/", typed(chat, **with_window(**empty))).text

    assert "policy periodic has no window; add one" in none
    assert "policy periodic has no window" not in one
    assert "The window has nothing in it yet; give its name, times, counts" in one


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_window_beyond_the_limits_is_told_and_adopted(client: Client, chat: Service) -> None:
    chat.roles.filter(role="decode").update(maximum=16)
    sent = typed(chat, **with_window(kind="target", decode="100000"))
    said = "Window 1 asks for 100,000 decode: the maximum of 16 caps it."

    checked = client.post(f"{TAB}check/", sent, headers={"HX-Request": "true"}).text
    assert said in words(checked)
    assert "can't be used yet" not in checked
    assert client.post(TAB, sent).status_code == 302
    assert said in reading(client, TAB)


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"begin": "25:00"}, "Window 1: begin is '25:00'", id="no time of day"),
        pytest.param({"decode": "many"}, "Window 1: decode is 'many'", id="no count"),
        pytest.param({"decode": "0"}, "Window 1: decode is 0", id="below one"),
        pytest.param({"name": ""}, "Window 1: name is ''", id="no name"),
        pytest.param({"days": []}, "Window 1: begins on no day", id="on no day"),
        pytest.param({"dates": "24.12.2026"}, "Window 1: dates", id="no such date"),
        pytest.param({"kind": "ceiling"}, "Window 1: kind is 'ceiling'", id="no such kind"),
    ],
)
def test_a_window_that_can_not_be_used_says_why(
    client: Client, chat: Service, change: dict[str, Any], said: str
) -> None:
    answer = client.post(TAB, typed(chat, **with_window(**change)))

    assert answer.status_code == 400
    page = answer.content.decode()
    at = re.search(r'id="policy-schedule_error".*?</div>', page, re.DOTALL)
    assert at
    assert said in words(at.group())
    assert Policy.objects.get().schedule == []


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize("stored", ["nonsense", {"a": 1}, [3, "x"], [{"begin": 5, "days": 7}]])
def test_a_stored_schedule_nobody_can_read_is_shown_and_replaced(
    client: Client, chat: Service, stored: Any
) -> None:
    Policy.objects.update(schedule=stored)

    assert "Policy of chat" in reading(client, TAB)
    assert client.post(TAB, typed(chat, **with_window())).status_code == 302
    assert Policy.objects.get().schedule == SCHEDULE


# Adopting and taking back.


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_an_adopted_policy_is_a_revision_with_its_reason(client: Client, chat: Service) -> None:
    answer = client.post(TAB, typed(chat, target="1200", lead_s="90"), follow=True)
    page = words(answer.content.decode())

    assert "Adopted: revision 2 is in force from the next tick on." in page
    assert "Revision 2 in force" in page
    assert "by pia “more room”" in page
    assert "Target 1,000 per instance → 1,200 per instance" in page
    policy = Policy.objects.get()
    assert (policy.revision, policy.target, policy.lead_s) == (2, 1200.0, 90.0)
    event = AuditEvent.objects.get()
    assert (event.reason, event.before["target"], event.after["target"]) == (
        "more room",
        1000.0,
        1200.0,
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        pytest.param({"target": "1200", "reason": " "}, 400, "Give a reason", id="no reason"),
        pytest.param({}, 409, "Nothing differs from revision 1", id="nothing changed"),
        pytest.param({"opened": ""}, 400, "Nothing was saved", id="opened at no revision"),
    ],
)
def test_what_is_not_adopted_says_why(
    client: Client, chat: Service, changes: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(TAB, typed(chat, **changes))

    assert answer.status_code == status
    assert said in words(answer.content.decode())
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_who_was_faster_is_told_and_nothing_typed_is_lost(client: Client, chat: Service) -> None:
    late = typed(chat, hold_s="900")
    client.post(TAB, typed(chat, target="1200"))
    answer = client.post(TAB, late)
    page = answer.content.decode()

    assert answer.status_code == 409
    assert re.search(r"pia saved revision 2, \d+ s ago; you had opened revision 1", page)
    assert "They changed Target 1,000 per instance → 1,200" in words(page)
    assert 'name="hold_s" value="900"' in page
    assert 'name="opened" value="2"' in page
    assert Policy.objects.get().revision == 2


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_reverting_makes_a_new_revision_with_the_old_policy(client: Client, chat: Service) -> None:
    client.post(TAB, typed(chat, target="1200"))
    refused = client.post(f"{TAB}revert/1/", {"opened": 2, "reason": ""})
    stale = client.post(f"{TAB}revert/1/", {"opened": 1, "reason": "too slow"})
    done = client.post(f"{TAB}revert/1/", {"opened": 2, "reason": "too slow"}, follow=True)

    assert (refused.status_code, stale.status_code) == (400, 409)
    assert "Reverted: revision 3 has the policy of revision 1." in words(done.content.decode())
    policy = Policy.objects.get()
    assert (policy.revision, policy.target) == (3, 1000.0)
    assert list(PolicyRevision.objects.values_list("revision", "body__target")) == [
        (3, 1000.0),
        (2, 1200.0),
        (1, 1000.0),
    ]
    assert client.post(f"{TAB}revert/9/", {"opened": 3, "reason": "x"}).status_code == 404


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_revision_older_than_a_field_goes_back_to_its_default(
    client: Client, chat: Service
) -> None:
    client.post(TAB, typed(chat, hold_s="900"))
    old = PolicyRevision.objects.get(revision=1)
    del old.body["hold_s"]
    old.save()
    client.post(f"{TAB}revert/1/", {"opened": 2, "reason": "back"})

    assert Policy.objects.get().hold_s == plain_default("hold_s")


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_service_without_a_policy_gets_its_first(client: Client, chat: Service) -> None:
    sent = typed(chat, target="800", opened=0)
    Policy.objects.all().delete()

    assert "No policy: the controller can't size this service." in reading(client, TAB)
    assert client.post(TAB, sent).status_code == 302
    policy = Policy.objects.get()
    assert (policy.revision, policy.target) == (1, 800.0)


# Trying.


def tried(service: Service, **changes: Any) -> dict[str, Any]:
    """Return the form with what a simulation needs."""
    return (
        typed(service)
        | {
            "try-key": str(uuid.uuid4()),
            "try-source": "recorded",
            "try-hours": "1",
            "try-profile": "qwen3-32b-fp8/h100-tp2",
            "try-decode_profile": "",
            "try-start_up_s": "60",
            "try-beside": ["default"],
        }
        | changes
    )


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_simulation_plays_exactly_what_the_form_says(client: Client, chat: Service) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    edits = {"target": "1200", "lead_s": "90", "name": ["proportional", "latency"]}
    answer = client.post(f"{TAB}simulate/", tried(chat) | edits)

    row = Backtest.objects.get()
    assert answer.status_code == 302
    assert answer.url == f"{TAB}?simulation={row.pk}#simulation"
    in_force, edited = (row.asked["policy_tab"]["labels"][name] for name in (IN_FORCE, EDITED))
    assert row.asked["policies"] == ["default", in_force, edited]
    for label, wanted in (
        (in_force, {"target": "1000"}),
        (edited, {"target": "1200", "lead_s": "90", "name": "proportional+latency"}),
    ):
        candidate = parse_candidate(label)
        assert (candidate.name, set(candidate.params)) == ("proportional", set(PARAMETERS))
        assert wanted.items() <= candidate.params.items()
        assert candidate.label == label

    page = client.get(answer.url).content.decode()
    assert 'name="target" value="1200"' in page
    assert "It starts as soon as a worker is free." in words(page)
    assert f'hx-get="{TAB}simulation/{row.pk}/"' in page
    assert chat.slug == row.asked["policy_tab"]["service"]


@pytest.mark.django_db
def test_an_ended_simulation_is_compared_with_what_is_in_force(
    client: Client, chat: Service, pia: User
) -> None:
    # Two policies of the answer stand for both.
    row = make_backtest(pia, "done")
    runs = row.answer["runs"]
    labels = {IN_FORCE: runs[1]["label"], EDITED: runs[0]["label"]}
    body = body_of(chat.policy)
    row.asked |= {"policy_tab": {"service": "chat", "revision": 1, "body": body, "labels": labels}}
    row.save()
    page = reading(client, f"{TAB}?simulation={row.pk}")

    old, new = runs[1]["gpu_hours"], runs[0]["gpu_hours"]
    assert f"Edited {hours(new)} GPU-hours, in force {hours(old)} (" in page
    assert "edited" in page
    assert f'href="/backtests/{row.pk}/"' in client.get(f"{TAB}?simulation={row.pk}").text
    fragment = client.get(f"{TAB}simulation/{row.pk}/", headers={"HX-Request": "true"})
    assert "data-live" not in fragment.text
    factories.make_service("search")
    assert client.get(f"/services/search/policy/?simulation={row.pk}").status_code == 404


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({}, "no sample of the service is kept of that time", id="no recording"),
        pytest.param({"try-profile": ""}, "no profile is known", id="no engines"),
        pytest.param({"try-profile": "gpt/abacus"}, "not one of the available", id="unknown"),
        pytest.param({"try-source": "trace"}, "Choose a trace", id="no trace"),
        pytest.param({"try-hours": ""}, "This load needs it.", id="no hours"),
        pytest.param({"target": "x"}, "“Target” is 'x'", id="a policy that can't be used"),
    ],
)
def test_what_can_not_be_simulated_says_why(
    client: Client, chat: Service, changes: dict[str, Any], said: str
) -> None:
    answer = client.post(f"{TAB}simulate/", tried(chat, **changes))

    assert answer.status_code == 400
    assert said in words(answer.content.decode())
    assert not Backtest.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_full_queue_is_told_and_nothing_typed_is_lost(client: Client, chat: Service) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    for _ in range(5):
        assert client.post(f"{TAB}simulate/", tried(chat)).status_code == 302
    answer = client.post(f"{TAB}simulate/", tried(chat, target="1234"))

    assert answer.status_code == 429
    assert "5 of your backtests wait already" in words(answer.content.decode())
    assert 'name="target" value="1234"' in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_schedule_is_played_on_the_clock_of_the_recording(client: Client, chat: Service) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    assert client.post(f"{TAB}simulate/", tried(chat) | with_window()).status_code == 302

    row = Backtest.objects.get()
    assert row.asked["policies"][-1] == "edited"
    assert row.asked["documents"]["edited"]["schedule"] == SCHEDULE
    question = question_of(row)
    assert isinstance(question, Question)
    assert row.recorded_since is not None
    assert question.begins_s == row.recorded_since.timestamp()
    assert tasks.run_backtest(str(row.pk)) == f"Backtest {row.pk} is done."


# Curating.


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_curation_is_played_by_a_worker_and_adopted_as_a_revision(
    client: Client, chat: Service
) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    Policy.objects.update(target=5.0, adapt="off")  # asks for all 8 GPUs: another is chosen
    sent = tried(chat, target="nonsense, which has no say") | {"try-gpus": "8"}
    asked = client.post(f"{TAB}curate/", sent)
    row = Backtest.objects.get()
    assert asked.url == f"{TAB}?simulation={row.pk}#simulation"
    assert row.asked["curate"] == {"gpus": 8, "goal_frac": chat.slo.goal_frac}
    waiting = client.get(asked.url).text
    assert "It starts as soon as a worker is free." in words(waiting)
    assert f'action="/backtests/{row.pk}/cancel/"' in waiting

    assert tasks.run_backtest(str(row.pk)) == f"Backtest {row.pk} is done."
    row.refresh_from_db()
    found = row.answer["curation"]
    page = client.get(asked.url).text
    assert f"Chosen: {found['chosen']['why']}." in words(page)
    assert "in force, revision 1" in words(page)
    assert f'data-figure="/api/v1/figures/curation?backtest={row.pk}"' in page
    assert "hpa-util" in page

    filled = found["chosen"]["params"]
    assert f'name="target" value="{str(filled["target"]).removesuffix(".0")}"' in page
    form = typed(chat, target=str(filled["target"]), pd_ratio=str(filled["pd_ratio"]))
    assert client.post(TAB, form).status_code == 302
    policy = Policy.objects.get()
    assert (policy.revision, policy.target) == (2, filled["target"])
    assert client.post(f"{TAB}revert/1/", {"opened": 2, "reason": "back"}).status_code == 302


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_what_is_in_force_is_compared_in_a_curation(client: Client, chat: Service) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    sent = tried(chat, target="1200") | {"try-gpus": "8"}
    assert client.post(f"{TAB}curate/", sent).status_code == 302
    row = Backtest.objects.get()
    labels = row.asked["policy_tab"]["labels"]
    assert set(labels) == {IN_FORCE}
    assert row.asked["policies"] == ["default", labels[IN_FORCE]]
    assert parse_candidate(labels[IN_FORCE]).params["target"] == "1000"


def make_curation(by: User, state: str = "done", **fields: Any) -> Backtest:
    """Return a curation that the tab of the service chat asked for."""
    row = make_backtest(by, state, **fields)
    kept = {"service": "chat", "revision": 1, "body": body_of(Policy.objects.get()), "labels": {}}
    row.asked |= {"policy_tab": kept, "curate": {"gpus": 24, "goal_frac": 0.99}}
    row.save()
    return row


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
def test_what_a_curation_found_is_said_in_words(client: Client, pia: User) -> None:
    found = FOUND | {"attainable_frac": 0.98874}  # must not read as 99 %
    row = make_curation(pia, found=answer(curation=found))
    page = reading(client, f"{TAB}?simulation={row.pk}")

    for said in (
        "Chosen: default takes the fewest GPU-hours, 414.0",
        "Best split of 24 GPUs 16 prefill, 8 decode: 147 requests/s within both goals",
        "P/D ratio 2.18 as answers vary, 2.30 by mean lengths",
        "Ratio by hour 0.64 to 14 over 336 hours",
        "Target, decode 3,170 tok/s per instance",
        "Prompts that can keep the TTFT goal 98.8 %",
        "default (chosen)",
    ):
        assert said in page
    assert 'name="pd_ratio" value="2.18"' in client.get(f"{TAB}?simulation={row.pk}").text
    whole = reading(client, f"/backtests/{row.pk}/")
    assert "curated for 24 GPUs, 99 % within both goals" in whole
    assert "./heteroscale curate --workload" in whole
    assert "--gpus 24 --goal 0.99" in whole


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
def test_what_is_in_force_may_be_what_fits_and_is_not_adopted_again(
    client: Client, pia: User
) -> None:
    label = "proportional:target=1000"
    why = f"{label} takes the fewest GPU-hours, 414.0, of the 2 that keep 99%"
    chosen = FOUND["chosen"] | {"policy": label, "why": why}
    found = FOUND | {"chosen": chosen, "note": "It suits no hour"}
    row = make_curation(pia, found=answer(run(label, score(414.0, 0.992)), curation=found))
    row.asked["policy_tab"]["labels"] = {IN_FORCE: label}
    row.save()
    page = reading(client, f"{TAB}?simulation={row.pk}")

    assert "Chosen: in force, revision 1 takes the fewest GPU-hours, 414.0" in page
    assert "in force, revision 1 (chosen)" in page
    assert "It suits no hour." in page
    assert "nothing to adopt" in page
    assert "Adopt…" not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
def test_a_curation_costs_no_queries_for_its_rows(client: Client, pia: User) -> None:
    counts = []
    client.get(TAB)
    for size in (1, 3):
        runs = [run(f"static-mean:factor={at}", score(400.0 + at, 0.99)) for at in range(size)]
        row = make_curation(pia, found=answer(*runs, curation=FOUND))
        with CaptureQueriesContext(connection) as asked:
            client.get(f"{TAB}simulation/{row.pk}/", headers={"HX-Request": "true"})
        counts.append(len(asked))
    assert counts[0] == counts[1]


@pytest.mark.django_db
@pytest.mark.usefixtures("chat")
@pytest.mark.parametrize(
    ("state", "fields", "said"),
    [
        pytest.param("failed", {"error": "Ask for fewer hours."}, "Ask for fewer hours.", id="f"),
        pytest.param("cancelled", {}, "It was cancelled; nothing of it was kept.", id="cancelled"),
    ],
)
def test_a_curation_without_an_answer_says_why(
    client: Client, pia: User, state: str, fields: dict[str, Any], said: str
) -> None:
    row = make_curation(pia, state, **fields)
    page = reading(client, f"{TAB}?simulation={row.pk}")
    assert said in page
    assert "Adopt…" not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"try-gpus": ""}, "Say how many GPUs there are", id="no GPUs"),
        pytest.param({"try-gpus": "0"}, "greater than or equal to 1", id="0 GPUs"),
        pytest.param({"try-gpus": "2"}, "2 GPUs hold no pair: one of each role needs 4", id="2"),
        pytest.param({"try-profile": ""}, "no profile is known", id="no engines"),
    ],
)
def test_what_can_not_be_curated_says_why(
    client: Client, chat: Service, changes: dict[str, Any], said: str
) -> None:
    factories.make_samples(chat, until=timezone.now(), count=200)
    refused = client.post(f"{TAB}curate/", tried(chat) | {"try-gpus": "8"} | changes)

    assert refused.status_code == 400
    assert said in words(refused.content.decode())
    assert not Backtest.objects.exists()


@pytest.mark.django_db
def test_a_viewer_may_not_curate_and_an_operator_not_adopt(
    client: Client, chat: Service, pia: User
) -> None:
    client.force_login(person("vera", "Viewer"))
    assert client.post(f"{TAB}curate/", tried(chat)).status_code == 403
    row = make_curation(pia, found=answer(curation=FOUND))
    client.force_login(person("otto", "Operator"))
    assert "adopting needs Policy editor" in reading(client, f"{TAB}?simulation={row.pk}")


# Two people at once.


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
@pytest.mark.parametrize(
    ("theirs", "field", "shown"),
    [
        pytest.param({"proposal_ttl_s": "300"}, "proposal_ttl_s", 'value="300"', id="a number"),
        pytest.param({"force_driver": "on"}, "force_driver", "checked", id="a check"),
        pytest.param({"adapt": "propose"}, "adapt", 'value="propose" selected', id="a choice"),
        pytest.param({"lead_s": "90"}, "lead_s", 'value="90"', id="was measured"),
        pytest.param({"name": ["latency"]}, "name", 'value="latency"', id="policies"),
        pytest.param({"time_zone": "Asia/Tokyo"}, "time_zone", "Asia/Tokyo", id="a zone"),
        pytest.param(with_window(), "schedule", 'value="office hours"', id="windows"),
    ],
)
def test_fields_nobody_touched_follow_who_was_faster(
    client: Client, chat: Service, theirs: dict[str, Any], field: str, shown: str
) -> None:
    late = typed(chat, step_abs="9")
    assert client.post(TAB, typed(chat, **theirs)).status_code == 302
    saved = body_of(Policy.objects.get())
    refused = client.post(TAB, late)

    assert refused.status_code == 409
    changes = re.search(r'id="policy-changes".*?</table>', refused.text, re.DOTALL)
    assert changes
    assert re.findall(r'<th scope="row">(.*?)</th>', changes.group()) == ["Largest step"]
    assert shown in refused.text
    assert FIELDS[field].label in words(refused.text)
    assert "Both of you changed" not in refused.text
    checked = client.post(f"{TAB}check/", late, headers={"HX-Request": "true"}).text
    assert re.findall(r'<th scope="row">(.*?)</th>', checked) == ["Largest step"]
    assert "Revision 2 was saved since you opened the form" in checked

    again = typed(chat, step_abs="9") | with_window() if field == "schedule" else None
    client.post(TAB, again or typed(chat, step_abs="9"))
    assert body_of(Policy.objects.get()) == saved | {"step_abs": 9}


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_what_both_changed_is_shown_with_both_values(client: Client, chat: Service) -> None:
    late = typed(chat, target="1300", proposal_ttl_s="300", hold_s="900")
    client.post(TAB, typed(chat, target="1200", proposal_ttl_s="300"))
    refused = client.post(TAB, late)
    page = words(refused.text)

    assert "Both of you changed 1 field. The form has yours; adopting it replaces theirs." in page
    assert "Target 1,000 per instance 1,200 per instance 1,300 per instance" in page
    assert 'name="target" value="1300"' in refused.text
    changes = re.search(r'id="policy-changes".*?</table>', refused.text, re.DOTALL)
    assert changes
    assert re.findall(r'<th scope="row">(.*?)</th>', changes.group()) == [
        "Target",
        "Provide for the peak of the last",
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_a_first_policy_that_came_first_is_followed_too(client: Client, chat: Service) -> None:
    late = typed(chat, opened=0, adapt="automatic", target="900")
    Policy.objects.all().delete()
    first = late | {"target": "900", "proposal_ttl_s": "300"}
    assert client.post(TAB, first).status_code == 302

    refused = client.post(TAB, late)
    assert refused.status_code == 409
    assert 'name="proposal_ttl_s" value="300"' in refused.text


# What a decision estimates.


@pytest.mark.django_db
def test_who_has_no_form_is_not_offered_to_fill_it(client: Client, chat: Service) -> None:
    factories.make_decision(chat, forecast={"ratio": 0.31254, "target": 812.3})
    client.force_login(person("vera", "Viewer"))
    page = reading(client, TAB)

    assert "ratio 0.31, target 812" in page
    assert "Put it into the form" not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("pia")
def test_an_estimate_is_put_into_the_form(client: Client, chat: Service) -> None:
    factories.make_decision(chat, forecast={"ratio": 0.31254, "target": 812.3})

    assert "ratio 0.31, target 812" in reading(client, TAB)
    page = client.get(f"{TAB}?use=estimate").content.decode()
    assert 'name="pd_ratio" value="0.3125"' in page
    assert "P/D ratio 0.5 prefill per decode 0.3125 prefill per decode" in words(page)
