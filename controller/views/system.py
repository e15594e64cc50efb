"""Written next."""

from django.http import HttpRequest, HttpResponse


def healthz(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def readyz(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def metrics(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")
