"""Sign in and out: name and password, then a code from those who have an authenticator."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from controller.selectors import doors
from controller.services import second_factor, sessions, throttle
from controller.services.throttle import Door, ShutError
from controller.views.fresh import with_wait, wrong_code
from controller.views.kept import Kept, again
from controller.views.landing import landing

WRONG: Final = "Name and password do not match an account. Both tell capitals apart."
HALF_IN: Final = "half_signed_in"
HALF_IN_S: Final = 300
"""How long a right password waits for its code."""


class SignInForm(AuthenticationForm):
    """A name and a password; the refusal is the same whether the name exists or not."""

    error_messages = {"invalid_login": WRONG, "inactive": WRONG}  # noqa: RUF012 - Django's way

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        super().__init__(*args, **kwargs)
        if self.errors:
            for field in self.fields.values():
                field.widget.attrs |= {"aria-invalid": "true", "aria-describedby": "sign-in-error"}

    def clean(self) -> dict[str, Any]:
        """Count the try, and look at it unless there were too many."""
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not password or self.request is None:
            return self.cleaned_data
        door = Door.of(name)
        try:
            throttle.claim(door)
            return super().clean()
        except ShutError as shut:
            raise forms.ValidationError(str(shut), code="shut") from shut
        except forms.ValidationError as wrong:
            raise forms.ValidationError(with_wait(WRONG, door)) from wrong


class SignIn(LoginView):
    """The sign-in page; afterwards the page that was asked for, never another host's."""

    template_name = "controller/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - Django's
        """Add the form that could not be taken, if one comes along."""
        kept = Kept.unpacked(self.request.POST.get("kept", ""))
        more = {"kept": kept, "provider": settings.OIDC_NAME}
        return super().get_context_data(**kwargs) | more

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Let the person in, or ask for the code first."""
        user = form.get_user()
        door = Door.of(user.username)
        if not second_factor.is_enrolled(user):
            throttle.welcome(door)
            return _let_in(self.request, user)
        throttle.refund(door)
        return ask_code_first(self.request, user)


def ask_code_first(
    request: HttpRequest,
    user: User,
    *,
    kept: Kept | None = None,
    wanted: str = "",
    proved_at_s: float | None = None,
) -> HttpResponse:
    """Ask somebody whose first proof was right for the code.

    What was typed and where the person was going come with the form, or are given; a proof that
    was not given here and now has its time with it.
    """
    request.session[HALF_IN] = {
        "account": user.pk,
        "backend": user.backend,
        "hash": user.get_session_auth_hash(),
        "at_s": timezone.now().timestamp(),
        "proved_at_s": proved_at_s,
    }
    return _ask_code(request, kept=kept, wanted=wanted)


class SignOut(LogoutView):
    """Ends the session."""

    next_page = "/sign-in/"


@require_http_methods(["GET", "HEAD", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """Ask for the code of somebody whose password was right, and let them in."""
    user = _half_in(request)
    if user is None:
        return redirect("sign-in")
    if request.method != "POST":
        return _ask_code(request)
    if wrong := _wrong_code(request, user):
        return _ask_code(request, wrong=wrong)
    proved_at_s = request.session.pop(HALF_IN).get("proved_at_s")
    answer = _let_in(request, user, by_factor=True)
    if proved_at_s is not None:
        sessions.prove_elsewhere(request.session, proved_at_s)
    return answer


def _wrong_code(request: HttpRequest, user: User) -> str:
    """Return what is wrong with the code, as one try; nothing if it opens."""
    door = Door.of(user.username)
    try:
        throttle.claim(door)
    except ShutError as shut:
        return str(shut)
    if wrong := wrong_code(user, request.POST.get("code", "")):
        return with_wait(wrong, door)
    throttle.welcome(door)
    return ""


def _half_in(request: HttpRequest) -> User | None:
    """Return the person whose password was right a moment ago and still holds."""
    half: dict[str, Any] | None = request.session.get(HALF_IN)
    if half is None or timezone.now().timestamp() - half["at_s"] > HALF_IN_S:
        return None
    user = doors.active_account(half["account"])
    if user is None or user.get_session_auth_hash() != half["hash"]:
        return None
    user.backend = half["backend"]
    return user


def _ask_code(
    request: HttpRequest, *, wrong: str = "", kept: Kept | None = None, wanted: str = ""
) -> HttpResponse:
    kept = kept or Kept.unpacked(request.POST.get("kept", ""))
    values = {"wrong": wrong, "kept": kept, "next": wanted or landing(request)}
    return render(request, "controller/sign_in_code.html", values)


def _let_in(request: HttpRequest, user: User, *, by_factor: bool = False) -> HttpResponse:
    login(request, user)
    if by_factor:
        sessions.prove(request, by_factor=True)
    kept = Kept.unpacked(request.POST.get("kept", ""))
    if kept is not None:
        return again(request, kept, f"You are signed in as {user.username} now.")
    return HttpResponseRedirect(landing(request))
