"""What the command ``profile`` says: to a person in lines, to a program as values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.fitting import DecodePoints, Fit, PrefillPoints
from controller.simulator.own_engine import OwnProfile
from controller.simulator.points import DecodeFile
from controller.simulator.profile_file import profile_body
from controller.simulator.profile_table import percent
from controller.simulator.profiles import Profile

WORST: Final = 5
"""How many of the points that fit worst are shown for each role."""


def fit_answer(own: OwnProfile, prefill: PrefillPoints, decode: DecodeFile) -> dict[str, object]:
    """Return a fit with its errors, worst points and doubts, ready for JSON."""
    points = decode.points
    return {
        "profile": profile_body(own.profile),
        "prefill": _role(own.prefill, prefill.seconds, _prefill_columns(prefill)),
        "decode": _role(own.decode, points.seconds, _decode_columns(points))
        | {"set_aside": decode.set_aside},
        "warnings": list(own.doubts),
    }


def fit_lines(own: OwnProfile, prefill: PrefillPoints, decode: DecodeFile) -> list[str]:
    """Return a fit as a person reads it."""
    points = decode.points
    aside = f"; {decode.set_aside} set aside, their batch did not run" if decode.set_aside else ""
    lines = [
        *profile_lines(own.profile),
        "",
        f"prefill  {_quality(own.prefill)}",
        f"decode   {_quality(own.decode)}{aside}",
        "",
        "The points it fits worst:",
        *_worst_lines("prefill", own.prefill, prefill.seconds, _prefill_columns(prefill)),
        *_worst_lines("decode", own.decode, points.seconds, _decode_columns(points)),
    ]
    if own.doubts:
        lines += ["", "Be careful:", *(f"- {doubt}" for doubt in own.doubts)]
    return lines


def profile_lines(p: Profile) -> list[str]:
    """Return a profile as a person reads it."""
    gpus = "1 GPU" if p.tp == 1 else f"{p.tp} GPUs"
    experts = (
        f" + {p.c3 * 1e3:.4g} ms x share of {p.experts} experts touched ({p.top_k} active)"
        if p.experts
        else ""
    )
    prefill = (
        f"{p.a * 1e3:.4g} ms + {p.b * 1e6:.4g} us per token + {p.c * 1e9:.4g} ns per token squared"
    )
    decode = (
        f"{p.c0 * 1e3:.4g} ms + {p.c1 * 1e6:.4g} us per sequence"
        f" + {p.c2 * 1e9:.4g} ns per context token{experts}"
    )
    memory = f"{p.kv_bytes_per_token:,} bytes per token, {p.kv_capacity_tokens:,} tokens"
    errors = (
        f"{percent(p.prefill_error_frac)} for prefill, {percent(p.decode_error_frac)} for decode"
    )
    lines = [
        p.name,
        f"model    {p.model}, {p.precision}, {p.engine or 'engine unstated'}",
        f"on       {p.spec.label}, {gpus} per instance",
        f"prefill  {prefill}",
        f"decode   {decode}",
        f"KV       {memory}, at most {p.max_seqs:,} sequences",
        f"trust    {p.kind}; the fit is off by {errors}",
    ]
    if p.ranges:
        r = p.ranges
        lines.append(
            f"covers   prompts of {_range(r.prefill_tokens)} tokens, batches of"
            f" {_range(r.decode_batch)}, contexts of {_range(r.decode_context)} tokens"
        )
    if p.provenance:
        lines.append(f"source   {p.provenance}")
    return lines


def list_answer(profiles: Iterable[Profile], own: Sequence[str]) -> list[dict[str, object]]:
    """Return the profiles, each with whether it is built in or kept, ready for JSON."""
    return [profile_body(profile) | {"built_in": profile.name not in own} for profile in profiles]


def list_lines(profiles: Sequence[Profile], own: Sequence[str]) -> list[str]:
    """Return one line a profile, columns aligned."""
    rows = [
        (
            p.name,
            f"{p.tp} x {p.hardware}",
            p.precision,
            p.engine,
            p.kind + (", kept" if p.name in own else ""),
            f"{percent(p.prefill_error_frac)}, {percent(p.decode_error_frac)}",
        )
        for p in profiles
    ]
    head = ("NAME", "GPUS", "PRECISION", "ENGINE", "KIND", "FIT ERROR P, D")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _prefill_columns(points: PrefillPoints) -> Mapping[str, Floats]:
    return {"tokens": points.tokens, "batch": points.batch}


def _decode_columns(points: DecodePoints) -> Mapping[str, Floats]:
    return {"batch": points.batch, "context": points.context}


def _role(fit: Fit, seconds: Floats, columns: Mapping[str, Floats]) -> dict[str, object]:
    return {
        "points": len(seconds),
        "mean_error_frac": fit.mean_error_frac,
        "p95_error_frac": fit.p95_error_frac,
        "worst": [
            {name: float(values[at]) for name, values in columns.items()}
            | {
                "measured_s": float(seconds[at]),
                "ours_s": float(seconds[at] * (1 + fit.errors[at])),
                "error_frac": float(fit.errors[at]),
            }
            for at in fit.worst(WORST)
        ],
    }


def _quality(fit: Fit) -> str:
    return (
        f"{len(fit.errors)} points, off by {percent(fit.mean_error_frac)} on average,"
        f" 95 % of them by less than {percent(fit.p95_error_frac)}"
    )


def _worst_lines(role: str, fit: Fit, seconds: Floats, columns: Mapping[str, Floats]) -> list[str]:
    ours = seconds * (1 + fit.errors)
    return [
        f"  {role:<9}"
        + "".join(f"{name} {values[at]:<10,.6g}" for name, values in columns.items())
        + f"measured {seconds[at] * 1e3:,.4g} ms, ours {ours[at] * 1e3:,.4g} ms"
        + f" ({fit.errors[at]:+.1%})"
        for at in fit.worst(WORST)
    ]


def _range(span: tuple[float, float]) -> str:
    least, most = np.round(span)
    return f"{least:,.0f}" if least == most else f"{least:,.0f}-{most:,.0f}"
