"""Numbers in words, the same on every page, in every answer and on the command line."""

from collections.abc import Mapping, Sequence
from typing import Final

from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
NAMED: Final = 5
"""Most things a sentence names."""

CODE_TITLES: Final[Mapping[str, str]] = {
    Code.ABOVE_TARGET: "What is provided for is more than what is wished, beyond the tolerance.",
    Code.BELOW_TARGET: "What is provided for is less than what is wished, beyond the tolerance.",
    Code.WITHIN_TOLERANCE: "What is provided for is close enough to what is wished.",
    Code.RATIO_CORRECTION: "Moved to keep prefill per decode inside its band.",
    Code.AT_MAX: "Stopped by the maximum of the role.",
    Code.AT_MIN: "Kept at the minimum of the role.",
    Code.STEP_LIMITED: "Shortened to the largest step of one action.",
    Code.COOLDOWN: "Waits: the last change is too recent.",
    Code.FLAP_PREVENTED: "Waits: a lower wish must last before anything is removed.",
    Code.PINNED: "A person pinned the counts for a while.",
    Code.FROZEN: "A person stopped automatic change.",
    Code.OUT_ONLY: "A person allowed scale-out only for a while.",
    Code.IN_ONLY: "A person allowed scale-in only for a while.",
    Code.WINDOW_DENY: "A maintenance window allows no change now.",
    Code.BUDGET_EXHAUSTED: "Stopped by the GPU budget.",
    Code.NO_CAPACITY_SKU: "The pool of this hardware type has too few free GPUs.",
    Code.NO_CAPACITY_DOMAIN: "No network domain has enough free GPUs.",
    Code.FRAGMENTED: "Enough GPUs are free, but not where they fit.",
    Code.METRIC_MISSING: "A signal was not reported; missing is never read as zero.",
    Code.METRIC_STALE: "A signal is too old to act on.",
    Code.METRIC_PARTIAL: "Too few instances report to act.",
    Code.METRIC_INVALID: "A signal is not a usable number.",
    Code.UNSETTLED: "What the cluster shows is not at rest; taking away waits for it.",
    Code.CHANGED_OUTSIDE: "Something else changed the counts; they are looked at again first.",
    Code.IN_PROGRESS: "An earlier change is still under way.",
    Code.AWAITING_APPROVAL: "A person must approve the change.",
    Code.REJECTED: "A person rejected the change.",
    Code.EXPIRED: "Nobody approved the change in time.",
    Code.SUPERSEDED: "A newer proposal took its place.",
    Code.ADVISORY_ONLY: "The service only observes: recorded, not carried out.",
    Code.EXECUTOR_ERROR: "The cluster did not carry out the change.",
    Code.BREAKER_OPEN: "The circuit breaker stopped automatic change.",
    Code.CONFIG_INVALID: "The configuration of the service can't be used.",
    Code.LATENCY_HIGH: "Latency is over its goal by more than the latency policy allows.",
    Code.LATENCY_LOW: "Latency is far under its goal, and nothing else sizes the service.",
    Code.SCHEDULED: "A window of the schedule asks for these counts.",
    Code.DAMPED: "The change was made smaller by the damping factor.",
    Code.SLO_AT_RISK: "With fewer instances latency would come too near its goal.",
    Code.STARTING: "Instances that are starting can't stand in for others yet.",
    Code.REMOVAL_BUDGET: "The fleet has given up all that may go unattended in ten minutes.",
    Code.RATIO_EXCEPTION: "One role can't grow; the other grows beyond the P/D ratio.",
    Code.WEAKER_HARDWARE: "More instances of weaker hardware do the work of those wanted.",
    Code.EXCHANGE: "One role gives GPUs to the other: it shrinks first, then the other grows.",
    Code.EXCHANGE_ENDED: "The GPUs of an exchange did not come free in time; decided anew.",
    Code.UNCHANGED: "This step changed nothing.",
}
STEP_WORDS: Final[Mapping[str, str]] = {
    "policy": "policy",
    "override": "override",
    "ratio": "P/D ratio",
    "freshness": "trust in metrics",
    "starting": "starting",
    "slo": "latency goals",
    "limits": "limits",
    "damping": "damping",
    "step": "largest step",
    "stabilisation": "stabilisation",
    "cooldown": "cooldown",
    "exchange": "exchange",
    "gpu_budget": "GPU budget",
    "capacity": "free capacity",
    "refusal": "rejection",
    "outside": "outside change",
    "unsettled": "cluster at rest",
    "in_flight": "change under way",
    "freeze": "freeze",
    "breaker": "breaker",
    "fleet": "fleet budget",
    "gate": "approval",
}
"""What tables and figures call a step; short enough for the edge of a figure."""

VERBS: Final[Mapping[str, str]] = {
    ProposalState.APPROVED: "approved",
    ProposalState.APPLYING: "approved",
    ProposalState.APPLIED: "approved",
    ProposalState.FAILED: "approved",
    ProposalState.REJECTED: "rejected",
}


def duration(seconds: float) -> str:
    """Return seconds as words: "4 s", "3 min", "2 h 5 min", "3 d 4 h". Negative is "0 s"."""
    whole = max(0, round(seconds))
    if whole < 2 * MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min"
    if whole < DAY_S:
        return _pair(whole // HOUR_S, "h", whole % HOUR_S // MINUTE_S, "min")
    return _pair(whole // DAY_S, "d", whole % DAY_S // HOUR_S, "h")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def ago(seconds: float) -> str:
    """Return how long ago: "4 s ago"."""
    return f"{duration(seconds)} ago"


def counts(before: tuple[int, int], after: tuple[int, int]) -> str:
    """Return (prefill, decode) before and after: "decode 24 → 30, prefill 8 → 10".

    A role that stays is left out; when both stay the answer is "decode 24, prefill 8".
    """
    roles = (("decode", before[1], after[1]), ("prefill", before[0], after[0]))
    moved = [f"{role} {old} → {new}" for role, old, new in roles if old != new]
    return ", ".join(moved or [f"{role} {old}" for role, old, _ in roles])


def halves(before: tuple[int, int], first: tuple[int, int], then: tuple[int, int] | None) -> str:
    """Return a change as :func:`counts` does, and what an exchange does after it."""
    now = counts(before, first)
    return now if then is None else f"{now}, then {counts(first, then)}"


def signed(number: int) -> str:
    """Return a difference with its sign, a true minus included: "+6", "−2", "±0"."""
    if number == 0:
        return "±0"
    return f"+{number:,}" if number > 0 else f"\u2212{-number:,}"


def plural(number: int, noun: str) -> str:
    """Return the number with its noun: "1 service", "2 services"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence: "a, b and c", of many the first five and how many more."""
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED:,} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
