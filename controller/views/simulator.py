"""What a Prometheus asks the simulator: which instances there are, and the metrics of each."""

from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from controller.services import simulated_metrics
from controller.services.simulated_metrics import NoInstanceError, SilentError


@require_safe
def targets(request: HttpRequest) -> HttpResponse:
    """Return one scrape target for each simulated instance (HTTP service discovery).

    The answer to a failure is no list: a Prometheus keeps its targets then.
    """
    try:
        found = simulated_metrics.instances()
    except Error:
        return _sorry("the database is unreachable")
    host = request.get_host()
    groups = [
        {
            "targets": [host],
            "labels": {
                "__scheme__": request.scheme or "http",
                "__metrics_path__": reverse("simulator-metrics", args=[each.name]),
                "service": each.key,
                "role": each.role.value,
                "group": each.group,
                "instance": each.name,
                "namespace": each.cluster,
                "pod": each.name,
            },
        }
        for each in found
    ]
    return JsonResponse(groups, safe=False)


@require_safe
def metrics(_request: HttpRequest, name: str) -> HttpResponse:
    """Return the metrics of one simulated instance, 503 while it doesn't answer."""
    try:
        seen = simulated_metrics.instance(name)
    except NoInstanceError as fault:
        return HttpResponse(f"# {fault}\n", status=404, content_type="text/plain; charset=utf-8")
    except SilentError as fault:
        return _sorry(str(fault))
    except Error:
        return _sorry("the database is unreachable")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(simulated_metrics.InstanceCollector(seen))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _sorry(why: str) -> HttpResponse:
    answer = HttpResponse(f"# {why}\n", status=503, content_type="text/plain; charset=utf-8")
    # An engine that loads is no error of ours: without this Django logs each scrape of it as one.
    setattr(answer, "_has_been_logged", True)  # noqa: B010 - Django's own mark, in no type
    return answer
