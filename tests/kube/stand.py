"""The fixture ``kube``: a running double with the workloads of two services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kube.builders import deployment, fleet
from tests.kube.double import Double

NAMESPACE = "prod"
PARTS = {"chat-prefill": 2, "chat-decode": 4, "code-prefill": 1, "code-decode": 2}


@pytest.fixture
def kube() -> Iterator[Double]:
    """16 nodes of 8 GPUs under one leaf; chat is 2 and 4, code is 1 and 2 instances of 2 GPUs."""
    with Double() as double:
        double.put(*fleet(16))
        for name, replicas in PARTS.items():
            labels = {"heteroscale.test/service": name.partition("-")[0]}
            double.put(deployment(NAMESPACE, name, replicas, labels, gpus=2))
        double.settle()
        yield double
