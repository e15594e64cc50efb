"""What people set over services for a while, and what it does now."""

from controller.models import orders
from controller.models.orders import Orders


def in_force() -> Orders:
    """Return what is in force over every service."""
    return orders.read()
