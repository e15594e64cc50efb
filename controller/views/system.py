"""What machines ask: is it alive, is it ready, and the figures to scrape."""

from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from controller.selectors import health
from controller.services import queueing


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer as long as the process does; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 when pages can be served, 503 with the reason when not."""
    try:
        found = health.readiness()
    except Error:
        return JsonResponse({"ready": False, "database": "unreachable"}, status=503)
    status = 200 if found.ready else 503
    queue = "ok" if queueing.is_reachable() else "unreachable"
    return JsonResponse({"ready": found.ready, **found.checks, "queue": queue}, status=status)


@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """Return the figures in the Prometheus text format, 503 without the database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(health.FleetCollector())
    try:
        text = generate_latest(registry)
    except Error:
        return HttpResponse("# the database is unreachable\n", status=503)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)
