"""The command ``decide``: what it answers, and how it refuses."""

from __future__ import annotations

import json
import sys
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

PLAIN: dict[str, Any] = {
    "now_s": 1_000_000.0,
    "service": {
        "name": "chat",
        "mode": "automatic",
        "slo": {"ttft_s": 1.0, "tbt_s": 0.05},
        "policy": {"target": 1000.0, "pd_ratio": 0.5, "hold_s": 0, "margin_frac": 0},
    },
    "state": {"ready": {"prefill": 2, "decode": 4}},
    "signals": {
        "decode_tps": {"value": 6000.0},
        "prefill_tps_uncached": {"value": 6000.0},
    },
}
RECORD = {
    *("id", "time", "service", "loop_seq", "policy_version", "inventory_version", "mode"),
    *("inputs", "forecast", "raw", "steps", "final", "action", "reason_code", "sentence"),
    *("placement", "proposal", "override", "outcome"),
}


def kept(tmp_path: Path, plain: object) -> str:
    path = tmp_path / "service.json"
    path.write_text(json.dumps(plain))
    return str(path)


def answer(*words: str) -> dict[str, Any]:
    said = StringIO()
    call_command("decide", *words, "--json", stdout=said, stderr=StringIO())
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def refused(*words: str) -> tuple[int, dict[str, str]]:
    """Return the exit status and the error of a command that was asked for JSON."""
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("decide", *words, "--json", stdout=said, stderr=StringIO())
    return int(str(left.value.code)), json.loads(said.getvalue())["error"]


def test_a_program_gets_the_record_and_every_step(tmp_path: Path) -> None:
    record = answer(kept(tmp_path, PLAIN))
    assert set(record) >= RECORD
    assert record["raw"] == {"prefill": 3, "decode": 6}
    assert record["action"] == "scale_out"
    assert {"name", "before", "after", "reason_code", "detail"} == set(record["steps"][0])
    assert record["inputs"][0]["metric"] == "decode_tps"
    assert record["inputs"][0]["health"] == "ok"


def test_a_person_gets_the_sentence_above_the_steps(tmp_path: Path) -> None:
    said = StringIO()
    call_command("decide", kept(tmp_path, PLAIN), stdout=said)
    assert said.getvalue().splitlines()[0].startswith("Decode 4 → 6, prefill 2 → 3.")
    assert "prefill 2, decode 4 → prefill 3, decode 6  ABOVE_TARGET" in said.getvalue()


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    given = TextIOWrapper(BytesIO(json.dumps(PLAIN).encode()))
    monkeypatch.setattr(sys, "stdin", given)
    assert answer("-")["service"] == "chat"


def test_a_profile_and_a_request_replace_target_and_ratio(tmp_path: Path) -> None:
    service = {
        "slo": {"ttft_s": 1.0, "tbt_s": 0.05},
        "profile": "qwen3-8b/h100",
        "request": {"input_tokens": 1000, "output_tokens": 200},
    }
    service["policy"] = {"adapt": "off"}
    # 0.75 of the 11,000 tok/s a decode instance of this profile sustains within 50 ms.
    assert "8,300 target" in answer(kept(tmp_path, PLAIN | {"service": service}))["sentence"]


@pytest.mark.parametrize(
    ("change", "code", "where"),
    [
        pytest.param({"signals": {"decode_tps": {"value": "x"}}}, "bad_document",
                     "signals.decode_tps.value", id="a word for a number"),
        pytest.param({"service": {"slo": {"ttft_s": 1, "tbt_s": 1}}}, "bad_document",
                     "service.policy.target", id="nothing to size by"),
        pytest.param({"service": {"slo": {"ttft_s": 1, "tbt_s": 1}, "profile": "none"}},
                     "no_such_profile", "service.profile", id="an unknown profile"),
        pytest.param({"service": PLAIN["service"] | {"request": {"input_tokens": -1}}},
                     "bad_document", "service.request.input_tokens",
                     id="a request of -1 tokens, profile or not"),
        pytest.param({"service": PLAIN["service"] | {"request": {"cached_frac": 2}}},
                     "bad_document", "service.request.cached_frac", id="2 of 1 cached"),
    ],
)  # fmt: skip
def test_what_cant_be_used_exits_2_and_is_named(
    tmp_path: Path, change: dict[str, object], code: str, where: str
) -> None:
    status, error = refused(kept(tmp_path, PLAIN | change))
    assert (status, error["code"], error["where"]) == (2, code, where)


def test_a_file_that_is_no_json_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text("{")
    assert refused(str(tmp_path / "half.json"))[1]["code"] == "bad_json"
    assert refused(str(tmp_path / "none.json"))[1]["code"] == "unreadable"
    with pytest.raises(CommandError, match=r"none\.json"):
        call_command("decide", str(tmp_path / "none.json"))
