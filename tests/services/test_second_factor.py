"""Authenticators and recovery codes: each code opens once, whoever is faster."""

from __future__ import annotations

import base64

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.utils import timezone

from controller.core.one_time import STEP_S, code_at
from controller.models import AuditEvent, Grant, RecoveryCode, SecondFactor
from controller.models.clock import database_now
from controller.services import second_factor, secrecy
from controller.services.errors import ConflictError, ForbiddenError, InvalidError, MissingError
from controller.services.secrecy import UnreadableError
from tests import factories
from tests.services.people import at_once, person


def code_of(user: User, *, apart: int = 0) -> str:
    """Return what the person's authenticator shows now, or so many steps from now."""
    encrypted = SecondFactor.objects.get(account=user).encrypted
    secret = base64.b32decode(second_factor.secret_of(encrypted))
    return code_at(secret, int(database_now().timestamp()) // STEP_S + apart)


def enrolled(name: str = "ana", role: str = "Approver") -> tuple[User, list[str]]:
    """Return a person with an authenticator whose steps so far are unused, and their codes."""
    user = person(name, role)
    second_factor.start(user)
    codes = second_factor.confirm(user, code_of(user))
    SecondFactor.objects.filter(account=user).update(used_step=0)
    return user, codes


@pytest.mark.django_db
def test_an_authenticator_counts_from_its_first_code_on() -> None:
    ana = person("ana")
    second_factor.start(ana)
    assert not second_factor.is_enrolled(ana)
    assert not second_factor.check(ana, code_of(ana))
    with pytest.raises(InvalidError):
        second_factor.confirm(ana, "000000" if code_of(ana) != "000000" else "000001")

    codes = second_factor.confirm(ana, code_of(ana))

    assert second_factor.is_enrolled(ana)
    assert len(set(codes)) == 10
    verbs = AuditEvent.objects.order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["gave a wrong code", "enrolled a second factor"]
    with pytest.raises(ConflictError):
        second_factor.start(ana)
    with pytest.raises(MissingError):
        second_factor.confirm(ana, code_of(ana))


@pytest.mark.django_db
def test_a_code_opens_once() -> None:
    ana, _ = enrolled()
    code = code_of(ana)

    assert second_factor.check(ana, f" {code[:3]} {code[3:]} ")
    assert not second_factor.check(ana, code)
    assert not second_factor.check(ana, code_of(ana, apart=-1))


@pytest.mark.django_db
def test_a_recovery_code_opens_once_however_it_is_typed() -> None:
    ana, codes = enrolled()
    eve, _ = enrolled("eve")

    assert not second_factor.check(eve, codes[0])
    assert second_factor.check(ana, codes[0].upper().replace("-", " "))
    assert not second_factor.check(ana, codes[0])
    assert second_factor.check(ana, codes[1])
    assert RecoveryCode.objects.filter(account=ana, used_at=None).count() == 8
    assert AuditEvent.objects.filter(verb="used a recovery code").count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["recovery code", "code of now"])
def test_of_two_uses_at_once_one_gets_through(kind: str) -> None:
    ana, codes = enrolled()
    code = codes[0] if kind == "recovery code" else code_of(ana)

    given = at_once(*(lambda: second_factor.check(ana, code) for _ in range(2)))

    assert sorted(given, key=str) == [False, True]


@pytest.mark.django_db
def test_new_recovery_codes_end_the_old_ones() -> None:
    ana, old = enrolled()
    new = second_factor.renew_codes(ana)

    assert not second_factor.check(ana, old[0])
    assert second_factor.check(ana, new[0])
    with pytest.raises(MissingError):
        second_factor.renew_codes(person("bob"))


@pytest.mark.django_db
def test_the_database_alone_gives_no_code_away(settings: LazySettings) -> None:
    ana, codes = enrolled()
    encrypted = SecondFactor.objects.get().encrypted
    secret = second_factor.secret_of(encrypted)

    kept = repr([*SecondFactor.objects.values(), *RecoveryCode.objects.values()])
    assert secret not in kept
    assert not any(code in kept or code.replace("-", "") in kept for code in codes)
    with pytest.raises(UnreadableError):
        secrecy.decrypt(encrypted, purpose="something else")
    settings.SECRET_KEY = "another" * 10
    with pytest.raises(UnreadableError):
        second_factor.check(ana, "123456")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("setting", "role", "required"),
    [
        pytest.param("off", "Approver", False, id="off: nobody"),
        pytest.param("approvers", "Approver", True, id="approvers: who may approve"),
        pytest.param("approvers", "Admin", True, id="approvers: administrators may as well"),
        pytest.param("approvers", "Operator", False, id="approvers: operators may not"),
        pytest.param("everybody", "Viewer", True, id="everybody"),
    ],
)
def test_who_must_have_one(
    settings: LazySettings, setting: str, role: str, *, required: bool
) -> None:
    settings.SECOND_FACTOR = setting
    assert second_factor.is_required(person("ana", role)) is required


@pytest.mark.django_db
def test_a_role_within_a_scope_asks_for_one_too(settings: LazySettings) -> None:
    settings.SECOND_FACTOR = "approvers"
    ana = person("ana", "Viewer")
    assert not second_factor.is_required(ana)

    Grant.objects.create(
        user=ana,
        role="Approver",
        service=factories.make_service("chat"),
        granted_at=timezone.now(),
    )

    assert second_factor.is_required(ana)


@pytest.mark.django_db
def test_one_goes_only_by_its_owner_or_an_administrator(settings: LazySettings) -> None:
    ana, codes = enrolled()
    with pytest.raises(ForbiddenError):
        second_factor.remove(ana, user=person("eve"))
    settings.SECOND_FACTOR = "approvers"
    with pytest.raises(ConflictError):
        second_factor.remove(ana, user=ana)

    second_factor.remove(ana, user=person("root", "Admin"))

    assert not second_factor.is_enrolled(ana)
    assert not second_factor.check(ana, codes[0])
    assert AuditEvent.objects.get(verb="removed a second factor").actor == "root"


def test_the_address_that_authenticators_read() -> None:
    assert second_factor.address_of("ana b&c", "ABC") == (
        "otpauth://totp/HeteroScale:ana%20b%26c?secret=ABC&issuer=HeteroScale"
    )
