"""The way to the identity provider and back."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from heteroscale_site.oidc.provider import ProviderError, setting

REFUSED = (
    "The identity provider did not let you in, or none of your groups there has a role here: "
    "ask an administrator, then try again."
)


class ToProvider(OIDCAuthenticationRequestView):
    """Sends a browser to the provider; what was to be opened is kept in the session."""

    get_settings = staticmethod(setting)

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
        return answer

    def get_extra_params(self, request: HttpRequest) -> dict[str, Any]:
        """Ask for a new proof where what is to be done needs a fresh one."""
        return {"prompt": "login", "max_age": 0} if request.GET.get("fresh") else {}


class FromProvider(OIDCAuthenticationCallbackView):
    """Takes a browser back from the provider."""

    get_settings = staticmethod(setting)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Sign in, or say on the sign-in page that the provider let nobody in."""
        if not settings.OIDC_ISSUER:
            raise Http404
        try:
            answer: HttpResponse = super().get(request)
        except ProviderError as fault:
            messages.error(request, str(fault))
            return redirect(settings.LOGIN_URL)
        return answer

    def login_failure(self) -> HttpResponse:
        """Return to the sign-in page with the reason in words."""
        messages.error(self.request, REFUSED)
        return redirect(settings.LOGIN_URL)
