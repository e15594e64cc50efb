"""Written next."""

from django.http import HttpRequest, HttpResponse


def index(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def page(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")
