"""Sign-ins, sign-outs and refused tries in the audit, as Django's signals tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from controller.services import audit

SIGN_OUT = "/sign-out/"


def listen() -> None:
    """Record from now on, in this process."""
    for signal, receiver in (
        (user_logged_in, _signed_in),
        (user_logged_out, _signed_out),
        (user_login_failed, _refused),
    ):
        signal.connect(receiver, dispatch_uid=f"audit{receiver.__name__}")


def _signed_in(request: HttpRequest | None, user: AbstractBaseUser, **_more: object) -> None:
    if _is_asked(request):
        audit.record_sign_in(user.get_username(), "signed in", pk=user.pk)


def _signed_out(
    request: HttpRequest | None, user: AbstractBaseUser | None, **_more: object
) -> None:
    if user is None or request is None or not _is_asked(request):
        return
    if request.path == SIGN_OUT:
        audit.record_sign_in(user.get_username(), "signed out", pk=user.pk)
    else:
        audit.record_sign_in(
            user.get_username(), "was signed out", pk=user.pk, reason="The session was too old."
        )


def _refused(credentials: Mapping[str, Any], **_more: object) -> None:
    audit.record_sign_in(
        str(credentials.get("username", "")),
        "was refused sign-in",
        pk=None,
        reason="Name and password do not match an account.",
    )


def _is_asked(request: HttpRequest | None) -> bool:
    # A session that a program begins or ends by itself has a request without a method.
    return request is not None and request.method is not None
