"""Wrong answers shut a door, for those who gave them, and no restart opens it."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from controller.models import AuditEvent, SignInTries
from controller.services import throttle
from controller.services.errors import ForbiddenError, MissingError
from controller.services.throttle import Door, Kind, ShutError
from tests.services.people import at_once, person

HERE = Door("ana", "192.0.2.7")
ELSEWHERE = Door("ana", "198.51.100.9")


def wrong(door: Door, times: int) -> float:
    """Give so many wrong answers at once in the history; returns how long the last one shut."""
    for key in door.keys().values():
        SignInTries.objects.filter(key=key).update(
            failures=F("failures") + times - 1, shut_until=None
        )
    throttle.claim(door)
    return throttle.refused(door)


def pass_s(seconds: float) -> None:
    """Let time go by, for every door."""
    SignInTries.objects.update(
        last_at=F("last_at") - dt.timedelta(seconds=seconds),
        shut_until=F("shut_until") - dt.timedelta(seconds=seconds),
    )


@pytest.mark.django_db
def test_five_wrong_answers_shut_the_door_for_that_address_only() -> None:
    person("ana")
    for _ in range(4):
        throttle.claim(HERE)
        assert throttle.refused(HERE) == 0.0

    throttle.claim(HERE)
    assert 29.0 < throttle.refused(HERE) <= 30.0

    with pytest.raises(ShutError, match=r"^Too many wrong answers: wait (30|29) s, then try"):
        throttle.claim(HERE)
    throttle.claim(ELSEWHERE)
    throttle.claim(Door("eve", HERE.address))


@pytest.mark.django_db
def test_the_lock_grows_and_what_was_refused_does_not_count() -> None:
    grown = []
    for _ in range(5):
        throttle.claim(HERE)
    for _ in range(4):
        for _ in range(3):
            with pytest.raises(ShutError):
                throttle.claim(HERE)
        pass_s(3600)
        throttle.claim(HERE)
        grown.append(round(throttle.refused(HERE)))
    assert grown == [60, 120, 240, 480]


@pytest.mark.django_db
def test_a_day_without_wrong_answers_forgets_them() -> None:
    for _ in range(4):
        throttle.claim(HERE)
    pass_s(86_401)
    throttle.claim(HERE)
    assert throttle.refused(HERE) == 0.0
    assert set(SignInTries.objects.values_list("failures", flat=True)) == {1}


@pytest.mark.django_db
def test_a_right_answer_forgets_those_of_the_pair_and_only_its_own_of_the_address() -> None:
    for _ in range(4):
        throttle.claim(HERE)
    throttle.claim(HERE)
    throttle.welcome(HERE)

    left = dict(SignInTries.objects.values_list("kind", "failures"))
    assert left == {"pair": 0, "address": 4, "account": 4}
    throttle.claim(HERE)


@pytest.mark.django_db
def test_a_right_password_with_wrong_codes_is_no_way_round() -> None:
    for _ in range(4):
        throttle.claim(HERE)
        throttle.refund(HERE)
        throttle.claim(HERE)
        throttle.refused(HERE)
    throttle.claim(HERE)
    assert throttle.refused(HERE) > 0.0


@pytest.mark.django_db
def test_strangers_slow_guessing_everywhere_but_not_where_the_person_is_known() -> None:
    throttle.claim(HERE)
    throttle.welcome(HERE)
    throttle.claim(ELSEWHERE)
    SignInTries.objects.filter(kind=Kind.ACCOUNT).update(failures=100_000)
    pass_s(60)
    throttle.claim(ELSEWHERE)
    assert 0.0 < throttle.refused(ELSEWHERE) <= 5.0

    with pytest.raises(ShutError):
        throttle.claim(Door("ana", "203.0.113.1"))
    throttle.claim(HERE)


@pytest.mark.django_db
def test_one_address_that_tries_many_names_is_shut_out_for_all_of_them() -> None:
    throttle.claim(HERE)
    SignInTries.objects.filter(kind=Kind.ADDRESS).update(failures=49)
    throttle.claim(Door("bob", HERE.address))
    with pytest.raises(ShutError):
        throttle.claim(Door("carl", HERE.address))


@pytest.mark.django_db
def test_a_name_that_does_not_exist_costs_the_same_and_is_not_kept() -> None:
    person("ana")
    counts = []
    for name in ("ana", "correct horse battery"):
        door = Door(name, "192.0.2.7")
        with CaptureQueriesContext(
            connection,
        ) as asked:
            throttle.claim(door)
            throttle.refused(door)
        counts.append(len(asked))
    assert counts[0] == counts[1]
    kept = repr(list(SignInTries.objects.values()))
    assert "correct" not in kept


@pytest.mark.django_db(transaction=True)
def test_many_tries_at_once_are_counted_before_they_are_looked_at() -> None:
    given = at_once(*(lambda: throttle.claim(HERE) for _ in range(8)))

    assert sum(isinstance(one, ShutError) for one in given) == 3
    assert sum(one is None for one in given) == 5


@pytest.mark.django_db
def test_the_lock_is_audited_once_and_an_administrator_lifts_it() -> None:
    ana, root = person("ana"), person("root", "Admin")
    throttle.claim(HERE)
    wrong(HERE, 5)
    with pytest.raises(ShutError):
        throttle.claim(HERE)
    locked = AuditEvent.objects.get(verb="was locked out")
    assert (locked.actor, locked.object_type, locked.object_id) == ("ana", "user", str(ana.pk))
    assert locked.after["address"] == "192.0.2.7"
    key = HERE.keys()[Kind.PAIR]

    with pytest.raises(ForbiddenError):
        throttle.lift(key, user=ana)
    throttle.lift(key, user=root)

    throttle.claim(HERE)
    assert AuditEvent.objects.get(verb="lifted a lock").actor == "root"
    with pytest.raises(MissingError):
        throttle.lift("nothing", user=root)
