"""The second factor of a person: an authenticator's codes, and recovery codes in its stead."""

import base64
import secrets
from typing import Final
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from controller.core import one_time
from controller.models import RecoveryCode, SecondFactor
from controller.models.clock import database_now
from controller.services import audit, people, sessions
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from controller.services.rights import read_rights
from controller.services.secrecy import decrypt, encrypt

PURPOSE: Final = "second factor"
SECRET_BYTES: Final = 20
"""As long as the hash of SHA-1, which RFC 4226 §4 recommends."""

RECOVERY_CODES: Final = 10
# Without letters that look alike; 4 groups of 4 from 31 characters make 79 bits.
LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
GROUPS: Final = 4
WRONG_CODE: Final = "That is not a code of now: look at the authenticator again, each counts once."


def is_required(user: User) -> bool:
    """Return whether this person may work only with a second factor."""
    if settings.SECOND_FACTOR == "approvers":
        return read_rights(user).somewhere(people.APPROVE)
    return str(settings.SECOND_FACTOR) == "everybody"


def is_enrolled(user: User) -> bool:
    """Return whether the person has a confirmed authenticator."""
    return SecondFactor.objects.filter(account=user, confirmed_at__isnull=False).exists()


def start(user: User) -> None:
    """Make a secret that waits for its first code; raises :class:`ConflictError` if enrolled."""
    secret = base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()
    with transaction.atomic():
        found = SecondFactor.objects.select_for_update().filter(account=user).first()
        if found is not None and found.confirmed_at is not None:
            raise ConflictError("You have an authenticator: remove it before you set up another.")
        SecondFactor.objects.update_or_create(
            account=user,
            defaults={
                "encrypted": encrypt(secret, purpose=PURPOSE),
                "made_at": Now(),
                "used_step": 0,
            },
        )


def secret_of(encrypted: str) -> str:
    """Return the secret as text in base 32; raises :class:`UnreadableError`."""
    return decrypt(encrypted, purpose=PURPOSE)


def address_of(name: str, secret: str) -> str:
    """Return the address that authenticators read from a QR code."""
    asked = urlencode({"secret": secret, "issuer": "HeteroScale"})
    return f"otpauth://totp/HeteroScale:{quote(name, safe='')}?{asked}"


def confirm(user: User, code: str) -> list[str]:
    """Let the waiting authenticator count from its first code on; returns the recovery codes.

    Raises :class:`InvalidError` for a wrong code, :class:`MissingError` where none waits.
    """
    with transaction.atomic():
        waiting = SecondFactor.objects.select_for_update().filter(account=user, confirmed_at=None)
        factor = waiting.first()
        if factor is None:
            raise MissingError("No authenticator waits for a code: begin again.")
        if not _spend_step(factor, code):
            raise InvalidError("code", WRONG_CODE)
        SecondFactor.objects.filter(pk=factor.pk).update(confirmed_at=Now())
        made = _new_codes(user)
        _record(user, user, "enrolled a second factor")
    return made


def renew_codes(user: User) -> list[str]:
    """Replace the recovery codes; raises :class:`MissingError` without an authenticator."""
    with transaction.atomic():
        if not is_enrolled(user):
            raise MissingError("Recovery codes stand in for an authenticator: set one up first.")
        made = _new_codes(user)
        _record(user, user, "renewed recovery codes")
    return made


def check(user: User, code: str) -> bool:
    """Return whether the code is one of now or an unused recovery code, and spend it.

    Of two uses at once one gets through; a wrong one is audited. Raises :class:`UnreadableError`.
    """
    is_right = _spend(user, "".join(code.split()))
    if not is_right:
        audit.record_sign_in(user.get_username(), "gave a wrong code", pk=user.pk)
    return is_right


def _spend(user: User, plain: str) -> bool:
    if len(plain) == one_time.DIGITS:
        factor = SecondFactor.objects.filter(account=user, confirmed_at__isnull=False).first()
        return factor is not None and _spend_step(factor, plain)
    with transaction.atomic():
        is_spent = RecoveryCode.objects.filter(
            account=user, digest=_digest(plain), used_at=None
        ).update(used_at=Now())
        if is_spent:
            _record(user, user, "used a recovery code")
    return is_spent == 1


def remove(account: User, *, user: Person, reason: str | None = None) -> None:
    """Take the second factor away; another person's takes the right to change people.

    Another person's sessions end with it. A ``reason`` that is given must not be empty. Raises
    :class:`ForbiddenError`, :class:`InvalidError`, :class:`MissingError`, and
    :class:`ConflictError` where one's own is required.
    """
    said = "" if reason is None else people.reason_text(reason, needed=True)
    is_own = user == account
    if not is_own:
        people.require(user, people.PEOPLE, account)
    elif is_required(account):
        raise ConflictError("Your rights ask for a second factor: an administrator can reset it.")
    with transaction.atomic():
        removed, _ = SecondFactor.objects.filter(account=account).delete()
        RecoveryCode.objects.filter(account=account).delete()
        if not removed:
            raise MissingError(f"{account.username} has no second factor.")
        _record(user, account, "removed a second factor", reason=said)
        if not is_own:
            sessions.end_all(account, user=user)


def _spend_step(factor: SecondFactor, code: str) -> bool:
    secret = base64.b32decode(secret_of(factor.encrypted))
    now_s = database_now().timestamp()
    step = one_time.step_of(secret, "".join(code.split()), now_s=now_s, used=factor.used_step)
    if step is None:
        return False
    newer = SecondFactor.objects.filter(
        pk=factor.pk, encrypted=factor.encrypted, used_step__lt=step
    )
    return newer.update(used_step=step) == 1


def _new_codes(user: User) -> list[str]:
    made = [
        "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(GROUPS))
        for _ in range(RECOVERY_CODES)
    ]
    RecoveryCode.objects.filter(account=user).delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(account=user, digest=_digest(code)) for code in made
    )
    return made


def _digest(code: str) -> str:
    # 79 random bits: no list of guesses is worth the time, so a plain keyed digest is enough.
    plain = code.replace("-", "").lower()
    return salted_hmac("recovery code", plain, algorithm="sha256").hexdigest()


def _record(user: Person, account: User, verb: str, *, reason: str = "") -> None:
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=account,
        after={"person": account.username},
        reason=reason,
    )
