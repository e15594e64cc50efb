"""Proposing and deciding from the command line: the same rules, and one person whoever types."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from controller.models import Proposal, Rearrangement, ServiceStatus
from tests import factories


def answer(*line: str) -> dict[str, object]:
    out = StringIO()
    call_command(*line, "--json", stdout=out)
    found: dict[str, object] = json.loads(out.getvalue())
    return found


def served() -> None:
    service = factories.make_service(mode="approve")
    ServiceStatus.objects.update(observed_at=timezone.now())
    factories.make_pools(service.cluster, factories.make_hardware(), at=timezone.now())


LAUNCH = ("propose", "--service", "chat", "--prefill", "3", "--decode", "6", "--reason", "launch")


@pytest.mark.django_db
def test_the_command_line_proposes_lists_and_takes_back() -> None:
    served()

    made = answer(*LAUNCH)
    assert (made["state"], made["to"]) == ("pending", {"prefill": 3, "decode": 6})
    listed = answer("proposals")["proposals"]
    assert listed == [made]
    pk = str(made["proposal"])
    done = answer("withdraw", pk, "--seen", "1", "--reason", "later")

    assert done["state"] == "withdrawn"
    assert answer("proposals") == {"proposals": [], "moves": []}


@pytest.mark.django_db
def test_the_plain_list_says_until_when_by_how_many_why_and_what_moves() -> None:
    ends = timezone.now() + timedelta(minutes=5)
    chat = factories.make_service(mode="approve")
    factories.make_proposal(chat, needs=2, needs_why="72 GPUs", expires_at=ends)
    Rearrangement.objects.create(
        service=chat, kind="room", key="1", sentence="Move 1.", touched="",
        body={"moves": [], "shrinks": []}, inventory_version=1,
        created_at=ends, evidence_at=ends, expires_at=ends,
    )  # fmt: skip
    out = StringIO()
    call_command("proposals", stdout=out)
    first, second = out.getvalue().splitlines()
    until = f"expires {ends:%Y-%m-%d %H:%M} UTC."
    assert first.endswith(f"Needs 2 approvals (72 GPUs), {until}")
    assert second.endswith(f"chat: Move 1. Needs 1 approval, {until}")
    assert second.startswith("moves ")


@pytest.mark.django_db
def test_the_command_line_approves_nothing_it_proposed_but_by_breaking_the_glass() -> None:
    served()
    pk = str(answer(*LAUNCH)["proposal"])

    with pytest.raises(CommandError, match="another person approves it"):
        call_command("approve", pk, "--seen", "1", "--reason", "now")
    breaking = ("approve", pk, "--seen", "1", "--reason", "now", "--break-glass")
    with pytest.raises(CommandError, match="Type the number of GPUs that change hands: 6"):
        call_command(*breaking)
    done = answer(*breaking, "--gpus", "6")

    assert done["state"] == "approved"
    assert Proposal.objects.get().is_break_glass


@pytest.mark.django_db
def test_another_version_than_the_one_read_is_refused() -> None:
    row = factories.make_proposal(
        factories.make_service(mode="approve"), version=2,
        expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip

    with pytest.raises(CommandError, match="look again"):
        call_command("approve", str(row.pk), "--seen", "1", "--reason", "now")
    assert answer("reject", str(row.pk), "--seen", "2", "--reason", "no")["state"] == "rejected"


@pytest.mark.django_db
def test_an_unknown_service_is_named() -> None:
    with pytest.raises(CommandError, match="no service 'nobody'"):
        call_command(
            "propose", "--service", "nobody", "--prefill", "1", "--decode", "1", "--reason", "x"
        )
