"""The shell around the pages that steer: who may come in, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from controller.services.errors import ForbiddenError, MissingError
from controller.views.kept import SAFE, sign_in_first

View = Callable[..., HttpResponse]


def page(*methods: str) -> Callable[[View], View]:
    """Wrap a view: sign-in needed, only these methods, refusals told."""

    def wrap(view: View) -> View:
        @wraps(view)
        def inside(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            if not request.user.is_authenticated:
                return _stranger(request)
            try:
                return view(request, *args, **kwargs)
            except ForbiddenError as refusal:
                return render(request, "403.html", {"text": str(refusal)}, status=403)
            except MissingError as refusal:
                raise Http404(str(refusal)) from refusal

        return require_http_methods([*methods, "HEAD"])(inside)

    return wrap


def _stranger(request: HttpRequest) -> HttpResponse:
    """Send a stranger to the sign-in page; a form whose session ended comes along.

    What a script asked for has no place for such a page.
    """
    if request.method in SAFE or "HX-Request" in request.headers:
        return redirect_to_login(request.get_full_path())
    return sign_in_first(request)
