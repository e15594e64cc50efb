"""The engine profiles, and what is not among them, as the tables of the documentation."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from controller.simulator.profiles import GIB, LEFT_OUT, PROFILES, Profile

_COLUMNS: Final = (
    "profile",
    "model, precision",
    "GPU",
    "engine",
    "prefill a, b, c",
    "decode c0, c1, c2, c3",
    "KV per token",
    "KV capacity",
    "fit error P, D",
    "kind",
    "source",
)
_LEFT_OUT_COLUMNS: Final = ("model", "GPU", "kind", "why not")


def profile_table() -> str:
    """Return the Markdown table of every built-in profile, then the sources it numbers."""
    sources = list(dict.fromkeys(profile.provenance for profile in PROFILES.values()))
    rows = (
        (*_cells(profile), f"[{sources.index(profile.provenance) + 1}]")
        for profile in PROFILES.values()
    )
    notes = (f"{number}. {source}" for number, source in enumerate(sources, start=1))
    return "\n".join((_table(_COLUMNS, rows), "", *notes)) + "\n"


def left_out_table() -> str:
    """Return the Markdown table of what is published and not built in, with the reasons."""
    rows = ((out.model, _gpus(out.hardware, out.tp), out.kind, out.why) for out in LEFT_OUT)
    return _table(_LEFT_OUT_COLUMNS, rows) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(map(_line, (columns, ["---"] * len(columns), *rows)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _gpus(hardware: str, tp: int) -> str:
    return f"{tp} x {hardware}" if tp > 1 else hardware


def _cells(p: Profile) -> tuple[str, ...]:
    experts = f", {p.c3 * 1e3:.4g} ms" if p.experts else ""
    memory_gib = p.kv_capacity_tokens * p.kv_bytes_per_token / GIB
    return (
        p.name,
        f"{p.model.split('/')[-1]}, {p.precision}",
        _gpus(p.hardware, p.tp),
        p.engine,
        f"{p.a * 1e3:.4g} ms, {p.b * 1e6:.4g} us, {p.c * 1e9:.4g} ns",
        f"{p.c0 * 1e3:.4g} ms, {p.c1 * 1e6:.4g} us, {p.c2 * 1e9:.4g} ns{experts}",
        f"{p.kv_bytes_per_token / 1024:.4g} KiB",
        f"{p.kv_capacity_tokens:,} ({memory_gib:.0f} GiB)",
        f"{percent(p.prefill_error_frac)}, {percent(p.decode_error_frac)}",
        p.kind,
    )


def percent(share: float) -> str:
    """Return a share as a person reads it: ``2.9%``, or ``unknown`` for NaN."""
    return "unknown" if math.isnan(share) else f"{share:.1%}"
