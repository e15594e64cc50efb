"""The command ``backtest``: what it answers, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from controller.simulator.profile_file import write_profile
from controller.simulator.profiles import PROFILES
from heteroscale_site.configuration import BASE_DIR

GENERATED = "generated:low_rps=2,peak_rps=12,input_tokens=800,output_tokens=200"
HOUR = ("--workload", GENERATED, "--hours", "0.25")
SCORES = {
    *("policy", "label", "params", "gpu_hours", "gpu_hours_over_clairvoyant"),
    *("slo_attainment_ttft", "slo_attainment_tbt", "slo_attainment", "slo_attainment_tokens"),
    *("prefill_util", "decode_util", "actions", "reversals_10min", "ratio_out_of_tolerance_s"),
    *("overshoot_gpus", "peak_gpus", "wall_s"),
}


def run(*words: str) -> str:
    said = StringIO()
    call_command("backtest", *words, stdout=said, stderr=StringIO())
    return said.getvalue()


def refused(*words: str) -> tuple[int, dict[str, str]]:
    """Return the exit status and the error of a command that was asked for JSON."""
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("backtest", *words, "--json", stdout=said, stderr=StringIO())
    return int(str(left.value.code)), json.loads(said.getvalue())["error"]


def test_a_program_gets_one_document_with_a_run_for_each_policy() -> None:
    answer: dict[str, Any] = json.loads(
        run(*HOUR, "--policy", "default", "--policy", "hpa-util:target=0.5", "--json")
    )
    assert set(answer) == {
        *("workload", "profile", "slo", "fidelity", "clairvoyant_gpu_hours", "runs"),
    }
    assert [run["label"] for run in answer["runs"]] == ["default", "hpa-util:target=0.5"]
    assert [set(run) for run in answer["runs"]] == [SCORES, SCORES]
    assert answer["runs"][1]["params"]["target"] == 0.5
    assert answer["workload"]["span_s"] == 900.0


def test_a_person_gets_a_table_with_the_bound_above_it() -> None:
    said = run(*HOUR, "--policy", "default", "--policy", "static-peak")
    lines = said.splitlines()
    assert lines[0].startswith("generated: 0.2 h at")
    assert "simulated as fluid" in lines[1]
    assert lines[2].startswith("clairvoyant bound:")
    assert [line.split()[0] for line in lines[4:]] == ["policy", "default", "static-peak"]


def test_the_courses_come_when_asked_for() -> None:
    answer = json.loads(run(*HOUR, "--json", "--series"))
    assert len(answer["series"]["t_s"]) == len(answer["runs"][0]["series"]["gpus"]) == 60


def test_the_lengths_beside_a_trace_of_windows_are_found(shared: Path) -> None:
    trace = str(shared / "data/traces/servegen_deepseek-r1_10min.csv.gz")
    words = ("--workload", trace, "--hours", "0.2", "--scale", "0.1", "--json")
    assert json.loads(run(*words))["workload"]["lengths"].startswith("input quantiles")


def test_a_profile_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(write_profile(PROFILES["qwen3-8b/l40s"]))
    answer = json.loads(run(*HOUR, "--profile", str(path), "--json"))
    assert answer["profile"]["prefill"]["hardware"] == "l40s"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "code", "where", "says"),
    [
        pytest.param(("--policy", "nope"), "unknown_policy", "--policy", "static-peak", id="name"),
        pytest.param(("--policy", "default:x=1"), "bad_policy", "--policy", "pd_ratio", id="key"),
        pytest.param(
            ("--policy", "default:target=a"), "bad_policy", "--policy", "'a'", id="value"
        ),
        pytest.param(("--policy", "9"), "bad_policy", "--policy", "NAME", id="not a name"),
        pytest.param(
            ("--profile", "qwen3-32b/h10"),
            "no_such_profile",
            "--profile",
            "did you mean",
            id="profile",
        ),
        pytest.param(("--hours", "999"), "out_of_range", "--hours", "744", id="hours"),
        pytest.param(
            ("--ttft-slo-s", "nan"), "out_of_range", "--ttft-slo-s", "nan", id="not a number"
        ),
        pytest.param(("--tbt-slo-s", "0.002"), "too_slow", "--tbt-slo-s", "ms", id="too fast"),
        pytest.param(("--max-gpus", "1"), "too_few_gpus", "--max-gpus", "needs 2", id="no pair"),
        pytest.param(("--scale", "0"), "out_of_range", "--scale", "0", id="scale"),
        pytest.param(("--workload", "/none"), "unreadable", "/none", "No such file", id="file"),
        pytest.param(
            ("--workload", "generated:low=1"), "bad_workload", "--workload", "low_rps", id="figure"
        ),
        pytest.param(
            ("--workload", "generated:low_rps=1"),
            "bad_workload",
            "--workload",
            "peak_rps",
            id="left out",
        ),
    ],
)
def test_what_can_not_be_played_is_refused_by_option(
    words: tuple[str, ...], code: str, where: str, says: str
) -> None:
    status, error = refused(*HOUR, *words)
    assert (status, error["code"], error["where"]) == (2, code, where)
    assert says in error["message"]


def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("t_s,input_tokens,output_tokens\n0,10,10\n1,ten,10\n")
    status, error = refused("--workload", str(path))
    assert (status, error["code"]) == (2, "bad_trace")
    assert error["where"] == "bad.csv, line 3, column input_tokens"


def test_a_person_is_told_the_same_in_a_line() -> None:
    with pytest.raises(CommandError, match="--policy: there is no policy 'nope'") as refusal:
        run(*HOUR, "--policy", "nope")
    assert refusal.value.returncode == 2


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        pytest.param((), 0, '"policy": "default"', id="a built-in profile"),
        pytest.param(
            ("--profile", "qwen3-32b-fp8/h10"), 2, "did you mean qwen3-32b-fp8/h100", id="a slip"
        ),
    ],
)
def test_it_needs_no_server(words: tuple[str, ...], status: int, told: str) -> None:
    # In a process of its own, where neither PostgreSQL nor a broker is to be found.
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in {"DATABASE_URL", "REDIS_URL", "HETEROSCALE_HOME"}
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, BASE_DIR / "manage.py", "backtest", *HOUR, *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"},
    )
    assert (done.returncode, done.stderr) == (status, "")
    assert told in done.stdout


def test_a_wrong_option_is_json_too() -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, BASE_DIR / "manage.py", "backtest", "--json", "--seed", "x"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/none"},
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "bad_usage"
