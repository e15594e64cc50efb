"""Written next."""

from django.http import HttpRequest, HttpResponse


def fragment(_request: HttpRequest, **_kwargs: object) -> HttpResponse:
    """Answer."""
    return HttpResponse("ok")
