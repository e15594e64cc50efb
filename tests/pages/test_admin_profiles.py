"""Profiles in the administration: given as files, refused as files, removed, never changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controller.models import AuditEvent, EngineProfile
from controller.services.people import CommandLine
from controller.services.profiles import save_profile
from controller.simulator.profile_file import profile_body, write_profile
from controller.simulator.profiles import PROFILES
from tests.pages.reading import words

OURS = replace(PROFILES["qwen3-32b-fp8/h100"], name="qwen3/ours")
PATH = "/admin/controller/engineprofile/"


@pytest.fixture
def root(client: Client) -> Client:
    """A superuser who is signed in."""
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


@pytest.mark.django_db
def test_a_file_is_kept_and_audited(root: Client) -> None:
    answer = root.post(f"{PATH}add/", {"text": write_profile(OURS).decode()})

    assert answer.status_code == 302
    row = EngineProfile.objects.get()
    assert (row.body, row.created_by_name) == (profile_body(OURS), "root")
    assert AuditEvent.objects.get().verb == "added profile"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"max_seqs": 0}, "profile file, max_seqs: 0 is not between 1", id="figure"),
        pytest.param({"name": "qwen3-8b/h100"}, "qwen3-8b/h100 is built in", id="built-in name"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(
    root: Client, change: dict[str, object], why: str
) -> None:
    answer = root.post(f"{PATH}add/", {"text": json.dumps(profile_body(OURS) | change)})

    assert why in words(answer.content.decode())
    assert not EngineProfile.objects.exists()


@pytest.mark.django_db
def test_a_kept_profile_is_shown_can_not_be_changed_and_can_be_removed(root: Client) -> None:
    row = save_profile(OURS, user=CommandLine("ana"))

    page = root.get(f"{PATH}{row.pk}/change/")
    assert "command line (ana)" in words(page.content.decode())
    assert root.post(f"{PATH}{row.pk}/change/", {"name": "x"}).status_code == 403
    assert root.post(f"{PATH}{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not EngineProfile.objects.exists()
    assert AuditEvent.objects.first().verb == "removed profile"  # type: ignore[union-attr]


@pytest.mark.django_db
def test_several_are_removed_with_an_entry_each(root: Client) -> None:
    rows = [
        save_profile(replace(OURS, name=name), user=CommandLine("ana")) for name in ("a/1", "a/2")
    ]
    form = {"action": "delete_selected", "_selected_action": [r.pk for r in rows], "post": "yes"}

    assert root.post(PATH, form).status_code == 302
    assert not EngineProfile.objects.exists()
    assert AuditEvent.objects.filter(verb="removed profile").count() == 2
