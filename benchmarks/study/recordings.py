"""The recordings the study plays."""

import csv
from pathlib import Path

from controller.simulator.workload import Workload, companion_name, read_trace

AZURE = "azure_llm_2023_conv.csv.gz"
MOONCAKE = "mooncake_fast25_conversation.csv.gz"
SUMMARIES = "lengths_arxiv_summarization.csv.gz"
REASONING = "servegen_deepseek-r1_10min.csv.gz"
LANGUAGE = "servegen_m-large_10min.csv.gz"


def recording(shared: Path, name: str, scale: float = 1.0) -> Workload:
    """Return a trace of the data directory, with its length quantiles where it has some."""
    folder = shared / "data/traces"
    companion = companion_name(name)
    quantiles = (folder / companion).read_bytes() if companion else None
    return read_trace((folder / name).read_bytes(), name, scale, quantiles=quantiles)


def measured_transfers(shared: Path) -> list[tuple[int, float, float, float]]:
    """Return the H800 table: prompt tokens, KV size [MiB], transfer and TTFT [ms]."""
    path = shared / "data/perf/measured_kv_transfer_h800_qwen3_8b.csv"
    with path.open(encoding="utf-8") as stream:
        return [
            (
                int(row["prompt_tokens"]),
                float(row["kv_mib"]),
                float(row["transfer_ms"]),
                float(row["ttft_ms"]),
            )
            for row in csv.DictReader(stream)
        ]
