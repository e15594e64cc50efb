"""A policy with windows of time in a backtest: when they come, and what is refused."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

LOAD = "generated:low_rps=1,peak_rps=1,input_tokens=800,output_tokens=200"
POLICY: dict[str, Any] = {
    "name": "periodic",
    "time_zone": "Europe/Berlin",
    "schedule": [
        {"name": "early", "begin": "01:10", "end": "01:20", "prefill": 3, "decode": 5}
        | {"kind": "target", "days": [0]}
    ],
}


def played(folder: Path, policy: object, *words: str) -> dict[str, Any]:
    file = folder / "early.json"
    file.write_text(json.dumps(policy))
    said = StringIO()
    given = ("--workload", LOAD, "--hours", "0.5", "--max-gpus", "16", "--json")
    call_command("backtest", *given, "--policy-file", str(file), *words, stdout=said)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


@pytest.mark.parametrize(
    ("words", "peak"),
    [
        pytest.param((), 8, id="from Monday 00:00 UTC, 01:00 in Berlin: 3 + 5 at 01:10"),
        pytest.param(("--begins", "2026-11-24T00:00"), 2, id="2026-11-24 is a Tuesday"),
        pytest.param(("--begins", "2026-11-23T01:00+01:00"), 8, id="Monday 01:00 in Berlin"),
        pytest.param(("--begins", "2026-11-23T02:00+01:00"), 2, id="an hour too late"),
        pytest.param(
            ("--begins", "2026-11-22T23:00+01:00", "--from-hours", "2"), 8, id="23:00 + 2 h"
        ),
    ],
)
def test_windows_come_by_the_clock_of_the_load(
    tmp_path: Path, words: tuple[str, ...], peak: int
) -> None:
    (one,) = played(tmp_path, POLICY, *words)["runs"]
    assert (one["label"], one["peak_gpus"]) == ("early", peak)


@pytest.mark.parametrize(
    ("policy", "words", "code", "where"),
    [
        pytest.param([], (), "bad_document", "early.json", id="no object"),
        pytest.param({"nmae": "x"}, (), "bad_policy", "--policy-file", id="no such field"),
        pytest.param({"target": -1}, (), "bad_policy", "--policy-file", id="a target below 0"),
        pytest.param(
            POLICY, ("--policy", "default:target=-1"), "bad_policy", "--policy", id="the other"
        ),
        pytest.param(POLICY, ("--begins", "Monday"), "bad_time", "--begins", id="no time"),
    ],
)
def test_what_cant_be_played_is_named(
    tmp_path: Path, policy: object, words: tuple[str, ...], code: str, where: str
) -> None:
    said = StringIO()
    file = tmp_path / "early.json"
    file.write_text(json.dumps(policy))
    with pytest.raises(SystemExit):
        call_command(
            *("backtest", "--workload", LOAD, "--json", "--policy-file", str(file), *words),
            stdout=said,
        )
    error = json.loads(said.getvalue())["error"]
    assert (error["code"], Path(error["where"]).name) == (code, where)
