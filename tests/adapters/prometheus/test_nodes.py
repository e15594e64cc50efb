"""The hosts that report GPUs, from a Prometheus and from what is none, within one deadline."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import numpy as np
import pytest

from controller.adapters.metrics.prometheus.client import Endpoint
from controller.adapters.metrics.prometheus.nodes import LATE, reporting, reporting_at
from controller.adapters.turn import Turn
from tests.adapters.prometheus.conftest import turn
from tests.adapters.prometheus.test_protocol import EMPTY, as_json, serving
from tests.prometheus import NOW_S, PROMTOOL, SERVER, Series, running

GPUS: Final = 8


def _exporters() -> Iterator[Series]:
    for host in ("gpu-1", "gpu-2"):
        labels = {"Hostname": host, "instance": f"{host}:9400", "job": "dcgm"}
        for gpu in range(GPUS):
            for name in ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"):
                yield Series(name, {**labels, "gpu": str(gpu)}, [50] * 9)
    gone = {"Hostname": "gpu-3", "gpu": "0", "instance": "gpu-3:9400"}
    yield Series("DCGM_FI_DEV_GPU_UTIL", gone, [50] * 9, later_s=-3600)
    yield Series("up", {"instance": "gpu-4:9100"}, [1] * 9)


@pytest.fixture(scope="module")
def exporters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scraped two exporters until now, and one an hour ago."""
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    history = sorted(_exporters(), key=attrgetter("name"))
    with running(tmp_path_factory.mktemp("nodes"), history) as address:
        yield address


def _then(within_s: float = 20.0) -> Turn:
    looked = turn(within_s)
    return Turn(NOW_S, looked.until, np.random.default_rng(0), looked.sleep, looked.begun)


def test_each_host_that_reports_now_is_one_series(exporters: str) -> None:
    told = reporting(Endpoint("test", exporters), _then())
    assert sorted(told, key=lambda labels: labels["Hostname"]) == [
        {"Hostname": "gpu-1", "instance": "gpu-1:9400"},
        {"Hostname": "gpu-2", "instance": "gpu-2:9400"},
    ]


def test_who_is_silent_late_or_answers_in_part_costs_the_others_nothing() -> None:
    part = as_json({**EMPTY, "warnings": ["store eu-2 is away"]})
    with serving(as_json(EMPTY)) as good, serving(part) as partial, serving(None) as late:
        addresses = {"good": good.base, "partial": partial.base, "late": late.base}
        addresses["silent"] = "http://127.0.0.1:9"
        endpoints = {name: Endpoint(name, base) for name, base in addresses.items()}
        found = reporting_at(endpoints, _then(1.0))
    assert found["good"] == []
    assert str(found["partial"]).startswith("It answered in part. ")
    assert found["late"] == LATE or "in time" in str(found["late"])
    assert "can't be reached" in str(found["silent"])
