"""What matters most asks again who is there; what was typed meanwhile is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from controller.services import audit, second_factor, sessions, throttle
from controller.services.secrecy import UnreadableError
from controller.services.throttle import Door, ShutError
from controller.views import shell
from controller.views.kept import SAFE, Kept, again
from controller.views.landing import landing

View = Callable[..., HttpResponse]
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - the sentence that says so
WRONG_CODE = "That is not a code of now, nor an unused recovery code."
ASKED_AGAIN = "Asked again who is there, within a session."
ELSEWHERE = "You have no password here: prove it to the identity provider."
UNREADABLE = (
    "Your second factor can't be read: SECRET_KEY was changed. An administrator has to reset it."
)


class ProofForm(forms.Form):
    """A password, and a code from those who have an authenticator.

    Whoever has no password proves it to the identity provider, and gives the code afterwards.
    """

    password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = forms.CharField(
        label="Code of your authenticator, or a recovery code",
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "spellcheck": "false"}),
    )

    def __init__(self, request: HttpRequest, *, is_sent: bool) -> None:
        super().__init__(request.POST if is_sent else None)
        self.user = cast("User", request.user)
        self.door = Door.of(self.user.username)
        has_password = self.user.has_usable_password()
        self.is_elsewhere = not has_password and not sessions.is_provided(
            request.session, within_s=settings.FRESH_S
        )
        if not has_password:
            del self.fields["password"]
        if self.is_elsewhere or not second_factor.is_enrolled(self.user):
            del self.fields["code"]

    def clean(self) -> dict[str, object]:
        """Look at both answers, as one try."""
        given = super().clean() or {}
        if self.errors:
            return given
        if self.is_elsewhere:
            raise forms.ValidationError(ELSEWHERE)
        try:
            throttle.claim(self.door)
        except ShutError as shut:
            raise forms.ValidationError(str(shut)) from shut
        if wrong := self._wrong(given):
            raise forms.ValidationError(with_wait(wrong, self.door))
        throttle.welcome(self.door)
        return given

    def _wrong(self, given: dict[str, str]) -> str:
        if "password" in self.fields and not self.user.check_password(given["password"]):
            audit.record_sign_in(
                self.user.username, "gave a wrong password", pk=self.user.pk, reason=ASKED_AGAIN
            )
            return WRONG_PASSWORD
        return wrong_code(self.user, given["code"]) if "code" in self.fields else ""


def wrong_code(user: User, code: str) -> str:
    """Return what is wrong with the code, nothing if it opens; it is spent then."""
    try:
        return "" if second_factor.check(user, code) else WRONG_CODE
    except UnreadableError:
        return UNREADABLE


def with_wait(wrong: str, door: Door) -> str:
    """Return what was wrong and, where that shut the door, for how long."""
    wait_s = throttle.refused(door)
    return f"{wrong} {throttle.waiting_text(wait_s)}" if wait_s else wrong


def require_fresh(request: HttpRequest) -> HttpResponse | None:
    """Return the page that asks for the password, ``None`` when the last proof is fresh.

    Looking is always allowed: only what may change something is asked about.
    """
    if request.method in SAFE or sessions.proof_age_s(request.session) <= settings.FRESH_S:
        return None
    return ask(request)


def ask(request: HttpRequest) -> HttpResponse:
    """Ask who is there; a form that was sent is kept, and a page is opened afterwards."""
    form = ProofForm(request, is_sent=False)
    if request.method in SAFE:
        return _ask(request, form, None, wanted=request.get_full_path())
    return _ask(request, form, Kept.of(request), status=403)


def needed(view: View) -> View:
    """Wrap a view of :func:`shell.page`: its POST takes a proof not older than FRESH_S."""

    @wraps(view)
    def inside(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        return require_fresh(request) or view(request, *args, **kwargs)

    return inside


@shell.page("GET", "POST")
def confirm(request: HttpRequest) -> HttpResponse:
    """Take the proof; then show what was kept, or go where the person was going."""
    kept = Kept.unpacked(request.POST.get("kept", ""))
    if request.method != "POST":
        return _ask(request, ProofForm(request, is_sent=False), kept)
    form = ProofForm(request, is_sent=True)
    if not form.is_valid():
        return _ask(request, form, kept, status=403)
    sessions.prove(request, by_factor="code" in form.fields)
    return go_on(request, kept, landing(request))


def go_on(request: HttpRequest, kept: Kept | None, wanted: str) -> HttpResponse:
    """After a proof: show what was kept, or go where the person was going."""
    if kept is None:
        return HttpResponseRedirect(wanted)
    return again(request, kept, "You have just proved who you are.")


def provided(request: HttpRequest, kept: Kept | None, wanted: str) -> HttpResponse:
    """Take the identity provider's word for a proof of now; an authenticator's code follows."""
    if second_factor.is_enrolled(cast("User", request.user)):
        sessions.provide(request.session)
        return _ask(request, ProofForm(request, is_sent=False), kept, wanted=wanted)
    sessions.prove(request, by_factor=False)
    return go_on(request, kept, wanted)


def refused(request: HttpRequest, why: str, kept: Kept | None, wanted: str) -> HttpResponse:
    """Ask again, and say why the proof is none."""
    messages.error(request, why)
    return _ask(request, ProofForm(request, is_sent=False), kept, wanted=wanted, status=403)


def _ask(
    request: HttpRequest,
    form: ProofForm,
    kept: Kept | None,
    *,
    wanted: str = "",
    status: int = 200,
) -> HttpResponse:
    values = {
        "form": form,
        "kept": kept,
        "next": wanted or landing(request),
        "provider": settings.OIDC_NAME if form.is_elsewhere else "",
    }
    return render(request, "controller/confirm.html", values, status=status)
