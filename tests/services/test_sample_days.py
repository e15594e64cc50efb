"""Samples by day: where rows land, what has no day, what goes when, and who may turn the days."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from controller.models import Sample
from controller.models.clock import database_now
from controller.services import retention
from tests.factories import make_samples, make_service
from tests.tampering import as_application

pytestmark = pytest.mark.django_db
MIGRATION = import_module("controller.migrations.0029_samples_by_day")
DAY = timedelta(days=1)
REST = "controller_sample_rest"


def tables() -> Counter[str]:
    """Return how many samples each table holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM controller_sample")
        return Counter(name for (name,) in cursor.fetchall())


def parts() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT part FROM heteroscale_sample_parts()")
        return {name for (name,) in cursor.fetchall()}


def table_of(at: datetime) -> str:
    return f"controller_sample_{at.astimezone(UTC):%Y%m%d}"


def noon() -> datetime:
    """Return a time around which a minute is of one day."""
    return database_now().astimezone(UTC).replace(hour=12)


def test_rows_land_in_the_table_of_their_day() -> None:
    service, now = make_service(), noon()
    make_samples(service, until=now - DAY, count=3)
    make_samples(service, until=now, count=2)
    assert tables() == {table_of(now - DAY): 3, table_of(now): 2}


def test_a_day_without_a_table_loses_nothing_and_gets_its_rows_later() -> None:
    service, late = make_service(), noon() + 9 * DAY
    make_samples(service, until=late, count=3)
    make_samples(service, until=late - 90 * DAY, count=1)
    assert tables() == {REST: 4}
    retention.turn_days(late - DAY)
    assert tables() == {table_of(late): 3, REST: 1}
    assert Sample.objects.filter(service=service, at=late).count() == 1


def test_whole_days_are_dropped_and_what_has_none_goes_row_by_row() -> None:
    service, now = make_service(), noon()
    old, kept = now - 10 * DAY, now - 9 * DAY
    for at in (old, kept, now):
        make_samples(service, until=at, count=2)
    # 10 d ago is a whole day beyond 15 d in 6 d; of 9 d ago the evening is not.
    then = now + 6 * DAY
    retention.turn_days(then)
    assert tables() == {table_of(kept): 2, table_of(now): 2}
    assert table_of(old) not in parts()
    assert table_of(then + retention.DAYS_AHEAD * DAY) in parts()
    make_samples(service, until=old, count=2)
    assert tables()[REST] == 2
    retention.prune(then)
    assert tables() == {table_of(kept): 2, table_of(now): 2}


def test_days_are_turned_as_often_as_one_likes() -> None:
    now = noon()
    retention.turn_days(now)
    before = parts()
    retention.turn_days(now)
    assert parts() == before


def test_the_application_turns_days_and_works_with_their_rows() -> None:
    service, now = make_service(), noon() + 9 * DAY
    with as_application():
        make_samples(service, until=now, count=3)
        retention.turn_days(now)
        Sample.objects.filter(service=service, at=now).update(request_rps=1.0)
        assert Sample.objects.filter(at__lt=now).delete()[0] == 2
    assert tables() == {table_of(now): 1}
    with pytest.raises(ProgrammingError), as_application(), connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {table_of(now)}")


def test_a_database_with_samples_keeps_them_where_they_are() -> None:
    service, now = make_service(), noon()
    make_samples(service, until=now, count=5)
    rows = list(Sample.objects.order_by("at").values())
    with connection.cursor() as cursor:
        cursor.execute(MIGRATION.BACKWARD)
        assert list(Sample.objects.order_by("at").values()) == rows
        cursor.execute(MIGRATION.FORWARD)
    assert list(Sample.objects.order_by("at").values()) == rows
    assert tables() == {"controller_sample_before": 5}
    retention.turn_days(now)
    make_samples(service, until=now + 2 * DAY, count=1)
    assert tables() == {"controller_sample_before": 5, table_of(now + 2 * DAY): 1}
    assert table_of(now) not in parts()
    # All of it is of days gone by: it goes like any of them.
    retention.turn_days(now + 17 * DAY)
    assert "controller_sample_before" not in parts()
