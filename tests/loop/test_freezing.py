"""A stop that can't be read counts as one, and nothing but a person ends it (S16, A06-A08)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from pytest_django import Settings

from controller.core.lifecycle import ActionState
from controller.core.overrides import OverrideKind
from controller.models import Action, Decision, Freeze, Override, Proposal, holds
from controller.models.clock import database_now
from controller.services import actions, freezes, overriding, policy_edits
from inventory.models import ImportRun, Policy, Region, Service
from inventory.services.policies import body_of
from tests.clusters import Cluster
from tests.factories import make_action, make_cluster, make_service
from tests.loop.test_actions import age_sending, make_approved
from tests.loop.test_overrides import newest, place, tick
from tests.services.importing import applied, apply, exported, planned, upload
from tests.services.people import person

pytestmark = pytest.mark.django_db


@contextmanager
def away(table: str, verb: str = "") -> Iterator[None]:
    """Lose the database whenever a table is asked for, by statements of one kind."""

    def lose(execute: Callable[..., object], sql: str, *rest: object) -> object:
        if f'"{table}"' in sql and sql.startswith(verb):
            raise OperationalError("server closed the connection unexpectedly")
        return execute(sql, *rest)

    with connection.execute_wrapper(lose):
        yield


TABLES = ("controller_freeze", "controller_override")


def recorded(service: Service) -> Action:
    return make_action(service, recorded_at=database_now())


@pytest.mark.parametrize("table", TABLES)
def test_a_tick_that_can_not_read_the_freeze_decides_nothing_a07_s16(table: str) -> None:
    make_service("chat")
    with away(table), pytest.raises(OperationalError):
        tick("chat")
    assert not Decision.objects.exists()
    assert not Action.objects.exists()

    tick("chat")
    assert Action.objects.exists(), "it would have acted"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "verb",
    [
        pytest.param("SELECT", id="at the look before it is sent"),
        pytest.param("UPDATE", id="at the claim that sends it"),
    ],
)
def test_nothing_is_sent_while_the_freeze_can_not_be_read_a07_s16(table: str, verb: str) -> None:
    action, cluster = recorded(make_service()), Cluster()
    with away(table, verb), pytest.raises(OperationalError), transaction.atomic():
        actions.run(action.pk, actuator_of=cluster.of)
    action.refresh_from_db()
    assert (action.state, cluster.writes) == ("recorded", [])

    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.APPLIED


def test_no_second_try_is_sent_while_the_freeze_can_not_be_read_a07_s16() -> None:
    action, cluster = recorded(make_service()), Cluster(trouble=["dropped"])
    actions.run(action.pk, actuator_of=cluster.of)
    age_sending(action)
    with away("controller_freeze"), pytest.raises(OperationalError):
        actions.resolve(action.pk, actuator_of=cluster.of)
    assert cluster.writes == []


def test_no_approval_is_used_while_the_freeze_can_not_be_read_a07_s16() -> None:
    proposal = make_approved(make_service(mode="approve"))
    with away("controller_freeze"), pytest.raises(OperationalError):
        actions.start_approved(proposal.pk)
    assert Proposal.objects.get().state == "approved"
    assert not Action.objects.exists()


def by_directory(path: Path) -> None:
    path.mkdir()


def by_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "a disk that is gone" / "FREEZE")


def by_itself(path: Path) -> None:
    path.symlink_to(path)


def by_a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "lay",
    [
        pytest.param(by_directory, id="a directory"),
        pytest.param(by_nothing, id="a link to what is gone"),
        pytest.param(by_itself, id="a link to itself"),
        pytest.param(by_a_pipe, id="a pipe nobody writes to"),
    ],
)
def test_a_flag_that_can_not_be_read_is_a_freeze_a07_s16(
    lay: Callable[[Path], None], settings: Settings, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    lay(tmp_path / "FREEZE")
    _holds_everything("an unreadable flag")


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param(True, id="named, or there at the start: a disk that is gone"),
        pytest.param(False, id="never there: nobody can have raised a flag in it"),
    ],
)
def test_a_flag_in_a_directory_that_is_gone_is_a_freeze_a07_s16(
    settings: Settings, tmp_path: Path, *, expected: bool
) -> None:
    settings.HOME, settings.HOME_EXPECTED = tmp_path / "gone", expected
    if expected:
        _holds_everything("an unreadable flag")
    else:
        assert holds.read().fleet is None


@pytest.mark.parametrize(
    ("begins", "state"),
    [
        pytest.param(timedelta(), "cancelled", id="now"),
        pytest.param(timedelta(hours=2), "recorded", id="in 2 h: until then it may be sent"),
    ],
)
def test_a_timed_freeze_calls_off_from_its_beginning_s16(begins: timedelta, state: str) -> None:
    chat, now = make_service("chat"), database_now()
    action = recorded(chat)
    placed = overriding.place(
        *(OverrideKind.FREEZE, chat, {}),
        starts_at=now + begins,
        ends_at=now + begins + timedelta(minutes=1),
        reason="incident",
        user=person("ana"),
    )
    overriding.call_off_begun()
    action.refresh_from_db()
    assert action.state == state

    placed.starts_at = now - timedelta(seconds=1)
    placed.save()
    overriding.call_off_begun()
    lapse(placed)
    assert _ran(action) == ActionState.CANCELLED
    action.refresh_from_db()
    assert action.error == "Frozen (chat) by ana: incident"


def test_a_flag_nobody_may_read_is_a_freeze_a07_s16(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME = tmp_path
    (tmp_path / "FREEZE").write_text("incident")

    def refuse(*_args: object, **_options: object) -> str:
        raise PermissionError(13, "Permission denied")

    # No mode of a file keeps an administrator from reading it, and tests may run as one.
    monkeypatch.setattr(Path, "read_text", refuse)
    _holds_everything("an unreadable flag")


def test_the_setting_of_the_environment_holds_everything_a07_s16(settings: Settings) -> None:
    settings.FREEZE_FLAG = True
    _holds_everything("the environment")


def _holds_everything(by: str) -> None:
    """Neither what is recorded is sent, nor does a tick record anything."""
    chat, far = make_service("chat"), make_service("far")
    hold = holds.read().over("chat")
    assert hold is not None
    assert (hold.scope, hold.by) == ("the fleet", by)
    cluster, action = Cluster(), recorded(chat)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    tick("far")
    assert newest(far).code == "FROZEN"
    assert (cluster.writes, Action.objects.filter(state="recorded").count()) == ([], 0)


def test_a_frozen_region_calls_off_its_own_changes_and_no_others_a06() -> None:
    away_from = Region.objects.create(slug="us-1", name="United States 1")
    there = make_cluster("us-1-a")
    there.region = away_from
    there.save()
    services = {
        "near": make_service("near"),
        "also": make_service("also", cluster=make_cluster("eu-1-b")),
        "far": make_service("far", cluster=there),
    }
    made = {slug: recorded(service) for slug, service in services.items()}

    freezes.freeze(about=make_cluster().region, user=person("ana"), reason="incident")

    sent = {slug: str(_ran(action)) for slug, action in made.items()}
    assert sent == {"near": "cancelled", "also": "cancelled", "far": "applied"}
    assert {slug for slug in services if holds.read().over(slug)} == {"near", "also"}


def _ran(action: Action) -> ActionState:
    return actions.run(action.pk, actuator_of=Cluster().of)


def test_no_start_upgrade_import_or_expiry_ends_a_freeze_a08_s16(
    settings: Settings, tmp_path: Path
) -> None:
    settings.HOME = tmp_path
    call_command("prepare")
    chat = Service.objects.select_related("cluster__region").get(slug="chat")
    before = exported()
    for about in (None, chat.cluster.region, chat.cluster, chat):
        freezes.freeze(about=about, user=person(f"ana-{about}"), reason="incident")
    frozen = list(Freeze.objects.order_by("pk").values())
    lapsed = place("out_only", chat)
    lapse(lapsed)

    overriding.note_ended()
    policy = Policy.objects.get(service=chat)
    body = body_of(policy) | {"target": policy.target * 1.1}
    pia = person("pia", "Policy editor")
    policy_edits.adopt(chat, body, opened=policy.revision, user=pia, reason="restored")
    applied(upload("node,s1,gpus\na,x,8\n"), cluster=chat.cluster.slug)
    assert planned(upload(before, "fleet.yaml")).state == "planned"
    apply(ImportRun.objects.latest("created_at"))
    call_command("prepare")

    assert list(Freeze.objects.order_by("pk").values()) == frozen
    assert _ran(recorded(chat)) == ActionState.CANCELLED


def lapse(row: Override) -> None:
    now = database_now()
    row.starts_at, row.ends_at = now - timedelta(hours=1), now - timedelta(seconds=1)
    row.save()
