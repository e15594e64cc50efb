"""The ports of the controller answered by simulated engines: what is seen, and who acts."""

from collections.abc import Sequence

from controller.core.ports import ConflictError, RefusedError, ScaleOrder, ScaleView, View
from controller.core.types import ServiceSpec
from controller.simulator.engines import Engines, OpenEngines, Receipt
from controller.simulator.instances import Terms


class SimulatorSource:
    """Answers for every service the simulator plays; others are named as unanswered."""

    def __init__(self, open_engines: OpenEngines, *, window_s: float) -> None:
        self._open = open_engines
        self._window_s = window_s

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Advance the engines to ``now_s`` and read them in one go."""
        with self._open(now_s) as engines:
            known = engines.world.keys
            keys = [spec.key for spec in services if spec.key in known]
            observations = engines.world.observe(keys, now_s, self._window_s)
            pools = engines.world.pools(now_s)
        failures = {
            spec.key: "No simulated engines are set up for this service."
            for spec in services
            if spec.key not in known
        }
        return View(observations=observations, pools=pools, failures=failures)


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
            terms = Terms(order.in_step, order.spots, order.leave, order.moves)
            engines.world.scale(order.service, order.want, terms)
            engines.receipts[order.service] = Receipt(order.action, order.epoch)


def _view(engines: Engines, service: str) -> ScaleView:
    desired, version = engines.world.desired(service)
    receipt = engines.receipts.get(service)
    return ScaleView(
        desired=desired,
        ready=engines.world.ready(service),
        resource_version=str(version),
        last_action=receipt.action if receipt else None,
        last_epoch=receipt.epoch if receipt else 0,
    )
