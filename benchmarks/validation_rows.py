"""Engine speed as we compute it against what others measured, one row a check."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.aggregated import tpot_s
from controller.simulator.fitting import (
    DecodePoints,
    PrefillPoints,
    fit_decode,
    fit_prefill,
    non_negative_least_squares,
)
from controller.simulator.points import read_decode_points, read_prefill_points
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.transfer import H800_NODES, kv_transfer_s

MIB: Final = 2**20
H200: Final = "measured_h200_llama31_8b_fp8_"


@dataclass(frozen=True, slots=True)
class Row:
    """One check: a reference and our value in ``unit``, and by how much we may be off.

    Over several points both values are means, and ``error_frac`` the mean absolute relative error.
    """

    check: str
    unit: str
    reference: float
    ours: float
    error_frac: float
    limit_frac: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the limit."""
        return self.error_frac <= self.limit_frac


def engine_rows(perf: Path) -> list[Row]:
    """Return every check of engine speed against the measurements in directory ``perf``."""
    return [row for check in CHECKS for row in check(perf)]


def _over(check: str, reference: Floats, ours: Floats, limit_frac: float, unit: str = "ms") -> Row:
    error = float(np.mean(np.abs(ours / reference - 1)))
    return Row(check, unit, float(reference.mean()), float(ours.mean()), error, limit_frac)


def _measured(perf: Path) -> tuple[PrefillPoints, DecodePoints]:
    """Return what was measured with Llama-3.1-8B on H200."""
    prefill, decode = (f"{H200}{role}.csv" for role in ("prefill", "decode"))
    return (
        read_prefill_points((perf / prefill).read_bytes(), prefill),
        read_decode_points((perf / decode).read_bytes(), decode).points,
    )


def surfaces(perf: Path) -> Iterator[Row]:
    """Yield TTFT against length and ITL against KV usage, measured on H200 (vLLM)."""
    prefill, decode = _measured(perf)
    profile = PROFILES["llama-3.1-8b-fp8/h200"]
    yield _over(
        f"H200 Llama-3.1-8B: TTFT against length, {len(prefill.tokens)} points",
        prefill.seconds * 1e3,
        profile.prefill_s(prefill.tokens) * 1e3,
        0.08,
    )
    yield _over(
        f"H200 Llama-3.1-8B: ITL against KV usage, {len(decode.batch)} points",
        decode.seconds * 1e3,
        profile.step_s(decode.batch, decode.kv_tokens) * 1e3,
        0.08,
    )


def own_fit(perf: Path) -> Iterator[Row]:
    """Yield the figures our fit finds in the H200 points against the published fit."""
    prefill, decode = _measured(perf)
    found = np.concatenate([fit_prefill(prefill).figures, fit_decode(decode).figures[:3]])
    entries = json.loads((perf / "fitted_params.json").read_text())["entries"]
    entry = next(entry for entry in entries if entry["kind"].startswith("measured"))
    figures = [
        *((name, entry["prefill_ms"][name]) for name in ("a", "b_per_token", "c_per_token2")),
        *((name, entry["decode_ms"][name]) for name in ("c0", "c1_per_seq", "c2_per_seq_token")),
    ]
    for ours, (name, reference) in zip(found * 1e3, figures, strict=True):
        error = abs(float(ours) / reference - 1)
        yield Row(f"H200 fit: {name}", "ms", reference, float(ours), error, 1e-4)


def transfers(perf: Path) -> Iterator[Row]:
    """Yield each row of the KV-transfer table between two H800 nodes (Mooncake)."""
    with (perf / "measured_kv_transfer_h800_qwen3_8b.csv").open() as file:
        for row in csv.DictReader(file):
            reference = np.array([float(row["transfer_ms"])])
            ours = kv_transfer_s(np.array([float(row["kv_mib"]) * MIB]), H800_NODES) * 1e3
            yield _over(f"H800 KV transfer, {row['prompt_tokens']} tokens", reference, ours, 0.07)


def aggregated(perf: Path) -> Iterator[Row]:
    """Yield TPOT of aggregated serving by the formula, for the rows that fit in memory."""
    for model, engine, name, limit_frac in (
        ("Qwen/Qwen3-32B", "trtllm", "qwen3-32b-fp8/h100", 0.07),
        ("Qwen/Qwen3-32B", "trtllm", "qwen3-32b-fp8/h100-tp2", 0.07),
        ("meta-llama/Llama-3.1-70B", "vllm", "llama-3.1-70b-fp8/h100-tp4", 0.17),
    ):
        profile = PROFILES[name]
        reference, ours = _tpot_ms(perf, profile, (model, engine))
        check = f"TPOT of aggregated {engine}, {name}, {len(ours)} rows"
        yield _over(check, reference, ours, limit_frac)


def _tpot_ms(perf: Path, profile: Profile, what: tuple[str, str]) -> tuple[Floats, Floats]:
    measured, ours = [], []
    on = ("h100_sxm", "fp8", profile.tp)
    with gzip.open(perf / "measured_agg_serving.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            place = (row["system"], row["precision"], float(row["tp_size"]))
            batch, prompt, output = (float(row[name]) for name in ("batch_size", "isl", "osl"))
            if (row["model_path"], row["backend"], *place) != (*what, *on):
                continue
            if batch * (prompt + output) <= profile.kv_capacity_tokens:
                measured.append(float(row["silicon_tpot_ms"]))
                took_s = tpot_s(profile, batch=batch, input_tokens=prompt, output_tokens=output)
                ours.append(took_s * 1e3)
    return np.array(measured), np.array(ours)


def published(perf: Path) -> Iterator[Row]:
    """Yield decode of DeepSeek-R1 on H20 between the two batches its step time is fitted to."""
    points = published_h20(perf)
    batch, rate = points[:, 0], points[:, 1]
    step_s = batch / rate
    ends = np.array([0, -1])
    columns = np.stack((np.ones_like(batch), batch), axis=1)
    figures = non_negative_least_squares(columns[ends], step_s[ends])
    ours = batch / (columns @ figures)
    for at in range(1, len(batch) - 1):
        yield _over(
            f"H20 DeepSeek-R1 decode, batch {batch[at]:g} per GPU",
            rate[at : at + 1],
            ours[at : at + 1],
            0.15,
            "tokens/s per GPU",
        )


def published_h20(perf: Path) -> Floats:
    """Return (batch, tokens/s) per GPU of DeepSeek-R1 on H20 with EP16, batches 8 to 48."""
    points = json.loads((perf / "published_pd_points.json").read_text())["points"]
    return np.array(
        sorted(
            (point["batch_per_gpu"], point["per_gpu"])
            for point in points
            if point["id"].startswith("h20-dsr1-decode-b")
            and "EP16" in point["deploy"]
            and point["batch_per_gpu"] > 1
        )
    )


CHECKS: Final[tuple[Callable[[Path], Iterator[Row]], ...]] = (
    surfaces,
    own_fit,
    transfers,
    aggregated,
    published,
)
