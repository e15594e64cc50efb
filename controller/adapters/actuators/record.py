"""The dry run: orders are taken by nobody, and the action says so (S17)."""

from typing import NoReturn

from controller.core.ports import RefusedError, ScaleOrder


class RecordOnly:
    """Refuses every write; a cluster of kind *record only* is watched, never changed."""

    def read(self, service: str, *, now_s: float) -> NoReturn:  # noqa: ARG002
        """Refuse: there is nothing to read back."""
        raise RefusedError(f"the cluster of {service} is record only.")

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:  # noqa: ARG002
        """Refuse the write."""
        raise RefusedError(f"the cluster of {order.service} is record only: nothing is sent.")
