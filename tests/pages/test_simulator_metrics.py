"""What a Prometheus asks the simulator: targets, and the metrics of each instance."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.types import Instances, Role
from controller.models import SimulatedFleet
from controller.models.clock import database_now
from controller.services import demo, simulated
from controller.simulator.model import Fault

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> SimulatedFleet:
    """The demonstration, which has run for three minutes."""
    demo.create(speed=1.0, trace=None)
    made = SimulatedFleet.objects.get(pk=1)
    engines = simulated.restore(made, database_now().timestamp() - 180)
    engines.world.advance(database_now().timestamp())
    simulated.keep(made, engines)
    return made


def exposed(client: Client, name: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get(f"/simulator/metrics/{name}/")
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_every_instance_is_a_target_with_its_labels(client: Client, fleet: SimulatedFleet) -> None:
    answer = client.get("/simulator/targets", headers={"host": "localhost:8123"})
    assert answer["Content-Type"] == "application/json"
    groups = {group["labels"]["instance"]: group for group in answer.json()}
    world = simulated.restore(fleet, 0.0).world
    assert groups.keys() == {each.name for key in world.keys for each in world.exported(key)}
    chat = world.exported("chat")[0]
    assert groups[chat.name] == {
        "targets": ["localhost:8123"],
        "labels": {
            "__scheme__": "http",
            "__metrics_path__": f"/simulator/metrics/{chat.name}/",
            "service": "chat",
            "role": "prefill",
            "group": chat.group,
            "instance": chat.name,
            "namespace": chat.cluster,
            "pod": chat.name,
        },
    }


def test_an_instance_answers_as_vllm_does(client: Client, fleet: SimulatedFleet) -> None:
    world = simulated.restore(fleet, 0.0).world
    prefill, decode = (
        next(each for each in world.exported("chat") if each.role is role) for role in Role
    )
    engine = ("engine", "0"), ("model_name", prefill.model)
    for each, source in ((prefill, "local_compute"), (decode, "external_kv_transfer")):
        found = exposed(client, each.name)
        assert {
            name
            for recipe in PRESETS["vllm"].recipes.values()
            for leaf in leaves_of((recipe,))
            for name in leaf.names[:1]
            if leaf.role in {None, each.role} and "nixl" not in name
        } <= {name for name, _ in found}
        assert found[
            "vllm:prompt_tokens_by_source_total", frozenset((*engine, ("source", source)))
        ]
    # Both roles count the whole prompt, and prefill the first token of each request.
    mine, other = exposed(client, prefill.name), exposed(client, decode.name)
    done = mine["vllm:request_success_total", frozenset((*engine, ("finished_reason", "length")))]
    assert mine["vllm:generation_tokens_total", frozenset(engine)] == done > 0
    assert other["vllm:prompt_tokens_total", frozenset(engine)] > 0
    utils = [value for (name, _), value in mine.items() if name == "DCGM_FI_DEV_GPU_UTIL"]
    assert len(utils) == prefill.gpus
    assert 0 < utils[0] <= 100


def test_counters_rise_between_ticks_and_go_on_where_the_row_is_kept_anew(
    client: Client, fleet: SimulatedFleet
) -> None:
    name = next(
        each.name
        for each in simulated.restore(fleet, 0.0).world.exported("chat")
        if each.role is Role.DECODE
    )

    def generated() -> float:
        return sum(v for (n, _), v in exposed(client, name).items() if "generation_tokens" in n)

    first = generated()
    # As if the row had been kept 20 s ago: the copy goes on from there.
    kept = fleet.at
    engines = simulated.restore(fleet, 0.0)
    SimulatedFleet.objects.update(at=kept)
    assert generated() >= first
    engines.world.advance(database_now().timestamp() + 5)
    simulated.keep(fleet, engines)
    later = generated()
    assert later > first
    assert generated() == later
    with CaptureQueriesContext(connection) as seen:
        generated()
    assert len(seen) == 1


@pytest.mark.parametrize("fault", [Fault.MISSING, Fault.STALE])
def test_broken_metrics_are_no_answer(client: Client, fleet: SimulatedFleet, fault: Fault) -> None:
    engines = simulated.restore(fleet, 0.0)
    engines.world.inject("chat", fault)
    simulated.keep(fleet, engines)
    name = engines.world.exported("chat")[0].name
    answer = client.get(f"/simulator/metrics/{name}/")
    assert (answer.status_code, answer.content.decode()) == (
        503, f"# {name} does not answer: its metrics are broken.\n",
    )  # fmt: skip


def test_a_starting_instance_and_one_that_rests_do_not_answer(
    client: Client, fleet: SimulatedFleet
) -> None:
    engines = simulated.restore(fleet, 0.0)
    ready = engines.world.ready("chat")
    engines.world.scale("chat", Instances(ready.prefill, ready.decode + 1))
    simulated.keep(fleet, engines)
    new = engines.world.exported("chat")[-1].name
    assert b"it loads its model" in client.get(f"/simulator/metrics/{new}/").content
    SimulatedFleet.objects.update(at=database_now() - timedelta(seconds=130))
    old = engines.world.exported("chat")[0].name
    assert b"the simulator rests" in client.get(f"/simulator/metrics/{old}/").content


@pytest.mark.parametrize("name", ["chat-decode-999", "nobody-prefill-1", "chat", "-"])
def test_who_is_not_there_is_not_found(client: Client, fleet: SimulatedFleet, name: str) -> None:
    assert fleet.pk
    answer = client.get(f"/simulator/metrics/{name}/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/plain; charset=utf-8")


def test_without_a_simulated_fleet_there_is_nothing(client: Client) -> None:
    assert client.get("/simulator/targets").json() == []
    assert client.get("/simulator/metrics/chat-prefill-1/").status_code == 404
