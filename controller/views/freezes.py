"""Written next."""

from django.http import HttpRequest, HttpResponse


def freeze_service(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def resume_service(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def freeze_fleet(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")


def resume_fleet(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")
