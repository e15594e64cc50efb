"""Workloads as they may become services: roles by names and labels, GPUs by their pods."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.offers import Offer, offers_of, pairs
from controller.core.types import Role
from tests.kube.builders import (
    deployment,
    dynamo,
    leaderworkerset,
    rolebasedgroup_adapter,
    statefulset,
)

K = WorkloadKind


def offers(kind: WorkloadKind, obj: dict[str, Any]) -> list[Offer]:
    return list(offers_of(kind, KINDS[kind].api, KINDS[kind].plural, obj))


def one(name: str, labels: dict[str, str] | None = None, **pod: Any) -> Offer:
    (found,) = offers(K.DEPLOYMENT, deployment("prod", name, 3, labels, **pod))
    return found


@pytest.mark.parametrize(
    ("name", "labels", "role", "stem"),
    [
        ("chat-prefill", {}, Role.PREFILL, "chat"),
        ("chat-decode", {}, Role.DECODE, "chat"),
        ("decode-chat", {}, Role.DECODE, "chat"),
        ("vllm-llama-decoder", {}, Role.DECODE, "vllm-llama"),
        ("chat-ctx", {}, Role.PREFILL, "chat"),
        ("chat", {"llm-d.ai/role": "prefill"}, Role.PREFILL, "chat"),
        ("chat-decode", {"role": "prefill"}, Role.PREFILL, "chat"),
        ("genuine", {}, None, "genuine"),
        ("chat-prefill-decode", {}, None, "chat-decode"),
        ("chat", {}, None, "chat"),
    ],
)
def test_a_role_is_told_by_labels_then_by_the_name(
    name: str, labels: dict[str, str], role: Role | None, stem: str
) -> None:
    found = one(name, labels)

    assert (found.role, found.stem) == (role, stem)


@pytest.mark.parametrize(
    ("kind", "obj", "gpus"),
    [
        pytest.param(K.DEPLOYMENT, deployment("n", "a", 1, gpus=4), 4, id="4 of one pod"),
        pytest.param(K.STATEFUL_SET, statefulset("n", "a", 1, gpus=0), 0, id="none"),
        pytest.param(
            K.LEADER_WORKER_SET, leaderworkerset("n", "a", 1, gpus=8, size=4), 32, id="8*4 pods"
        ),
        pytest.param(K.ROLE_BASED_GROUP, rolebasedgroup_adapter("n", "a", "b"), None, id="untold"),
    ],
)
def test_gpus_are_those_of_one_instance(
    kind: WorkloadKind, obj: dict[str, Any], gpus: int | None
) -> None:
    (found,) = offers(kind, obj)

    assert found.gpus == gpus


def test_components_of_a_graph_are_offered_but_its_frontend() -> None:
    parts = {"Frontend": 1, "VllmPrefillWorker": 2, "VllmDecodeWorker": 4}

    found = offers(K.DYNAMO, dynamo("prod", "chat", parts, gpus=2))

    assert [(each.key, each.role, each.count, each.gpus) for each in found] == [
        ("dynamo/prod/chat/VllmPrefillWorker", Role.PREFILL, 2, 2),
        ("dynamo/prod/chat/VllmDecodeWorker", Role.DECODE, 4, 2),
    ]
    assert [pair.name for pair in pairs(found)] == ["chat"]


def test_two_of_one_name_are_a_pair_and_three_are_none() -> None:
    two = [one("chat-prefill"), one("chat-decode"), one("code-decode")]
    three = [*two, one("code-prefill"), one("code-prefill", {"app": "x"})]

    assert [pair.name for pair in pairs(two)] == ["chat"]
    assert [pair.name for pair in pairs(three)] == ["chat"]


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": "a"}},
        {"metadata": {"name": 5, "namespace": []}},
        {"metadata": {"name": "a", "namespace": "n"}, "spec": []},
    ],
)
@pytest.mark.parametrize("kind", [K.DEPLOYMENT, K.LEADER_WORKER_SET, K.ROLE_BASED_GROUP, K.DYNAMO])
def test_what_is_odd_offers_little_and_breaks_nothing(
    kind: WorkloadKind, obj: dict[str, Any]
) -> None:
    assert all(each.gpus is None and each.count == 0 for each in offers(kind, obj))
