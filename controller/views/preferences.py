"""Written next."""

from django.http import HttpRequest, HttpResponse


def save(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")
