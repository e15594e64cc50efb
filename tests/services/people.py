"""People for tests, each with one role, and threads that act at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from controller.models import Proposal
from controller.services.accounts import ensure_roles
from tests import factories


def person(name: str, role: str = "Approver") -> User:
    """Return an active person of that role."""
    if not Group.objects.filter(name=role).exists():
        ensure_roles()
    user = User.objects.create_user(name, password="correct horse battery")
    user.groups.add(Group.objects.get(name=role))
    return user


def waiting(slug: str = "chat", *, left_s: float = 600, **fields: object) -> Proposal:
    """Return a proposal that waits, by the clock of now."""
    now = timezone.now()
    times = {
        "created_at": now - timedelta(seconds=30),
        "evidence_at": now - timedelta(seconds=5),
        "expires_at": now + timedelta(seconds=left_s),
    }
    service = factories.make_service(slug, mode="approve")
    return factories.make_proposal(service, **times | fields)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run the acts in threads that start together; returns what each gave or raised."""
    gate = threading.Barrier(len(acts))
    given: list[object] = [None] * len(acts)

    def run(i: int, act: Callable[[], object]) -> None:
        try:
            gate.wait(timeout=10)
            given[i] = act()
        except Exception as fault:  # noqa: BLE001 - what was raised is what is looked at
            given[i] = fault
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(i, act)) for i, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return given
