"""Reads figures back: typed arrays to numbers, tokens to colours."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go


def numbers(trace: dict[str, Any], axis: str = "y") -> list[float | None]:
    """Return the values of a trace, ``None`` where the line is broken."""
    values = trace[axis]
    if isinstance(values, dict):
        values = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return [None if value is None or np.isnan(value) else value for value in values]


def trace_named(plot: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the one trace of this name."""
    (found,) = [trace for trace in plot["data"] if trace["name"] == name]
    return found


def painted(part: Any) -> Any:
    """Return the figure with every token replaced by a colour Plotly knows."""
    if isinstance(part, dict):
        return {key: painted(value) for key, value in part.items()}
    if isinstance(part, list):
        return [painted(value) for value in part]
    return "#123456" if isinstance(part, str) and part.startswith("token:") else part


def validated(plot: dict[str, Any]) -> go.Figure:
    """Return the figure as Plotly reads it; raises for anything it does not know."""
    return go.Figure(data=painted(plot["data"]), layout=painted(plot["layout"]))


def texts(part: Any) -> list[str]:
    """Return every string of a figure that Plotly may draw."""
    if isinstance(part, dict):
        return [text for value in part.values() for text in texts(value)]
    if isinstance(part, (list, tuple)):
        return [text for value in part for text in texts(value)]
    return [part] if isinstance(part, str) else []
