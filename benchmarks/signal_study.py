"""The figures behind the policies, measured in the simulator: signals, ratios, hardware, switches.

Run it with ``.venv/bin/python -m benchmarks.signal_study [part ...]``; the parts are ``signals``,
``ratio``, ``hardware`` and ``transfer``, all without one. The data are found in the directory
``HETEROSCALE_SHARED`` names, ``../shared`` without it. Prints tables in Markdown.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.data import shared
from benchmarks.study.hardware import EVEN, PRICES, Load, cost_rows, premium_rows
from benchmarks.study.ratio import Case, ratio_rows, tent
from benchmarks.study.recordings import (
    AZURE,
    LANGUAGE,
    MOONCAKE,
    REASONING,
    SUMMARIES,
    measured_transfers,
    recording,
)
from benchmarks.study.signals import (
    TBT_GOAL_S,
    TTFT_GOAL_S,
    correlation,
    day_of,
    signal_rows,
    steady,
)
from benchmarks.study.table import table
from benchmarks.study.transfer import load_rows, size_rows
from controller.simulator.workload import WindowTrace

H100: Final = "qwen3-32b-fp8/h100"
H200: Final = "qwen3-32b-fp8/h200"
L40S: Final = "qwen3-8b/l40s"
EXPERTS: Final = "Qwen/Qwen3-30B-A3B"
MODELS: Final = (
    "Qwen/Qwen3-8B",
    EXPERTS,
    "Qwen/Qwen3-32B-FP8",
    "Qwen/Qwen3-32B",
    "nvidia/Llama-3.1-70B-Instruct-FP8",
)
RATIO_FORMATS: Final = ("", "", "", ".0f", ".2f", ".2f", "d", ".1f", ".2f", ",.0f", ".2f")
COST_FORMATS: Final = ("", "", "", "", ".2f", ".3f", ".0%")
PREMIUM_FORMATS: Final = ("", "", "", ".3f", "", ".0%", ".0%", "", ".0%")
LOAD_FORMATS: Final = ("", ".0f", ".0%", ".1f", ".1f", ".0f", ".0f")


def signals(shared: Path) -> None:
    """Print how signals go with the load of a day, as recorded and with lengths held."""
    trace = recording(shared, LANGUAGE, 0.5)
    if not isinstance(trace, WindowTrace):
        raise SystemExit(f"{LANGUAGE}: windows are wanted, these are other rows")
    for name, workload in (("as recorded", trace), ("lengths held at the mean", steady(trace))):
        day = day_of(workload)
        kept = day.kept_frac("ttft_s", TTFT_GOAL_S), day.kept_frac("tbt_s", TBT_GOAL_S)
        print(f"\nm-large, first day, half the requests, {name}; {day.service.initial}")
        print(f"samples within the goals: TTFT {kept[0]:.1%}, TBT {kept[1]:.1%}")
        print(
            f"r of requests with uncached tokens {correlation(day.requests, day.uncached):.2f},"
            f" with output tokens {correlation(day.requests, day.output):.2f}\n"
        )
        print(table(signal_rows(day), ("", "", ".3f", ".3f", ".3f", ".2f")))


def ratio(shared: Path) -> None:
    """Print the best ratio of each trace, and two tents."""
    azure, mooncake, reasoning = (recording(shared, name) for name in (AZURE, MOONCAKE, REASONING))
    cases = [
        Case.of("Azure conversation", azure, (H100, H100), 50),
        Case.of("Azure conversation", azure, (H100, H200), 50),
        Case.of("Azure conversation", azure, (L40S, L40S), 30),
        Case.of("Azure conversation", azure, (L40S, L40S), 50),
        Case.of("Azure conversation", azure, ("qwen3-8b/h100", "qwen3-8b/a100"), 50),
        Case.of("Mooncake conversation", mooncake, (H100, H100), 50),
        Case.of("Mooncake conversation", mooncake, (H100, H200), 50),
        Case.of("deepseek-r1", reasoning, (H100, H100), 50),
        Case.of("deepseek-r1", reasoning, (H100, H200), 50),
    ]
    print(f"\n{table(ratio_rows(cases), RATIO_FORMATS)}")
    patient = replace(cases[7], ttft_goal_s=5.0)
    for one, simulated, seconds in (
        (cases[0], range(2, 23, 2), 400.0),
        (patient, (1, 2, 3, 4, 5, 6, 8, 12), 2_400.0),
    ):
        print(f"\n24 H100, {one.trace}, TTFT {one.ttft_goal_s:g} s\n")
        rows = tent(one, 24, simulated, seconds=seconds)
        print(table([row for row in rows if row.simulated_rps], ("d", "d", ".1f", ".1f", ".0%")))


def hardware(shared: Path) -> None:
    """Print what homogeneous hardware costs above matched, priced and counted."""
    goals = ((AZURE, 2.0), (MOONCAKE, 60.0), (REASONING, 4.0), (SUMMARIES, 4.0))
    loads = [Load(name.split(".")[0], recording(shared, name), ttft, 0.06) for name, ttft in goals]
    pair = {name: PRICES[name] for name in ("h100", "h20")}
    for name, prices, models in (
        ("H100 and H20 at their prices", pair, (EXPERTS,)),
        ("every type at its price", PRICES, MODELS),
        ("every type at one price", EVEN, MODELS),
    ):
        print(f"\n{name}\n\n{table(premium_rows(models, loads, prices), PREMIUM_FORMATS)}")
    print(f"\n{table(cost_rows(EXPERTS, loads[0], PRICES), COST_FORMATS)}")


def transfer(shared: Path) -> None:
    """Print transfer times by distance, and TTFT at load with thin uplinks."""
    rows = size_rows(measured_transfers(shared))
    print(f"\n{table(rows, (',d', ',.0f', '.2f', '.2f', '.2f', '.2f', '.1%'))}")
    for name, engine in ((AZURE, H100), (SUMMARIES, "qwen3-8b/h100")):
        one = Case.of(name, recording(shared, name), (engine, engine), 50)
        for load_frac in (0.9, 1.0):
            print(f"\n{name}, {engine}, 16 prefill instances, {load_frac:.0%} of the formula\n")
            found = load_rows(one, 16, load_frac, (1.0, 4.0, 8.0), seconds=300.0)
            print(table(found, LOAD_FORMATS))


PARTS: Final[Mapping[str, Callable[[Path], None]]] = {
    part.__name__: part for part in (signals, ratio, hardware, transfer)
}


def main() -> None:
    """Print the tables of the parts named, or of all."""
    found = shared()
    for name in sys.argv[1:] or PARTS:
        begin_s = time.process_time()
        print(f"\n## {name}")
        PARTS[name](found)
        print(f"\n{time.process_time() - begin_s:.0f} s")


if __name__ == "__main__":
    main()
