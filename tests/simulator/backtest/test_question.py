"""What a person typed becomes a question, or a mistake named by its field."""

from dataclasses import replace

import pytest

from controller.core.types import Slo
from controller.simulator.backtest.ask import Asked, question_from
from controller.simulator.backtest.question import (
    Candidate,
    Question,
    QuestionError,
    parse_candidate,
)
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Workload, read_trace
from tests.simulator.backtest.examples import H100, STEADY, minutes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("default", Candidate("default"), id="a name alone"),
        pytest.param(
            "proportional:target=900,pd_ratio=0.5",
            Candidate("proportional", {"target": "900", "pd_ratio": "0.5"}),
            id="two parameters",
        ),
        pytest.param(
            "  hpa-util: target = 0.6 ", Candidate("hpa-util", {"target": "0.6"}), id="blanks"
        ),
    ],
)
def test_a_candidate_is_a_name_and_what_differs(text: str, expected: Candidate) -> None:
    found = parse_candidate(text)
    assert found == expected
    assert parse_candidate(found.label) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "'' is no policy: write NAME or NAME:key=value,…", id="nothing"),
        pytest.param(
            "Default", "'Default' is no policy: write NAME or NAME:key=value,…", id="a capital"
        ),
        pytest.param("a:", "'' in 'a:' is not written as key=value", id="a colon and nothing"),
        pytest.param("a:b", "'b' in 'a:b' is not written as key=value", id="no value"),
        pytest.param("a:b=", "'b=' in 'a:b=' is not written as key=value", id="an empty value"),
        pytest.param("a:B=1", "'B=1' in 'a:B=1' is not written as key=value", id="a bad key"),
        pytest.param("a:b=1,", "'' in 'a:b=1,' is not written as key=value", id="a last comma"),
        pytest.param("a:b=1,b=2", "'b' is there twice in 'a:b=1,b=2'", id="a key twice"),
    ],
)
def test_what_is_no_candidate_says_how_to_write_one(text: str, message: str) -> None:
    with pytest.raises(QuestionError) as caught:
        parse_candidate(text)
    error = caught.value
    assert (error.code, error.where, error.message) == ("bad_policy", "policy", message)


USUAL = Asked(policies=["default", "hpa-util:target=0.6"])


def test_a_question_without_wishes_is_the_usual_one() -> None:
    expected = Question(
        workload=STEADY,
        prefill=H100,
        decode=H100,
        slo=Slo(1.0, 0.05),
        candidates=[Candidate("default"), Candidate("hpa-util", {"target": "0.6"})],
        span_s=7200.0,
    )
    assert question_from(USUAL, STEADY, PROFILES) == expected


def test_every_wish_finds_its_place() -> None:
    asked = Asked(
        policies=["default"],
        profile="qwen3-32b-fp8/h200",
        decode_profile="qwen3-32b-fp8/h100",
        hours=0.5,
        start_up_s=90.0,
        ttft_slo_s=2.0,
        tbt_slo_s=0.04,
        max_gpus=12,
        seed=5,
        fidelity="exact",
    )
    assert question_from(asked, STEADY, PROFILES) == Question(
        workload=STEADY,
        prefill=PROFILES["qwen3-32b-fp8/h200"],
        decode=H100,
        slo=Slo(2.0, 0.04),
        candidates=[Candidate("default")],
        span_s=1800.0,
        start_up_s=90.0,
        max_gpus=12,
        seed=5,
        fidelity="exact",
    )


LENGTHS = b"input_tokens,output_tokens\n100,10\n200,20\n"


@pytest.mark.parametrize(
    ("workload", "span_s"),
    [
        pytest.param(STEADY, 7200.0, id="a generator: its day of 7200 s"),
        pytest.param(minutes(1, 2, 3, 4, 5), 300.0, id="five windows of 60 s"),
        pytest.param(read_trace(LENGTHS, "lengths"), 86_400.0, id="without times: 24 h"),
        pytest.param(minutes(*[1.0] * 50_000), 31 * 86_400.0, id="35 days: the longest, 31"),
        pytest.param(
            read_trace(b"t_s,input_tokens,output_tokens\n0,9,9\n1,9,9\n", "short"),
            60.0,
            id="two seconds: the shortest, a minute",
        ),
    ],
)
def test_without_hours_it_is_one_pass_of_the_load(workload: Workload, span_s: float) -> None:
    assert question_from(USUAL, workload, PROFILES).span_s == pytest.approx(span_s)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param("hours", 0.0, "0 is not between 0.0167 and 744 hours", id="no time"),
        pytest.param("hours", 745.0, "745 is not between 0.0167 and 744 hours", id="32 days"),
        pytest.param("hours", float("nan"), "nan is not between 0.0167 and 744 hours", id="NaN"),
        pytest.param("start_up_s", -1.0, "-1 is not between 0 and 3,600 s", id="start before now"),
        pytest.param(
            "start_up_s", 3601.0, "3,601 is not between 0 and 3,600 s", id="over an hour"
        ),
        pytest.param("ttft_slo_s", 0.0, "0 is not between 0.001 and 600 s", id="no TTFT"),
        pytest.param(
            "ttft_slo_s", float("inf"), "inf is not between 0.001 and 600 s", id="endless TTFT"
        ),
        pytest.param("tbt_slo_s", 11.0, "11 is not between 0.001 and 10 s", id="11 s a token"),
        pytest.param("max_gpus", 0, "0 is not between 1 and 100,000 GPUs", id="no GPU"),
        pytest.param("seed", -1, "-1 is not between 0 and 4,294,967,295", id="a negative seed"),
    ],
)
def test_a_figure_out_of_range_names_its_field_and_the_range(
    field: str, value: float, message: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        question_from(replace(USUAL, **{field: value}), STEADY, PROFILES)  # type: ignore[arg-type]
    error = caught.value
    assert (error.code, error.where, error.message) == ("out_of_range", field, message)


@pytest.mark.parametrize(
    ("changed", "code", "where", "said"),
    [
        pytest.param(
            {"profile": "qwen3-32b-fp8/h10"},
            "unknown_profile",
            "profile",
            "there is no profile 'qwen3-32b-fp8/h10': did you mean qwen3-32b-fp8/h100",
            id="a profile with a letter missing",
        ),
        pytest.param(
            {"decode_profile": "???"},
            "unknown_profile",
            "decode_profile",
            f"there is no profile '???': there are {len(PROFILES)}",
            id="a decode profile like none",
        ),
        pytest.param(
            {"fidelity": "coarse"},
            "bad_fidelity",
            "fidelity",
            "'coarse' is none of auto, exact, fluid",
            id="a third fidelity",
        ),
        pytest.param(
            {"policies": ["default", "hpa util"]},
            "bad_policy",
            "policy",
            "'hpa util' is no policy: write NAME or NAME:key=value,…",
            id="a blank in a policy",
        ),
    ],
)
def test_an_unknown_name_says_what_there_is(
    changed: dict[str, object], code: str, where: str, said: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        question_from(replace(USUAL, **changed), STEADY, PROFILES)  # type: ignore[arg-type]
    error = caught.value
    assert (error.code, error.where) == (code, where)
    assert error.message.startswith(said)
