"""What a survey proposes: each way of telling roles, goals, figures, and what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest

from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.detection import Proposal, detect
from controller.core.readings.detection_plain import detection_plain
from controller.core.readings.goals import goal_of, ratio_of, rounded_up, target_of
from controller.core.readings.survey import DAY_S, HOUR_S, QUARTER_S, Row, Survey
from controller.core.readings.telling import pod_patterns
from controller.core.types import Floats, Role

LOOKS, HOURS = DAY_S // QUARTER_S + 1, DAY_S // HOUR_S
P, D = Role.PREFILL, Role.DECODE
NAMES = frozenset({"vllm:num_requests_running", "sglang:num_running_reqs", "tgi_queue_size"})
WORDS, WORDS_FIRST, LETTERS, _ = pod_patterns()


def rows(*labels: Mapping[str, str], value: float = 1.0, samples: int = LOOKS) -> list[Row]:
    return [Row(each, np.full(samples, value)) for each in labels]


def engine(instance: str, **labels: str) -> dict[str, str]:
    return {"instance": f"{instance}:8000", "job": "engines", "model_name": "org/M", **labels}


def pod(name: str, **labels: str) -> dict[str, str]:
    return engine(name, namespace="llm", pod=name, **labels)


def of(there: Iterable[Mapping[str, str]], preset: str = "vllm", **more: object) -> Survey:
    seen = {preset: rows(*there)}
    return Survey(NAMES, **{"instances": seen, "scrape_s": {preset: 15.0}, **more})  # type: ignore[arg-type]


def told(proposal: Proposal) -> tuple[str, Attach | None, dict[str, int]]:
    counts = {str(role): one.now for role, one in proposal.roles.items()}
    return proposal.slug, proposal.attach, counts


PAIR = {"prefill": 1, "decode": 2}
PODS = ("chat-prefill-7d9f8b6c5-abcde", "chat-decode-0", "chat-decode-1")
LABELLED = [engine("a", service="chat", role="prefill")] + [
    engine(name, service="chat", role="decode") for name in "bc"
]


def _behaviour(
    instances: Sequence[Mapping[str, str]], tokens: Sequence[float], taken: float | None = None
) -> Survey:
    figures = {
        ("vllm", "requests"): rows(*instances, value=2.0, samples=HOURS),
        ("vllm", "generated"): [
            Row(each, np.full(HOURS, 2.0 * many))
            for each, many in zip(instances, tokens, strict=True)
        ],
    }
    if taken is not None:
        figures["vllm", "sources"] = [
            Row({**each, "source": source}, np.full(HOURS, share))
            for each in instances
            for source, share in (("external_kv_transfer", taken), ("local_compute", 1 - taken))
        ]
    return of(instances, figures=figures)


def _info(name: str, role: str) -> Row:
    labels = {"service": "talk", "role": role, "namespace": "llm", "pod": name}
    return Row(labels, np.ones(1))


@pytest.mark.parametrize(
    ("survey", "expect"),
    [
        pytest.param(
            of(LABELLED),
            ("chat", ByLabels(), PAIR),
            id="labels service and role",
        ),
        pytest.param(
            of(
                [
                    engine("a", app="chat", component="Prefiller", service="chat-p"),
                    engine("b", app="chat", component="decoder", service="chat-d"),
                    engine("c", app="chat", component="decoder", service="chat-d"),
                ]
            ),
            (
                "chat",
                ByLabels("app", "component", {P: "Prefiller", D: "decoder"}),
                PAIR,
            ),
            id="a service for each role is no service: app unites 1 and 2",
        ),
        pytest.param(
            of(
                [engine("a", app="chat", engine_type="prefill")]
                + [engine(n, app="chat", engine_type="decode") for n in "bc"],
                "sglang",
            ),
            ("chat", ByLabels("app", "engine_type"), PAIR),
            id="SGLang says engine_type",
        ),
        pytest.param(
            of(
                [
                    engine("a", job="chat-prefill"),
                    engine("b", job="chat-decode-x"),
                    engine("c", job="chat-decode-y"),
                ]
            ),
            (
                "m",
                ByLabels("model_name", "job", {P: "chat-prefill", D: ".*decode.*"}),
                PAIR,
            ),
            id="jobs named by role, the model names the service",
        ),
        pytest.param(
            of(
                [pod("x-0"), pod("x-1"), pod("x-2")],
                infos=[_info("x-0", "prefill"), _info("x-1", "decode"), _info("x-2", "decode")],
            ),
            ("talk", ByInfo(), PAIR),
            id="the controller's own series says it of pods",
        ),
        pytest.param(
            of([pod(name) for name in PODS]),
            ("chat", ByPod(WORDS), PAIR),
            id="names of pods have the words",
        ),
        pytest.param(
            of(
                [
                    pod(f"{role}-chat-5c9f8b6c5-{tail}")
                    for role, tail in (
                        ("prefill", "aaaaa"),
                        ("decode", "bbbbb"),
                        ("decode", "ccccc"),
                    )
                ]
            ),
            ("chat", ByPod(WORDS_FIRST), PAIR),
            id="names of pods begin with the words",
        ),
        pytest.param(
            of([pod("chat-p-0"), pod("chat-d-0"), pod("chat-d-1")]),
            ("chat", ByPod(LETTERS), PAIR),
            id="names of pods have the letters p and d, both",
        ),
        pytest.param(
            _behaviour([engine("a"), engine("b"), engine("c")], [1.0, 200.0, 300.0], 0.98),
            ("m", None, PAIR),
            id="1 token a request is prefill; 200 with 98 % of prompts taken over is decode",
        ),
        pytest.param(
            _behaviour(
                [engine("a", job="one"), engine("b", job="two"), engine("c", job="two")],
                [1.0, 200.0, 300.0],
            ),
            ("m", ByLabels("model_name", "job", {P: "one", D: "two"}), PAIR),
            id="jobs that have but one role each by behaviour tell it",
        ),
        pytest.param(
            of([pod("chat-p-0"), pod("chat-p-1")]),
            ("m", None, {}),
            id="a letter p without any d is no role",
        ),
        pytest.param(
            _behaviour([engine("a"), engine("b")], [1.0, 200.0], 0.02),
            ("m", None, {"prefill": 1}),
            id="2 % of prompts taken over: it computes them itself, and is no decode engine",
        ),
    ],
)
def test_roles_are_told_by(
    survey: Survey, expect: tuple[str, Attach | None, dict[str, int]]
) -> None:
    assert told(detect(survey).proposals[0]) == expect


def test_every_way_at_one_endpoint_makes_a_service_of_its_own() -> None:
    survey = of(
        [
            *LABELLED,
            *[pod(f"code-{role}-0", model_name="C") for role in ("prefill", "decode")],
            engine("x", model_name="alone"),
        ]
    )
    found = {each.slug: each.way for each in detect(survey).proposals}
    assert found == {"chat": "label role", "code": "pod name", "alone": "nobody"}


def test_the_same_name_in_two_namespaces_is_two_services_each_with_its_own_filter() -> None:
    survey = of(
        [
            {**each, "namespace": space, "instance": f"{space}{each['instance']}"}
            for space in ("a", "b")
            for each in LABELLED
        ]
    )
    found = {each.slug: each.attach for each in detect(survey).proposals}
    assert found == {
        "chat": ByLabels(only={"namespace": "a"}),
        "chat-b": ByLabels(only={"namespace": "b"}),
    }


def test_two_jobs_that_scrape_one_instance_count_it_once_m12() -> None:
    twice = [{**each, "job": job} for each in LABELLED for job in ("engines", "again")]
    figures = {
        ("vllm", "output"): rows(*twice, value=100.0, samples=HOURS),
    }
    (one,) = detect(of(twice, figures=figures)).proposals
    assert (told(one)[2], one.target) == (PAIR, 100.0)


@pytest.mark.parametrize(
    ("survey", "says"),
    [
        pytest.param(
            of([engine(name) for name in "abc"]),
            "3 instances whose role nobody tells: add a label role",
            id="nobody tells",
        ),
        pytest.param(
            of([engine("a", service="chat", engine_type="unified")], "sglang"),
            "1 instance for both phases in one",
            id="SGLang unified",
        ),
        pytest.param(
            of([{"instance": "a:80", "job": "tgi"}], "tgi"),
            "1 instance for both phases in one",
            id="TGI has no roles",
        ),
    ],
)
def test_what_can_not_be_set_up_says_why_and_how_to_mend_it(survey: Survey, says: str) -> None:
    (one,) = detect(survey).proposals
    assert one.confidence == "low"
    assert says in one.blockers[0]
    assert "target_label: role" in detection_plain(detect(survey))["services"][0]["snippet"]


def _short(looks: int) -> list[Row]:
    seen = np.full(LOOKS, np.nan)
    seen[-looks:] = 1.0
    return [Row(each, seen) for each in LABELLED]


@pytest.mark.parametrize(
    ("survey", "says"),
    [
        pytest.param(of(LABELLED[:1]), "Only prefill was found", id="one role"),
        pytest.param(
            of([LABELLED[0], {**LABELLED[1], "model_name": "m"}]),
            "One model under several names: org/M and m",
            id="trap 9: org/M and m",
        ),
        pytest.param(
            of([LABELLED[0], {**LABELLED[1], "model_name": "other"}]),
            "Several models under one name",
            id="two models in one service",
        ),
        pytest.param(
            of(LABELLED, scrape_s={"vllm": 30.0}),
            "scraped every 30 s: 4 scrapes take 120 s",
            id="4 × 30 s is above 60 s",
        ),
        pytest.param(
            of((), instances={"vllm": _short(9)}),
            "Seen for 2 h of 24 h",
            id="9 looks are 8 × 15 min = 2 h",
        ),
        pytest.param(
            of([], instances={"vllm": rows(LABELLED[0]), "sglang": rows(*LABELLED[1:])}),
            "Two engines in one service: vLLM and SGLang",
            id="two engines",
        ),
        pytest.param(
            of(
                [pod(name) for name in PODS],
                gpus=[
                    Row({"exported_pod": n, "exported_namespace": "llm"}, np.ones(1)) for n in PODS
                ],
            ),
            "add DCGM_FI_PROF_SM_ACTIVE to the counters file",
            id="DCGM without SM activity",
        ),
        pytest.param(
            of(LABELLED, gpus=[Row({"pod": "x", "namespace": "llm"}, np.ones(1))]),
            "DCGM exporters name none of its pods",
            id="GPUs of others",
        ),
    ],
)
def test_problems_are_told_in_words(survey: Survey, says: str) -> None:
    one = detect(survey).proposals[0]
    assert any(says in each for each in one.problems), one.problems
    assert one.confidence == "medium"


def test_a_frontend_joins_where_it_has_the_same_label_and_is_told_of_where_not() -> None:
    front = {"model": "m", "instance": "f:80", "namespace": "x"}
    instances = {"vllm": rows(*LABELLED), "dynamo": rows({**front, "service": "chat"})}
    (one,) = detect(of((), instances=instances)).proposals
    assert one.presets == ("vllm", "dynamo")
    (one,) = detect(of((), instances={**instances, "dynamo": rows(front)})).proposals
    assert one.presets == ("vllm",)
    assert "Dynamo frontend serves its model" in " ".join(one.problems)


def test_gpus_of_an_instance_are_counted_by_owner_and_their_model_named() -> None:
    gpus = [
        Row(
            {"exported_pod": name, "exported_namespace": "llm", "modelName": "NVIDIA H800"},
            np.array([2.0 * at]),
        )
        for at, name in enumerate(PODS, start=1)
    ]
    (one,) = detect(of([pod(name) for name in PODS], gpus=gpus)).proposals
    found = {role: (each.gpus, each.gpu_model) for role, each in one.roles.items()}
    # Decode pods have 4 and 6: the median is 5.
    assert found == {P: (2, "NVIDIA H800"), D: (5, "NVIDIA H800")}
    assert one.presets == ("vllm", "dcgm")


def _hours(*values: float) -> Floats:
    return np.array(values)


@pytest.mark.parametrize(
    ("hourly", "expect"),
    [
        pytest.param(
            _hours(*[0.31] * 23, 9.0),
            (0.4, 23, 24),
            id="ceil(0.95 × 24) = 23rd smallest 0.31, round 0.4: 23 of 24 kept",
        ),
        pytest.param(_hours(*[0.5] * 24), (0.5, 24, 24), id="a round figure stays"),
        pytest.param(_hours(0.021, math.nan, 0.041), (0.05, 2, 2), id="idle hours don't count"),
        pytest.param(_hours(math.nan, math.inf), None, id="nothing known"),
    ],
)
def test_a_goal_is_what_nearly_all_hours_kept(
    hourly: Floats, expect: tuple[float, int, int] | None
) -> None:
    goal = goal_of(hourly)
    assert (goal and (goal.value_s, goal.kept, goal.hours)) == expect


@pytest.mark.parametrize(
    ("value", "expect"), [(0.0301, 0.04), (1.0, 1.0), (1.01, 1.2), (8.1, 10.0), (0.3, 0.3)]
)
def test_goals_are_round(value: float, expect: float) -> None:
    assert rounded_up(value) == expect


@pytest.mark.parametrize(
    ("kept", "expect"),
    [
        pytest.param((True, True, False), 600.0, id="1200/2 = 600; 1500/2 missed a goal"),
        pytest.param((True, False, False), 500.0, id="1000/2 = 500 alone kept it"),
        pytest.param((False, False, False), None, id="no hour kept it"),
    ],
)
def test_the_target_is_the_most_that_kept_the_goal(
    kept: tuple[bool, ...], expect: float | None
) -> None:
    rates, counts = _hours(1000, 1200, 1500), _hours(2, 2, 2)
    assert target_of(rates, counts, np.array(kept)) == expect


def test_the_ratio_is_the_median_of_counts() -> None:
    # 1/2, 1/4, and twice 2/4; a look without decode does not count.
    assert ratio_of(_hours(1, 1, 2, 2, 1), _hours(2, 4, 4, 4, 0)) == 0.5


def test_goals_load_and_target_come_of_the_hours() -> None:
    bounds = (("0.1", 0.0), ("0.2", 10.0), ("+Inf", 10.0))
    output = np.full(HOURS, 800.0)
    output[3] = 1000.0
    figures = {
        ("vllm", "ttft_s"): [
            Row({**LABELLED[0], "le": le}, np.full(HOURS, rate)) for le, rate in bounds
        ],
        ("vllm", "output"): [Row(LABELLED[1], output), Row(LABELLED[2], output)],
        ("vllm", "requests"): rows(*LABELLED, value=3.0, samples=HOURS),
    }
    (one,) = detect(of(LABELLED, figures=figures)).proposals
    assert one.ttft is not None
    # The p95 of 0.1 to 0.2 is 0.195; of decode each of two generated at most 1000/s.
    assert (one.ttft.value_s, one.target, one.pd_ratio) == (0.2, 1000.0, 0.5)
    assert one.load is not None
    assert {what: each.peak for what, each in one.load.items()} == {
        "requests": 3.0,
        "output": 2000.0,
    }


def test_nothing_there_is_said() -> None:
    found = detect(Survey(frozenset()))
    assert found.proposals == ()
    assert "no metric of an engine that is known here" in found.told[0]


def test_what_was_detected_is_json_without_nan() -> None:
    survey = _behaviour([engine("a"), engine("b")], [1.0, 200.0])
    text = json.dumps(detection_plain(detect(survey)), allow_nan=False)
    assert json.loads(text)["services"][0]["roles"]["prefill"]["now"] == 1
