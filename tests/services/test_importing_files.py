"""The files of an import go after a month; what it changed stays, and with it its revert."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from controller.services import retention
from inventory.models import ImportChange, ImportFile, ImportRun

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("state", "days", "left"),
    [("applied", 31, 0), ("failed", 31, 0), ("applied", 29, 1), ("planned", 31, 1)],
)
def test_files_of_ended_imports_go_after_a_month(state: str, days: int, left: int) -> None:
    now = timezone.now()
    run = ImportRun.objects.create(created_at=now - timedelta(days=days), state=state)
    ImportFile.objects.create(run=run, name="a.csv", size=1, sha256="0", body=b"x")
    ImportChange.objects.create(run=run, seq=0, operation="create", kind="node", name="a")
    retention.prune(now)
    assert ImportFile.objects.count() == left
    assert ImportChange.objects.count() == 1
