"""How the reader likes the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from controller.services.preferences import UnknownPreferenceError, save_preferences

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@login_required
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep the theme or the time zone and go back to the page it was asked from."""
    try:
        save_preferences(
            cast("User", request.user),
            theme=request.POST.get("theme"),
            time_zone=request.POST.get("time_zone"),
        )
    except UnknownPreferenceError as error:
        messages.error(request, f"Nothing was changed: {error}.")
    return HttpResponseRedirect(_way_back(request))


def _way_back(request: HttpRequest) -> str:
    """Return the path of the asking page; never another host's."""
    referer = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(
        referer, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return "/"
    parts = urlsplit(referer)
    path = parts.path if parts.path.startswith("/") and not parts.path.startswith("//") else "/"
    return f"{path}?{parts.query}" if parts.query else path
