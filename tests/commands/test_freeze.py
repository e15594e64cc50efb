"""Stopping from a shell: with the database, and by the file of the host without it (A07)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings
from redis.exceptions import ConnectionError as BrokerError

from controller.models import Action, AuditEvent, Freeze, Override, holds
from controller.services import freezes
from tests import factories

Answer = Callable[..., dict[str, Any]]


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Path:
    """An empty data directory."""
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Run a command and read the document it answers."""

    def run(name: str, **options: Any) -> dict[str, Any]:
        call_command(name, json=True, **options)
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run


def away(*_args: object, **_options: object) -> None:
    """Stand for a database that nobody reaches."""
    raise OperationalError("connection refused\nIs the server running?")


@pytest.mark.django_db
@pytest.mark.usefixtures("home")
def test_the_commands_use_the_same_door(capsys: pytest.CaptureFixture[str]) -> None:
    factories.make_service("chat")

    call_command("freeze", service="chat", reason="from the host")
    assert "Frozen: chat. Stopped: no request is outstanding." in capsys.readouterr().out
    assert Freeze.objects.get().by_name.startswith("command line (")
    with pytest.raises(CommandError, match="already froze chat"):
        call_command("freeze", service="chat", reason="again")
    call_command("resume", service="chat", reason="done", act_at_once=True)
    assert capsys.readouterr().out == "Resumed: chat.\n"

    assert not Freeze.objects.filter(ended_at=None).exists()
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("kind", "slug"), [("service", "chat"), ("cluster", "eu-1-a"), ("region", "eu-1")]
)
def test_every_scope_has_its_option(answer: Answer, kind: str, slug: str) -> None:
    service = factories.make_service("chat")
    factories.make_action(service, state="sent")

    frozen = answer("freeze", reason="incident", **{kind: slug})
    resumed = answer("resume", reason="fixed", **{kind: slug})

    assert (frozen["frozen"], frozen["outstanding"], frozen["file"]) == (f"{kind}:{slug}", 1, None)
    assert "Stopping: 1 request outstanding." in frozen["sentence"]
    assert (resumed["resumed"], resumed["file"]) == (f"{kind}:{slug}", None)
    # A09: what does not say that it acts at once is watched first.
    assert "only watched for 10 min, then it acts" in resumed["sentence"]
    assert [row.about.slug for row in Override.objects.filter(kind="advisory")] == [slug]


@pytest.mark.django_db
@pytest.mark.usefixtures("home")
def test_what_a_wider_freeze_still_holds_is_not_said_to_act_s16(answer: Answer) -> None:
    factories.make_service("chat")
    answer("freeze", reason="incident", cluster="eu-1-a")
    answer("freeze", reason="incident too", service="chat")

    said = answer("resume", reason="fixed", service="chat")["sentence"]

    assert "Resumed: chat. It stays frozen with cluster eu-1-a, by command line (" in said
    assert "then it acts" not in said


@pytest.mark.django_db
@pytest.mark.usefixtures("home")
def test_what_was_cancelled_is_named(answer: Answer) -> None:
    action = factories.make_action(factories.make_service("chat"))

    assert answer("freeze", reason="incident", wait=True)["cancelled"] == [str(action.pk)]
    assert Action.objects.get().state == "cancelled"


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["service", "cluster", "region"])
@pytest.mark.parametrize("slug", ["", "nobody"])
def test_a_scope_that_does_not_exist_freezes_nothing_s21(kind: str, slug: str) -> None:
    with pytest.raises(CommandError, match=f"There is no {kind}") as refused:
        call_command("freeze", reason="incident", **{kind: slug})

    assert refused.value.returncode == 2
    assert not Freeze.objects.exists()


def test_without_a_database_the_file_freezes_everything_on_this_host_a07(
    home: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freezes, "freeze", away)

    frozen = answer("freeze", reason="incident 8812")

    assert frozen["file"] == str(home / "FREEZE")
    assert "The database can't keep it (connection refused)" in frozen["sentence"]
    assert "Everything on this host is frozen" in frozen["sentence"]
    hold = holds.by_file()
    assert hold is not None
    assert hold.reason.endswith("incident 8812")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "slug"), [("service", "chat"), ("cluster", "eu-1-a"), ("region", "eu-1")]
)
def test_without_a_database_a_narrower_scope_is_refused_in_words(
    home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, slug: str
) -> None:
    factories.make_service("chat")
    monkeypatch.setattr(freezes, "freeze", away)

    with pytest.raises(CommandError, match="only everything on this host can be frozen") as said:
        call_command("freeze", reason="incident", **{kind: slug})

    assert said.value.returncode == 1
    assert not (home / "FREEZE").exists()


@pytest.mark.django_db
def test_the_file_goes_only_when_it_is_asked_for(home: Path, answer: Answer) -> None:
    (home / "FREEZE").write_text("incident")
    answer("freeze", reason="incident")

    resumed = answer("resume", reason="fixed")
    assert resumed["file"] == str(home / "FREEZE")
    assert "still freezes everything on this host" in resumed["sentence"]
    assert holds.read().fleet is not None

    lowered = answer("resume", reason="fixed", file=True)
    assert "Removed" in lowered["sentence"]
    assert holds.read().fleet is None
    event = AuditEvent.objects.get(verb="removed the file FREEZE")
    assert (event.reason, event.before["file"]) == ("fixed", "incident")
    assert Override.objects.get().kind == "advisory"
    with pytest.raises(CommandError, match="There is no file"):
        call_command("resume", reason="again", file=True)


@pytest.mark.django_db
def test_the_file_stays_without_a_reason_and_goes_without_a_database(
    home: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "FREEZE").write_text("incident")
    with pytest.raises(CommandError, match="Give a reason"):
        call_command("resume", reason=" ", file=True)
    assert (home / "FREEZE").exists()

    monkeypatch.setattr(freezes, "let_flag_go", away)
    lowered = answer("resume", reason="fixed", file=True)
    assert "the audit does not have it, and it acts at once" in lowered["sentence"]
    assert not (home / "FREEZE").exists()


def test_a_directory_that_can_not_be_written_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME = tmp_path / "gone"
    monkeypatch.setattr(freezes, "freeze", away)

    with pytest.raises(CommandError, match=r"can't be written.*Nothing was frozen"):
        call_command("freeze", reason="incident")


@pytest.mark.django_db
@pytest.mark.usefixtures("home")
def test_without_a_broker_it_freezes_and_calls_off_a07(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_name: str) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr(django_rq, "get_queue", refuse)
    action = factories.make_action(factories.make_service("chat"))

    assert answer("freeze", reason="incident")["cancelled"] == [str(action.pk)]
    assert holds.read().fleet is not None
    assert answer("resume", reason="fixed")["resumed"] == "fleet"


def test_with_nothing_running_at_all_the_command_writes_the_file_a07(tmp_path: Path) -> None:
    """Product, check 8: neither pages, nor the broker, nor the database answers."""
    nowhere = {
        "HETEROSCALE_HOME": str(tmp_path),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEY": "x" * 50,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "freeze", "--reason", "incident 8812"],
        cwd=configured.BASE_DIR,
        env={"PATH": os.environ["PATH"], **nowhere},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Everything on this host is frozen by the file" in done.stdout
    assert (tmp_path / "FREEZE").read_text().endswith("incident 8812\n")
