"""Figures no reference can use are refused by name, and its wishes stay within the limits."""

from collections.abc import Mapping
from math import inf, isfinite

from controller.core.types import Instances, Limits


def figure(params: Mapping[str, float], name: str, low: float, high: float = inf) -> float:
    """Return a parameter within ``low`` to ``high``.

    Raises ``ValueError`` with the parameter, its value and the range when it is outside.
    """
    value = params[name]
    if not isfinite(value) or not low <= value <= high:
        span = f"at least {low:g}" if high == inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} is {value:g}: enter a figure {span}")
    return value


def whole(params: Mapping[str, float], name: str, low: int) -> int:
    """Return a parameter that counts things. Raises ``ValueError`` like :func:`figure`."""
    value = figure(params, name, low)
    if value != int(value):
        raise ValueError(f"{name} is {value:g}: enter a whole number")
    return int(value)


def within(limits: Limits, want: Instances) -> Instances:
    """Return the wish with each role between its floor and ceiling."""
    low, high = limits.minimum, limits.maximum
    return Instances(
        min(max(want.prefill, low.prefill), high.prefill),
        min(max(want.decode, low.decode), high.decode),
    )
