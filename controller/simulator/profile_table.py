"""The engine profiles as the table of the documentation."""

from collections.abc import Sequence

from controller.simulator.profiles import GIB, PROFILES, Profile

_COLUMNS = (
    "profile",
    "GPUs",
    "prefill a, b, c",
    "decode c0, c1, c2, c3",
    "KV per token",
    "KV capacity",
    "fit error P, D",
    "kind",
)


def profile_table() -> str:
    """Return the Markdown table of every profile, then where each group comes from."""
    head = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    rows = [_line(_cells(profile)) for profile in PROFILES.values()]
    sources = dict.fromkeys(profile.provenance for profile in PROFILES.values())
    notes = [f"- {source} {_named(source)}" for source in sources]
    return "\n".join((*head, *rows, "", *notes)) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(p: Profile) -> list[str]:
    experts = f", {p.c3 * 1e3:.4g} ms" if p.experts else ""
    memory_gib = p.kv_capacity_tokens * p.kv_bytes_per_token / GIB
    return [
        p.name,
        str(p.tp),
        f"{p.a * 1e3:.4g} ms, {p.b * 1e6:.4g} us, {p.c * 1e9:.4g} ns",
        f"{p.c0 * 1e3:.4g} ms, {p.c1 * 1e6:.4g} us, {p.c2 * 1e9:.4g} ns{experts}",
        f"{p.kv_bytes_per_token // 1024} KiB",
        f"{p.kv_capacity_tokens:,} ({memory_gib:.0f} GiB)",
        f"{p.prefill_error_frac:.1%}, {p.decode_error_frac:.1%}",
        p.kind,
    ]


def _named(source: str) -> str:
    names = [p.name for p in PROFILES.values() if p.provenance == source]
    return f"({', '.join(names)})"
