"""The way to the identity provider and back."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from controller.services import second_factor, sessions
from controller.views import fresh
from controller.views.kept import Kept, again
from controller.views.landing import landing
from controller.views.sign_in import ask_code_first
from heteroscale_site.oidc.provider import ProviderError, setting

REFUSED: Final = (
    "The identity provider did not let you in, or none of your groups there has a role here: "
    "ask an administrator, then try again."
)
NOT_CONFIRMED: Final = "The identity provider did not confirm that it is you."
OLD: Final = (
    "The identity provider did not ask you again, or does not say when it did (auth_time): "
    "nothing was proved."
)
ON_THE_WAY: Final = "on_the_way_to_provider"
MOST_KEPT: Final = 100_000
"""Characters of a form that a session row takes along; a stranger can make those too."""

CLOCKS_S: Final = 60.0
"""How far the provider's clock may be off."""


class Asked(NamedTuple):
    """What a browser was sent to the provider for; ``person`` is asked for a fresh proof."""

    state: str
    at_s: float
    person: int | None
    wanted: str
    kept: str


class ToProvider(OIDCAuthenticationRequestView):
    """Sends a browser to the provider; what was to be opened is kept in the session."""

    get_settings = staticmethod(setting)
    http_method_names = ("get", "post")

    def __init__(self, **kwargs: object) -> None:
        # The library would ask the provider while the view is made.
        self.init_kwargs = kwargs

    def get(self, request: HttpRequest) -> HttpResponse:
        """Redirect, or say on the sign-in page why not."""
        if not settings.OIDC_ISSUER:
            raise Http404
        try:
            super().__init__(**self.init_kwargs)
            answer: HttpResponse = super().get(request)
        except ProviderError as fault:
            messages.error(request, str(fault))
            return redirect(settings.LOGIN_URL)
        self._note(request, answer["Location"])
        return answer

    def post(self, request: HttpRequest) -> HttpResponse:
        """Take a kept form along.

        Browsers hold the redirect after a form against the policy's ``form-action``, which names
        us alone; a page that goes on by itself is no form.
        """
        answer = self.get(request)
        address = answer["Location"]
        if address == settings.LOGIN_URL:
            return answer
        values = {"provider": settings.OIDC_NAME, "address": address}
        page = render(request, "controller/to_provider.html", values)
        page["Refresh"] = f"0; url={address}"
        return page

    def get_extra_params(self, request: HttpRequest) -> dict[str, Any]:
        """Ask for a new proof where what is to be done needs a fresh one."""
        return {"prompt": "login", "max_age": 0} if request.GET.get("fresh") else {}

    def _note(self, request: HttpRequest, address: str) -> None:
        kept = request.POST.get("kept", "")
        is_kept = len(kept) <= MOST_KEPT and Kept.unpacked(kept) is not None
        request.session[ON_THE_WAY] = Asked(
            state=parse_qs(urlsplit(address).query)["state"][0],
            at_s=timezone.now().timestamp(),
            person=request.user.pk if request.GET.get("fresh") else None,
            wanted=landing(request),
            kept=kept if is_kept else "",
        )


class FromProvider(OIDCAuthenticationCallbackView):
    """Takes a browser back from the provider."""

    get_settings = staticmethod(setting)
    asked: Asked
    user: User

    def get(self, request: HttpRequest) -> HttpResponse:
        """Sign in or take a fresh proof, or say why there is none."""
        if not settings.OIDC_ISSUER:
            raise Http404
        self.asked = _asked(request)
        if "error" in request.GET:
            # The library would end the session of whoever follows a link with an error in it.
            return self.login_failure()
        try:
            answer: HttpResponse = super().get(request)
        except ProviderError as fault:
            messages.error(request, str(fault))
            return redirect(settings.LOGIN_URL)
        except SuspiciousOperation:
            return self.login_failure()
        return answer

    def login_success(self) -> HttpResponse:
        """Go on as the person the provider vouches for."""
        kept, wanted = Kept.unpacked(self.asked.kept), self.asked.wanted
        proved_at_s: float | None = self.request.proved_at_s
        if self.asked.person is None:
            return self._come_in(kept, proved_at_s)
        if wrong := self._wrong(proved_at_s):
            return fresh.refused(self.request, wrong, kept, wanted)
        return fresh.provided(self.request, kept, wanted)

    def _come_in(self, kept: Kept | None, proved_at_s: float | None) -> HttpResponse:
        request = self.request
        if second_factor.is_enrolled(self.user):
            return ask_code_first(
                request,
                self.user,
                kept=kept,
                wanted=self.asked.wanted,
                proved_at_s=proved_at_s or 0.0,
            )
        login(request, self.user)
        sessions.prove_elsewhere(request.session, proved_at_s)
        if kept is None:
            return redirect(self.asked.wanted)
        return again(request, kept, f"You are signed in as {self.user.username} now.")

    def _wrong(self, proved_at_s: float | None) -> str:
        """Return why this is no fresh proof of the person who was asked, nothing if it is."""
        person = cast("User", self.request.user)
        if not self.asked.person == person.pk == self.user.pk:
            return (
                f"The identity provider vouches for {self.user.username}, and you are signed in "
                f"as {person.get_username()}: nothing was proved. Sign out to go on as another."
            )
        is_new = proved_at_s is not None and proved_at_s >= self.asked.at_s - CLOCKS_S
        return "" if is_new else OLD

    def login_failure(self) -> HttpResponse:
        """Return to the page that asked, with the reason in words."""
        request = self.request
        if self.asked.person is not None and request.user.is_authenticated:
            kept = Kept.unpacked(self.asked.kept)
            return fresh.refused(request, NOT_CONFIRMED, kept, self.asked.wanted)
        messages.error(request, REFUSED)
        return redirect(settings.LOGIN_URL)


def _asked(request: HttpRequest) -> Asked:
    """Return what this answer of the provider was asked for; it answers once."""
    noted = request.session.pop(ON_THE_WAY, None)
    found = Asked(*noted) if noted else None
    if found is None or found.state != request.GET.get("state"):
        return Asked("", 0.0, None, settings.LOGIN_REDIRECT_URL, "")
    return found
