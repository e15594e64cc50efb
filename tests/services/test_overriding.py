"""People set, lengthen and end overrides; what can't be is refused with its field (A10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from controller.core.overrides import OverrideKind
from controller.models import AuditEvent, Override, ServiceStatus, orders
from controller.models.clock import database_now
from controller.services import overriding
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from inventory.models import Service
from tests import factories
from tests.services.people import at_once, person

PIN, BOUNDS, RATIO = OverrideKind.PIN, OverrideKind.BOUNDS, OverrideKind.RATIO
HOUR = timedelta(hours=1)
FOUR = {"prefill": 2, "decode": 4}


def place(
    kind: OverrideKind,
    scope: overriding.Scope,
    values: dict[str, Any] | None = None,
    **fields: Any,
) -> Override:
    now = database_now()
    usual = {"ends_at": now + HOUR, "reason": "load test", "user": None}
    given = usual | fields
    given["user"] = given["user"] or person(f"u{User.objects.count()}", "Operator")
    return overriding.place(kind, scope, values or {}, **given)


@pytest.fixture
def chat() -> Service:
    return factories.make_service("chat", mode="automatic")


pytestmark = pytest.mark.django_db


def test_setting_lengthening_and_ending_are_audited_with_before_and_after(chat: Service) -> None:
    ana = person("ana", "Operator")
    made = place(PIN, chat, FOUR, user=ana)
    longer = overriding.extend(
        made.pk, version=1, ends_at=made.ends_at + HOUR, reason="longer", user=ana
    )
    ended = overriding.end(made.pk, version=2, reason="done", user=ana)

    assert (longer.version, ended.version, ended.ended_by_name) == (2, 3, "ana")
    events = AuditEvent.objects.filter(object_type="override").order_by("pk")
    assert [(one.verb, one.reason, one.service) for one in events] == [
        ("override set", "load test", "chat"),
        ("override extended", "longer", "chat"),
        ("override ended", "done", "chat"),
    ]
    second = events[1]
    assert second.before["ends_at"] != second.after["ends_at"] == longer.ends_at.isoformat()


@pytest.mark.parametrize(
    ("kind", "values", "times", "field"),
    [
        pytest.param(PIN, FOUR, (0, -1), "ends_at", id="in the past"),
        pytest.param(PIN, FOUR, (60, 30), "ends_at", id="ends at 30 min, begins at 60"),
        pytest.param(PIN, FOUR, (-60, 30), "starts_at", id="began an hour ago"),
        pytest.param(PIN, FOUR, (0, 7 * 1440 + 1), "ends_at", id="7 days and a minute"),
        pytest.param(PIN, FOUR, (0, 100 * 525_600), "ends_at", id="100 years"),
        pytest.param(PIN, FOUR, (100 * 525_600, 100 * 525_601), "starts_at", id="in 100 years"),
        pytest.param(BOUNDS, {"decode_min": 6, "decode_max": 3}, (0, 30), "decode_min", id="6>3"),
        pytest.param(BOUNDS, {}, (0, 30), "values", id="no bound"),
        pytest.param(RATIO, {"min": 0, "max": 1}, (0, 30), "min", id="ratio 0"),
        pytest.param(PIN, {"prefill": 2, "decode": 0}, (0, 30), "decode", id="below the floor"),
        pytest.param(BOUNDS, {"decode_max": 9_999}, (0, 30), "decode_max", id="above the maximum"),
        pytest.param(
            OverrideKind.EXCLUDE, {"what": "hardware", "name": "abacus"}, (0, 30), "name", id="no"
        ),
        pytest.param(
            OverrideKind.EXCLUDE, {"what": "s1", "name": "nowhere"}, (0, 30), "name", id="no s1"
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_a10(
    chat: Service,
    kind: OverrideKind,
    values: dict[str, Any],
    times: tuple[int, int],
    field: str,
) -> None:
    now = database_now()
    starts_at, ends_at = (now + timedelta(minutes=minutes) for minutes in times)
    with pytest.raises(InvalidError) as refused:
        place(kind, chat, values, starts_at=starts_at, ends_at=ends_at)
    assert refused.value.field == field
    assert not Override.objects.exists()


def test_bounds_below_the_floor_of_any_covered_service_name_it(chat: Service) -> None:
    code = factories.make_service("code")
    code.roles.filter(role="decode").update(minimum=4)
    with pytest.raises(InvalidError, match="2 decode is below the minimum of 4 of code"):
        place(BOUNDS, chat.cluster, {"decode_max": 2})
    assert place(BOUNDS, chat, {"decode_max": 2}).scope == "chat"


@pytest.mark.parametrize("scope", ["fleet", "cluster"])
def test_a_pin_is_of_one_service_s21(chat: Service, scope: str) -> None:
    with pytest.raises(InvalidError, match="choose one"):
        place(PIN, None if scope == "fleet" else chat.cluster, FOUR)


def test_a_time_without_its_zone_is_refused(chat: Service) -> None:
    naive = database_now().replace(tzinfo=None) + HOUR
    with pytest.raises(InvalidError, match="zone"):
        place(PIN, chat, FOUR, ends_at=naive)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        pytest.param((PIN, FOUR), (PIN, FOUR), "one of this kind", id="pin twice"),
        pytest.param(
            (OverrideKind.OUT_ONLY, {}), (OverrideKind.IN_ONLY, {}), "nothing could", id="out+in"
        ),
        pytest.param((BOUNDS, {"decode_max": 3}), (PIN, FOUR), "outside the bounds", id="4 > 3"),
        pytest.param((PIN, FOUR), (BOUNDS, {"decode_min": 5}), "outside the bounds", id="4 < 5"),
        pytest.param(
            (RATIO, {"min": 0.6, "max": 1.0}), (PIN, FOUR), "outside the ratio", id="2/4 < 0.6"
        ),
        pytest.param(
            (RATIO, {"min": 0.1, "max": 0.3}),
            (BOUNDS, {"decode_max": 3}),
            "No counts",
            id="1/3>.3",
        ),
        pytest.param(
            (OverrideKind.OUT_ONLY, {}), (PIN, FOUR), "below the present", id="4 < 5, only grows"
        ),
        pytest.param(
            (PIN, FOUR), (OverrideKind.IN_ONLY, {}), "above the present", id="2 > 1, only shrinks"
        ),
    ],
)
def test_what_cannot_be_in_force_together_names_the_other(
    chat: Service,
    first: tuple[OverrideKind, dict[str, Any]],
    second: tuple[OverrideKind, dict[str, Any]],
    why: str,
) -> None:
    """Present are 1 prefill and 5 decode, and a pin asks for 2 and 4."""
    ServiceStatus.objects.filter(service=chat).update(prefill_desired=1, decode_desired=5)
    made = place(*first[:1], chat, first[1])
    with pytest.raises(overriding.OverlapError, match=why) as refused:
        place(*second[:1], chat, second[1])
    assert refused.value.other == made.pk
    assert f"override {made.pk}, {made.kind} of chat by {made.by_name} until" in str(refused.value)
    overriding.end(made.pk, version=1, reason="x", user=person("zoe", "Operator"))
    assert place(*second[:1], chat, second[1]).pk != made.pk


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param((RATIO, {"min": 0.1, "max": 0.3}), (BOUNDS, {"decode_max": 4}), id="1/4<=.3"),
        pytest.param((OverrideKind.OUT_ONLY, {}), (PIN, FOUR), id="2>=2 and 4>=4 may grow"),
        pytest.param((OverrideKind.IN_ONLY, {}), (PIN, FOUR), id="2<=2 and 4<=4 may shrink"),
    ],
)
def test_what_can_be_in_force_together_is_set_a10(
    chat: Service,
    first: tuple[OverrideKind, dict[str, Any]],
    second: tuple[OverrideKind, dict[str, Any]],
) -> None:
    ServiceStatus.objects.filter(service=chat).update(prefill_desired=2, decode_desired=4)
    assert place(first[0], chat, first[1]).pk != place(second[0], chat, second[1]).pk


def test_one_after_the_other_is_no_conflict(chat: Service) -> None:
    made, now = place(PIN, chat, FOUR), database_now()
    place(PIN, chat, FOUR, starts_at=made.ends_at, ends_at=now + 2 * HOUR)
    with pytest.raises(overriding.OverlapError):
        overriding.extend(
            made.pk,
            version=1,
            ends_at=made.ends_at + timedelta(minutes=5),
            reason="x",
            user=person("zoe", "Operator"),
        )


def test_the_right_is_of_the_scope(chat: Service) -> None:
    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        place(PIN, chat, FOUR, user=person("vera", "Viewer"))
    made = place(OverrideKind.FREEZE, chat)
    with pytest.raises(ForbiddenError, match="resuming needs the role Approver"):
        overriding.end(made.pk, version=1, reason="x", user=person("otto", "Operator"))


@pytest.mark.parametrize(
    ("kind", "begins", "watched"),
    [
        pytest.param(OverrideKind.FREEZE, 0 * HOUR, ["chat"], id="a freeze in force"),
        pytest.param(OverrideKind.FREEZE, HOUR / 2, [], id="a freeze that never began"),
        pytest.param(OverrideKind.OUT_ONLY, 0 * HOUR, [], id="what lets some changes through"),
    ],
)
def test_after_a_timed_freeze_it_is_watched_first_a09(
    chat: Service, kind: OverrideKind, begins: timedelta, watched: list[str]
) -> None:
    made = place(kind, chat, starts_at=database_now() + begins)
    overriding.end(made.pk, version=1, reason="fixed", user=person("ana"))
    advisory = Override.objects.filter(kind="advisory")
    assert [row.scope for row in advisory] == watched
    assert [row.reason for row in advisory] == ["Freeze ended: fixed"] * len(watched)


def test_who_is_too_late_is_told_what_became_of_it(chat: Service) -> None:
    zoe = person("zoe", "Operator")
    made = place(PIN, chat, FOUR)
    overriding.extend(made.pk, version=1, ends_at=made.ends_at + HOUR, reason="x", user=zoe)
    with pytest.raises(ConflictError, match="changed since you looked"):
        overriding.end(made.pk, version=1, reason="x", user=zoe)
    overriding.end(made.pk, version=2, reason="x", user=zoe)
    with pytest.raises(ConflictError, match="zoe ended it"):
        overriding.end(made.pk, version=2, reason="x", user=zoe)
    with pytest.raises(MissingError):
        overriding.end(made.pk + 1, version=1, reason="x", user=zoe)


def test_the_end_that_comes_by_itself_is_in_the_audit_once(chat: Service) -> None:
    made, now = place(PIN, chat, FOUR), database_now()
    assert overriding.note_ended() == 0
    Override.objects.update(starts_at=now - HOUR, ends_at=now - timedelta(seconds=1))
    assert [overriding.note_ended(), overriding.note_ended()] == [1, 0]
    event = AuditEvent.objects.get(verb="override ended")
    assert (event.actor, event.object_id) == ("controller", str(made.pk))
    with pytest.raises(ConflictError, match="controller ended it"):
        overriding.end(made.pk, version=1, reason="x", user=person("zoe", "Operator"))


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_pin_at_once_one_is_refused(chat: Service) -> None:
    people = [person(name, "Operator") for name in ("ana", "ben")]
    given = at_once(*(lambda one=one: place(PIN, chat, FOUR, user=one) for one in people))
    assert sorted(type(one).__name__ for one in given) == ["OverlapError", "Override"]
    assert Override.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_end_it_at_once_one_is_too_late(chat: Service) -> None:
    made = place(PIN, chat, FOUR)
    people = [person(name, "Operator") for name in ("ana", "ben")]
    given = at_once(
        *(
            lambda one=one: overriding.end(made.pk, version=1, reason="x", user=one)
            for one in people
        )
    )
    assert sorted(type(one).__name__ for one in given) == ["ConflictError", "Override"]
    assert AuditEvent.objects.filter(verb="override ended").count() == 1


def test_what_is_in_force_takes_two_queries_however_many_services(
    chat: Service, django_assert_num_queries: Any
) -> None:
    others = [factories.make_service(f"s{k}") for k in range(3)]
    place(OverrideKind.OUT_ONLY, None)
    place(OverrideKind.ADVISORY, chat.cluster)
    place(PIN, others[0], FOUR)
    with django_assert_num_queries(2):
        found = orders.read()
    kinds = {slug: sorted(one.kind for one in found.over(slug)) for slug in ("chat", "s0")}
    assert kinds == {"chat": ["advisory", "out_only"], "s0": ["advisory", "out_only", "pin"]}


@pytest.mark.usefixtures("chat")
def test_the_command_sets_lists_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    call_command(
        *("override", "pin", "--service", "chat", "--prefill", "2", "--decode", "4"),
        *("--for", "30m", "--reason", "load test"),
    )
    made = Override.objects.get()
    assert (made.kind, made.values, made.scope) == ("pin", FOUR, "chat")
    assert made.ends_at - made.starts_at == pytest.approx(timedelta(minutes=30), abs=HOUR / 1800)
    call_command("override", "list", "--json")
    assert f'"id": {made.pk}' in capsys.readouterr().out
    call_command("override", "end", str(made.pk), "--reason", "done")
    call_command("override", "list")
    assert "No override is in force" in capsys.readouterr().out


@pytest.mark.usefixtures("chat")
def test_the_command_widens_no_scope_by_omission_s21() -> None:
    with pytest.raises(CommandError, match="Say what it is for") as refused:
        call_command("override", "out_only", "--for", "1h", "--reason", "x")
    assert refused.value.returncode == 2
    call_command("override", "out_only", "--fleet", "--for", "1h", "--reason", "x")
    assert Override.objects.get().scope == "the fleet"


@pytest.mark.usefixtures("chat")
def test_the_command_lengthens_from_the_present_end_as_the_page_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("override", "out_only", "--fleet", "--for", "2h", "--reason", "x")
    made = Override.objects.get()
    call_command("override", "extend", str(made.pk), "--for", "1h", "--reason", "y", "--json")
    assert Override.objects.get().ends_at == made.ends_at + HOUR
    until = made.ends_at + HOUR
    assert f'"until": "{until.isoformat(timespec="seconds")}"' in capsys.readouterr().out


@pytest.mark.usefixtures("chat")
@pytest.mark.parametrize(
    ("asked", "where"),
    [
        pytest.param(("bounds", "--service", "chat"), "--prefill-min, --prefill-max", id="values"),
        pytest.param(
            ("pin", "--cluster", "eu-1-a", "--prefill", "2", "--decode", "4"), "--cluster: A pin",
            id="scope",
        ),
        pytest.param(("out_only", "--service", "chat", "--for", "9d"), "--for: ", id="for"),
    ],
)  # fmt: skip
def test_a_refusal_of_the_command_names_options_there_are(
    asked: tuple[str, ...], where: str
) -> None:
    with pytest.raises(CommandError, match=where) as refused:
        call_command("override", asked[0], "--for", "1h", "--reason", "x", *asked[1:])
    assert refused.value.returncode == 2


@pytest.mark.usefixtures("chat")
def test_a_count_below_0_cannot_be_proposed() -> None:
    asked = ("--service", "chat", "--prefill", "-1", "--decode", "4", "--reason", "x")
    with pytest.raises(CommandError, match="'-1' is no count"):
        call_command("propose", *asked)
