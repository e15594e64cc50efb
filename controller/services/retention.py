"""Old measurements go, decisions and what people did stay."""

from datetime import datetime, timedelta

from controller.models import PoolSample, Sample, Tick

KEEP_SAMPLES = timedelta(days=15)
AT_ONCE = timedelta(hours=6)


def prune(now: datetime) -> None:
    """Delete samples and ticks older than the retention, a bounded stretch at a time."""
    edge = now - KEEP_SAMPLES
    for model in (Sample, PoolSample, Tick):
        oldest = model.objects.order_by("at").values_list("at", flat=True).first()
        if oldest is not None and oldest < edge:
            model.objects.filter(at__lt=min(edge, oldest + AT_ONCE)).delete()
