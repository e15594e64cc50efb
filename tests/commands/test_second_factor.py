"""The command ``second_factor``: the way back in when the last administrator lost theirs."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from controller.models import AuditEvent, RecoveryCode, SecondFactor, Session
from tests.services.test_second_factor import enrolled


def reset(*line: str) -> str:
    out = StringIO()
    call_command("second_factor", "reset", *line, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_lost_factor_is_reset_from_the_host_and_the_audit_says_by_whom_and_why() -> None:
    ana, _ = enrolled()
    Client().force_login(ana)

    assert "signs in with the password alone" in reset("ana", "--reason", "phone lost")
    assert not SecondFactor.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert not Session.objects.filter(account=ana).exists()
    event = AuditEvent.objects.get(verb="removed a second factor")
    assert event.actor.startswith("command line (")
    assert (event.after, event.reason) == ({"person": "ana"}, "phone lost")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("line", "said", "status"),
    [
        (("bob", "--reason", "x"), "There is nobody called bob.", 2),
        (("ana", "--reason", " "), "Give a reason", 1),
    ],
)
def test_nothing_is_reset_for_nobody_or_without_a_reason(
    line: tuple[str, ...], said: str, status: int
) -> None:
    enrolled()
    with pytest.raises(CommandError, match=said) as refusal:
        reset(*line)
    assert refusal.value.returncode == status
    assert SecondFactor.objects.exists()


@pytest.mark.django_db
def test_whoever_has_none_is_told_so() -> None:
    enrolled()
    reset("ana", "--reason", "phone lost")
    with pytest.raises(CommandError, match="ana has no second factor"):
        reset("ana", "--reason", "again")
