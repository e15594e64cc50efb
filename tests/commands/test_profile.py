"""The command ``profile``: what it prints, writes and keeps, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from controller.models import AuditEvent, EngineProfile
from controller.simulator.profile_file import read_profile
from controller.simulator.profile_table import profile_table
from controller.simulator.profiles import PROFILES
from heteroscale_site.configuration import BASE_DIR

TRUE = PROFILES["qwen3-32b-fp8/h100"]


@pytest.fixture
def points(tmp_path: Path) -> tuple[str, ...]:
    """The options that name two files of points of a known engine, and describe it."""
    prefill = ["tokens,latency_ms"]
    prefill += [
        f"{n},{float(TRUE.prefill_s(n)) * 1e3}" for n in (128, 512, 1024, 2048, 4096, 8192)
    ]
    decode = ["batch,context,itl_ms"]
    for batch in (1, 8, 64, 256):
        for context in (256, 4096):
            step_s = float(TRUE.step_s(np.array(batch), np.array(batch * context)))
            decode.append(f"{batch},{context},{step_s * 1e3}")
    (tmp_path / "p.csv").write_text("\n".join(prefill))
    (tmp_path / "d.csv").write_text("\n".join(decode))
    files = f"--prefill {tmp_path / 'p.csv'} --decode {tmp_path / 'd.csv'}"
    rest = f"--name ours/x --model {TRUE.model} --hardware h100 --kv-capacity-tokens 900000"
    return tuple(f"{files} {rest}".split())


def run(*words: str) -> str:
    said = StringIO()
    call_command("profile", *words, stdout=said, stderr=StringIO())
    return said.getvalue()


def refused(*words: str) -> tuple[int, dict[str, str]]:
    """Return the exit status and the error of a command that was asked for JSON."""
    said = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("profile", *words, "--json", stdout=said, stderr=StringIO())
    return int(str(left.value.code)), json.loads(said.getvalue())["error"]


def test_without_a_file_to_write_the_profile_is_what_is_printed(points: tuple[str, ...]) -> None:
    profile = read_profile(run("fit", *points).encode(), "printed")
    assert (profile.name, profile.a) == ("ours/x", pytest.approx(TRUE.a))
    assert profile.provenance == "Fitted to p.csv and d.csv."


def test_a_written_profile_can_be_shown(points: tuple[str, ...], tmp_path: Path) -> None:
    out = str(tmp_path / "ours.json")
    report = run("fit", *points, "--out", out)
    assert "6 points, off by 0.0% on average" in report
    assert f"Written to {out}." in report

    assert "H100 SXM 80 GB, 1 GPU per instance" in run("show", out)
    shown = json.loads(run("show", out, "--json"))["profile"]
    assert shown == json.loads(Path(out).read_text())


def test_a_program_gets_one_document(points: tuple[str, ...]) -> None:
    answer: dict[str, Any] = json.loads(run("fit", *points, "--max-seqs", "1000", "--json"))
    assert answer["profile"]["max_seqs"] == 1000
    assert (answer["prefill"]["points"], answer["decode"]["points"]) == (6, 8)
    assert len(answer["decode"]["worst"]) == 5
    assert [warning for warning in answer["warnings"] if "1,000 sequences" in warning]
    assert (answer["out"], answer["saved"]) == (None, False)


@pytest.mark.parametrize(
    ("changed", "code", "where"),
    [
        pytest.param(("--hardware", "h9000"), "bad_profile", "--hardware", id="hardware"),
        pytest.param(("--model", "x/y"), "bad_profile", "--kv-bytes-per-token", id="model"),
        pytest.param(("--prefill", "/nowhere.csv"), "unreadable", "/nowhere.csv", id="no file"),
        pytest.param(("--experts", "200/100"), None, None, id="experts"),
        pytest.param(("--tp", "0"), None, None, id="tp"),
        pytest.param(("--weights-gib", "nan"), None, None, id="weights"),
    ],
)
def test_a_bad_option_is_named(
    points: tuple[str, ...], changed: tuple[str, str], code: str | None, where: str | None
) -> None:
    if code is None:
        with pytest.raises(CommandError, match=f"argument {changed[0]}: '{changed[1]}'"):
            run("fit", *points, *changed)
    else:
        status, error = refused("fit", *points, *changed)
        assert (status, error["code"], error["where"]) == (2, code, where)


def test_a_bad_cell_is_named_with_its_line_and_column(points: tuple[str, ...]) -> None:
    Path(points[1]).write_text("tokens,latency_ms\n128,20\n256,fast\n")
    assert refused("fit", *points) == (
        2,
        {
            "code": "bad_points",
            "message": "'fast' is no number above 0",
            "where": "p.csv, line 3, column latency_ms",
        },
    )
    with pytest.raises(CommandError, match=r"p\.csv, line 3, column latency_ms") as refusal:
        run("fit", *points)
    assert refusal.value.returncode == 2


@pytest.mark.django_db
def test_a_kept_profile_is_listed_shown_and_removed(points: tuple[str, ...]) -> None:
    assert "Kept as ours/x." in run("fit", *points, "--save")
    assert EngineProfile.objects.get().created_by_name.startswith("command line")

    assert "ours/x" not in run("list")
    assert "measured, kept" in run("list", "--own")
    listed = json.loads(run("list", "--own", "--json"))["profiles"]
    assert [each["name"] for each in listed if not each["built_in"]] == ["ours/x"]
    assert run("show", "ours/x").startswith("ours/x\n")

    status, error = refused("fit", *points, "--save")
    assert (status, error["code"], error["where"]) == (1, "refused", "--save")
    assert run("remove", "ours/x") == "Removed ours/x.\n"
    assert refused("show", "ours/x")[1]["code"] == "no_such_profile"
    assert refused("remove", "ours/x")[0] == 1
    assert list(AuditEvent.objects.values_list("verb", flat=True)) == [
        "removed profile",
        "added profile",
    ]


def test_the_list_has_every_built_in_profile() -> None:
    listed = json.loads(run("list", "--json"))["profiles"]
    assert [each["name"] for each in listed] == list(PROFILES)
    assert len(run("list").splitlines()) == len(PROFILES) + 1
    assert run("list", "--markdown").startswith(profile_table())


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        pytest.param(("show", "qwen3-8b/h100"), 0, None, id="a built-in one needs no database"),
        pytest.param(("show", "ours/x"), 1, "no_database", id="a kept one does"),
        pytest.param(("fit", "--tp", "x"), 2, "bad_usage", id="usage"),
    ],
)
def test_from_a_bare_checkout(
    words: tuple[str, ...], status: int, code: str | None, tmp_path: Path
) -> None:
    nowhere = {"DATABASE_URL": f"postgresql:///nothing?host={tmp_path}"}
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, BASE_DIR / "manage.py", "profile", *words, "--json"],
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert json.loads(done.stdout).get("error", {}).get("code") == code
