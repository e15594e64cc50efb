"""The strip alone, for the poll of every page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.views import fragments
from controller.views.chrome import read_chrome


@require_safe
@fragments.signed_in
def fragment(request: HttpRequest) -> HttpResponse:
    """Answer the strip, or 304 while nothing happened."""
    now = timezone.now()
    chrome = read_chrome(request, now)
    values = {"chrome": chrome, "now": now}
    return fragments.answer(request, "controller/_strip.html", values, state=chrome)
