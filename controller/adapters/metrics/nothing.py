"""The source of clusters whose metrics are not connected: every service is unanswered."""

from collections.abc import Sequence

from controller.core.ports import View
from controller.core.types import ServiceSpec


class NoSource:
    """Says for each service that nothing is connected."""

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:  # noqa: ARG002
        """Return no observation."""
        text = "No metrics source is connected for this cluster."
        return View(observations={}, pools=(), failures={spec.key: text for spec in services})
