"""A double and raw requests to it."""

from __future__ import annotations

import pytest

from tests.kube import Double
from tests.kube_double.client import Client


@pytest.fixture
def raw(kube: Double) -> Client:
    """Requests of an account that may do everything."""
    return Client(kube)
