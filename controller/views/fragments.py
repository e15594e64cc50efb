"""Parts of pages that are fetched again and again: unchanged ones cost one short answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import render

from controller.selectors.preferences import read_preferences
from controller.views.chrome import rights_of

View = Callable[..., HttpResponse]


def signed_in(view: View) -> View:
    """Answer strangers with "load the page again" instead of a sign-in form inside a panel."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        return HttpResponse(status=401, headers={"HX-Refresh": "true"})

    return guarded


def _reader(request: HttpRequest) -> tuple[object, ...]:
    user = request.user
    if not user.is_authenticated:
        return ()
    known = getattr(request, "chrome", None)
    zone = known.zone if known else read_preferences(user.pk).zone
    return (user.pk, str(zone), sorted(user.get_all_permissions()), rights_of(request).held)


def answer(
    request: HttpRequest, template: str, values: Mapping[str, Any], *, state: object
) -> HttpResponse:
    """Render a fragment, or answer 304 when ``state`` is what the browser already shows.

    ``state`` is the value the fragment is made of; what the reader may do and the reader's zone
    shape the text too. Ages are not part of it: the page counts them
    up by itself, so a fragment is sent again only when something happened.
    """
    etag = f'"{hashlib.sha256(repr((state, *_reader(request))).encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Cookie"}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers=headers)
    response = render(request, template, dict(values))
    for name, value in headers.items():
        response[name] = value
    return response
