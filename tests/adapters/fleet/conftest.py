"""A watch of a double, at a pace that tests can wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from controller.adapters.fleet.kubernetes.cluster import ClusterWatch
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.adapters.kube.api import Api, Credentials
from tests.adapters.fleet.pods import NAMESPACE
from tests.kube import Double, deployment, fleet

FAST = Pace(jitter=lambda: 0.5, watch_s=2.0, first_wait_s=0.02, longest_wait_s=0.1)
Watching = Callable[..., ClusterWatch]


@pytest.fixture
def watching() -> Iterator[Watching]:
    """Return what watches a double; every watch ends with the test."""
    begun: list[tuple[ClusterWatch, Api]] = []

    def watch(
        kube: Double, *, pace: Pace = FAST, namespaces: tuple[str, ...] = ()
    ) -> ClusterWatch:
        api = Api(Credentials(server=kube.address, token=kube.token))
        one = ClusterWatch(api, pace, namespaces)
        begun.append((one, api))
        return one

    yield partial(watch)
    for one, api in begun:
        one.stop()
        api.close()


@pytest.fixture
def kube() -> Iterator[Double]:
    """16 nodes and the Deployments of chat and code, of which nothing makes pods by itself."""
    with Double() as double:
        double.put(*fleet(16))
        for name, replicas in (("chat", (2, 4)), ("code", (1, 2))):
            for role, count in zip(("prefill", "decode"), replicas, strict=True):
                double.put(deployment(NAMESPACE, f"{name}-{role}", count, gpus=2))
        yield double
