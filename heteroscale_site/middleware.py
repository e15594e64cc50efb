"""Who asks and from where, sessions that end, and answers no cache keeps."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import MiddlewareNotUsed
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import get_template
from django.utils import timezone

from controller.selectors import schema
from controller.services import audit, second_factor
from controller.services.sessions import ACTIVE_AT, FACTOR_AT, SIGNED_IN_AT
from controller.views import fresh
from controller.views.kept import SAFE
from heteroscale_site.configuration import ProcessRole
from heteroscale_site.errors import RETRY_AFTER_S

Answer = Callable[[HttpRequest], HttpResponseBase]
Networks = Sequence[IPv4Network | IPv6Network]

QUEUE_PAGES = "/queue/"
# Where people and their rights are changed.
PEOPLE_PAGES = "/admin/auth/"
# Pages that need no second factor: the way to one, and the way out.
DOOR_PAGES = ("/me/second-factor/", "/sign-in/", "/sign-out/", "/static/", "/healthz", "/readyz")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
# They tell their own readiness, or nothing of the database.
MACHINE_PAGES = ("/healthz", "/readyz")
VERSION_LOOKED_S = 5.0
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


class ForwardedMiddleware:
    """Believes the proxies, and nobody else, that a request came by HTTPS."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Note it before anything redirects to HTTPS."""
        said = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        if said == "https" and _is_among(
            _address(request.META.get("REMOTE_ADDR", "")), settings.PROXIES
        ):
            request.META["wsgi.url_scheme"] = "https"
        return self.get_response(request)


def source_address(request: HttpRequest, proxies: Networks) -> str:
    """Return where a request came from, empty when that is no address.

    ``X-Forwarded-For`` is read only when the connection comes from one of ``proxies``, and from
    its end: what stands before the last stranger there was written by that stranger.
    """
    hops = [request.META.get("REMOTE_ADDR", "")]
    hops += reversed(request.headers.get("X-Forwarded-For", "").split(","))
    for hop in map(_address, hops):
        if not hop:
            break
        if not _is_among(hop, proxies):
            return hop
    return _address(hops[0])


def _is_among(address: str, networks: Networks) -> bool:
    if not address:
        return False
    found = ip_address(address)
    # A socket for both protocols tells an IPv4 address in IPv6's spelling.
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in one for one in networks)


def _address(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return ""


class NoZeroByteMiddleware:
    """Puts a sign that stands for nothing where an address has a zero byte.

    PostgreSQL takes none. It is not left out: what names nothing must not mean all (S21).
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Replace it before anything reads the address."""
        asked = request.META.get("QUERY_STRING", "")
        request.META["QUERY_STRING"] = asked.replace("%00", quote(UNKNOWN)).replace("\0", UNKNOWN)
        request.path = request.path.replace("\0", UNKNOWN)
        request.path_info = request.path_info.replace("\0", UNKNOWN)
        return self.get_response(request)


class VersionMiddleware:
    """Shows one page, and does nothing, while the database is of another version (P08)."""

    def __init__(self, get_response: Answer) -> None:
        """Stand aside where no pages are served: commands and tests know their database."""
        if settings.PROCESS_ROLE is not ProcessRole.WEB:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self._looked_s = -VERSION_LOOKED_S
        self._differs: schema.Difference | None = None

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Look every few seconds; a form is never read by the wrong version for longer."""
        if request.path_info in MACHINE_PAGES or self._is_of_this_version():
            return self.get_response(request)
        text = self._differs.sentence if self._differs else ""
        answer = HttpResponse(
            get_template("other_version.html").render({"text": text}), status=503
        )
        answer["Retry-After"] = str(RETRY_AFTER_S)
        return answer

    def _is_of_this_version(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s >= VERSION_LOOKED_S:
            # What the database can't answer the view will say in its own words.
            with contextlib.suppress(DatabaseError):
                self._differs = schema.difference()
            self._looked_s = now_s
        return self._differs is None


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
        signed_in_s, active_s = session.get(SIGNED_IN_AT, 0.0), session.get(ACTIVE_AT, 0.0)
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


class SameSiteMiddleware:
    """Refuses a form that another site sent, a neighbouring sub-domain included.

    Every browser of today says in ``Sec-Fetch-Site`` who sent it, and no script can change that;
    without it the token and Django's look at ``Origin`` stand alone.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer before anything reads the form."""
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        if request.method in SAFE or site in {"same-origin", "none"}:
            return self.get_response(request)
        return render(request, "403_csrf.html", status=403)


class FreshPeopleMiddleware:
    """Asks again who is there before the administration changes people or their rights."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Do nothing yet: the token of the form has to be looked at first."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        """Ask for a fresh proof where the last one is old."""
        if request.path_info.startswith(PEOPLE_PAGES) and request.user.is_authenticated:
            return fresh.require_fresh(request)
        return None


class SecondFactorMiddleware:
    """Lets those who must have a second factor do nothing before they have shown it."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Do nothing yet: the token of the form has to be looked at first."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        """Send them to the page that asks for the code, or to the one that sets it up."""
        if not _lacks_factor(request):
            return None
        if request.path_info.startswith("/api/"):
            return JsonResponse({"detail": "Sign in with your second factor first."}, status=403)
        if second_factor.is_enrolled(cast("User", request.user)):
            return fresh.ask(request)
        return redirect("second-factor")


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


def _lacks_factor(request: HttpRequest) -> bool:
    """Return whether the person must have a second factor and did not show it in this session."""
    if settings.SECOND_FACTOR == "off" or request.path_info.startswith(DOOR_PAGES):
        return False
    user = request.user
    if not isinstance(user, User) or FACTOR_AT in request.session:
        return False
    return second_factor.is_required(user)


def _has_session(request: HttpRequest) -> bool:
    # Without the cookie nobody is signed in, and looking further would make the answer vary.
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def _refreshes_itself(request: HttpRequest) -> bool:
    # Figures are fetched by a script of their own, without htmx's header.
    by_script = request.headers.get("HX-Request") == "true" or request.path_info.startswith(
        "/api/"
    )
    return request.method == "GET" and by_script
