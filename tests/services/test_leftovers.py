"""What a test commits is gone before the next, and what migrations made is there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection
from django.test import TransactionTestCase
from psycopg import sql

from controller.models import AuditEvent, Proposal
from controller.services import approvals
from tests.services.people import person, waiting

TEXT = sql.SQL("SELECT held::text FROM {} AS held")


def rows() -> dict[str, set[tuple[object, ...]]]:
    """Return the rows of every table."""
    found: dict[str, set[tuple[object, ...]]] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True):
            cursor.execute(TEXT.format(sql.Identifier(table)))
            found[table] = set(cursor.fetchall())
    return found


@pytest.mark.django_db(transaction=True)
def test_whatever_was_written_changed_or_removed_is_as_before() -> None:
    before = rows()
    ana, proposal = person("ana"), waiting()
    approvals.reject(proposal.pk, user=ana, version=proposal.version, reason="not now")
    Permission.objects.filter(codename="add_user").update(name="May add anybody")
    Permission.objects.filter(codename="view_user").delete()
    ContentType.objects.create(app_label="strange", model="thing")
    assert AuditEvent.objects.count() == 1

    TransactionTestCase("__init__")._fixture_teardown()

    assert rows() == before
    full = {table for table, held in before.items() if held}
    assert full == {"auth_permission", "django_content_type"}


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_it_still_refuses_afterwards() -> None:
    ana, proposal = person("ana"), waiting()
    TransactionTestCase("__init__")._fixture_teardown()
    assert not User.objects.exists()

    ana, proposal = person("ana"), waiting()
    approvals.reject(proposal.pk, user=ana, version=proposal.version, reason="not now")
    with pytest.raises(DatabaseError, match="append-only"):
        AuditEvent.objects.all().delete()
    with pytest.raises(DatabaseError, match="foreign key"):
        Proposal.objects.filter(pk=proposal.pk).update(decision_id=-1)
