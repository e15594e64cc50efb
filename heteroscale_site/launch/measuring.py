"""Whether a Prometheus answers, whether it scrapes the simulator, and how it would."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from controller.adapters.metrics.prometheus.client import Endpoint, SourceError, ask
from controller.adapters.turn import Turn
from controller.core.reach import Reach
from controller.core.readings.asking import Grid
from heteroscale_site.home import LaunchError

WITHIN_S: Final = 5.0
SCRAPED: Final = 'count(last_over_time(vllm:num_requests_running{service!="",role!=""}[1h]))'
"""Over an hour: while the product was off, nobody could be scraped."""


def scraped(url: str, reach: Reach, now_s: float) -> int:
    """Return how many instances a Prometheus has scraped within the last hour.

    Raises :class:`LaunchError` when it doesn't answer queries.
    """
    turn = Turn(
        now_s,
        time.monotonic() + WITHIN_S,
        np.random.default_rng(),
        time.sleep,
        within=reach,
    )
    try:
        answer = ask(Endpoint("prometheus", url), SCRAPED, Grid(now_s, 15.0, 1), turn)
    except SourceError as fault:
        raise LaunchError(
            f"--prometheus {url}: {fault} Start it first, or leave the option out."
        ) from fault
    return _number(answer.result)


def _number(result: list[object]) -> int:
    for series in result:
        values = series.get("values") if isinstance(series, dict) else None
        if values:
            return int(float(values[-1][1]))
    return 0


def lines(url: str, count: int, address: str) -> str:
    """Return what to tell whoever starts the product, ``address`` being where it answers."""
    if count:
        return (
            f"  Signals   through the Prometheus at {url}, which has scraped {count} instances\n"
        )
    return "\n".join(
        [
            f"  Signals   through the Prometheus at {url}, which does not scrape us yet:",
            "            until it does, no service is scaled. Put this into its prometheus.yml:",
            "",
            "scrape_configs:",
            "  - job_name: heteroscale-simulator",
            "    scrape_interval: 15s",
            "    http_sd_configs:",
            f"      - url: {address}simulator/targets",
            "        refresh_interval: 15s",
            "",
        ]
    )
