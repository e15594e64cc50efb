"""How fast backtests are: a fortnight as a fluid with ten policies, an hour request by request.

Run it with ``.venv/bin/python -m benchmarks.backtest [HOURS]``; it reads the public traces in
``$HETEROSCALE_SHARED/data/traces``. With fewer hours of the fortnight it is done sooner.
"""

import resource
import sys
import time

from benchmarks.data import shared
from controller.simulator.backtest.answer import Answer
from controller.simulator.backtest.ask import Asked, question_from
from controller.simulator.backtest.run import run
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import companion_name, read_trace

FORTNIGHT = "servegen_m-large_10min.csv.gz"
HOUR = "azure_llm_2023_conv.csv.gz"
TEN = (
    "default",
    "default:target=2500",
    "default:driver=prefill_tps_uncached",
    "static-peak",
    "static-mean",
    "hpa-util",
    "hpa-queue",
    "latency-only",
    "periodic",
    "dynamo-style",
)


def played(name: str, asked: Asked) -> tuple[Answer, float]:
    """Return the answer for a trace, and the seconds of one core it took."""
    traces = shared() / "data/traces"
    beside = traces / (companion_name(name) or "none")
    quantiles = beside.read_bytes() if beside.is_file() else None
    workload = read_trace((traces / name).read_bytes(), name, quantiles=quantiles)
    question = question_from(asked, workload, PROFILES)
    begin_s = time.process_time()
    answer = run(question, clock=time.process_time, progress=lambda _: None)
    return answer, time.process_time() - begin_s


def main() -> None:
    """Play both and print what they took, then the scores of the fortnight."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 336.0
    exact, exact_s = played(HOUR, Asked(["default"], fidelity="exact"))
    answer, took_s = played(FORTNIGHT, Asked(TEN, hours=hours))
    most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{HOUR}, {exact.workload['span_s']} s exact, one policy: {exact_s:.2f} s of one core")
    print(f"{FORTNIGHT}, {hours:g} h fluid, {len(TEN)} policies: {took_s:.1f} s of one core")
    print(f"  {took_s / hours / len(TEN) * 24:.2f} s for a day of one policy")
    print(f"most memory: {most_mib:,.0f} MiB")
    print(f"clairvoyant bound: {answer.clairvoyant_gpu_hours:,.0f} GPU-hours")
    for each in answer.runs:
        score = each.score
        print(
            f"{each.label:36} {score.gpu_hours:10,.0f} GPU-hours"
            f" {score.gpu_hours_over_clairvoyant or 0:6.2f} x bound"
            f" {100 * (score.slo_attainment or 0):7.2f} % kept"
            f" {score.actions:6} actions {score.reversals_10min:5} reversals"
            f" {score.wall_s:6.1f} s"
        )


if __name__ == "__main__":
    main()
