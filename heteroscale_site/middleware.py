"""Who asks and from where, sessions that end, and answers no cache keeps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from controller.services import audit

Answer = Callable[[HttpRequest], HttpResponseBase]

SIGNED_IN_AT = "signed_in_at_s"
ACTIVE_AT = "active_at_s"
QUEUE_PAGES = "/queue/"
# Writing the session on every click would cost a row update a page.
NOTED_EVERY_S = 60


class AuditedMiddleware:
    """Gives every request one id and its source address, which all it audits carries."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set both for the time of the request."""
        named = audit.REQUEST_ID.set(str(uuid.uuid4()))
        placed = audit.ADDRESS.set(source_address(request, settings.PROXIES))
        try:
            return self.get_response(request)
        finally:
            audit.ADDRESS.reset(placed)
            audit.REQUEST_ID.reset(named)


def source_address(request: HttpRequest, proxies: Sequence[str]) -> str:
    """Return where a request came from, empty when that is no address.

    ``X-Forwarded-For`` is read only when the connection comes from one of ``proxies``, and from
    its end: what stands before the last stranger there was written by that stranger.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    hops += reversed(request.headers.get("X-Forwarded-For", "").split(","))
    for hop in map(_address, hops):
        if not hop:
            break
        if hop not in proxies:
            return hop
    return _address(hops[0])


def _address(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return ""


class SessionAgeMiddleware:
    """Ends a session that is too old or that nobody has used for too long."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Sign out before the view sees the request."""
        if _has_session(request) and request.user.is_authenticated:
            self._check(request)
        return self.get_response(request)

    def _check(self, request: HttpRequest) -> None:
        now_s = timezone.now().timestamp()
        session = request.session
        signed_in_s = session.setdefault(SIGNED_IN_AT, now_s)
        active_s = session.setdefault(ACTIVE_AT, now_s)
        if now_s - signed_in_s > settings.SESSION_S or now_s - active_s > settings.IDLE_S:
            logout(request)
        elif now_s - active_s > NOTED_EVERY_S and not _refreshes_itself(request):
            session[ACTIVE_AT] = now_s


class QueuePagesMiddleware:
    """Shows the queue's pages, which can empty it, to administrators only.

    A stranger with a token is left to those pages, which compare it themselves. The header opens
    nothing for a person who is signed in: the pages would take any member of staff.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer others as if there were no such pages."""
        if not request.path_info.startswith(QUEUE_PAGES):
            return self.get_response(request)
        if request.user.is_authenticated and not request.user.is_superuser:
            raise Http404
        if not request.user.is_authenticated and "Authorization" not in request.headers:
            return redirect_to_login(request.get_full_path())
        return self.get_response(request)


class NoStoreMiddleware:
    """Keeps the pages of a signed-in person out of every cache.

    A view that sets its own ``Cache-Control`` is left alone; one that sets an ``ETag`` may be
    asked again by the same browser.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Add the header on the way out."""
        response = self.get_response(request)
        if response.has_header("Cache-Control"):
            return response
        if _has_session(request) and request.user.is_authenticated:
            known = response.has_header("ETag")
            response["Cache-Control"] = "private, no-cache" if known else "no-store"
        return response


def _has_session(request: HttpRequest) -> bool:
    # Without the cookie nobody is signed in, and looking further would make the answer vary.
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def _refreshes_itself(request: HttpRequest) -> bool:
    # Figures are fetched by a script of their own, without htmx's header.
    by_script = request.headers.get("HX-Request") == "true" or request.path_info.startswith(
        "/api/"
    )
    return request.method == "GET" and by_script
