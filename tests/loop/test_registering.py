"""Ratio gating at start: new instances join service discovery in step (HeteroScale §4.5)."""

import uuid
from collections.abc import Iterable
from datetime import timedelta

import pytest

from controller.core.registration import InStep
from controller.core.types import Instances
from controller.models import Action, ServiceStatus
from controller.models.clock import database_now
from controller.services import overriding
from controller.services.freezes import freeze
from controller.services.registering import due, register
from inventory.models import Service
from tests.factories import make_cluster, make_service
from tests.gates import Gates
from tests.loop.test_actions import make_action
from tests.services.people import person

pytestmark = pytest.mark.django_db


def gates(serving: str, waiting: str = "", coming: str = "") -> Gates:
    """Return instances by name, in the order in which they were made: "p1 d1"."""
    found = dict.fromkeys(serving.split(), True)
    found |= dict.fromkeys((*waiting.split(), *coming.split()), False)
    return Gates(found, coming=set(coming.split()))


def make_grown(service: Service, *, left_s: float = 300.0, **fields: object) -> Action:
    """Return an action of 1/2 → 3/6 that was applied, with so much left of its rule."""
    now = database_now()
    rule = InStep(0.375, 0.5, 0.625, Instances(1, 1), now.timestamp() + left_s)
    given = {
        "from_prefill": 1, "from_decode": 2, "to_prefill": 3, "to_decode": 6, "state": "applied",
        "in_step": rule.plain(), "sent_at": now, "applied_at": now,
    } | fields  # fmt: skip
    return make_action(service, **given)


def joined(of: Gates) -> list[str]:
    return [name for what, name in of.done if what == "in"]


@pytest.mark.parametrize(
    ("serving", "waiting", "coming", "joins"),
    [
        pytest.param("p1 d1 d2", "d3 d4", "p2 p3 d5", [], id="1/2 and 2 decode more: wait at 2"),
        pytest.param("p1 d1 d2", "p2 d3 d4", "p3", ["p2", "d3", "d4"], id="2/4 in step: all"),
        pytest.param("p1 d1 d2", "p2 d3", "p3 d4", ["p2", "d3"], id="2/3: 0.667, rounded"),
        pytest.param("p1 d1 d2", "d3 d4", "", ["d3", "d4"], id="nothing comes: nobody waits"),
        pytest.param("", "d1 d2", "p1", ["d1", "d2"], id="2 decode served before: they may"),
    ],
)
def test_who_is_ahead_waits_for_the_other_role(
    serving: str, waiting: str, coming: str, joins: list[str]
) -> None:
    service = make_service()
    make_grown(service)
    of = gates(serving, waiting, coming)
    register(service, of.of)
    assert joined(of) == joins


def test_prefill_that_never_starts_keeps_decode_out_no_longer_than_its_time_k14() -> None:
    service = make_service()
    action = make_grown(service)
    of = gates("p1 d1 d2", "d3 d4 d5", "p2")
    register(service, of.of)
    assert joined(of) == []
    action.in_step |= {"until_s": database_now().timestamp() - 1.0}
    action.save()
    register(service, of.of)
    assert joined(of) == ["d3", "d4", "d5"]


def test_what_failed_is_not_waited_for_k14() -> None:
    """It is neither up nor coming: the cluster gave it up, or it crashes."""
    service = make_service()
    make_grown(service)
    of = gates("p1 d1 d2", "d3 d4 p2")
    of.failed = {"p2"}
    register(service, of.of)
    assert joined(of) == ["d3", "d4"]


def test_without_an_order_everybody_joins_at_once() -> None:
    service = make_service()
    of = gates("p1", "d1 d2", "p2")
    register(service, of.of)
    assert joined(of) == ["d1", "d2"]


def test_only_the_newest_order_counts() -> None:
    service = make_service()
    make_grown(service, sent_at=database_now() - timedelta(minutes=5))
    make_grown(service, in_step=None, ended_at=database_now())
    of = gates("p1 d1 d2", "d3 d4", "p2")
    register(service, of.of)
    assert joined(of) == ["d3", "d4"]


def test_an_order_that_was_only_recorded_holds_nobody_back() -> None:
    service = make_service()
    make_grown(service, state="recorded", sent_at=None, applied_at=None)
    of = gates("p1 d1 d2", "d3 d4", "p2")
    register(service, of.of)
    assert joined(of) == ["d3", "d4"]


def test_under_a_freeze_nobody_waits_and_who_is_up_joins_s16() -> None:
    service = make_service()
    make_grown(service)
    freeze(about=service, user=person("ana", "Operator"), reason="incident")
    of = gates("p1 d1 d2", "d3 d4", "p2")
    register(service, of.of)
    assert joined(of) == ["d3", "d4"]


@pytest.mark.parametrize("how", ["mode", "override"])
def test_of_a_service_that_is_only_observed_nothing_is_written_s17(how: str) -> None:
    service = make_service(mode="observe" if how == "mode" else "automatic")
    if how == "override":
        overriding.place(
            overriding.OverrideKind.ADVISORY,
            service,
            {},
            ends_at=database_now() + timedelta(hours=1),
            reason="a look",
            user=person("ana", "Operator"),
        )
    of = gates("p1", "d1")
    assert register(service, of.of) == "it is only observed"
    assert of.done == []


def stamped(of: Gates, by: object, names: Iterable[str]) -> Gates:
    of.stamps = {name: str(by) for name in names}
    return of


def test_who_an_action_took_out_is_not_let_in() -> None:
    service = make_service()
    action = make_action(service, state="withdrawn", is_out=True)
    of = stamped(gates("p1 d1", "d2 d3"), action.pk, ["d2"])
    register(service, of.of)
    assert joined(of) == ["d3"]
    assert of.out == {"d2"}


@pytest.mark.parametrize("state", ["cancelled", "failed", "ready", "nobody knows", "no id"])
def test_whoever_is_out_without_an_owner_returns(state: str) -> None:
    service = make_service()
    known = (
        make_action(service, state=state) if state in {"cancelled", "failed", "ready"} else None
    )
    by = {"nobody knows": uuid.uuid4(), "no id": "x"}.get(state, known and known.pk)
    of = stamped(gates("p1 d1", "d2"), by, ["d2"])
    register(service, of.of)
    assert (of.out, of.stamps) == (set(), {})


def test_services_with_somebody_outside_are_looked_at() -> None:
    real = make_cluster("k8s", "kubernetes")
    for slug, cluster, held in (("chat", real, 1), ("code", real, 0), ("sim", None, 1)):
        service = make_service(slug, cluster=cluster)
        ServiceStatus.objects.filter(service=service).update(decode_held=held)
    assert [one.slug for one in due()] == ["chat"]
