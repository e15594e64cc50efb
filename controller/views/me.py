"""A person's own account: password, second factor, sessions."""

from __future__ import annotations

from typing import Any, cast

import segno
from django import forms
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.safestring import SafeString, mark_safe

from controller.core.phrases import plural
from controller.selectors import doors
from controller.services import passwords, second_factor, sessions, throttle
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.preferences import THEMES
from controller.services.secrecy import UnreadableError
from controller.services.throttle import Door, ShutError
from controller.views import fresh, shell

QR_UNIT_PX = 5


def _me(request: HttpRequest) -> User:
    return cast("User", request.user)


@shell.page("GET")
def page(request: HttpRequest) -> HttpResponse:
    """Show the account."""
    user = _me(request)
    values = {
        "themes": THEMES,
        "roles": doors.read_roles(user),
        "sessions": doors.read_sessions(user, request.session.session_key),
        "factor": doors.read_factor(user),
    }
    return render(request, "controller/me.html", values)


@shell.page("POST")
def end_session(request: HttpRequest, handle: str) -> HttpResponse:
    """End one of the person's sessions."""
    try:
        sessions.end(_me(request), handle, user=_me(request))
        messages.success(request, "That session has ended.")
    except MissingError as missing:
        messages.error(request, str(missing))
    return redirect("me")


@shell.page("POST")
def end_others(request: HttpRequest) -> HttpResponse:
    """End the person's sessions except this one."""
    ended = sessions.end_all(_me(request), user=_me(request), but=request.session.session_key)
    messages.success(request, f"{plural(ended, 'other session')} ended.")
    return redirect("me")


class PasswordForm(PasswordChangeForm):
    """The old password, counted as a try, and the new one twice."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(_me(request), request.POST if request.method == "POST" else None)
        self.door = Door.of(_me(request).username)

    def clean_old_password(self) -> str:
        """Compare the old password, unless there were too many tries."""
        try:
            throttle.claim(self.door)
            right = super().clean_old_password()
        except ShutError as shut:
            raise forms.ValidationError(str(shut)) from shut
        except forms.ValidationError as wrong:
            raise forms.ValidationError(
                fresh.with_wait(fresh.WRONG_PASSWORD, self.door)
            ) from wrong
        throttle.refund(self.door)
        return str(right)


@shell.page("GET", "POST")
def password(request: HttpRequest) -> HttpResponse:
    """Change the password; every other session ends."""
    form = PasswordForm(request)
    if request.method != "POST" or not form.is_valid():
        status = 400 if form.errors else 200
        return render(request, "controller/password.html", {"form": form}, status=status)
    user = _me(request)
    passwords.change(user, form.cleaned_data["new_password1"])
    update_session_auth_hash(request, user)
    ended = sessions.end_all(user, user=user, but=request.session.session_key)
    messages.success(
        request, f"The password was changed; {plural(ended, 'other session')} ended with it."
    )
    return redirect("me")


@shell.page("GET", "POST")
@fresh.needed
def factor(request: HttpRequest) -> HttpResponse:
    """Show where the second factor stands; a POST begins to set one up."""
    if request.method == "POST":
        try:
            second_factor.start(_me(request))
        except ConflictError as conflict:
            messages.error(request, str(conflict))
        return redirect("second-factor")
    return _factor(request)


@shell.page("POST")
@fresh.needed
def confirm_factor(request: HttpRequest) -> HttpResponse:
    """Take the first code; the recovery codes are on the page that answers, and nowhere else."""
    try:
        codes = second_factor.confirm(_me(request), request.POST.get("code", ""))
    except InvalidError as wrong:
        return _factor(request, wrong=str(wrong), status=400)
    except MissingError as missing:
        messages.error(request, str(missing))
        return redirect("second-factor")
    sessions.prove(request, by_factor=True)
    return _codes(request, codes)


@shell.page("POST")
@fresh.needed
def renew_codes(request: HttpRequest) -> HttpResponse:
    """Replace the recovery codes."""
    try:
        return _codes(request, second_factor.renew_codes(_me(request)))
    except MissingError as missing:
        messages.error(request, str(missing))
        return redirect("second-factor")


@shell.page("POST")
@fresh.needed
def remove_factor(request: HttpRequest) -> HttpResponse:
    """Take the person's own second factor away."""
    try:
        second_factor.remove(_me(request), user=_me(request))
        messages.success(request, "The second factor is gone: the password alone opens now.")
    except (ConflictError, MissingError) as refusal:
        messages.error(request, str(refusal))
    return redirect("second-factor")


def _factor(request: HttpRequest, *, wrong: str = "", status: int = 200) -> HttpResponse:
    state = doors.read_factor(_me(request))
    values: dict[str, Any] = {
        "factor": state,
        "wrong": wrong,
        "required": second_factor.is_required(_me(request)),
    }
    if state.waiting is not None:
        values |= _secret(request, state.waiting.encrypted)
    return render(request, "controller/second_factor.html", values, status=status)


def _secret(request: HttpRequest, encrypted: str) -> dict[str, object]:
    try:
        secret = second_factor.secret_of(encrypted)
    except UnreadableError:
        return {"unreadable": True}
    address = second_factor.address_of(request.user.get_username(), secret)
    groups = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
    return {"secret": groups, "address": address, "drawing": _drawing(address)}


def _drawing(address: str) -> SafeString:
    """Return the address as a QR code: SVG without a style of its own, in black on white."""
    drawn = segno.make(address, error="m").svg_inline(scale=QR_UNIT_PX, border=4, light="#fff")
    return mark_safe(drawn)  # noqa: S308 - squares made by segno, no text in them


def _codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return render(request, "controller/recovery_codes.html", {"codes": codes})
