"""A real Prometheus with a fleet of several engines, from its answers to proposals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import StringIO
from operator import attrgetter

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from controller.adapters.metrics.prometheus.client import Endpoint, SourceError
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.metrics.prometheus.survey import survey
from controller.core.reach import Reach
from controller.core.readings.asking import Grid, Scope, Wanted
from controller.core.readings.attach import ByLabels, ByPod
from controller.core.readings.cook import cook
from controller.core.readings.detection import Detection, detect
from controller.core.readings.presets import PRESETS, leaves_of, recipes_of
from controller.core.readings.telling import pod_patterns
from controller.core.types import Role
from controller.models import Detected
from inventory.models import MetricsEndpoint
from tests.adapters.prometheus.conftest import turn
from tests.factories import make_source
from tests.prometheus import NOW_S, PROMTOOL, SERVER, STEP_S, Series, Value, rising, running
from tests.services.people import person

SAMPLES = 481
"""Two hours, both ends."""
P, D = Role.PREFILL, Role.DECODE


def rate(name: str, labels: Mapping[str, str], per_s: float) -> Series:
    return Series(name, labels, rising(per_s, SAMPLES))


def gauge(name: str, labels: Mapping[str, str], value: Value = 1) -> Series:
    return Series(name, labels, [value] * SAMPLES)


def _vllm(labels: Mapping[str, str], role: Role, *, sources: bool = False) -> Iterator[Series]:
    """Yield an engine that serves 2 requests/s, of 500 prompt and 100 generated tokens."""
    labels = {"model_name": "org/M", "engine": "0", "job": "vllm", **labels}
    yield gauge("vllm:num_requests_running", labels)
    each = 1 if role is P else 100
    yield rate("vllm:generation_tokens_total", labels, 2 * each)
    yield rate("vllm:prompt_tokens_total", labels, 1000)
    yield rate("vllm:request_success_total", {**labels, "finished_reason": "stop"}, 2)
    if sources:
        source = "local_compute" if role is P else "external_kv_transfer"
        yield rate("vllm:prompt_tokens_by_source_total", {**labels, "source": source}, 1000)
    name = "time_to_first_token_seconds" if role is P else "inter_token_latency_seconds"
    for le, share in (("0.025", 0.0), ("0.05", 0.5), ("+Inf", 0.5)):
        yield rate(f"vllm:{name}_bucket", {**labels, "le": le}, share)


def _sglang(name: str, engine_type: str) -> Iterator[Series]:
    labels = {"model_name": "S", "engine_type": engine_type, "instance": name, "app": "sg"}
    yield gauge("sglang:num_running_reqs", {**labels, "tp_rank": "0"})
    mode = "decode" if engine_type == "decode" else "prefill_compute"
    yield rate("sglang:realtime_tokens_total", {**labels, "mode": mode, "tp_rank": "0"}, 50)


def _pods() -> Iterator[Series]:
    for role, count in ((P, 1), (D, 2)):
        for at in range(count):
            pod = {"namespace": "llm", "pod": f"code-{role}-{at}", "instance": f"code{role}{at}"}
            yield from _vllm({**pod, "model_name": "C"}, role)
            for gpu in range(4):
                owner = {"exported_namespace": "llm", "exported_pod": pod["pod"]}
                uuid = {"UUID": f"GPU-{role}-{at}-{gpu}", "modelName": "NVIDIA H800"}
                yield gauge("DCGM_FI_DEV_GPU_UTIL", {**owner, **uuid, "instance": "dcgm"}, 50)


def _fleet() -> Iterator[Series]:
    for name, role in (("a", P), ("b", D), ("c", D)):
        yield from _vllm({"service": "chat", "role": role, "instance": name}, role)
    for name, engine_type in (("s1", "prefill"), ("s2", "decode")):
        yield from _sglang(name, engine_type)
    yield from _pods()
    for name, role in (("x", P), ("y", D)):
        labels = {"model_name": "told-by-behaviour", "instance": name, "namespace": "dark"}
        yield from _vllm(labels, role, sources=True)
    yield gauge("tgi_queue_size", {"instance": "t", "job": "tgi"}, 0)
    yield rate("tgi_request_count", {"instance": "t", "job": "tgi"}, 1)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that knows two hours of the fleet."""
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    history = sorted(_fleet(), key=attrgetter("name"))
    with running(tmp_path_factory.mktemp("survey"), history) as address:
        yield address


@pytest.fixture(scope="module")
def found(fleet: str) -> Detection:
    looked = turn()
    at = type(looked)(NOW_S, looked.until, looked.rng, looked.sleep, looked.begun)
    return detect(survey(Endpoint("test", fleet), at))


def test_every_service_is_proposed_with_how_its_roles_are_told(found: Detection) -> None:
    proposed = {
        each.slug: (each.way, each.presets, {role: one.now for role, one in each.roles.items()})
        for each in found.proposals
    }
    assert proposed == {
        "chat": ("label role", ("vllm",), {P: 1, D: 2}),
        "sg": ("label engine_type", ("sglang",), {P: 1, D: 1}),
        "code": ("pod name", ("vllm", "dcgm"), {P: 1, D: 2}),
        "told-by-behaviour": ("behaviour", ("vllm",), {P: 1, D: 1}),
        "tgi": ("nobody", ("tgi",), {}),
    }


def test_series_are_known_by_what_is_there(found: Detection) -> None:
    attach = {each.slug: each.attach for each in found.proposals}
    assert attach == {
        "chat": ByLabels(),
        "sg": ByLabels("app", "engine_type"),
        "code": ByPod(next(pod_patterns())),
        "told-by-behaviour": None,
        "tgi": None,
    }


def test_figures_are_what_the_series_add_up_to(found: Detection) -> None:
    (chat,) = (each for each in found.proposals if each.slug == "chat")
    assert chat.load is not None
    peaks = {what: each.peak for what, each in chat.load.items()}
    # Decode: 2 instances × 2 requests/s × 100 tokens; the prefill engine alone counts prompts.
    assert peaks == pytest.approx({"requests": 2.0, "prefilled": 1000.0, "output": 400.0})
    assert (chat.target, chat.pd_ratio) == (200.0, 0.5)
    # All within 25 to 50 ms: the p95 is 48.75 ms.
    assert chat.ttft is not None
    assert chat.tbt is not None
    assert (chat.ttft.value_s, chat.tbt.value_s) == (0.05, 0.05)
    assert chat.tbt.median_s == pytest.approx(0.04875)


@pytest.mark.parametrize(
    ("slug", "signal", "expect"),
    [
        pytest.param("chat", "decode_tps", 400.0, id="2 decode engines × 200"),
        pytest.param("code", "decode_tps", 400.0, id="2 decode pods × 200"),
        pytest.param("code", "decode_util", 0.5, id="GPUs of the decode pods at 50 %"),
        pytest.param("sg", "decode_tps", 50.0, id="1 decode engine"),
    ],
)
def test_what_is_proposed_is_read(
    fleet: str, found: Detection, slug: str, signal: str, expect: float
) -> None:
    (one,) = (each for each in found.proposals if each.slug == slug)
    assert one.attach is not None
    recipe = recipes_of([PRESETS[each] for each in one.presets])[signal]
    leaves = dict.fromkeys(leaves_of([recipe]), one.attach)
    grid = Grid(NOW_S, STEP_S, 4)
    wanted = Wanted(leaves, Scope([one.known_as], 4 * STEP_S), grid)
    table = cook(recipe, read(Endpoint("test", fleet), wanted, turn()).leaves, (1, 4))
    assert table.values[0, -1] == pytest.approx(expect)


def test_gpus_and_what_is_wrong_is_told(found: Detection) -> None:
    (code,) = (each for each in found.proposals if each.slug == "code")
    assert {(one.gpus, one.gpu_model) for one in code.roles.values()} == {(4, "NVIDIA H800")}
    told = " ".join(code.problems)
    assert "add DCGM_FI_PROF_SM_ACTIVE" in told
    assert "Seen for 2 h of 24 h" in told
    assert "is scraped every" not in told
    (dark,) = (each for each in found.proposals if each.slug == "told-by-behaviour")
    assert dark.roles[P].reason == "it generated 1.00 tokens a request, as prefill engines do"
    assert dark.roles[D].reason == "it took 100% of its prompt tokens over from other engines"


def test_nothing_there_and_nobody_there(fleet: str) -> None:
    # The histories ended long ago.
    assert detect(survey(Endpoint("test", fleet), turn())).proposals == ()
    with pytest.raises(SourceError, match="can't be reached"):
        survey(Endpoint("test", "http://127.0.0.1:9"), turn())


def test_the_command_says_it_in_lines_and_as_json(fleet: str) -> None:
    said = StringIO()
    call_command("detect", "--url", fleet, "--at", str(NOW_S), stdout=said)
    lines = said.getvalue().splitlines()
    assert lines[0] == "5 services found."
    assert (
        "  2 instances now, 2 to 2 in 24 h: decode. (its label role is decode; b and c)" in lines
    )
    assert any("target_label: role" in line for line in lines)
    said = StringIO()
    call_command("detect", "--url", fleet, "--at", str(NOW_S), "--json", stdout=said)
    services = {each["slug"]: each for each in json.loads(said.getvalue())["services"]}
    assert services["sg"]["attach"]["role"] == "engine_type"
    assert services["chat"]["slo"]["tbt_s"]["goal"] == 0.05


def test_the_command_refuses_in_words() -> None:
    with pytest.raises(CommandError, match="--url: The address must begin with https://"):
        call_command("detect", "--url", "prometheus:9090")
    with pytest.raises(CommandError, match="can't be reached") as refusal:
        call_command("detect", "--url", "http://127.0.0.1:9")
    assert refusal.value.returncode == 1


@pytest.mark.django_db
def test_the_command_knows_no_source_of_that_name() -> None:
    with pytest.raises(CommandError, match="there is no metrics source 'nowhere'"):
        call_command("detect", "--source", "nowhere")


@pytest.mark.django_db
def test_a_look_from_the_page_is_kept_with_who_looked(
    fleet: str, client: Client, settings: LazySettings
) -> None:
    settings.METRICS_REACH = Reach()
    row = make_source("eu-1")
    MetricsEndpoint.objects.filter(pk=row.pk).update(url=fleet)
    client.force_login(person("ada", "Admin"))
    answer = client.post("/sources/eu-1/detect/", follow=True)
    # The histories ended long ago: of today there is nothing.
    assert "0 services found." in answer.content.decode()
    kept = Detected.objects.get()
    assert (kept.by_name, kept.found["services"]) == ("ada", [])
