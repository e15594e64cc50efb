"""What curation finds against ratios worked out by hand, and what a fixed ratio costs in a drift.

Run it with ``.venv/bin/python -m benchmarks.curation [ratios] [sustained] [drift]``; it reads the
public traces in ``$HETEROSCALE_SHARED/data/traces``. Without a word it prints all, in minutes.
"""

import sys
import time
from dataclasses import replace
from typing import Final

from benchmarks.data import shared
from controller.simulator.backtest.ask import Asked, question_from
from controller.simulator.backtest.question import Question
from controller.simulator.backtest.run import run
from controller.simulator.capacity import TARGET_FRAC
from controller.simulator.curation import CurationQuestion, basis_of, curate
from controller.simulator.profiles import PROFILES
from controller.simulator.stress import Stress
from controller.simulator.workload import Workload, companion_name, read_trace

AZURE: Final = "azure_llm_2023_conv.csv.gz"
MOONCAKE: Final = "mooncake_fast25_conversation.csv.gz"
REASONING: Final = "servegen_deepseek-r1_10min.csv.gz"
DRIFTING: Final = "servegen_m-large_10min.csv.gz"
FP8: Final = "qwen3-32b-fp8"
BY_HAND: Final = (
    (AZURE, f"{FP8}/h100", f"{FP8}/h100", 0.05, 2.5),
    (AZURE, f"{FP8}/h100", f"{FP8}/h200", 0.05, 4.2),
    (AZURE, "qwen3-8b/l40s", "qwen3-8b/l40s", 0.03, 0.7),
    (AZURE, "qwen3-8b/l40s", "qwen3-8b/l40s", 0.05, 1.2),
    (AZURE, "qwen3-8b/h100", "qwen3-8b/a100", 0.05, 1.1),
    (MOONCAKE, f"{FP8}/h100", f"{FP8}/h100", 0.05, 1.6),
    (MOONCAKE, f"{FP8}/h100", f"{FP8}/h200", 0.05, 3.3),
    (REASONING, f"{FP8}/h100", f"{FP8}/h100", 0.05, 0.23),
    (REASONING, f"{FP8}/h100", f"{FP8}/h200", 0.05, 0.44),
)
FOLLOWERS: Final = ("proportional", "default:adapt=off", "default")


def recording(name: str) -> Workload:
    """Return a public trace with the lengths beside it."""
    traces = shared() / "data/traces"
    beside = traces / (companion_name(name) or "none")
    quantiles = beside.read_bytes() if beside.is_file() else None
    return read_trace((traces / name).read_bytes(), name, quantiles=quantiles)


def ratios() -> None:
    """Print the ratio of each load: by hand, by mean lengths, and with the spread of answers."""
    for name, prefill, decode, tbt_s, by_hand in BY_HAND:
        found = basis_of(_asked(name, prefill, decode, tbt_s))
        mean, spread, hours = found.capacity.pd_ratio, found.cautious.pd_ratio, found.drift
        print(
            f"{name:36} {prefill:19} {decode:19} {tbt_s * 1e3:3.0f} ms  by hand {by_hand:5.2f}"
            f"  mean {mean:5.2f}  spread {spread:5.2f}  difference {mean / by_hand - 1:+4.0%}"
            f"  hours {hours.lowest:.2f} to {hours.highest:.2f}"
        )


def sustained() -> None:
    """Print what the best of 24 GPUs carries when it is played, and the targets there."""
    for name, prefill, decode, tbt_s, _ in (BY_HAND[0], BY_HAND[5], BY_HAND[7]):
        asked = replace(_asked(name, prefill, decode, tbt_s), span_s=900.0)
        begun_s = time.process_time()
        question = CurationQuestion(asked, gpus=24)
        found = curate(question, clock=time.process_time, progress=lambda _: None)
        cautious, counts = found.basis.cautious, found.best.instances
        most = min(counts.prefill * cautious.prefill_rps, counts.decode * cautious.decode_rps)
        attainable = Stress(asked, found.basis.demand, question.goal_frac).attainable_frac
        mean = TARGET_FRAC * found.basis.capacity.decode_tps
        print(
            f"{name:36} {found.best.instances}: {found.best.goodput_rps:6.1f} req/s"
            f" ({found.best.goodput_rps / most:.0%} of first principles),"
            f" {attainable:.1%} attainable, target"
            f" {found.targets['decode_tps_per_instance']:,.0f} tok/s (by means {mean:,.0f}),"
            f" {time.process_time() - begun_s:.1f} s"
        )


def _asked(name: str, prefill: str, decode: str, tbt_s: float) -> Question:
    asked = Asked((), profile=prefill, decode_profile=decode, tbt_slo_s=tbt_s)
    return question_from(asked, recording(name), PROFILES)


def drift() -> None:
    """Print what following the mix of a fortnight is worth against the first day's ratio."""
    question = question_from(Asked(FOLLOWERS, fidelity="fluid"), recording(DRIFTING), PROFILES)
    answer = run(question, clock=time.process_time, progress=lambda _: None)
    for each in answer.runs:
        over, kept = each.score.gpu_hours_over_clairvoyant, each.score.slo_attainment
        print(
            f"{each.label:20} {each.score.gpu_hours:10,.0f} GPU-hours"
            f" {'unknown' if over is None else f'{over:.2f} x bound'}"
            f" {'unknown' if kept is None else f'{kept:.1%} kept'}"
        )


PARTS: Final = {"ratios": ratios, "sustained": sustained, "drift": drift}


def main() -> None:
    """Print the parts that are named, or all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
