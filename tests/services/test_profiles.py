"""Profiles people keep: under their own names, each with its entry in the audit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.models import AuditEvent, EngineProfile
from controller.selectors.profiles import every_profile, own_profiles
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import CommandLine
from controller.services.profiles import remove_profile, save_profile
from controller.simulator.profile_file import profile_body
from controller.simulator.profiles import HARDWARE, PROFILES
from tests.services.people import at_once, person

OURS = replace(
    PROFILES["qwen3-32b-fp8/h100"],
    name="qwen3/ours",
    a=0.1 + 0.2,
    own_spec=replace(HARDWARE["h100"], nic_gb_s=12.5),
    provenance="Bench of May",
)


@pytest.mark.django_db
def test_a_kept_profile_is_offered_after_the_built_in_ones_as_it_was_given() -> None:
    row = save_profile(OURS, user=person("ana"))

    offered = every_profile()
    assert list(offered) == [*PROFILES, "qwen3/ours"]
    assert offered["qwen3/ours"] == OURS
    assert (row.provenance, row.created_by_name) == ("Bench of May", "ana")
    event = AuditEvent.objects.get()
    assert (event.actor, event.verb, event.object_id) == ("ana", "added profile", str(row.pk))
    assert event.after == profile_body(OURS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("qwen3-32b-fp8/h100", "is built in", id="a built-in name"),
        pytest.param("qwen3/ours", "ana keeps a profile qwen3/ours since", id="a kept name"),
    ],
)
def test_a_name_is_taken_once(name: str, said: str) -> None:
    save_profile(OURS, user=person("ana"))

    with pytest.raises(ConflictError, match=said):
        save_profile(replace(OURS, name=name), user=CommandLine("ben"))

    assert list(own_profiles()) == ["qwen3/ours"]
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_the_database_itself_takes_a_name_once_in_any_case() -> None:
    row = save_profile(OURS, user=CommandLine("ana"))
    row.pk, row.name = None, "QWEN3/Ours"
    with pytest.raises(Exception, match="profile_name_once"):
        row.save()


@pytest.mark.django_db
def test_a_profile_no_engine_has_is_refused_with_its_field() -> None:
    with pytest.raises(InvalidError) as refusal:
        save_profile(replace(OURS, c0=-1.0), user=CommandLine("ana"))
    assert refusal.value.field == "decode_s.c0"
    assert not EngineProfile.objects.exists()


@pytest.mark.django_db
def test_a_removed_profile_is_gone_and_the_audit_keeps_its_figures() -> None:
    save_profile(OURS, user=person("ana"))

    remove_profile("qwen3/ours", user=CommandLine("ben"))

    assert dict(every_profile()) == dict(PROFILES)
    event = AuditEvent.objects.first()
    assert event is not None
    assert (event.actor, event.verb) == ("command line (ben)", "removed profile")
    assert event.before == profile_body(OURS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("qwen3-32b-fp8/h100", ConflictError, id="built in"),
        pytest.param("nobody/knows", MissingError, id="unknown"),
    ],
)
def test_what_is_not_kept_can_not_be_removed(name: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        remove_profile(name, user=CommandLine("ben"))


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_name_at_once_one_is_told_who_has_it() -> None:
    given = at_once(
        lambda: save_profile(OURS, user=CommandLine("ana")),
        lambda: save_profile(OURS, user=CommandLine("ben")),
    )
    assert sorted(type(each).__name__ for each in given) == ["ConflictError", "EngineProfile"]
    assert EngineProfile.objects.count() == 1
