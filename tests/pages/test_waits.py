"""Who waits to be registered: nobody where nothing keeps an instance out of service discovery."""

import pytest

from controller.core.registration import InStep
from controller.core.types import Instances
from controller.models.clock import database_now
from controller.selectors.progress import waits_of
from inventory.models import Workload
from tests.clusters_of_kubernetes import make_kube_service
from tests.loop.test_actions import make_action


@pytest.mark.django_db
def test_nobody_is_said_to_wait_where_nothing_keeps_them_out() -> None:
    service, now = make_kube_service("chat"), database_now()
    rule = InStep(0.4, 0.5, 0.6, Instances(1, 1), now.timestamp() + 60)
    action = make_action(service, in_step=rule.plain())
    assert waits_of(action, now, service) is None
    Workload.objects.filter(service=service, role="decode").update(gate="label")
    waits = waits_of(action, now, service)
    assert waits is not None
    assert (waits.low, waits.high) == (0.4, 0.6)
