"""A cluster for tests: takes orders as a real one would, and fails on demand."""

from dataclasses import dataclass, field

from controller.core.ports import (
    ConflictError,
    RefusedError,
    ScaleOrder,
    ScaleView,
    UnreachableError,
)
from controller.core.registration import InStep
from controller.core.types import Instances
from inventory.models import Service


@dataclass
class Cluster:
    """One service's object; ``trouble`` is what the next writes meet, in order."""

    desired: Instances = field(default_factory=lambda: Instances(2, 4))
    version: int = 1
    last_action: str | None = None
    last_epoch: int = 0
    trouble: list[str] = field(default_factory=list)
    blind: bool = False
    writes: list[str] = field(default_factory=list)
    in_step: InStep | None = None
    orders: list[ScaleOrder] = field(default_factory=list)

    def of(self, _service: Service) -> "Cluster":
        """Return this cluster for every service."""
        return self

    def read(self, service: str, *, now_s: float) -> ScaleView:  # noqa: ARG002
        """Return what the object holds."""
        if self.blind:
            raise UnreachableError("the read timed out")
        return ScaleView(
            self.desired, self.desired, str(self.version), self.last_action, self.last_epoch
        )

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:  # noqa: ARG002
        """Take the order unless there is trouble; the same order is taken once."""
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "dropped":
            raise UnreachableError("the request never arrived")
        if trouble == "refused":
            raise RefusedError("quota exceeded")
        if self.last_action == order.action:
            return
        if order.epoch < self.last_epoch:
            raise RefusedError(f"epoch {order.epoch} is over")
        if order.resource_version != str(self.version):
            raise ConflictError(f"version {self.version}")
        self.writes.append(order.action)
        self.desired, self.version = order.want, self.version + 1
        self.last_action, self.last_epoch = order.action, order.epoch
        self.in_step = order.in_step
        self.orders.append(order)
        if trouble == "answer lost":
            raise UnreachableError("the connection was reset")
        if trouble == "rewritten":
            self.desired = Instances(order.want.prefill, 3)
