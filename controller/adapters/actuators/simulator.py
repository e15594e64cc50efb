"""Carries actions out on simulated engines, with the rules of a real cluster."""

from controller.core.ports import ConflictError, RefusedError, ScaleOrder, ScaleView
from controller.core.types import Instances
from controller.simulator.engines import Engines, OpenEngines, Receipt


class SimulatedCluster:
    """Takes each order once, refuses old epochs and stale versions (S12, S13)."""

    def __init__(self, open_engines: OpenEngines) -> None:
        self._open = open_engines

    def read(self, service: str, *, now_s: float) -> ScaleView:
        """Return what the engines hold."""
        with self._open(now_s) as engines:
            return _view(engines, service)

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:
        """Scale a service of the engines, unless the order was taken before."""
        with self._open(now_s) as engines:
            if order.service not in engines.world.keys:
                raise RefusedError(f"{order.service} is not a simulated service.")
            seen = _view(engines, order.service)
            if seen.last_action == order.action:
                return
            if order.epoch < seen.last_epoch:
                raise RefusedError(
                    f"epoch {order.epoch} is over, epoch {seen.last_epoch} wrote last."
                )
            if order.resource_version != seen.resource_version:
                raise ConflictError(
                    f"version {seen.resource_version} with {seen.desired},"
                    f" not version {order.resource_version}."
                )
            engines.world.scale(order.service, order.want)
            engines.receipts[order.service] = Receipt(order.action, order.epoch)


def _view(engines: Engines, service: str) -> ScaleView:
    desired, version = engines.world.desired(service)
    receipt = engines.receipts.get(service)
    return ScaleView(
        desired=Instances(desired.prefill, desired.decode),
        ready=engines.world.ready(service),
        resource_version=str(version),
        last_action=receipt.action if receipt else None,
        last_epoch=receipt.epoch if receipt else 0,
    )
