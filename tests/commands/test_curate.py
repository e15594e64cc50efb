"""The command ``curate``: what it answers, and how it refuses."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

GENERATED = "generated:low_rps=20,peak_rps=60,input_tokens=800,output_tokens=200"
HOUR = ("--workload", GENERATED, "--hours", "0.25", "--gpus", "12")


def run(*words: str) -> str:
    said = StringIO()
    call_command("curate", *words, stdout=said, stderr=StringIO())
    return said.getvalue()


def test_a_program_gets_one_document() -> None:
    answer = json.loads(run(*HOUR, "--policy", "static-mean", "--json"))
    assert {"pd_ratio", "sweep", "targets", "chosen", "runs"} <= set(answer)
    assert [split["prefill"] for split in answer["sweep"]] == list(range(1, 12))
    assert set(answer["sweep"][0]) == {
        *("prefill", "decode", "goodput_rps", "computed_rps", "simulated"),
    }
    assert {"decode_tps_per_instance", "prefill_tps_uncached_per_instance"} == set(
        answer["targets"]
    )
    labels = [one["label"] for one in answer["runs"]]
    assert labels[0] == "default"
    assert labels[-3:] == ["static-peak", "hpa-util", "static-mean"]
    assert answer["chosen"]["policy"] in labels


def test_a_person_reads_the_ratio_first_and_the_choice_last() -> None:
    lines = run(*HOUR).splitlines()
    assert lines[0].startswith("P/D ratio")
    assert lines[-1].startswith("Chosen: ")


@pytest.mark.parametrize(
    ("words", "code", "where"),
    [
        pytest.param(("--gpus", "0"), "out_of_range", "--gpus", id="no GPU"),
        pytest.param(("--gpus", "1"), "too_few_gpus", "--gpus", id="one GPU holds no pair"),
        pytest.param(("--goal", "2"), "out_of_range", "--goal", id="a goal above 1"),
        pytest.param(("--policy", "nope"), "unknown_policy", "--policy", id="an unknown policy"),
        pytest.param(("--tbt-slo-s", "0.002"), "too_slow", "--tbt-slo-s", id="no batch"),
    ],
)
def test_what_cant_be_used_is_named(words: tuple[str, ...], code: str, where: str) -> None:
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("curate", *HOUR, *words, "--json", stdout=said, stderr=StringIO())
    error = json.loads(said.getvalue())["error"]
    assert (left.value.code, error["code"], error["where"]) == (2, code, where)


def test_a_person_gets_the_refusal_in_words() -> None:
    with pytest.raises(CommandError, match=r"--goal: 2 is not from 0\.5 to 1"):
        run(*HOUR, "--goal", "2")
