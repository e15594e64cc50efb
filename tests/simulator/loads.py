"""One small load of every kind, that tests share."""

from collections.abc import Mapping

import numpy as np

from controller.core.types import Floats
from controller.simulator.recorded import workload_of
from controller.simulator.workload import Generator, Workload, read_trace, with_cache_steps

REQUESTS = "t_s,input_tokens,output_tokens\n"
CACHED = "t_s,input_tokens,output_tokens,cached_tokens_ideal\n"
LENGTHS = "input_tokens,output_tokens\n"
WINDOWS = "t_s,rate_rps,mean_input_tokens,mean_output_tokens\n"
QUANTILES = "window_start_s,field,mean,q0,q0.25,q0.5,q0.75,q1\n"

# Ten minutes each; the third is a hole, the fourth idle.
WINDOW_ROWS = "0,4,1000,100\n600,6,400,300\n1200,,,\n1800,0,,\n2400,5,800,200\n"
QUANTILE_ROWS = (
    "0,input_tokens,0,10,100,1000,1500,9000\n0,output_tokens,0,1,50,100,150,400\n"
    "1800,input_tokens,0,700,800,800,800,900\n1800,output_tokens,0,190,195,200,205,210\n"
)


def signals(times_s: Floats) -> dict[str, Floats]:
    """Return a quiet service: 6 requests/s ± 1 of 1,000 and 200 tokens, 40 % of them cached."""
    rps = 6 + np.sin(times_s / 900)
    return {
        "request_rps": rps,
        "prefill_tps": 1_000 * rps,
        "prefill_tps_uncached": 600 * rps,
        "decode_tps": 200 * rps,
        "prefill_waiting": np.zeros_like(rps),
        "decode_waiting": np.zeros_like(rps),
        **{f"prefill_{what}": np.full_like(rps, 2) for what in ("reporting", "expected")},
        **{f"decode_{what}": np.full_like(rps, 4) for what in ("reporting", "expected")},
    }


def samples(minutes: float = 60.0) -> Floats:
    """Return the times of samples, one every 15 s."""
    times_s: Floats = 15.0 * np.arange(1.0, 4 * minutes + 1)
    return times_s


def _rows(count: int) -> str:
    return "".join(f"{0.37 * at:.2f},{500 + at % 9},{40 + at % 5}\n" for at in range(count))


def _cached_rows(count: int) -> str:
    return "".join(
        f"{0.37 * at:.2f},{900 + at % 9},{40 + at % 5},{300 if at % 2 else 0}\n"
        for at in range(count)
    )


def _recorded() -> Workload:
    times_s = samples(120)
    given = signals(times_s)
    # Nobody looked from the 20th to the 25th minute.
    given["request_rps"][(times_s > 1200) & (times_s <= 1500)] = np.nan
    return workload_of(times_s, given, name="recorded")


def every_kind() -> Mapping[str, Workload]:
    """Return one load of each kind by its name."""
    windows = (WINDOWS + WINDOW_ROWS).encode()
    quantiles = (QUANTILES + QUANTILE_ROWS).encode()
    cached = read_trace((CACHED + _cached_rows(9_000)).encode(), "hits")
    lengths = LENGTHS + "".join(f"{100 * at},{at}\n" for at in range(1, 60))
    return {
        "generated": Generator("day", 5, 2, 10, 900, 150, cached_frac=0.3),
        "requests": read_trace((REQUESTS + _rows(9_000)).encode(), "rows", 2.0),
        "requests with cache": cached,
        "cache switched": with_cache_steps(cached, [(0, 0.0), (900, 1.0), (1800, 0.25)]),
        "windows": read_trace(windows, "windows", 0.5),
        "windows with quantiles": read_trace(windows, "quantiles", quantiles=quantiles),
        "lengths only": read_trace(lengths.encode(), "lengths", 2.0, rate_rps=3.0),
        "recorded": _recorded(),
    }
