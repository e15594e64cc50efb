"""The fluid agrees with the exact engines, and both with an independent prototype."""

from pathlib import Path

import pytest

from benchmarks.fidelity_rows import (
    CASES,
    Case,
    azure_rows,
    conservation_rows,
    exact_world_rows,
    mooncake_rows,
    prefill_rows,
    prototype_rows,
    row,
    saturation_rows,
    world_rows,
)
from benchmarks.simulator_validation import excuse, line, report
from benchmarks.validation_rows import Row

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)


@pytest.fixture(scope="module")
def traces(shared: Path) -> Path:
    return shared / "data" / "traces"


def failed(rows: list[Row]) -> list[Row]:
    assert rows
    return [one for one in rows if not one.passed]


@each_case
def test_the_fluid_agrees_with_the_exact_engines(case: Case, traces: Path) -> None:
    assert failed(list(azure_rows(traces, case))) == []


@each_case
def test_signals_of_a_fluid_world_agree_with_the_exact_engines(case: Case, traces: Path) -> None:
    assert failed(list(world_rows(traces, case))) == []


@each_case
def test_an_exact_world_makes_the_tokens_of_one_run_over_all_requests(
    case: Case, traces: Path
) -> None:
    assert failed(list(exact_world_rows(traces, case))) == []


@pytest.mark.parametrize("at", range(len(CASES)), ids=lambda at: CASES[at].label)
def test_both_fidelities_reproduce_an_independent_prototype(at: int, traces: Path) -> None:
    assert failed(list(prototype_rows(traces, at))) == []


@each_case
def test_tokens_requests_and_time_are_conserved_over_an_hour(case: Case, traces: Path) -> None:
    assert failed(list(conservation_rows(traces, case))) == []


def test_the_fluid_waits_for_prefill_as_the_exact_queue_does(traces: Path) -> None:
    rows = list(prefill_rows(traces))
    assert len(rows) == 4 * 3 * 3
    assert [one for one in failed(rows) if not excuse(one)] == []


def test_long_prompts_are_where_the_fluid_is_bad_and_not_used(traces: Path) -> None:
    rows = list(mooncake_rows(traces))
    bad = failed(rows)
    assert [one.check for one in bad] == [one.check for one in rows if "fluid" in one.check]
    # It overestimates, by up to the double.
    assert all(1.2 < one.ours / one.reference < 2 for one in bad)
    assert all(excuse(one) for one in bad)


def test_decode_without_free_memory_is_as_fast_as_the_exact_engine() -> None:
    rows = list(saturation_rows())
    assert failed(rows) == []
    # 36,000 tokens/s are asked for, and the more answers spread, the fewer are made.
    made = [one.ours for one in rows]
    assert made == sorted(made, reverse=True)
    assert made[0] < 0.9 * 36_000


@pytest.mark.parametrize(
    ("reference", "ours", "verdict"),
    [
        pytest.param(2.0, 2.2, "pass", id="10 % of 10 %"),
        pytest.param(2.0, 1.7, "**fail**", id="15 % of 10 %, below"),
        pytest.param(0.0, 0.05, "pass", id="0.05 off a reference of 0"),
    ],
)
def test_an_error_either_way_is_judged(reference: float, ours: float, verdict: str) -> None:
    judged = row("Something", "s", (reference, ours), 0.1 + 1e-12)
    assert line(judged).split(" | ")[-1] == f"{verdict} |"


def test_only_failures_without_a_reason_count(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("Mooncake, fluid prefill, 4P", "Something else", "Another")
    offs = (1.5, 1.5, 1.0)
    rows = [row(name, "s", (1.0, off), 0.1) for name, off in zip(names, offs, strict=True)]
    assert report(rows) == 1
    assert "known: single prompts outlast a bin" in capsys.readouterr().out
