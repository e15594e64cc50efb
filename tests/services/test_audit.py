"""The audit is only ever added to; the roles hold exactly their rights."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from controller.core.phrases import CODE_TITLES
from controller.core.reasons import Code
from controller.models import AuditEvent
from controller.services import audit
from controller.services.accounts import ensure_roles
from tests import factories


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE controller_auditevent SET actor = 'nobody'",
        "DELETE FROM controller_auditevent",
    ],
)
def test_the_database_refuses_to_change_or_remove_an_event(statement: str) -> None:
    audit.record(actor="ana", verb="froze", obj=None, reason="incident")

    with (
        pytest.raises(ProgrammingError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)

    assert AuditEvent.objects.get().actor == "ana"


@pytest.mark.django_db
def test_an_event_names_its_object_service_and_request() -> None:
    service = factories.make_service("chat")
    token = audit.REQUEST_ID.set("r-1")
    audit.record(actor="ana", verb="froze", obj=service)
    audit.record(actor="ana", verb="froze", obj=None)
    audit.REQUEST_ID.reset(token)

    fields = ("object_type", "object_id", "service", "request_id")
    assert list(AuditEvent.objects.order_by("pk").values_list(*fields)) == [
        ("service", str(service.pk), "chat", "r-1"),
        ("fleet", "", "", "r-1"),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "steering"),
    [
        ("Viewer", set()),
        ("Operator", {"freeze"}),
        ("Approver", {"freeze", "resume", "approve_proposal"}),
        ("Policy editor", set()),
        ("Admin", {"freeze", "resume", "approve_proposal"}),
    ],
)
def test_each_role_steers_exactly_what_it_may(role: str, steering: set[str]) -> None:
    ensure_roles()
    ensure_roles()

    held = set(Group.objects.get(name=role).permissions.values_list("codename", flat=True))
    assert held & {"freeze", "resume", "approve_proposal"} == steering
    assert not {name for name in held if name.endswith("auditevent")} - {"view_auditevent"}
    assert ("change_policy" in held) == (role in {"Policy editor", "Admin"})


def test_every_reason_code_is_explained() -> None:
    assert set(CODE_TITLES) == set(Code)
