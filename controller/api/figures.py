"""Figures as JSON."""

from django.http import HttpRequest, HttpResponse


def figure(_request: HttpRequest, name: str) -> HttpResponse:
    """Answer."""
    return HttpResponse(name)
